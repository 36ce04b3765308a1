from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, chi2

from tasks.label_quality.audit import (
    RIGHT,
    UNKNOWN,
    WRONG,
    Bounds,
    bound_drawn,
    bound_wrong,
    draw_order,
)


@st.composite
def draws(draw: st.DrawFn) -> tuple[int, int, int]:
    """Rows, draws, and wrong labels among these."""
    n_rows = draw(st.integers(1, 300))
    n_seen = draw(st.integers(0, n_rows))
    return n_rows, n_seen, draw(st.integers(0, n_seen))


CONFIDENCE = st.sampled_from([0.5, 0.7, 0.9, 0.95, 0.99])


@pytest.mark.parametrize("n_rows", [1, 2, 5, 9, 12])
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
def test_of_all_orders_in_which_rows_can_be_drawn_enough_are_bounded_after_every_draw(
    n_rows: int, confidence: float
) -> None:
    bounds = {
        (t, w): bound_wrong(n_rows, t, w, confidence=confidence)
        for t in range(n_rows + 1)
        for w in range(t + 1)
    }
    missed_somewhere = False
    for n_wrong in range(n_rows + 1):
        missed = 0
        for places in combinations(range(n_rows), n_wrong):
            at = [bounds[t, sum(place < t for place in places)] for t in range(n_rows + 1)]
            missed += not all(each.low <= n_wrong <= each.high for each in at)
        assert Fraction(missed, comb(n_rows, n_wrong)) <= Fraction(1) - Fraction(confidence), n_wrong
        missed_somewhere |= missed > 0
    # The bounds are not so wide that they say nothing.
    assert missed_somewhere or n_rows < 9


@given(draws(), CONFIDENCE)
def test_the_bounds_are_the_ends_of_all_numbers_that_stay_possible(
    case: tuple[int, int, int], confidence: float
) -> None:
    n_rows, n_seen, n_wrong = case
    # By SciPy, in the form of the paper: prior over posterior.
    prior, posterior = (
        betabinom(n_rows, 0.5, 20),
        betabinom(n_rows - n_seen, 0.5 + n_wrong, 20 + n_seen - n_wrong),
    )
    numbers = np.arange(n_wrong, n_wrong + n_rows - n_seen + 1)
    ratio = prior.logpmf(numbers) - posterior.logpmf(numbers - n_wrong)
    possible = numbers[ratio < -np.log1p(-confidence)]
    found = bound_wrong(n_rows, n_seen, n_wrong, confidence=confidence)
    assert (found.low, found.high) == (possible[0], possible[-1])


@given(draws(), CONFIDENCE)
def test_a_wrong_label_more_raises_both_bounds_and_a_right_one_neither(
    case: tuple[int, int, int], confidence: float
) -> None:
    n_rows, n_seen, n_wrong = case
    now = bound_wrong(n_rows, n_seen, n_wrong, confidence=confidence)
    assert n_wrong <= now.low <= now.high <= n_rows - (n_seen - n_wrong)
    if n_wrong < n_seen:
        more = bound_wrong(n_rows, n_seen, n_wrong + 1, confidence=confidence)
        assert (more.low >= now.low, more.high >= now.high) == (True, True)
    wider = bound_wrong(n_rows, n_seen, n_wrong, confidence=(1 + confidence) / 2)
    assert wider.low <= now.low <= now.high <= wider.high
    if n_seen == n_rows:
        assert now == Bounds(n_wrong, n_wrong, n_rows)


@given(st.lists(st.sampled_from([RIGHT, WRONG, UNKNOWN]), max_size=60), CONFIDENCE, st.data())
def test_whatever_is_found_out_of_skipped_rows_lies_within_what_was_said(
    known: list[int], confidence: float, data: st.DataObject
) -> None:
    found = bound_drawn(np.array(known, dtype=np.int8), confidence)
    if not found.n_seen:
        assert found.bounds == Bounds(0, len(known), len(known))
        return
    seen = known[: found.n_seen]
    assert (found.n_wrong, found.n_unknown) == (seen.count(WRONG), seen.count(UNKNOWN))
    filled = [data.draw(st.sampled_from([RIGHT, WRONG])) if each == UNKNOWN else each for each in seen]
    settled = bound_wrong(len(known), len(seen), filled.count(WRONG), confidence=confidence)
    assert found.bounds.low <= settled.low <= settled.high <= found.bounds.high


