"""Of all rows those whose label is least probable: as many as are confidently another class."""

import numpy as np

from tasks.label_quality.selection import LowestBy
from tasks.label_quality.statistics import JointStatistics

NEEDS = ("joint",)
VETO = False


def select(statistics: JointStatistics) -> LowestBy:
    return LowestBy(np.array([statistics.n_off_diagonal]), lambda piece: piece.own)
