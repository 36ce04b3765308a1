"""The queue of a review: suspects with rows drawn at random among them, so that nobody can tell them apart.

A row that is drawn comes at a place that nobody can foresee, suggests a class other than the given one, and
says as little of probabilities as every other row of the queue does until somebody decided on it.
"""

import numpy as np
import numpy.typing as npt

from review.suspect_rows import Suspects, Wanted

_ANY = Wanted()
# What chooses among the rows; `decided` and `sort` do not.
_FILTERS = [name for name in Wanted.model_fields if name not in ("decided", "sort", "issues")]


def is_queue(wanted: Wanted) -> bool:
    """Whether all suspects are wanted, of whatever class or probability: drawn rows come among them."""
    is_filtered = any(getattr(wanted, name) != getattr(_ANY, name) for name in _FILTERS)
    return wanted.issues and wanted.sort != "random" and not is_filtered


def is_blind(wanted: Wanted, share: float) -> bool:
    """Whether rows keep their probabilities to themselves until somebody decided on them."""
    is_drawn = wanted.sort == "random" and not wanted.issues
    return share > 0 and (is_drawn or is_queue(wanted))


def mix(
    flagged: npt.NDArray[np.intp], others: npt.NDArray[np.intp], share: float, seed: int
) -> npt.NDArray[np.intp]:
    """(Q,) `flagged` in their order with `others` in theirs among them, at random places.

    Args:
        flagged: (M,) positions of rows.
        others: (U,) positions of other rows; only as many as the share asks for are taken.
        share: of the rows shown these are so many on average, in [0, 1).
        seed: of the places.
    """
    # So many of the others come before each flagged row.
    n_before = np.random.default_rng(seed).geometric(1 - share, size=len(flagged)) - 1
    taken = np.minimum(np.cumsum(n_before), len(others))
    places = np.arange(len(flagged)) + taken
    queue = np.empty(places[-1] + 1 if len(places) else 0, dtype=np.intp)
    is_other = np.ones(len(queue), dtype=bool)
    is_other[places] = False
    queue[places] = flagged
    queue[is_other] = others[: int(is_other.sum())]
    return queue


def queue_of(suspects: Suspects, wanted: Wanted) -> npt.NDArray[np.intp]:
    """(Q,) positions of the rows of the queue, in the order that is wanted."""
    order = suspects.arrange(wanted.sort)
    drawn = suspects.drawn
    others = drawn[~suspects.is_issue[drawn]]
    return mix(order[suspects.is_issue[order]], others, suspects.share, len(order))


def reasons_of(suspects: Suspects, rows: npt.NDArray[np.intp], wanted: Wanted) -> list[str]:
    """Why each of some rows (M,) is shown to somebody who wants such rows (`tasks.decisions.log.REASONS`)."""
    if wanted.sort == "random" and not wanted.issues:
        return ["audit"] * len(rows)
    found = np.where(suspects.is_issue[rows], "suspect", "")
    if is_queue(wanted):
        found[~suspects.is_issue[rows] & np.isin(rows, queue_of(suspects, wanted))] = "audit"
    return [str(reason) for reason in found]
