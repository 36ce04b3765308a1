"""Are the classes as common in the probabilities as in the labels?

A calibrated classifier expects each class about as often as it is given. One that was trained with class
weights, on resampled rows or by focal loss does not: a rare class has too much probability everywhere, and a
filter takes right labels of the common class for wrong ones (Saerens, Latinne and Decaestecker, Neural
Computation 14 (2002), on probabilities whose prior is not that of the data). Label noise alone moves both
shares alike, as the classifier learns from noisy labels too.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEAST_RATIO = 2.0
"""Of two shares of a class, so many times as large is another prior."""
# The difference of two shares in standard errors, below which it may be chance.
_LEAST_ERRORS = 5.0


@dataclass(frozen=True)
class ClassShares:
    """How common the class is on which probabilities and labels differ most.

    Attributes:
        label: its class index.
        expected: the mean of its probability, in [0, 1].
        given: the share of the rows that are given it, in [0, 1].
        is_shifted: whether that is more than chance and noise explain.
    """

    label: int
    expected: float
    given: float
    is_shifted: bool


def compare_class_shares(
    labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]
) -> ClassShares:
    """Those of given labels (N,) and probabilities (N, K) of the same rows.

    >>> labels = np.repeat([0, 1], [95, 5])
    >>> found = compare_class_shares(labels, np.tile([0.6, 0.4], (100, 1)))
    >>> found.label, found.is_shifted
    (1, True)
    """
    n, n_classes = pred_probs.shape
    given = np.bincount(labels, minlength=n_classes) / n
    expected = pred_probs.mean(axis=0, dtype=np.float64)
    # A class that is never given may have a little probability, and one that is never expected a few rows.
    smallest = 1 / n
    ratio = np.log(np.maximum(expected, smallest) / np.maximum(given, smallest))
    error = np.sqrt(np.maximum(given, smallest) * (1 - given) / n)
    far = (np.abs(expected - given) > _LEAST_ERRORS * error) & (np.abs(ratio) >= np.log(LEAST_RATIO))
    worst = int(np.abs(np.where(far, ratio, 0) if far.any() else ratio).argmax())
    return ClassShares(worst, float(expected[worst]), float(given[worst]), bool(far[worst]))
