"""Of all rows those whose label is furthest behind another class: as many as are confidently another."""

import numpy as np

from tasks.label_quality.rows import Piece
from tasks.label_quality.selection import Floats, Ints, LowestOfGroups
from tasks.label_quality.statistics import JointStatistics

NEEDS = ("joint",)
VETO = False


class LowestMargins(LowestOfGroups):
    """The rows with the lowest normalized margins (`scores.normalized_margin`)."""

    def candidates(self, piece: Piece) -> tuple[Ints, Ints, Floats]:
        """See `LowestOfGroups.candidates`."""
        rows, margins = piece.margins(2 * self.cutoffs[0] - 1)
        keys = (margins + 1) / 2
        useful = np.flatnonzero(keys < self.cutoffs[0])
        return rows[useful], np.zeros(len(useful), dtype=np.int64), keys[useful]


def select(statistics: JointStatistics) -> LowestMargins:
    return LowestMargins(np.array([statistics.n_off_diagonal]))