def test_rows_that_were_skipped_count_as_wrong_or_hold_up_what_comes_after() -> None:
    known = np.full(1_000, UNKNOWN, dtype=np.int8)
    known[:100] = RIGHT
    known[101:400] = RIGHT
    one = bound_drawn(known)
    assert (one.n_seen, one.n_wrong, one.n_unknown) == (400, 0, 1)
    assert one.bounds.high == bound_wrong(1_000, 400, 1).high
    known[101:400] = UNKNOWN
    known[380:400] = WRONG
    many = bound_drawn(known)
    assert (many.n_seen, many.n_unknown, many.bounds) == (100, 0, bound_wrong(1_000, 100, 0))
    known[100:] = UNKNOWN
    assert bound_drawn(known) == many
    assert bound_drawn(np.full(5, UNKNOWN)).bounds == Bounds(0, 5, 5)
    assert bound_drawn(np.zeros(0, dtype=np.int8)).bounds.high_share == 0


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.3), st.floats(0, 0.3))
def test_many_skipped_rows_do_not_hold_up_what_comes_after(seed: int, skipped: float, wrong: float) -> None:
    rng = np.random.default_rng(seed)
    known = np.where(rng.random(400) < wrong, WRONG, RIGHT)
    known[rng.random(400) < skipped] = UNKNOWN
    known[rng.integers(200, 400) :] = UNKNOWN
    known[rng.integers(400, size=10)] = WRONG  # looked up
    found = bound_drawn(known)
    every = [
        bound_wrong(400, t, int((known[:t] == WRONG).sum()), int((known[:t] == UNKNOWN).sum()))
        for t in range(1, 401)
        if known[t - 1] != UNKNOWN and (t == 400 or known[t] == UNKNOWN)
    ]
    narrowest = min(each.high - each.low for each in every)
    assert found.bounds.high - found.bounds.low <= 1.25 * narrowest + 3


def test_numbers_that_do_not_fit_are_refused() -> None:
    for case in ((0, 0, 0), (5, 6, 0), (5, 2, 3), (5, 2, -1), (5, 3, 2, 2)):
        with pytest.raises(ValueError, match="expected 0 <="):
            bound_wrong(*case)
    with pytest.raises(ValueError, match="confidence"):
        bound_wrong(5, 1, 0, confidence=1)


def test_widths_of_ten_thousand_rows() -> None:
    shares = {t: bound_wrong(10_000, t, 0).high_share for t in (200, 1_000)}
    assert shares == pytest.approx({200: 0.0205, 1_000: 0.0047}, abs=1e-4)
    # A million rows more make hardly a difference.
    assert bound_wrong(1_010_000, 1_000, 0).high_share == pytest.approx(0.0049, abs=1e-4)


@given(st.sets(st.integers(-(2**63), 2**63 - 1), max_size=40), st.integers(0, 2**32 - 1), st.randoms())
def test_rows_that_come_and_go_leave_the_order_of_the_others(ids: set[int], seed: int, random) -> None:
    rows = sorted(ids)
    some = [row for row in rows if random.random() < 0.5]
    random.shuffle(some)
    all_rows = np.array(rows, dtype=np.int64)
    drawn = all_rows[draw_order(all_rows, seed)].tolist()
    part = np.array(some, dtype=np.int64)
    assert sorted(drawn) == rows
    assert part[draw_order(part, seed)].tolist() == [row for row in drawn if row in set(some)]


@pytest.mark.parametrize("ids", [np.arange(20), 7 + 10 * np.arange(20), 2**62 + np.arange(20)])
def test_over_seeds_every_row_is_drawn_first_second_and_last_as_often(ids: np.ndarray) -> None:
    n_seeds = 4_000
    orders = np.array([draw_order(ids, seed) for seed in range(n_seeds)])
    for place in (0, 1, -1):
        counts = np.bincount(orders[:, place], minlength=20)
        statistic = ((counts - n_seeds / 20) ** 2 / (n_seeds / 20)).sum()
        assert statistic < chi2.ppf(0.9999, 19)
    # What comes first says nothing of what comes second.
    pairs = np.bincount(orders[:, 0] * 20 + orders[:, 1], minlength=400)
    expected = n_seeds / 380
    statistic = ((pairs[pairs > 0] - expected) ** 2 / expected).sum()
    assert statistic < chi2.ppf(0.9999, 379)
