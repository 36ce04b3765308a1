"""The difference of two classifiers on the same rows, and how far chance alone may carry it."""

import math
from dataclasses import dataclass

# Of a normal distribution: 95 % lie within so many deviations.
_Z = 1.959964


@dataclass(frozen=True)
class Difference:
    """How much larger one share is than another, and the 95 % interval of it; all in [-1, 1]."""

    value: float
    low: float
    high: float


def paired_difference(n_better: int, n_worse: int, n_rows: int) -> Difference:
    """The difference in accuracy of two classifiers that predicted the same rows.

    The interval is that of Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial
    Proportions Based on Paired Data" (2012): one row more is counted each way, so that a few rows, or rows
    on which both agree, claim no certainty. It is of the draw of the rows alone, not of the training's seed.

    >>> found = paired_difference(n_better=30, n_worse=10, n_rows=1000)
    >>> round(found.low, 3), found.value, round(found.high, 3)
    (0.007, 0.02, 0.033)

    Args:
        n_better: rows that only the second classifier predicts right.
        n_worse: rows that only the first predicts right.
        n_rows: all rows, at least one.

    Raises:
        ValueError: the counts do not fit each other.
    """
    if min(n_better, n_worse) < 0 or n_better + n_worse > n_rows or n_rows < 1:
        raise ValueError(f"expected counts of {n_rows} rows, found {n_better} and {n_worse}")
    better, worse = (n_better + 1) / (n_rows + 2), (n_worse + 1) / (n_rows + 2)
    middle = better - worse
    half = _Z * math.sqrt(max(better + worse - middle**2, 0) / (n_rows + 2))
    return Difference((n_better - n_worse) / n_rows, max(middle - half, -1.0), min(middle + half, 1.0))
