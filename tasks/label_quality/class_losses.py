"""How many labels each class may lose that is hardly known, and how many it does lose.

A class with few rows in a fold hardly ever wins a vote of neighbours. So it has the second opinion against
itself, whatever its labels are, and the classifier learned little of it. What is left is how often labels
are wrong by chance: among the surest rows of the other classes so many have this label, and of all rows so
many more. No more than these are changed, the surest first.

Without a second opinion the classifier has to know the class by itself: most rows that are given it are
predicted as it. Of a class whose labels are mostly wrong they are not, so that few of its wrong labels are
changed too: what it may lose is the same.

Whether a class is known is taken at the lower end of a 95 % interval: few votes prove little.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.label_quality.noise_evidence import find_surest, weigh_asked
from tasks.label_quality.self_tests.intervals import Share
from tasks.label_quality.self_tests.neighbours_vote import UNASKED

LEAST_KNOWN = 0.5
"""Of the rows whose label is the classifier's class a second opinion that knows a class says so of this share
at least (the lower end of its interval); of all rows that are given it, the classifier, where it is alone."""
MOST_LOST = 0.5
"""A class that loses a larger share of its labels is named."""


def find_spared(
    changed: npt.NDArray[np.bool_],
    given: npt.NDArray[np.int64],
    model: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.floating],
    second: npt.NDArray[np.integer] | None,
    is_issue: npt.NDArray[np.bool_],
    n_classes: int,
) -> npt.NDArray[np.bool_]:
    """(N,) the rows to be changed whose class is hardly known, and may not lose so many.

    Args:
        changed: (N,) which rows are to get another label, or to be dropped.
        given: (N,) given class indices.
        model: (N,) the most probable classes out of fold.
        confidence: (N,) their probabilities.
        second: (N,) the second opinion, `UNASKED` where there is none; None: no row has one.
        is_issue: (N,) the rows of which more may have been asked than of others.
        n_classes: K.
    """
    is_trusted = model == given
    if second is None:
        agrees = votes = np.ones(len(given), dtype=bool)
        weight, for_it = agrees.astype(np.float64), is_trusted
    else:
        agrees, votes = second == model, is_trusted & (second != UNASKED)
        weight, for_it = weigh_asked(second, is_issue), is_trusted & (second == given)
    surest = find_surest(agrees, confidence, weight)
    others = surest & ~is_trusted
    of_all = len(given) / max(weight[surest].sum(), 1)
    wrong_by_chance = np.bincount(given[others], weight[others], n_classes) * of_all
    n_votes, n_for_it = (np.bincount(given[rows], minlength=n_classes).tolist() for rows in (votes, for_it))
    is_known = [Share(n_for_it[k], n_votes[k]).low >= LEAST_KNOWN for k in range(n_classes)]
    most = np.where(is_known, np.inf, np.round(wrong_by_chance))
    rows = np.flatnonzero(changed)
    rows = rows[np.lexsort((-confidence[rows], given[rows]))]
    label = given[rows]
    # How many rows of the class are surer.
    place = np.arange(len(rows)) - np.searchsorted(label, label)
    spared = np.zeros(len(given), dtype=bool)
    spared[rows[place >= most[label]]] = True
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
            f"; {found['n_spared']:,} more are left to you, as the class is hardly known"
            if found["n_spared"]
            else ""
        )
        said.append(f"{lost}{left} (relabel review)")
    if len(losses) > most:
        said.append(f"more such classes: {len(losses) - most:,} (metrics/training_set.json)")
    return said
