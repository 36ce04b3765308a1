"""Rows of labels and probabilities, as many as there are, handed out in batches as often as asked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tasks.label_quality.margins import highest

Result = TypeVar("Result")


@dataclass(frozen=True)
class Batch:
    """Consecutive rows: `labels` (n,) and `pred_probs` (n, K) of rows `start` to `start + n`."""

    start: int
    labels: npt.NDArray[np.int64]
    pred_probs: npt.NDArray[np.floating]

    @property
    def stop(self) -> int:
        """The row after the last."""
        return self.start + len(self.labels)

    def cut(self, entries: int) -> Iterator["Batch"]:
        """The batch in pieces of at most `entries` probabilities (or one row)."""
        step = max(entries // self.pred_probs.shape[1], 1)
        for first in range(0, len(self.labels), step):
            rows = slice(first, first + step)
            yield Batch(self.start + first, self.labels[rows], self.pred_probs[rows])


class Rows(Protocol):
    """A data set that need not fit in memory. Its rows are numbered from 0, in order of `example_id`."""

    @property
    def n_rows(self) -> int:
        """N."""

    @property
    def n_classes(self) -> int:
        """K."""

    def map(self, function: Callable[[Batch], Result]) -> Iterator[Result]:
        """One pass: the results of `function` over all batches, in order of rows.

        `function` may run in several threads at a time, and ahead of the result that was asked for last.
        """


@dataclass(frozen=True)
class ArrayRows:
    """Rows in memory: `labels` (N,) and `pred_probs` (N, K), in batches of `batch_rows`."""

    labels: npt.NDArray[np.int64]
    pred_probs: npt.NDArray[np.floating]
    batch_rows: int = 2**17

    @property
    def n_rows(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def n_classes(self) -> int:
        """K."""
        return int(self.pred_probs.shape[1])

    def map(self, function: Callable[[Batch], Result]) -> Iterator[Result]:
        """See `Rows`."""
        for start in range(0, self.n_rows, self.batch_rows):
            rows = slice(start, start + self.batch_rows)
            yield function(Batch(start, self.labels[rows], self.pred_probs[rows]))


@dataclass(frozen=True)
class Piece:
    """Rows that a filter looks at together, in their order.

    Attributes:
        labels: (M,) given class indices.
        pred_probs: (M, K).
        own: (M,) the probability of each row's given label.
    """

    labels: npt.NDArray[np.int64]
    pred_probs: npt.NDArray[np.floating]
    own: npt.NDArray[np.float64]

    def margins(
        self, bounds: npt.NDArray[np.floating] | np.floating
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Rows, among them all whose margin over the other classes is below their bound, and the margins."""
        # No class has more than 1, give or take what `check_inputs` allows: most rows are sure to be above.
        rows = np.flatnonzero(self.own < bounds + 1.00001)
        others = self.pred_probs.take(rows, axis=0)
        others[np.arange(len(rows)), self.labels[rows]] = -np.inf
        return rows, self.own[rows] - highest(others)


@dataclass(frozen=True)
class JudgedPiece(Piece):
    """A piece of which more is known.

    Attributes:
        confident: (M,) the class that each row is confidently predicted as, or -1 where there is none
            (`confident_joint.confident_classes`).
    """

    confident: npt.NDArray[np.int64]
