"""Pictures of what rows without a label changed: where the retrained classifiers place measured rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.reporting.worth import Yardstick
from tasks.tables.catalog import PLACE, TEST_PROBS
from tasks.tables.files import write_text
from tasks.tables.joins import locate
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array

COLOURS = (
    *("#1b6ca8", "#c8553d", "#4f772d", "#7b2d8b", "#b8860b"),
    *("#008080", "#d81e5b", "#555555", "#e08e0b", "#2f4b7c"),
)
"""Of the classes, again from the first where there are more."""
_SIDE, _EDGE, _TITLE = 330, 6, 24


@dataclass(frozen=True)
class TestMap:
    """Where a classifier places some of the rows that it is measured on.

    Attributes:
        labels: the label set that it learned from.
        points: (M, 2) places in the plane.
        label: (M,) class indices, of the yardstick.
        is_wrong: (M,) whether another class is predicted.
    """

    __test__ = False

    labels: str
    points: npt.NDArray[np.float32]
    label: npt.NDArray[np.int64]
    is_wrong: npt.NDArray[np.bool_]

    @property
    def svg(self) -> str:
        """A square in which each row is a dot in the colour of its class; one that is wrong has a ring."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        # One scale for both axes: only distances mean something.
        scale = (_SIDE - 2 * _EDGE) / max(float((high - low).max()), 1e-9)
        placed = (self.points - (low + high) / 2) * [scale, -scale] + _SIDE / 2
        frame = f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#888"/>'
        rings = _dots(placed[self.is_wrong], "currentColor", 9.0)
        dots = "".join(
            _dots(placed[self.label == k], COLOURS[k % len(COLOURS)], 4.0) for k in np.unique(self.label)
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIDE} {_SIDE}" role="img" '
            f'aria-label="rows as {self.labels} labels teach to place them">{frame}{rings}{dots}</svg>'
        )


def _dots(points: npt.NDArray[np.floating], colour: str, width: float) -> str:
    """Lines of no length with round ends: one shape for any number of dots."""
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points.tolist())
    return f'<path d="{path}" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>'


def read_maps(workspace: Path, label_sets: Sequence[str], yardstick: Yardstick | None) -> list[TestMap]:
    """The maps that `retrain` left; none where all rows have a label, or nothing is measured.

    Raises:
        ArtifactError: data/test_probs/LABEL_SET.parquet is missing or not what it should be.
    """
    if yardstick is None:
        return []
    found = (_read_map(workspace, name, yardstick) for name in label_sets)
    return [each for each in found if each is not None]


def _read_map(workspace: Path, labels: str, yardstick: Yardstick) -> TestMap | None:
    reader = TableReader(TEST_PROBS.at(workspace, labels=labels), TEST_PROBS)
    if not set(PLACE) <= set(reader.schema.names):
        return None
    table = reader.find(yardstick.ids, ["pred_probs", *PLACE])
    table = table.filter(table.column(PLACE[0]).is_valid())
    label = yardstick.label[locate(yardstick.ids, column_array(table, "example_id"))]
    points = np.column_stack([column_array(table, name) for name in PLACE])
    is_wrong = column_array(table, "pred_probs").argmax(axis=1) != label
    return TestMap(labels, points, label, is_wrong) if len(points) else None


def write_maps(path: Path, maps: Sequence[TestMap], accuracies: Mapping[str, float]) -> None:
    """Write the maps side by side as one SVG file; one without a picture where there are none.

    Args:
        path: the file.
        maps: of `read_maps`.
        accuracies: by label set, on all rows that are measured.
    """
    panels = "".join(
        f'<svg x="{k * (_SIDE + 20)}" width="{_SIDE}" height="{_SIDE + _TITLE}">'
        f'<text x="2" y="15">{each.labels} labels: accuracy {accuracies[each.labels]:.2%}</text>'
        f'<svg y="{_TITLE}" width="{_SIDE}" height="{_SIDE}">{each.svg}</svg></svg>'
        for k, each in enumerate(maps)
    )
    width = max(len(maps), 1) * (_SIDE + 20) - 20
    write_text(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_SIDE + _TITLE}" '
        f'font-family="sans-serif" font-size="13">{panels}</svg>\n',
    )
