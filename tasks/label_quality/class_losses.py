"""How many labels each class may lose, where the second opinion hardly knows it, and how many it does lose.

A class with few rows in a fold hardly ever wins a vote of neighbours. So it has the second opinion against
itself, whatever its labels are, and the classifier learned little of it. What is left is how often labels
are wrong by chance: among the surest rows of the other classes so many have this label, and of all rows so
many more. No more than these are changed, the surest first.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.label_quality.noise_evidence import find_surest, weigh_asked

LEAST_KNOWN = 0.5
"""Of the rows whose label is the classifier's class a second opinion that knows a class says so of this share
at least."""
MOST_LOST = 0.5
"""A class that loses a larger share of its labels is named."""


def find_spared(
    changed: npt.NDArray[np.bool_],
    given: npt.NDArray[np.int64],
    model: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.floating],
    second: npt.NDArray[np.integer],
    is_issue: npt.NDArray[np.bool_],
    n_classes: int,
) -> npt.NDArray[np.bool_]:
    """(N,) the rows to be changed whose class the second opinion hardly knows, and may not lose so many.

    Args:
        changed: (N,) which rows are to get another label, or to be dropped.
        given: (N,) given class indices.
        model: (N,) the most probable classes out of fold.
        confidence: (N,) their probabilities.
        second: (N,) the second opinion, `UNASKED` where there is none.
        is_issue: (N,) the rows of which more may have been asked than of others.
        n_classes: K.
    """
    weight = weigh_asked(second, is_issue)

    def count(rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.bincount(given[rows], weight[rows], n_classes).astype(np.float64)

    is_trusted = model == given
    is_known = count(is_trusted & (second == given)) >= LEAST_KNOWN * count(is_trusted)
    is_known &= count(is_trusted) > 0
    surest = find_surest(second == model, confidence, weight)
    wrong_by_chance = count(surest & ~is_trusted) * (len(given) / max(weight[surest].sum(), 1))
    spared = np.zeros(len(given), dtype=bool)
    for k in np.flatnonzero(~is_known):
        rows = np.flatnonzero(changed & (given == k))
        rows = rows[np.argsort(-confidence[rows], kind="stable")]
        spared[rows[round(wrong_by_chance[k]) :]] = True
    return spared


def count_losses(
    given: npt.NDArray[np.int64],
    changed: npt.NDArray[np.bool_],
    spared: npt.NDArray[np.bool_],
    class_names: Sequence[str],
) -> list[dict[str, str | int]]:
    """The classes that lose most of their labels, or of which rows were spared, those with most such first.

    Each with `class`, `n_given` (its rows), `n_lost` (those of them that are changed) and `n_spared`.

    Args:
        given: (N,) given class indices.
        changed: (N,) the rows that got another label, or were dropped.
        spared: (N,) those that were left as they were (`find_spared`).
        class_names: (K,) names.
    """
    n_given, n_lost, n_spared = (
        np.bincount(given[rows], minlength=len(class_names))
        for rows in (np.ones(len(given), dtype=bool), changed, spared)
    )
    named = np.flatnonzero((n_lost > MOST_LOST * n_given) | (n_spared > 0))
    return [
        {
            "class": class_names[k],
            "n_given": int(n_given[k]),
            "n_lost": int(n_lost[k]),
            "n_spared": int(n_spared[k]),
        }
        for k in named[np.argsort(-(n_lost + n_spared)[named], kind="stable")]
    ]


def describe_losses(losses: Sequence[dict[str, str | int]], most: int = 5) -> list[str]:
    """A sentence for each of the first `most` classes, and one for the others."""
    said = []
    for found in losses[:most]:
        lost = f"class {found['class']} loses {found['n_lost']:,} of {found['n_given']:,} labels"
        left = (
            f"; {found['n_spared']:,} more are left to you, as the second opinion hardly knows the class"
            if found["n_spared"]
            else ""
        )
        said.append(f"{lost}{left} (relabel review)")
    if len(losses) > most:
        said.append(f"more such classes: {len(losses) - most:,} (metrics/training_set.json)")
    return said
