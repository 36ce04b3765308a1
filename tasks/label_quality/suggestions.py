"""Suggestions: what a label could be in place of the given one."""

import numpy as np
import numpy.typing as npt


def second_best(
    pred_probs: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """(N,) the second most probable class of each row of pred_probs (N, K), and (N,) its probability.

    It is the most probable class but for `pred_probs.argmax(axis=1)`. Of equally probable classes it is the
    lower one.

    >>> labels, probs = second_best(np.array([[0.1, 0.6, 0.3], [0.4, 0.2, 0.4]]))
    >>> labels.tolist(), probs.tolist()
    ([2, 2], [0.3, 0.4])

    Raises:
        ValueError: there are fewer than 2 classes.
    """
    if pred_probs.ndim != 2 or pred_probs.shape[1] < 2:
        raise ValueError(f"pred_probs must be (N, K) with K >= 2, found shape {pred_probs.shape}")
    rows = np.arange(len(pred_probs))
    others = pred_probs.copy()
    others[rows, pred_probs.argmax(axis=1)] = -np.inf
    second = others.argmax(axis=1)
    return second, pred_probs[rows, second]
