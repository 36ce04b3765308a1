"""The probability that a label is wrong, and from it how many are: averages over the sharpness.

Which sharpness of the noise model is right, a table of probabilities does not say (see `noise_model`): at 1
the classifier's doubt is about the true class, at 8 it is noise in the labels. So none is chosen here. The
probability is the mean over the sharpnesses from 1 to 8, all as likely, by the trapezoidal rule on
`AVERAGED`. The number of wrong labels is its sum, and between which numbers it lies is what the two ends say.

This is Bayesian model averaging (Hoeting et al., "Bayesian model averaging: a tutorial", Statistical Science
14, 1999) by the prior: the likelihood would put all weight on one sharpness, often the wrong one.
docs/filters.md has how reliable it is on data whose truth is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tasks.label_quality.noise_model import AVERAGED, NoiseModel

Floats = npt.NDArray[np.float64]

_STEPS = np.diff(AVERAGED)
_WEIGHTS = (np.append(_STEPS, 0) + np.append(0, _STEPS)) / (2 * _STEPS.sum())
_LEAST_PROB = 1e-12
# Of a normal distribution, 95 % lie within so many standard deviations.
_DEVIATIONS = 1.96
# Sums are of whole multiples of its inverse, so that they do not depend on how rows are cut into batches.
_FIXED_POINT = 2.0**32


@dataclass(frozen=True)
class ErrorModel:
    """What gives each row's probability: (K, K) P(given | true), [given, true], for each of `AVERAGED`."""

    noise_matrices: tuple[Floats, ...]

    @classmethod
    def of(cls, fits: Sequence[NoiseModel]) -> Self:
        """From the noise models fitted at `AVERAGED`."""
        return cls(tuple(np.ascontiguousarray(fit.expected_under.T) for fit in fits))

    def right_by_sharpness(
        self, labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]
    ) -> Floats:
        """(4, N) probability that the given label is the true one, at each of `AVERAGED` (if fitted)."""
        powers = np.maximum(pred_probs, _LEAST_PROB, dtype=np.float64)
        # Powers of what is left stay far above the smallest number.
        powers /= powers.max(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        right = np.empty((len(self.noise_matrices), len(labels)))
        for place, matrix in enumerate(self.noise_matrices):
            if place:
                powers *= powers
            joint = powers * matrix[labels]
            right[place] = joint[rows, labels] / joint.sum(axis=1)
        return right

    def label_right_prob(
        self, labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]
    ) -> Floats:
        """(N,) probability that the given label is right: the score to rank by, low is suspect."""
        return average(self.right_by_sharpness(labels, pred_probs))


def average(by_sharpness: Floats) -> Floats:
    """(N,) the mean over sharpnesses of (4, N) probabilities.

    >>> average(np.array([[0.5], [0.75], [1.0], [1.0]])).round(3).tolist()
    [0.911]
    """
    return np.asarray(_WEIGHTS @ by_sharpness)


@dataclass(frozen=True)
class ErrorCounts:
    """Expected wrong labels of some rows at each of `AVERAGED`, and their variances; counts of parts add.

    Both (4,) in fixed point, multiples of 2^-32.
    """

    wrong: npt.NDArray[np.int64]
    variance: npt.NDArray[np.int64]

    @classmethod
    def none(cls) -> Self:
        """Those of no row."""
        nothing = np.zeros(len(AVERAGED), dtype=np.int64)
        return cls(nothing, nothing)

    @classmethod
    def of(cls, right_by_sharpness: Floats) -> Self:
        """Those of rows, from (4, N) `ErrorModel.right_by_sharpness`."""
        wrong = 1 - right_by_sharpness
        return cls(_fixed_sum(wrong), _fixed_sum(wrong * right_by_sharpness))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.wrong + other.wrong, self.variance + other.variance)

    def estimate(self) -> "NumberOfErrors":
        """The number of wrong labels, and between which numbers it lies.

        The ends are the lowest and the highest number that any of the sharpnesses expects, each less or plus
        1.96 standard deviations, rows being independent.
        """
        wrong = self.wrong / _FIXED_POINT
        spread = _DEVIATIONS * np.sqrt(np.maximum(self.variance / _FIXED_POINT, 0))
        return NumberOfErrors(
            round(float(_WEIGHTS @ wrong)),
            max(int(np.floor((wrong - spread).min())), 0),
            int(np.ceil((wrong + spread).max())),
        )


@dataclass(frozen=True)
class NumberOfErrors:
    """An estimate of how many labels are wrong, and the `low` and `high` end of where the number lies."""

    estimate: int
    low: int
    high: int


def _fixed_sum(values: Floats) -> npt.NDArray[np.int64]:
    return np.asarray(np.rint(values * _FIXED_POINT).astype(np.int64).sum(axis=1))
