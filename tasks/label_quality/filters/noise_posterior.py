"""Rows whose label is more likely wrong than right, by a noise model that is fitted to all labels."""

from tasks.label_quality.selection import ByRow
from tasks.label_quality.statistics import Statistics

NEEDS = ("noise",)


def select(statistics: Statistics) -> ByRow:
    fitted = statistics.noise.likeliest
    return ByRow(
        lambda rows: fitted.posterior(rows.labels, rows.pred_probs) < 0.5, fitted.transition_matrix.T
    )
