"""Contradictions: copies of one thing that have different labels. At least one of these labels is wrong."""

import numpy as np
import numpy.typing as npt


def find_contradictions(
    groups: npt.NDArray[np.integer], labels: npt.NDArray[np.integer]
) -> npt.NDArray[np.bool_]:
    """(N,) whether another row of the same group has another label.

    Args:
        groups: (N,) whole numbers; rows of one group are copies of each other, or nearly so.
        labels: (N,) given class indices.

    >>> find_contradictions(np.array([4, 4, 7, 7, 9]), np.array([0, 1, 2, 2, 0])).tolist()
    [True, True, False, False, False]
    """
    _, places = np.unique(groups, return_inverse=True)
    pairs = np.unique(np.column_stack([places, labels]), axis=0)
    n_labels = np.bincount(pairs[:, 0].astype(np.int64), minlength=1)
    return n_labels[places] > 1
