"""Do probabilities look in-sample: made by models that had learned from the very labels they judge?

Such a model reproduces its labels, the wrong ones too, and no filter finds what it has memorised. Where each
row's model is not on record, one trace is left. A model's probabilities say how surprised it expects to be by
a label: on average its entropy. On rows that it never saw it is surprised more than that, since it is
overconfident and labels are noisy; on rows that it has fitted, less.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

LOWEST_RATIO = 0.5
LEAST_AGREEMENT = 0.97
"""Probabilities look in-sample below that share of the expected surprise, where they also agree with nearly
all given labels: an unsure model expects too much surprise on any rows, but does not agree so often.
Agreement is corrected for chance: where most rows are of one class, any model agrees with most labels."""
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
        given: (K,) rows by given class.
        predicted: (K,) rows by most probable class.
    """

    n_rows: int = 0
    n_agreed: int = 0
    found: float = 0.0
    expected: float = 0.0
    # One zero, which adds to any number of classes.
    given: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    predicted: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    @classmethod
    def of(cls, labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]) -> Self:
        """The sums of a batch: labels (N,) and probabilities (N, K)."""
        probs = np.maximum(pred_probs.astype(np.float64), _TINY)
        logs = np.log(probs)
        own = logs[np.arange(len(labels)), labels]
        predicted, n_classes = probs.argmax(axis=1), probs.shape[1]
        return cls(
            len(labels),
            int((predicted == labels).sum()),
            -float(own.sum()),
            -float((probs * logs).sum()),
            np.bincount(labels, minlength=n_classes),
            np.bincount(predicted, minlength=n_classes),
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.n_rows + other.n_rows,
            self.n_agreed + other.n_agreed,
            self.found + other.found,
            self.expected + other.expected,
            self.given + other.given,
            self.predicted + other.predicted,
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
    def agreement_beyond_chance(self) -> float:
        """The same less what the shares of the classes alone give; 1 is all, 0 is chance (Cohen's kappa)."""
        if not self.n_rows:
            return float("nan")
        by_chance = float(self.given @ self.predicted) / self.n_rows**2
        return 0.0 if by_chance >= 1 else (self.agreement - by_chance) / (1 - by_chance)

    @property
    def looks_in_sample(self) -> bool:
        """Whether a warning is due."""
        return bool(
            self.n_rows >= _LEAST_ROWS
            and self.expected > _LEAST_ENTROPY * self.n_rows
            and self.ratio < LOWEST_RATIO
            and self.agreement_beyond_chance > LEAST_AGREEMENT
        )
