"""The rows of a sweep as charts, on a page of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from flows import FlowError
from flows.sweeping.finished import Cell, Column, Row
from flows.sweeping.tables_of_rows import show
from tasks.page import environment
from tasks.page.charts import Axis, Chart, Colour, Line, PlacedAxis, axis, line_chart
from tasks.tables.files import write_text

_MOST_DRAWN = 1e300
"""Beyond it the span of an axis overflows; such values are left to the table."""
_COLOURS: tuple[Colour, ...] = ("tint", "bad", "good", "third", "ink", "soft")
# By the name of its line: where each point is along x, and what it measured.
Series = Mapping[str, Sequence[tuple[float, Cell]]]


def save_plot(path: Path, rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Each metric over the first numeric grid parameter, a line per value of the others.

    Bars are one standard deviation. Counts of the usual columns are left to the table. Without a numeric
    parameter the first one's values stand side by side.

    Raises:
        FlowError: the file cannot be written.
    """
    shown = [row for row in rows if row.cells]
    groups = list(dict.fromkeys(column.group for column in columns if column.group))
    if not groups or not shown or not shown[0].values:
        return
    names = list(shown[0].values)
    numeric = [name for name in names if all(_is_number(row.values[name]) for row in shown)]
    across = (numeric or names)[0]
    words = [] if numeric else list(dict.fromkeys(show(row.values[across]) for row in shown))
    page = environment(Path(__file__).parent).get_template("sweep.html")
    text = page.render(
        across=across,
        others=[name for name in names if name != across],
        groups={
            group: _charts([column for column in columns if column.group == group], shown, across, words)
            for group in groups
        },
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise FlowError(f"--plot: expected a file that can be written ({error}).") from error


def _charts(columns: Sequence[Column], rows: Sequence[Row], across: str, words: Sequence[str]) -> list[Chart]:
    """A chart for each metric, all with the same axes; `words` name places along x that are no numbers."""
    series = [_series(column, rows, across, words) for column in columns]
    points = [point for each in series for line in each.values() for point in line]
    if not points:
        return []
    places = range(len(words)) if words else [place for place, _ in points]
    x = axis(across, min(places), max(places))
    if words:
        x = Axis(across, -0.5, len(words) - 0.5, tuple(range(len(words))))
    ends = [cell.mean + sign * (cell.spread or 0.0) for _, cell in points for sign in (-1, 1)]
    y = axis("", min(ends), max(ends), ".4g")
    return [_chart(column, each, x, y, words) for column, each in zip(columns, series, strict=True)]


def _series(column: Column, rows: Sequence[Row], across: str, words: Sequence[str]) -> Series:
    found: dict[str, list[tuple[float, Cell]]] = {}
    for row in rows:
        name = ", ".join(show(value) for other, value in row.values.items() if other != across)
        line = found.setdefault(name, [])
        cell = row.cells.get(column.metric)
        if cell is not None and abs(cell.mean) + (cell.spread or 0.0) <= _MOST_DRAWN:
            value = row.values[across]
            place = words.index(show(value)) if words else float(str(value))
            line.append((place, cell))
    return {name: sorted(line, key=lambda point: point[0]) for name, line in found.items()}


def _chart(column: Column, series: Series, x: Axis, y: Axis, words: Sequence[str]) -> Chart:
    """A line through the means, where x is a number; each mean as a dash, each spread as a bar."""
    colours = dict(zip(series, cycle(_COLOURS), strict=False))
    half = (x.high - x.low) / 100
    lines = []
    for name, points in series.items():
        if not words:
            means = [cell.mean for _, cell in points]
            lines.append(Line(name, [at for at, _ in points], means, colours[name]))
        for at, cell in points:
            lines.append(Line(name, [at - half, at + half], [cell.mean, cell.mean], colours[name]))
            if cell.spread is not None:
                ends = [cell.mean - cell.spread, cell.mean + cell.spread]
                lines.append(Line(name, [at, at], ends, colours[name]))
    legend = [(name, colour) for name, colour in colours.items() if name]
    chart = line_chart(x, replace(y, label=column.title), lines, legend)
    if not words:
        return chart
    ticks = tuple(replace(tick, text=word) for tick, word in zip(chart.x.ticks, words, strict=True))
    return replace(chart, x=PlacedAxis(chart.x.label, ticks))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MOST_DRAWN
