"""In each class the rows whose label is least probable: as many as the confident joint counts as wrong."""

import numpy as np

from tasks.label_quality.selection import LowestBy
from tasks.label_quality.statistics import JointStatistics

NEEDS = ("joint",)
SKIPS_SMALL_CLASSES = True


def select(statistics: JointStatistics) -> LowestBy:
    n_wrong = statistics.totals.counts - statistics.prune_counts.diagonal()
    return LowestBy(np.where(statistics.prunable, n_wrong, 0), lambda piece: piece.own)
