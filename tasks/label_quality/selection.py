"""Selectors: how a filter chooses rows.

Each row is judged for itself (`ByRow`), or the lowest so many of a ranking are taken (`LowestOfGroups`), from
a stream, in memory for those rows alone, or the rows are known already (`Flagged`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.label_quality.rows import JudgedPiece, Piece

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Room for candidates beside the rows that will be kept: less would mean sorting more often.
_SPARE = 2**17
# Groups at least this large on average are faster cut one by one than sorted together.
_LARGE_GROUP = 256


Candidates = Mapping[str, npt.NDArray[Any]]
"""Rows that may be among the lowest of their group, as columns: `group`, `key` (finite), `row` (its number),
and whatever else is to be known of the rows that stay. A row may stand in several groups."""


@dataclass(frozen=True)
class Flagged:
    """The rows that a filter flags: `rows` (M,) ascending, and the score (M,) that ranks them, or 0."""

    rows: Ints
    scores: Floats


@dataclass(frozen=True)
class ByRow:
    """Each row is judged for itself.

    Attributes:
        flags: (M,) True for the rows of a piece that are issues.
        noise_matrix: (K, K) P(given | true), [given, true], where the filter has estimated it.
        rule: where the filter has chosen a rule by the data, which one and why, for people.
    """

    flags: Callable[[JudgedPiece], Flags]
    noise_matrix: Floats | None = None
    rule: str | None = None


def take(columns: Candidates, chosen: Flags | Ints) -> Candidates:
    """The chosen ones.

    >>> taken = take({"row": np.array([4, 7]), "key": np.array([0.1, 0.2])}, np.array([False, True]))
    >>> taken["row"].tolist()
    [7]
    """
    return {name: values[chosen] for name, values in columns.items()}


class LowestOfGroups:
    """The `sizes[g]` rows with the lowest keys of each group g; ties go to the earlier row.

    Candidates come in order of rows. `cutoffs` (G,) tells what is still of use: a later row with a key not
    below its group's cutoff can not be chosen any more. So memory follows the rows to be kept, not the rows
    seen, and how the rows are cut into batches changes nothing. A subclass says what the candidates are.
    """

    def __init__(self, sizes: Ints) -> None:
        self.sizes = np.maximum(sizes, 0)
        self.cutoffs = np.where(self.sizes > 0, np.inf, -np.inf)
        self._parts: list[Candidates] = []
        self._held = 0
        self._limit = 2 * int(self.sizes.sum()) + _SPARE

    def candidates(self, piece: Piece) -> tuple[Ints, Ints, Floats]:
        """Rows of the piece (by place, in order), their groups and keys: those that the cutoffs let through.

        Several threads may ask at a time.
        """
        raise NotImplementedError

    def add(self, found: Candidates) -> None:
        """Consider the next rows."""
        useful = found["key"] < self.cutoffs[found["group"]]
        if not useful.all():
            found = take(found, useful)
        if len(found["row"]):
            self._parts.append(found)
            self._held += len(found["row"])
        if self._held > self._limit:
            self.keep()

    def keep(self) -> Candidates | None:
        """Forget all but the lowest so far, lower the cutoffs, and return what is left, in order of rows."""
        if not self._parts:
            return None
        # Column by column, so that not all is in memory twice.
        parts, self._parts = [dict(part) for part in self._parts], []
        held: Candidates = {
            name: np.concatenate([part.pop(name) for part in parts]) for name in tuple(parts[0])
        }
        counts = np.bincount(held["group"], minlength=len(self.sizes))
        if (counts > self.sizes).any():
            large = len(held["row"]) > _LARGE_GROUP * len(self.sizes)
            held = take(held, self._cut_each(held, counts) if large else self._sort_all(held, counts))
        self._parts, self._held = [held], len(held["row"])
        return held

    def _sort_all(self, held: Candidates, counts: Ints) -> Ints:
        # The sort is stable, and candidates are held in order of rows.
        order = np.lexsort((held["key"], held["group"]))
        starts = np.cumsum(counts) - counts
        group = held["group"][order]
        kept = np.arange(len(order)) - starts[group] < self.sizes[group]
        full = np.flatnonzero((counts >= self.sizes) & (self.sizes > 0))
        self.cutoffs[full] = held["key"][order[starts[full] + self.sizes[full] - 1]]
        return np.sort(order[kept])

    def _cut_each(self, held: Candidates, counts: Ints) -> Ints:
        # Radix sort, where the groups' numbers are short.
        small = np.uint16 if len(self.sizes) <= 2**16 else np.int64
        order = np.argsort(held["group"].astype(small), kind="stable")
        kept = np.ones(len(order), dtype=bool)
        for group, members in enumerate(np.split(order, np.cumsum(counts)[:-1])):
            size = int(self.sizes[group])
            if 0 < size <= len(members):
                keys = held["key"][members]
                cutoff = np.partition(keys, size - 1)[size - 1]
                below = keys < cutoff
                below[np.flatnonzero(keys == cutoff)[: size - int(below.sum())]] = True
                kept[members] = below
                self.cutoffs[group] = cutoff
        return np.flatnonzero(kept)


class LowestBy(LowestOfGroups):
    """The rows with the lowest keys: of all rows, or of each class the rows that are given it."""

    def __init__(self, sizes: Ints, key: Callable[[Piece], Floats]) -> None:
        """Args: how many, (1,) of all rows or (K,) of each class; and the (M,) keys of a piece."""
        super().__init__(sizes)
        self._key = key

    def candidates(self, piece: Piece) -> tuple[Ints, Ints, Floats]:
        """See `LowestOfGroups.candidates`."""
        keys = self._key(piece)
        if len(self.sizes) > 1:
            rows = np.flatnonzero(keys < self.cutoffs[piece.labels])
            return rows, piece.labels[rows], keys[rows]
        rows = np.flatnonzero(keys < self.cutoffs[0])
        return rows, np.zeros(len(rows), dtype=np.int64), keys[rows]


Selector = ByRow | LowestOfGroups | Flagged
