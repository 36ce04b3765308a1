"""How many labels are wrong among rows that are drawn at random and looked at one by one.

The bounds form a confidence sequence: with the stated confidence they hold after every draw at once. So they
stay valid for someone who stops because they look good, and whatever draw one looks at.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma

import numpy as np
import numpy.typing as npt

UNKNOWN, RIGHT, WRONG = -1, 0, 1
"""What is known of the label of a row: nothing (nobody decided, or not sure), that it is right, or wrong."""
# The prior only shapes the bounds; they hold for any. Its mean is 2.4 %: few labels are wrong where no filter
# flags them. Chosen by the widths at 0 to 20 % wrong labels after 200 and 1,000 draws.
PRIOR = (0.5, 20.0)
"""Of the beta distribution of shares that the bounds mix over."""
# Where rows were skipped, the bounds are computed after so many draws, those that promise narrow ones.
_TRIED = 10


@dataclass(frozen=True)
class Bounds:
    """Bounds of how many of N labels are wrong: `low` and `high`, both included, and their shares of N."""

    low: int
    high: int
    n_rows: int

    @property
    def low_share(self) -> float:
        """`low` as a share of all rows, in [0, 1]; 0 where there are none."""
        return self.low / self.n_rows if self.n_rows else 0.0

    @property
    def high_share(self) -> float:
        """`high` as a share of all rows, in [0, 1]; 0 where there are none."""
        return self.high / self.n_rows if self.n_rows else 0.0


def draw_order(ids: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.intp]:
    """(N,) positions of rows in the order of the draw: a fixed random number of each row decides.

    The number comes from id and seed alone ("permanent random numbers", Ohlsson, 1995). So the rows that any
    set of rows has in common with another stand in one order, whatever rows come, go or are flagged. The
    numbers are those of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    2014).

    Args:
        ids: (N,) example ids, unique.
        seed: names the draw, at least 0.

    >>> draw_order(np.array([7, 8, 9]), seed=0).tolist()
    [2, 1, 0]
    >>> draw_order(np.array([7, 9]), seed=0).tolist()  # those that stay keep their order
    [1, 0]
    """
    key = _mix(np.array([seed], dtype=np.uint64))
    # Each step is one to one: no two rows have the same number.
    return np.argsort(_mix(_mix(ids.astype(np.uint64)) + key))


def _mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One step of SplitMix64 from each state."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def bound_wrong(
    n_rows: int, n_seen: int, n_wrong: int, n_unknown: int = 0, confidence: float = 0.95
) -> Bounds:
    """Bounds of the wrong labels among N rows, of which some were drawn at random, without replacement.

    A number M of wrong labels stays possible as long as a mixture over all numbers does not make the draws
    1 / (1 - confidence) times as probable as M does. For the true M this ratio is a martingale that starts at
    1. So by Ville's inequality it reaches that limit with a probability of at most 1 - confidence, however
    long one goes on (Waudby-Smith and Ramdas, "Confidence sequences for sampling without replacement",
    NeurIPS 2020, theorem 2.1; the mixture is beta-binomial). A row that was drawn and is not known counts as
    wrong for the upper bound, and as right for the lower.

    Args:
        n_rows: N, at least 1.
        n_seen: draws so far, at most N.
        n_wrong: those of them whose label was found wrong.
        n_unknown: those of them of which nothing is known.
        confidence: in (0, 1).

    Raises:
        ValueError: the numbers do not fit one another.

    >>> bound_wrong(n_rows=10_000, n_seen=200, n_wrong=2)
    Bounds(low=6, high=443, n_rows=10000)
    >>> bound_wrong(n_rows=10_000, n_seen=0, n_wrong=0)
    Bounds(low=0, high=10000, n_rows=10000)
    """
    if not (min(n_wrong, n_unknown) >= 0 and n_wrong + n_unknown <= n_seen <= n_rows and n_rows > 0):
        raise ValueError(f"expected 0 <= {n_wrong} + {n_unknown} <= {n_seen} seen <= {n_rows} rows")
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, found {confidence}")
    most = n_wrong + n_unknown
    left = n_rows - n_seen
    return Bounds(
        low=_farthest(n_rows, n_seen, n_wrong, n_wrong, confidence),
        high=_farthest(n_rows, n_seen, most, most + left, confidence),
        n_rows=n_rows,
    )


def _farthest(n_rows: int, n_seen: int, n_wrong: int, end: int, confidence: float) -> int:
    """The possible number of wrong labels that is nearest to `end`."""
    limit = -math.log1p(-confidence)
    left = n_rows - n_seen
    a, b = PRIOR
    mixture = _log_beta(a + n_wrong, b + n_seen - n_wrong) - _log_beta(a, b)

    def is_possible(number: int) -> bool:
        of_number = _log_choose(left, number - n_wrong) - _log_choose(n_rows, number)
        return mixture - of_number < limit

    # The ratio falls to its lowest, then rises: it is lowest at the most likely number.
    likeliest = min(max(round(n_rows * n_wrong / n_seen) if n_seen else n_wrong, n_wrong), n_wrong + left)
    return _last(is_possible, likeliest, end)


def _last(is_possible: Callable[[int], bool], inside: int, end: int) -> int:
    """The possible number nearest to `end`; numbers are possible from `inside` on, up to some number."""
    if is_possible(end):
        return end
    while abs(end - inside) > 1:
        middle = (inside + end) // 2
        inside, end = (middle, end) if is_possible(middle) else (inside, middle)
    return inside


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


@dataclass(frozen=True)
class Drawn:
    """What the draws that count say of N rows.

    Attributes:
        n_seen: draws that count, `n_unknown` included.
        n_wrong: those of them whose label is wrong.
        n_unknown: those of them of which nothing is known: skipped, or a person was not sure.
        bounds: of the wrong labels among all N.
    """

    n_seen: int
    n_wrong: int
    n_unknown: int
    bounds: Bounds


def bound_drawn(known: npt.NDArray[np.integer], confidence: float = 0.95) -> Drawn:
    """Bounds of the wrong labels among N rows, from what is known of them in the order of the draw.

    A row counts when no row before it is left out, however it came that somebody decided on it. Where rows
    were skipped, they count as wrong, or what comes after them does not count: whichever gives the narrower
    bounds. Both are valid, as the bounds hold after every draw at once.

    Args:
        known: (N,) `UNKNOWN`, `RIGHT` or `WRONG` of each row, in the order of the draw.
        confidence: in (0, 1).

    >>> found = bound_drawn(np.array([RIGHT] * 50 + [WRONG] + [UNKNOWN] * 949))
    >>> found.n_seen, found.n_wrong, found.bounds
    (51, 1, Bounds(low=1, high=118, n_rows=1000))
    """
    n = len(known)
    if not n:
        return Drawn(0, 0, 0, Bounds(0, 0, 0))
    is_known = known != UNKNOWN
    n_known, n_wrong = np.cumsum(is_known), np.cumsum(known == WRONG)
    # Where more rows were skipped than seen, there is nothing to count.
    are_seen = 2 * n_known >= np.arange(1, n + 1)
    ends = 1 + np.flatnonzero(is_known & ~np.append(is_known[1:], False) & are_seen)
    found = [Drawn(0, 0, 0, Bounds(0, n, n))]
    for end in _promising(n, ends, n_known[ends - 1], n_wrong[ends - 1]):
        wrong, unknown = int(n_wrong[end - 1]), int(end - n_known[end - 1])
        found.append(Drawn(end, wrong, unknown, bound_wrong(n, end, wrong, unknown, confidence)))
    # Of equal widths the latest: it knows most.
    return min(reversed(found), key=lambda each: each.bounds.high - each.bounds.low)


def _promising(
    n_rows: int, ends: npt.NDArray[np.intp], n_known: npt.NDArray[np.intp], n_wrong: npt.NDArray[np.intp]
) -> list[int]:
    """Of some numbers of draws (E,) those after which the bounds are narrow, roughly; ascending."""
    n_unknown = ends - n_known
    low, high = n_wrong / ends, (n_wrong + n_unknown) / ends
    spread = sum(np.sqrt(9 * share * (1 - share) / ends) for share in (low, high)) + 3 / ends
    width = n_unknown + (n_rows - ends) * (high - low + spread)
    return sorted(ends[np.argsort(width, kind="stable")[:_TRIED]].tolist())
