"""Holding rows out of training, whole groups at a time."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def hold_out(labels: Ints, groups: Ints, share: float, rng: np.random.Generator) -> Bools:
    """(N,) which rows are held out: `share` of each class, and of a group all rows or none.

    Groups of several rows are drawn first, in random order from the largest size to the smallest: each is
    held out if this brings the classes nearer to their share of the groups seen so far, so that duplicates
    are no more frequent among the held-out rows than elsewhere. Single rows fill up each class.

    Args:
        labels: (N,) class indices; -1 of rows without a label, which make a class of their own.
        groups: (N,) of each row.
        share: in [0, 1].
        rng: source of the draws; the result follows the order of the rows.

    Raises:
        ValueError: the arrays differ in length, or the share is out of range.
    """
    if labels.shape != groups.shape or not 0 <= share <= 1:
        raise ValueError(
            f"labels and groups must be equally long, and the share from 0 to 1; found {labels.shape}, "
            f"{groups.shape} and {share}"
        )
    held = np.zeros(len(labels), dtype=bool)
    if not len(labels):
        return held
    classes, label = np.unique(labels, return_inverse=True)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    alone = sizes[group] == 1
    members = np.flatnonzero(~alone)
    members = members[np.argsort(group[members], kind="stable")]
    together = np.split(members, np.flatnonzero(np.diff(group[members])) + 1) if len(members) else []
    draw = rng.random(len(together))
    missing = np.zeros(len(classes))  # rows of each class that should be held out and are not yet
    for number in np.lexsort((draw, np.array([-len(rows) for rows in together]))):
        rows = together[number]
        counts = np.bincount(label[rows], minlength=len(classes))
        missing += share * counts
        if ((missing - counts) ** 2).sum() < (missing**2).sum():
            missing -= counts
            held[rows] = True
    for k in range(len(classes)):
        single = np.flatnonzero(alone & (label == k))
        n_drawn = np.clip(np.rint(missing[k] + share * len(single)), 0, len(single))
        held[rng.permutation(single)[: int(n_drawn)]] = True
    return held
