"""Rows that both `prune_by_class` and `prune_by_noise_rate` flag."""

import numpy as np

from tasks.label_quality.selection import Flagged
from tasks.label_quality.statistics import JointStatistics

COMBINES = ("prune_by_class", "prune_by_noise_rate")
SKIPS_SMALL_CLASSES = True


def select(statistics: JointStatistics) -> Flagged:
    by_class, by_noise_rate = (statistics.flagged[name] for name in COMBINES)
    shared = np.isin(by_class.rows, by_noise_rate.rows, assume_unique=True)
    return Flagged(by_class.rows[shared], by_class.scores[shared])
