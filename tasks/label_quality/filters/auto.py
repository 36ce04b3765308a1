"""Rows whose label is more likely wrong than right, by the noise model that the data allow: the default.

At each sharpness the noise model flags another number of rows (`noise_model`). Where labels were made wrong
by chance, the number hardly depends on the sharpness: the lowest that flags nearly as many rows as the
highest is taken, and what the classifier doubts for its own reasons is left alone. Where people erred, wrong
labels are where the classifier doubts, and each sharpness flags more of them. The likelihood tells the two
apart, though it cannot choose the sharpness: to believe that all doubt is noise costs little, or much
(`doubt_cost`). docs/filters.md says on which data this was chosen, and where it fails.
"""

import numpy as np

from tasks.label_quality.noise_model import SHARPNESS, NoiseFits, fit_at
from tasks.label_quality.selection import ByRow
from tasks.label_quality.statistics import Statistics

NEEDS = ("sample", "noise")

# Of the rows that the highest sharpness flags: the share where doubt costs nothing, and what a cost adds.
_LEAST_SHARE = 0.8
_SHARE_BY_COST = 0.25


def select(statistics: Statistics) -> ByRow:
    fits = statistics.noise
    sharpness = choose_sharpness(fits)
    fitted = fits.kept.get(sharpness) or fit_at(*statistics.sample, sharpness)
    return ByRow(
        lambda rows: fitted.posterior(rows.labels, rows.pred_probs) < 0.5,
        fitted.transition_matrix.T,
        explain(fits, sharpness),
    )


def doubt_cost(fits: NoiseFits) -> float:
    """What it costs to believe that all doubt is noise, in nats for each row that the classifier doubts.

    The difference of the log-likelihoods of the likeliest and the highest sharpness, summed over the rows and
    divided by the number of those of which another class is more probable; 0 where there is none. Measured on
    ten classes: 0.0 to 0.3 where labels were made wrong by chance in 10 % of the rows or more, 0.4 to 0.8
    where people made errors or wrong labels were made where a classifier doubts.
    """
    difference = float(fits.log_likelihood.max() - fits.log_likelihood[-1]) * fits.n_rows
    return difference / fits.n_doubted if fits.n_doubted else 0.0


def choose_sharpness(fits: NoiseFits) -> float:
    """The lowest sharpness from the likeliest on that flags nearly as many rows as the highest does."""
    share = min(_LEAST_SHARE + _SHARE_BY_COST * doubt_cost(fits), 1)
    enough = fits.n_flagged >= share * fits.n_flagged[-1]
    # Below the likeliest, what by chance is wrong would be called doubt.
    enough[: int(np.argmax(fits.log_likelihood))] = False
    return float(SHARPNESS[int(np.argmax(enough))])


def explain(fits: NoiseFits, sharpness: float) -> str:
    """Which sharpness was taken, and why."""
    cost = doubt_cost(fits)
    n_flagged = int(fits.n_flagged[SHARPNESS.index(sharpness)])
    return (
        f"the noise model at sharpness {sharpness:g}, the lowest from the likeliest "
        f"({fits.likeliest.sharpness:g}) on that flags nearly as many rows "
        f"({n_flagged:,}) as sharpness {SHARPNESS[-1]:g} does ({int(fits.n_flagged[-1]):,}, of "
        f"{fits.n_rows:,} fitted rows); to take all doubt of the classifier for noise costs {cost:.2f} nats "
        "a doubted row, which is "
        + ("little, as where labels are wrong by chance" if cost < 0.35 else "much, as where people err")
    )
