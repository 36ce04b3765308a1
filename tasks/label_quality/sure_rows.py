"""Which of the rows without a label are sure enough to be given one."""

import numpy as np
import numpy.typing as npt

# A class may take so many times the part of its rows that a class with few sure rows has.
_UNEVEN = 2
# That class is the one with the fewest, where this share of the classes is left aside.
_ASIDE = 0.1


def expected_counts(
    labels: npt.NDArray[np.int64], n_unlabeled: int, n_classes: int, share: float
) -> npt.NDArray[np.int64]:
    """(K,) the most rows of each class that may join: its share among the labelled rows, of all that may.

    Without such a limit the class that a weak model prefers takes most rows, and the next model prefers it
    more: the drift that Arazo et al. ("Pseudo-Labeling and Confirmation Bias in Deep Semi-Supervised
    Learning", IJCNN 2020, equation 4) hold up with a term of the loss.

    Args:
        labels: (N,) class indices of the labelled rows, N above 0.
        n_unlabeled: rows without a label.
        n_classes: K.
        share: of the rows without a label that may join at most, in [0, 1].
    """
    counts = np.bincount(labels, minlength=n_classes)
    return np.ceil(counts / len(labels) * n_unlabeled * share).astype(np.int64)


def even_limits(limits: npt.NDArray[np.int64], sure: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(K,) `limits`, lowered where a model is surer of some classes than of others.

    Of each class a part of the rows that may join is sure. No class takes more than twice the part that the
    class has of which fewest are sure (of more than ten classes, a tenth is left aside). A model of few
    labels may be sure of hundreds of rows of two classes and of none of the others: a model that learned
    from such rows says these two of everything.

    >>> even_limits(np.array([100, 100, 100]), np.array([90, 80, 60])).tolist()
    [100, 100, 100]
    >>> even_limits(np.array([100, 100, 100]), np.array([90, 80, 3])).tolist()
    [6, 6, 6]

    Args:
        limits: (K,) the most rows of each class that may join.
        sure: (K,) the rows of each class that are sure.
    """
    there = np.flatnonzero(limits > 0)
    if not len(there):
        return limits
    joining = np.minimum(sure, limits)
    by_part = there[np.argsort(joining[there] / limits[there], kind="stable")]
    lowest = by_part[int(_ASIDE * (len(there) - 1))]
    # In whole numbers: a fraction that is rounded up may become a row more.
    found: npt.NDArray[np.int64] = -(-_UNEVEN * joining[lowest] * limits // limits[lowest])
    return np.minimum(limits, found)


def choose_sure(
    labels: npt.NDArray[np.int64],
    sureness: npt.NDArray[np.floating],
    least: float,
    limits: npt.NDArray[np.int64],
    most: int,
) -> npt.NDArray[np.bool_]:
    """(U,) the rows that are at least so sure; where a class, or all, have more than their limit, the surest.

    >>> labels, sureness = np.array([0, 0, 1, 1]), np.array([0.8, 0.9, 0.7, 0.1])
    >>> choose_sure(labels, sureness, least=0.5, limits=np.array([1, 2]), most=3).tolist()
    [False, True, True, False]

    Args:
        labels: (U,) the class that each row would be given.
        sureness: (U,); of equally sure rows the first come first.
        least: the least sureness that suffices.
        limits: (K,) the most rows of each class.
        most: the most rows of all classes.
    """
    sure = sureness >= least
    sure[sure] = _place_by_sureness(labels[sure], sureness[sure]) < limits[labels[sure]]
    sure[sure] = _place_by_sureness(np.zeros_like(labels[sure]), sureness[sure]) < most
    return sure


def _place_by_sureness(
    labels: npt.NDArray[np.int64], sureness: npt.NDArray[np.floating]
) -> npt.NDArray[np.int64]:
    """(U,) how many rows of its class are surer than each, or as sure and before it."""
    order = np.lexsort((-sureness, labels))
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    place = np.empty(len(labels), dtype=np.int64)
    place[order] = np.arange(len(labels)) - starts[labels[order]]
    return place
