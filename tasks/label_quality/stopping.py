"""When a review may stop: what flags are worth, what is left where nobody looked, and what comes next."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.label_quality.audit import RIGHT, UNKNOWN, WRONG, Drawn, bound_drawn, bound_wrong

NEXT = 100
"""Decisions that are looked ahead."""
# Flagged rows drawn at random from which on something is said of all flags.
_LEAST_DRAWN = 20
# Decisions on flagged rows from which on it is estimated how many of the next are wrong (docs/stopping.md).
_LEAST_DECIDED = 50


@dataclass(frozen=True)
class Outlook:
    """What the decisions so far say of all rows, and what the next ones should bring.

    Attributes:
        n_flags: flagged rows on which a person decided, for sure.
        n_flags_wrong: those of them whose label is wrong.
        n_waiting: flagged rows that wait for a decision.
        flags: what drawn rows say of all flagged rows; its bounds are of flagged rows with a right label.
        n_others: rows that are not flagged.
        others: what drawn rows say of them.
        n_left: those of them on which nobody decided, for sure.
        least_left: at least so many of the rows left have a wrong label, with the confidence of the bounds.
        most_left: at most so many.
        n_next: the next flagged rows, in the order of review.
        next_wrong: wrong labels to be expected among them, an estimate; None where there is none, as after
            few decisions.
        n_next_drawn: the next rows drawn at random.
        next_share: what `most_left` should be after these, as a share of the rows left then.
    """

    n_flags: int
    n_flags_wrong: int
    n_waiting: int
    flags: Drawn
    n_others: int
    others: Drawn
    n_left: int
    least_left: int
    most_left: int
    n_next: int
    next_wrong: float | None
    n_next_drawn: int
    next_share: float

    @property
    def most_share(self) -> float:
        """`most_left` as a share of the rows left, in [0, 1]."""
        return self.most_left / self.n_left if self.n_left else 0.0

    def entries(self) -> dict[str, object]:
        """What a metrics file says of it."""
        return {
            "n_flags_decided": self.n_flags,
            "flags_precision": self.n_flags_wrong / self.n_flags if self.n_flags else None,
            "n_drawn": self.others.n_seen,
            "n_drawn_wrong": self.others.n_wrong,
            "n_left": self.n_left,
            "wrong_left_low": self.least_left / self.n_left if self.n_left else 0.0,
            "wrong_left_high": self.most_share,
        }


def look_out(
    known: npt.NDArray[np.integer],
    is_issue: npt.NDArray[np.bool_],
    drawn: npt.NDArray[np.intp],
    in_review: npt.NDArray[np.intp],
    error_prob: npt.NDArray[np.float64],
) -> Outlook:
    """What is known of N rows, and what to expect.

    Args:
        known: (N,) `UNKNOWN`, `RIGHT` or `WRONG` of each row.
        is_issue: (N,) which rows are flagged.
        drawn: (N,) positions of the rows in the order of the draw (`audit.draw_order`).
        in_review: (M,) positions of the flagged rows in the order of review.
        error_prob: (N,) how probably each label is wrong, in [0, 1]; NaN where that is not estimated.
    """
    is_flagged = is_issue[drawn]
    in_order = known[drawn]
    others = bound_drawn(in_order[~is_flagged])
    n_others, n_others_wrong = int((~is_issue).sum()), int((known[~is_issue] == WRONG).sum())
    n_left = int((known[~is_issue] == UNKNOWN).sum())
    of_flags = known[in_review]
    waiting = in_review[of_flags == UNKNOWN]
    seen = in_review[of_flags != UNKNOWN]
    n_flags_wrong = int((of_flags == WRONG).sum())
    n_next_drawn = min(NEXT, n_others - others.n_seen)
    return Outlook(
        n_flags=len(seen),
        n_flags_wrong=n_flags_wrong,
        n_waiting=len(waiting),
        flags=bound_drawn(_swap(in_order[is_flagged])),
        n_others=n_others,
        others=others,
        n_left=n_left,
        least_left=max(others.bounds.low - n_others_wrong, 0),
        most_left=min(max(others.bounds.high - n_others_wrong, 0), n_left),
        n_next=min(NEXT, len(waiting)),
        next_wrong=(
            expect_wrong(error_prob[waiting[:NEXT]], error_prob[seen], n_flags_wrong)
            if len(seen) >= _LEAST_DECIDED
            else None
        ),
        n_next_drawn=n_next_drawn,
        next_share=_after(others, n_others, n_next_drawn),
    )


def expect_wrong(
    next_prob: npt.NDArray[np.float64], seen_prob: npt.NDArray[np.float64], n_wrong: int
) -> float | None:
    """Wrong labels to be expected among the next M rows; None where nothing says how many.

    It is the sum of their probabilities, times what such sums were off so far, one row being added to both
    sides. Where no probabilities are known, it goes by the share of the rows seen.

    Args:
        next_prob: (M,) how probably each of the next labels is wrong; NaN where not estimated.
        seen_prob: (S,) the same of those that people decided on.
        n_wrong: how many of these were wrong.

    >>> expect_wrong(np.array([0.5, 0.25]), np.array([0.75, 0.25]), n_wrong=1)
    0.75
    >>> expect_wrong(np.array([np.nan] * 4), np.array([np.nan] * 6), n_wrong=1)
    1.0
    """
    n = len(next_prob)
    if not np.isnan(next_prob).any() and not np.isnan(seen_prob).any():
        return float(min(next_prob.sum() * (n_wrong + 1) / (seen_prob.sum() + 1), n))
    return n * (n_wrong + 1) / (len(seen_prob) + 2) if len(seen_prob) else None


def _after(drawn: Drawn, n_rows: int, n_more: int) -> float:
    """The highest share of wrong labels left after more draws, of which as many are wrong as so far."""
    n_seen = drawn.n_seen + n_more
    n_left = n_rows - n_seen + drawn.n_unknown
    if not n_left:
        return 0.0
    n_wrong = drawn.n_wrong + (round(n_more * drawn.n_wrong / drawn.n_seen) if drawn.n_seen else 0)
    high = bound_wrong(n_rows, n_seen, n_wrong, drawn.n_unknown).high
    return (high - n_wrong) / n_left


def _swap(known: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Right for wrong, and wrong for right."""
    return np.where(known == UNKNOWN, UNKNOWN, np.where(known == RIGHT, WRONG, RIGHT))


