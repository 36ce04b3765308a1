"""Margins: how far the given label is ahead of the other classes, or behind them.

`labels` is (N,) given class indices, `pred_probs` is (N, K) out-of-fold probabilities; K is at least 2.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FEW_CLASSES = 64
"""Up to so many classes, rows are worked on class by class: NumPy is slow along a short axis."""

# Margins are counted in so many equal steps at most, a power of two, and in so many counters over all pairs.
_MARGIN_STEPS = 256
_MARGIN_COUNTERS = 2**22


def own_probs(
    labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """(N,) the probability of the given label, in the type of `pred_probs`.

    >>> own_probs(np.array([0, 1]), np.array([[0.75, 0.25], [0.5, 0.5]])).tolist()
    [0.75, 0.5]
    """
    # One index into the flat table takes a third of the time of two.
    places = np.arange(0, pred_probs.size, pred_probs.shape[1]) + labels
    return pred_probs.reshape(-1).take(places)


def highest(probs: npt.NDArray[np.floating]) -> Floats:
    """(N,) the highest of each row (N, K)."""
    if probs.shape[1] > FEW_CLASSES:
        return np.asarray(probs.max(axis=1), dtype=np.float64)
    found = probs[:, 0].copy()
    for k in range(1, probs.shape[1]):
        np.maximum(found, probs[:, k], out=found)
    return found.astype(np.float64)


def certain_of_given(labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]) -> Flags:
    """(N,) rows whose most likely class is the given one, which wins ties closer than 1e-6.

    This is the veto: the filters that respect it flag none of these rows.

    >>> certain_of_given(np.array([0, 1, 1]), np.array([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]])).tolist()
    [True, False, True]
    """
    raised = own_probs(labels, pred_probs).astype(np.float64) + 1e-6
    # Where the given class itself is the highest, it is raised above it: the others need not be told apart.
    top = highest(pred_probs)
    certain = raised > top
    # At a tie the lower class wins.
    tied = np.flatnonzero(raised == top)
    if len(tied):
        probs = pred_probs[tied].astype(np.float64)
        probs[np.arange(len(tied)), labels[tied]] += 1e-6
        certain[tied] = probs.argmax(axis=1) == labels[tied]
    return np.asarray(certain)


def margin_steps(n_classes: int) -> int:
    """Steps that margins in (0, 1] are counted in: a power of two, fewer where there are many pairs.

    >>> margin_steps(10), margin_steps(1000)
    (256, 4)
    """
    steps = min(_MARGIN_STEPS, max(_MARGIN_COUNTERS // n_classes**2, 1))
    return 1 << (steps.bit_length() - 1)


def margin_counters(
    labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating], n_steps: int
) -> Ints:
    """(M,) for each row (given k) and class j with P_j > P_k, where to count it in (K, K, n_steps), flat.

    Step s of pair [k, j] holds the rows whose margin P_j - P_k is at least s / n_steps.

    >>> margin_counters(np.array([1]), np.array([[0.75, 0.25]]), n_steps=4).tolist()  # step 2 of [1, 0]
    [10]
    """
    n_classes = pred_probs.shape[1]
    own = own_probs(labels, pred_probs)
    rows, others = np.divmod(np.flatnonzero(pred_probs > own[:, None]), n_classes)
    margins = pred_probs[rows, others].astype(np.float64) - own[rows]
    # Times a power of two is exact, so that no row counts for more than its margin.
    step = np.minimum((margins * n_steps).astype(np.int64), n_steps - 1)
    return np.asarray((labels[rows] * n_classes + others) * n_steps + step)
