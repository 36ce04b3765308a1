"""How probable a suggestion must be to be taken without asking, as people's verdicts say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.label_quality.audit import UNKNOWN, WRONG, bound_drawn

_CONFIDENCE = 0.95
CUTS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""The cuts among which verdicts choose, fixed before: who may choose among few is wrong less often."""


@dataclass(frozen=True)
class Tried:
    """What verdicts say of the suggestions that are at least as probable as a cut.

    Attributes:
        cut: the least probability, in [0, 1].
        n_rows: flagged rows whose suggestion is that probable.
        n_seen: those of them that were drawn and decided.
        n_wrong: those of these whose suggestion is wrong.
        precision: at least this share of the suggestions is right where nobody decided; NaN where all are
            decided.
    """

    cut: float
    n_rows: int
    n_seen: int
    n_wrong: int
    precision: float


def try_cuts(prob: npt.NDArray[np.floating], known: npt.NDArray[np.integer]) -> list[Tried]:
    """What verdicts say of each cut of `CUTS`; with a confidence of 95 % all of it holds at once.

    A confidence sequence of each cut has its part of the probability to be wrong (Bonferroni). So whichever
    cut is chosen, and whenever, its bound holds.

    Args:
        prob: (M,) of the flagged rows in the order of the draw, how probable each suggestion is, in [0, 1].
        known: (M,) `UNKNOWN`, `RIGHT` or `WRONG` of their **suggestions**.

    >>> from tasks.label_quality.audit import RIGHT
    >>> prob, known = np.tile([0.6, 0.9], 500), np.full(1000, UNKNOWN)
    >>> known[:400] = RIGHT  # 400 are decided
    >>> known[:400:10] = WRONG  # some of those that are 60 % probable
    >>> found = [each for each in try_cuts(prob, known) if each.cut in (0.5, 0.8)]
    >>> [(each.n_seen, each.n_wrong, round(each.precision, 2)) for each in found]
    [(400, 40, 0.81), (200, 0, 0.96)]
    """
    found = []
    for cut in CUTS:
        chosen = known[prob >= cut]
        drawn = bound_drawn(chosen, 1 - (1 - _CONFIDENCE) / len(CUTS))
        n_left = int((chosen == UNKNOWN).sum())
        most_wrong = min(max(drawn.bounds.high - int((chosen == WRONG).sum()), 0), n_left)
        precision = 1 - most_wrong / n_left if n_left else np.nan
        found.append(Tried(cut, len(chosen), drawn.n_seen, drawn.n_wrong, float(precision)))
    return found


def choose_cut(tried: Sequence[Tried], precision: float) -> Tried | None:
    """The lowest cut from which on the share `precision` of suggestions is right; None if there is none.

    >>> tried = [Tried(0.5, 900, 200, 12, 0.91), Tried(0.8, 700, 150, 1, 0.97), Tried(0.9, 600, 120, 0, 0.98)]
    >>> choose_cut(tried, precision=0.95).cut
    0.8
    >>> choose_cut(tried, precision=0.99) is None
    True
    """
    return next((each for each in tried if each.precision >= precision), None)


def describe_cut(tried: Sequence[Tried], precision: float) -> str:
    """What people are told of the choice."""
    chosen = choose_cut(tried, precision)
    if chosen:
        return (
            f"Suggestions that are at least {chosen.cut:.0%} probable are taken: of {chosen.n_seen:,} drawn "
            f"at random and decided, {chosen.n_wrong:,} are wrong, so at least {chosen.precision:.1%} of the "
            "others are right, with 95 % confidence."
        )
    best = max(tried, key=lambda each: (np.nan_to_num(each.precision), each.n_seen))
    return (
        "No row is relabelled, as people's verdicts do not show yet that "
        f"{precision:.0%} of the suggestions are right (pseudo_label.audit.precision): of {best.n_seen:,} "
        f"drawn at random and decided, {best.n_wrong:,} are wrong, which shows "
        f"{np.nan_to_num(best.precision):.1%}. Decide on more suspects, in the order `at random` of the "
        "review page."
    )