def describe_outlook(found: Outlook) -> Iterator[str]:
    """What people are told, a sentence or two for each of its parts."""
    if found.n_flags:
        share = found.n_flags_wrong / found.n_flags
        yield (
            f"Of {found.n_flags:,} flagged labels that people decided on, {found.n_flags_wrong:,} are wrong "
            f"({share:.1%}); {found.n_waiting:,} flagged rows wait."
        )
    flags = found.flags
    if flags.n_seen >= _LEAST_DRAWN:
        low, high = 1 - flags.bounds.high_share, 1 - flags.bounds.low_share
        yield (
            f"By the {flags.n_seen:,} of them that were drawn at random, {_down(low)} to {_up(high)} of all "
            "flagged labels are wrong, with 95 % confidence."
        )
    yield from _describe_others(found)
    if found.n_next and found.next_wrong is not None:
        yield (
            f"The next {found.n_next:,} flagged rows should hold about {found.next_wrong:,.0f} wrong labels, "
            "an estimate."
        )


def describe_shortly(found: Outlook) -> str:
    """What people want to know most, in a line."""
    if not found.others.n_seen:
        return "labels that are not flagged: nothing known yet"
    return f"labels that are not flagged: at most {_up(found.most_share)} wrong"


def _describe_others(found: Outlook) -> Iterator[str]:
    others = found.others
    if not found.n_others:
        return
    if not others.n_seen:
        yield (
            f"Nothing is known yet of the {found.n_others:,} labels that are not flagged: no row was drawn "
            "at random and decided."
        )
        return
    unknown = f", and of {others.n_unknown:,} nobody is sure" if others.n_unknown else ""
    yield (
        f"Of {others.n_seen:,} rows drawn at random among those not flagged, {others.n_wrong:,} have a wrong "
        f"label{unknown}. With 95 % confidence at most {_up(found.most_share)} of the {found.n_left:,} "
        "labels that are not flagged and that nobody decided on are wrong. This holds whenever you stop."
    )
    if found.n_next_drawn:
        yield (
            f"{found.n_next_drawn:,} more rows drawn at random should bring this to {_up(found.next_share)}, "
            "if as few of them are wrong as so far."
        )


def _up(share: float) -> str:
    """A share in per cent that is never said to be smaller than it is."""
    return f"{math.ceil(round(1000 * share, 9)) / 10:g} %"


def _down(share: float) -> str:
    return f"{math.floor(round(1000 * share, 9)) / 10:g} %"
