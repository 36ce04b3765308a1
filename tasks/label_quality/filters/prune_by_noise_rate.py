"""For each class and other class the rows where the other is furthest ahead: as many as the joint counts."""

import numpy as np
import numpy.typing as npt

from tasks.label_quality.rows import Piece
from tasks.label_quality.selection import Candidates, Floats, Ints, LowestOfGroups
from tasks.label_quality.statistics import JointStatistics

NEEDS = ("joint", "margins")
SKIPS_SMALL_CLASSES = True


class ByNoiseRate(LowestOfGroups):
    """Of given k and each other class j, `counts[j, k]` rows with the largest P_j - P_k.

    `margins` (K, K, steps) counts rows by P_j - P_k, as `margin_counters` has it: where enough rows have a
    margin at least so large, no other is looked at. Without it (no steps) every row would be a candidate for
    every class until the first cutoffs are known.
    """

    def __init__(self, counts: Ints, prunable: npt.NDArray[np.bool_], margins: Ints) -> None:
        pairs = counts.T * prunable[:, None]  # [given k, other j]
        np.fill_diagonal(pairs, 0)
        given, self._others = np.nonzero(pairs > 0)
        n_pairs = np.bincount(given, minlength=len(counts))
        self._n_pairs, self._first = n_pairs, np.cumsum(n_pairs) - n_pairs
        self._given = given
        super().__init__(pairs[given, self._others])
        n_steps = margins.shape[2]
        at_least = np.cumsum(margins[given, self._others][:, ::-1], axis=1)
        n_sure = (at_least >= self.sizes[:, None]).sum(axis=1)
        sure = np.flatnonzero(n_sure)
        # Keys up to the cutoff itself are let through, hence the next number.
        self.cutoffs[sure] = np.nextafter((1 - n_sure[sure]) / n_steps, np.inf)
        self._lower_reach()

    def keep(self) -> Candidates | None:
        """See `LowestOfGroups.keep`."""
        kept = super().keep()
        self._lower_reach()
        return kept

    def _lower_reach(self) -> None:
        # The highest cutoff of each given class: most rows fail it, and their pairs need not be looked at.
        reach = np.full(len(self._n_pairs), -np.inf)
        np.maximum.at(reach, self._given, self.cutoffs)
        self._reach = reach

    def candidates(self, piece: Piece) -> tuple[Ints, Ints, Floats]:
        """See `LowestOfGroups.candidates`; here a row comes once for each of its pairs."""
        rows, margins = piece.margins(self._reach[piece.labels])
        near = rows[margins < self._reach[piece.labels[rows]]]
        given = piece.labels[near]
        n_pairs = self._n_pairs[given]
        rows = np.repeat(near, n_pairs)
        ends = np.cumsum(n_pairs)
        pairs = np.arange(len(rows)) + np.repeat(self._first[given] - (ends - n_pairs), n_pairs)
        keys = piece.own[rows] - piece.pred_probs[rows, self._others[pairs]]
        useful = np.flatnonzero(keys < self.cutoffs[pairs])
        return rows[useful], pairs[useful], keys[useful]


def select(statistics: JointStatistics) -> ByNoiseRate:
    return ByNoiseRate(statistics.prune_counts, statistics.prunable, statistics.margins)
