"""Charts as shapes ready to draw: macros.html `draw` turns them into SVG, in the page's own colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Colour = Literal["tint", "soft", "bad", "good", "third", "ink", "line"]

# Units of the drawing; a page shows it at up to 1.3 times as many pixels.
WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 58, WIDTH - 24, 18, HEIGHT - 38


@dataclass(frozen=True)
class Axis:
    """An axis: its label with the unit, its ends, and the values that are written on it.

    `shown` is a format specification, e.g. `,.0f` or `.0%`. With `log` the axis is logarithmic, and both ends
    are positive.
    """

    label: str
    low: float
    high: float
    values: tuple[float, ...]
    shown: str = ".4g"
    log: bool = False

    def share(self, value: float) -> float:
        """How far along the axis a value is, from 0 to 1; values beyond its ends are put on them."""
        low, high, value = (
            (math.log(end) for end in (self.low, self.high, max(value, self.low)))
            if self.log
            else (self.low, self.high, value)
        )
        return min(max((value - low) / (high - low), 0.0), 1.0)


def axis(label: str, low: float, high: float, shown: str = ",.6g", most_ticks: int = 6) -> Axis:
    """An axis from round number to round number, with the whole of [low, high] on it."""
    # What rounding alone tells apart is one value.
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-300):
        half = 0.5 * abs(low) if abs(low) > 1e-300 else 0.5
        low, high = low - half, low + half
    raw = (high - low) / max(most_ticks - 1, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    values = tuple(number * step for number in range(first, last + 1))
    return Axis(label, values[0], values[-1], values, _telling_apart(values, shown))


def _telling_apart(values: Sequence[float], shown: str) -> str:
    """`shown`, or general numbers with as many digits as it takes, so that no two values read the same."""
    digits = range(7, 18)
    formats = (shown, *(f",.{n}g" for n in digits))
    return next(each for each in formats if len({format(value, each) for value in values}) == len(values))


def log_axis(label: str, low: float, high: float) -> Axis:
    """A logarithmic axis over powers of ten, with the whole of [low, high], which are positive, on it."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    step = max(1, (last - first + 5) // 6)
    values = tuple(10.0**power for power in range(first, last + 1, step))
    return Axis(label, 10.0**first, 10.0**last, values, ",.10g", log=True)


def count_axis(label: str, most: int) -> Axis:
    """A logarithmic axis for counts up to `most`, on which a single one is still seen."""
    powers = math.ceil(math.log10(max(most, 2)))
    step = max(1, (powers + 5) // 6)
    values = tuple(10.0**power for power in range(0, powers + 1, step))
    return Axis(label, 0.5, 10.0**powers, values, ",.0f", log=True)


@dataclass(frozen=True)
class Tick:
    """A place along an axis, in units of the drawing, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class PlacedAxis:
    """An axis with its ticks in place."""

    label: str
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Shape:
    """One line (`points`) or several rectangles (`path`), in SVG's terms."""

    name: str
    colour: Colour
    points: str = ""
    path: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Line:
    """A series: values (N,) of y over x, of which those that are NaN are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: Colour = "tint"
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """What macros.html `draw` draws."""

    x: PlacedAxis
    y: PlacedAxis
    shapes: tuple[Shape, ...]
    legend: tuple[tuple[str, Colour], ...]
    marks: tuple[Tick, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


def line_chart(
    x: Axis, y: Axis, lines: Sequence[Line], legend: Sequence[tuple[str, Colour]] | None = None
) -> Chart:
    """Lines over two axes."""
    shapes = []
    for line in lines:
        points = " ".join(
            f"{_across(x, a):.1f},{_up(y, b):.1f}"
            for a, b in zip(line.x, line.y, strict=True)
            if not math.isnan(b)
        )
        shapes.append(Shape(line.name, line.colour, points=points, dashed=line.dashed))
    shown = tuple(legend) if legend is not None else tuple((line.name, line.colour) for line in lines)
    return Chart(_placed_x(x), _placed_y(y), tuple(shapes), shown)


def histogram(
    x: Axis,
    y: Axis,
    edges: Sequence[float],
    layers: Sequence[tuple[str, Colour, Sequence[float]]],
    marks: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Counts by bin, each layer before the last and all of them from the axis up.

    Layers, unlike stacks, may be read off a logarithmic axis too: draw all rows first, then some of them.

    Args:
        x: the axis of the values.
        y: the axis of the counts.
        edges: (B + 1,) values of x.
        layers: name, colour and (B,) counts of each.
        marks: vertical lines at values of x, with a word each.
    """
    shapes = []
    for name, colour, counts in layers:
        path = ""
        for left, right, count in zip(edges, edges[1:], counts, strict=False):
            if count:
                start, end = _across(x, left) + 0.3, _across(x, right) - 0.3
                path += f"M{start:.1f} {BOTTOM}H{end:.1f}V{_up(y, count):.1f}H{start:.1f}Z"
        shapes.append(Shape(name, colour, path=path))
    legend = tuple((name, colour) for name, colour, _ in layers)
    placed = tuple(Tick(round(_across(x, value), 1), text) for value, text in marks)
    return Chart(_placed_x(x), _placed_y(y), tuple(shapes), legend, placed)


def _across(x: Axis, value: float) -> float:
    return LEFT + x.share(value) * (RIGHT - LEFT)


def _up(y: Axis, value: float) -> float:
    return BOTTOM - y.share(value) * (BOTTOM - TOP)


def _placed_x(x: Axis) -> PlacedAxis:
    ticks = tuple(Tick(round(_across(x, value), 1), format(value, x.shown)) for value in x.values)
    return PlacedAxis(x.label, ticks)


def _placed_y(y: Axis) -> PlacedAxis:
    ticks = tuple(Tick(round(_up(y, value), 1), format(value, y.shown)) for value in y.values)
    return PlacedAxis(y.label, ticks)
