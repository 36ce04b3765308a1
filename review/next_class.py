"""A third class for the bars of a card, where the given class is one of the two most probable ones."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks import ArtifactError
from tasks.tables.catalog import PRED_PROBS
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array

Ids = npt.NDArray[np.int64]
# Each part of the table that holds a row of a page is read. With more classes there are too many parts.
_MOST_CLASSES = 100


class NextClasses:
    """The most probable classes of rows, read when they are shown, and kept."""

    def __init__(self, path: Path, n_classes: int) -> None:
        """Of `path`, data/pred_probs.parquet, which may be missing."""
        self._path, self._n_classes = path, n_classes
        self._known: dict[int, list[tuple[int, float]]] = {}
        self._reader: TableReader | None = None

    def read(self, ids: Ids) -> None:
        """Read rows (M,) at once; what cannot be read is left out, as a page does without it."""
        lacking = np.array([each for each in ids.tolist() if each not in self._known], dtype=np.int64)
        if not 3 <= self._n_classes <= _MOST_CLASSES or not len(lacking) or not self._path.exists():
            return
        self._known.update({example_id: [] for example_id in lacking.tolist()})
        try:
            self._reader = self._reader or TableReader(self._path, PRED_PROBS, ["pred_probs"])
            table = self._reader.find(lacking)
        except ArtifactError:
            return
        probs = column_array(table, "pred_probs")
        if probs.shape[1:] != (self._n_classes,):  # of another run
            return
        top = np.argsort(-probs, axis=1, kind="stable")[:, :3]
        shares = np.take_along_axis(probs, top, axis=1)
        for example_id, classes, own in zip(
            column_array(table, "example_id").tolist(), top, shares, strict=True
        ):
            self._known[example_id] = list(zip(classes.tolist(), own.tolist(), strict=True))

    def of(self, example_id: int) -> list[tuple[int, float]]:
        """The three most probable classes of a row with their probabilities; none where they are not read."""
        return self._known.get(example_id, [])
