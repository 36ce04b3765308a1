"""Do probabilities look in-sample: made by models that had learned from the very labels they judge?

Such a model reproduces its labels, the wrong ones too, and no filter finds what it has memorised. Where each
row's model is not on record, one trace is left. A model's probabilities say how surprised it expects to be by
a label: on average its entropy. On rows that it never saw it is surprised more than that, since it is
overconfident and labels are noisy; on rows that it has fitted, less.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

LOWEST_RATIO = 0.5
LEAST_AGREEMENT = 0.97
"""Probabilities look in-sample below that share of the expected surprise, where they also agree with nearly
all given labels: an unsure model expects too much surprise on any rows, but does not agree so often."""
# Fewer rows may agree by chance.
_LEAST_ROWS = 50
# Below this mean entropy, in nats, there is too little doubt to judge by.
_LEAST_ENTROPY = 1e-3
_TINY = 1e-12


@dataclass(frozen=True)
class Surprise:
    """Sums over rows, which add.

    Attributes:
        n_rows: rows.
        n_agreed: rows whose most probable class is the given one.
        found: the sum of -ln P_y of the given labels, in nats.
        expected: the sum of the entropies, in nats.
    """

    n_rows: int = 0
    n_agreed: int = 0
    found: float = 0.0
    expected: float = 0.0

    @classmethod
    def of(cls, labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any]) -> Self:
        """The sums of a batch: labels (N,) and probabilities (N, K)."""
        probs = np.maximum(pred_probs.astype(np.float64), _TINY)
        logs = np.log(probs)
        own = logs[np.arange(len(labels)), labels]
        agreed = int((probs.argmax(axis=1) == labels).sum())
        return cls(len(labels), agreed, -float(own.sum()), -float((probs * logs).sum()))

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.n_rows + other.n_rows,
            self.n_agreed + other.n_agreed,
            self.found + other.found,
            self.expected + other.expected,
        )

    @property
    def ratio(self) -> float:
        """Surprise found over surprise expected: 1 for calibrated probabilities, more for overconfident."""
        return self.found / self.expected if self.expected else float("nan")

    @property
    def agreement(self) -> float:
        """Share of rows whose most probable class is the given one."""
        return self.n_agreed / self.n_rows if self.n_rows else float("nan")

    @property
    def looks_in_sample(self) -> bool:
        """Whether a warning is due."""
        return bool(
            self.n_rows >= _LEAST_ROWS
            and self.expected > _LEAST_ENTROPY * self.n_rows
            and self.ratio < LOWEST_RATIO
            and self.agreement > LEAST_AGREEMENT
        )
