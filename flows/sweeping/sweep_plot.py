"""The rows of a sweep as a plot."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows import FlowError
from flows.sweeping.finished import Column, Row
from flows.sweeping.tables_of_rows import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def save_plot(path: Path, rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Each metric over the first numeric grid parameter, a line per value of the others.

    Error bars are one standard deviation. Counts of the usual columns are left to the table. Without a
    numeric parameter the first one's values stand side by side.

    Raises:
        FlowError: the path's ending names no format that Matplotlib writes, or it cannot be written.
    """
    groups: dict[str, list[Column]] = {}
    for column in columns:
        if column.group:
            groups.setdefault(column.group, []).append(column)
    shown = [row for row in rows if row.cells]
    if not groups or not shown or not shown[0].values:
        return
    from matplotlib import rc_context

    figure = _draw(groups, shown)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a date, and with fixed names in SVG, equal runs give equal files.
        metadata = {"Date": None} if path.suffix == ".svg" else None
        with rc_context({"svg.hashsalt": "relabel"}):
            figure.savefig(path, dpi=150, metadata=metadata)
    except (ValueError, OSError) as error:
        raise FlowError(f"--plot: expected a file such as plot.png or plot.svg ({error}).") from error


def _draw(groups: Mapping[str, Sequence[Column]], rows: Sequence[Row]) -> "Figure":
    """A row of panels for each group, a panel for each of its columns."""
    from matplotlib.figure import Figure

    names = list(rows[0].values)
    numeric = [name for name in names if all(_is_number(row.values[name]) for row in rows)]
    across = (numeric or names)[0]
    others = [name for name in names if name != across]
    ticks = None if numeric else list(dict.fromkeys(show(row.values[across]) for row in rows))
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        lines.setdefault(tuple(show(row.values[name]) for name in others), []).append(row)

    width = max(map(len, groups.values()))
    figure = Figure(figsize=(1 + 3.6 * width, 0.8 + 2.8 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), width, squeeze=False, sharex=True, sharey="row")
    for (group, members), axes in zip(groups.items(), panels, strict=True):
        for column, panel in zip(members, axes, strict=False):
            _fill(panel, column, lines, across, ticks)
        axes[0].set_ylabel(group)
        for panel in axes[len(members) :]:
            panel.set_visible(False)
    figure.supxlabel(across)
    if others:
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, title=", ".join(others), loc="outside right upper")
    return figure


def _fill(
    panel: "Axes",
    column: Column,
    lines: Mapping[tuple[str, ...], Sequence[Row]],
    across: str,
    ticks: Sequence[str] | None,
) -> None:
    """Draw one metric: a line over a number, or marks over the `ticks` of what is none."""

    def where(row: Row) -> float:
        value = row.values[across]
        return float(str(value)) if ticks is None else ticks.index(show(value))

    for (values, line), marker in zip(lines.items(), _MARKERS * len(lines), strict=False):
        known = [row for row in line if column.metric in row.cells]
        if ticks is None:
            known.sort(key=where)
        cells = [row.cells[column.metric] for row in known]
        panel.errorbar(
            [where(row) for row in known],
            [cell.mean for cell in cells],
            # NaN draws no bar: one run has no spread.
            yerr=[math.nan if cell.spread is None else cell.spread for cell in cells],
            marker=marker,
            markersize=4,
            capsize=3,
            linestyle="-" if ticks is None else "",
            label=", ".join(values),
        )
    panel.set_title(column.title, fontsize=10)
    panel.grid(alpha=0.3)
    if ticks is not None:
        panel.set_xticks(range(len(ticks)), ticks, rotation=20, ha="right")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
