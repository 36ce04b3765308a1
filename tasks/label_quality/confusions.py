"""The worst-confused classes: which class a model takes for which other, and the rows to look at.

Given labels that a model often contradicts in one direction (class A predicted as C) point at labels of C, or
of A, that are wrong or that mean the same thing. The rows of such a class by importance show which: the most
important are unlike their class, the least important are what it looks like.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ConfusedPair:
    """Rows of class `label` that a model predicts as class `predicted`.

    Attributes:
        label: class index of the given label.
        predicted: class index of the prediction.
        n_rows: how many.
        share: of the rows of `label`, in (0, 1].
    """

    label: int
    predicted: int
    n_rows: int
    share: float


def count_confusions(
    labels: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], n_classes: int
) -> Ints:
    """(K, K) counts of rows, indexed [label, predicted], from (N,) and (N,) class indices.

    >>> count_confusions(np.array([0, 0, 1]), np.array([0, 1, 1]), n_classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    flat = labels.astype(np.int64) * n_classes + predicted
    return np.bincount(flat, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)


def confusion_shares(counts: Ints) -> Floats:
    """(K, K) P(predicted | label): rows of `counts` divided by their sum; 0 for a class without rows.

    >>> confusion_shares(np.array([[3, 1], [0, 0]])).tolist()
    [[0.75, 0.25], [0.0, 0.0]]
    """
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), dtype=np.float64)


def worst_confused(counts: Ints, n_pairs: int) -> list[ConfusedPair]:
    """The pairs off the diagonal with the largest share of their class, the worst first.

    Pairs that tie go by number of rows, then by class index. Pairs that never happen are left out.

    >>> worst_confused(np.array([[8, 2], [1, 9]]), 1)
    [ConfusedPair(label=0, predicted=1, n_rows=2, share=0.2)]

    Args:
        counts: (K, K), [label, predicted].
        n_pairs: how many pairs at most.
    """
    shares = confusion_shares(counts)
    label, predicted = np.nonzero(counts * (1 - np.eye(len(counts), dtype=np.int64)))
    share, n_rows = shares[label, predicted], counts[label, predicted]
    order = np.lexsort((predicted, label, -n_rows, -share))[:n_pairs]
    return [ConfusedPair(int(label[i]), int(predicted[i]), int(n_rows[i]), float(share[i])) for i in order]


def most_and_least_important(
    importance: Floats, members: npt.NDArray[np.integer], n: int
) -> tuple[Ints, Ints]:
    """The `n` most and the `n` least important of some rows, no row in both.

    Args:
        importance: (N,) of all rows.
        members: (M,) positions of the rows to choose from, in the order that decides ties.
        n: how many at each end; where there are fewer than 2n rows, the least important are fewer.

    Returns:
        positions, the most important first, and positions, the least important first.

    >>> most, least = most_and_least_important(np.array([5.0, 9.0, 1.0, 7.0]), np.array([0, 1, 2]), n=1)
    >>> most.tolist(), least.tolist()
    ([1], [2])
    """
    order = members[np.argsort(-importance[members], kind="stable")].astype(np.int64)
    return order[:n], order[n:][::-1][:n]
