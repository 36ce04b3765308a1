"""The interval of a share that was counted."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

_Z = 1.959963984540054
"""95 % of a normal distribution lie so many standard deviations from its mean, or nearer."""


class ShareMetrics(TypedDict):
    """A share and its interval, in metrics/self_tests.json."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Share:
    """`n_hits` of `n_rows`, and the 95 % interval of the share that they are drawn from.

    >>> share = Share(93, 100)
    >>> round(share.low, 3), share.value, round(share.high, 3)
    (0.863, 0.93, 0.966)
    """

    n_hits: int
    n_rows: int

    @property
    def value(self) -> float:
        """The share, in [0, 1]; NaN where there is no row."""
        return self.n_hits / self.n_rows if self.n_rows else float("nan")

    @property
    def low(self) -> float:
        """The lower end of the interval (Wilson, JASA 22 (1927)), in [0, 1]; 0 where there is no row."""
        return self._ends()[0]

    @property
    def high(self) -> float:
        """The upper end, in [0, 1]; 1 where there is no row."""
        return self._ends()[1]

    def _ends(self) -> tuple[float, float]:
        if not self.n_rows:
            return 0.0, 1.0
        share, n, square = self.value, self.n_rows, _Z**2
        middle = (share + square / (2 * n)) / (1 + square / n)
        half = _Z / (1 + square / n) * np.sqrt(share * (1 - share) / n + square / (4 * n**2))
        # Rounding must not part the interval from the share, nor from [0, 1].
        return min(max(float(middle - half), 0.0), share), max(min(float(middle + half), 1.0), share)

    def entries(self) -> ShareMetrics:
        """The share and its interval, ready for JSON."""
        return {"share": self.value, "low": self.low, "high": self.high}
