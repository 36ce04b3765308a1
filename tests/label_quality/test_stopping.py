import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.audit import RIGHT, UNKNOWN, WRONG, bound_wrong, draw_order
from tasks.label_quality.stopping import Outlook, describe_outlook, expect_wrong, look_out


def outlook(known, is_issue, error_prob=None, seed=0) -> Outlook:
    known, is_issue = np.asarray(known, dtype=np.int8), np.asarray(is_issue, dtype=bool)
    likely = np.full(len(known), np.nan) if error_prob is None else np.asarray(error_prob)
    drawn = draw_order(np.arange(len(known)), seed)
    return look_out(known, is_issue, drawn, np.flatnonzero(is_issue), likely)


ROWS = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=80)


@given(ROWS, st.integers(0, 1_000))
def test_where_the_bounds_hold_they_hold_of_the_rows_that_are_left(
    rows: list[tuple[bool, bool, bool]], seed: int
) -> None:
    is_issue, is_wrong, is_decided = np.array(rows).T
    known = np.where(is_decided, np.where(is_wrong, WRONG, RIGHT), UNKNOWN)
    found = outlook(known, is_issue, seed=seed)
    others = ~is_issue
    assert found.n_left == (others & ~is_decided).sum()
    assert 0 <= found.least_left <= found.n_left
    assert 0 <= found.most_left <= found.n_left
    if found.others.bounds.low <= (others & is_wrong).sum() <= found.others.bounds.high:
        assert found.least_left <= (others & is_wrong & ~is_decided).sum() <= found.most_left
    assert (found.n_flags, found.n_flags_wrong) == (
        (is_issue & is_decided).sum(),
        (is_issue & is_decided & is_wrong).sum(),
    )
    assert found.n_flags + found.n_waiting == is_issue.sum()
    assert all(sentence.endswith(".") for sentence in describe_outlook(found))


def test_only_rows_in_the_order_of_the_draw_count_for_what_is_not_flagged() -> None:
    n = 2_000
    is_issue = np.arange(n) < 100
    drawn = draw_order(np.arange(n), 0)
    others = drawn[~is_issue[drawn]]
    known = np.full(n, UNKNOWN)
    # Somebody looked for wrong labels, and found many: this says nothing of those that nobody looked for.
    known[others[-50:]] = WRONG
    found = outlook(known, is_issue)
    assert (found.others.n_seen, found.least_left, found.most_left) == (0, 0, 1_850)
    known[others[:300]] = RIGHT
    found = outlook(known, is_issue)
    bound = bound_wrong(1_900, 300, 0)
    assert (found.others.n_seen, found.others.n_wrong) == (300, 0)
    assert (found.n_left, found.most_left) == (1_550, max(bound.high - 50, 0))


def test_rows_that_become_flagged_leave_the_draw_and_others_come_into_it() -> None:
    n = 500
    drawn = draw_order(np.arange(n), 3)
    known = np.full(n, UNKNOWN)
    known[drawn[:200]] = RIGHT
    nothing = np.zeros(n, dtype=bool)
    assert outlook(known, nothing, seed=3).others.n_seen == 200
    # Flagged now, seen or not: the others stand in the same order.
    is_issue = nothing.copy()
    is_issue[drawn[[5, 300]]] = True
    found = outlook(known, is_issue, seed=3)
    assert (found.others.n_seen, found.others.n_unknown, found.n_flags) == (199, 0, 1)
    # A row that was flagged before, and that nobody decided on, is a gap.
    known[drawn[20]] = UNKNOWN
    assert outlook(known, nothing, seed=3).others.n_unknown == 1


@pytest.mark.parametrize(("n_wrong", "expected"), [(9, 10 / 19 * 30), (17, 18 / 19 * 30), (0, 1 / 19 * 30)])
def test_what_probabilities_were_off_so_far_is_made_good(n_wrong: int, expected: float) -> None:
    assert expect_wrong(np.full(50, 0.6), np.full(20, 0.9), n_wrong) == pytest.approx(expected)


def test_without_probabilities_the_share_so_far_is_expected_and_without_rows_nothing() -> None:
    unknown = np.full(50, np.nan)
    assert expect_wrong(unknown, np.full(8, np.nan), 4) == 25
    assert expect_wrong(unknown, np.zeros(0), 0) is None
    assert expect_wrong(np.ones(50), np.full(8, 0.1), 8) == 50


def test_what_people_read_has_the_numbers() -> None:
    n = 10_000
    is_issue = np.arange(n) < 1_000
    drawn = draw_order(np.arange(n), 0)
    known = np.full(n, UNKNOWN)
    known[drawn[~is_issue[drawn]][:400]] = RIGHT
    known[drawn[~is_issue[drawn]][:4]] = WRONG
    known[:40], known[40:50] = WRONG, RIGHT
    flags, others, more, coming = describe_outlook(outlook(known, is_issue, np.full(n, 0.5)))
    assert "50 flagged labels that people decided on, 40 are wrong (80.0%); 950 flagged rows wait" in flags
    assert "400 rows drawn at random among those not flagged, 4 have a wrong label." in others
    share = (bound_wrong(9_000, 400, 4).high - 4) / 8_600
    assert 0.025 < share < 0.035
    assert f"at most {np.ceil(1000 * share) / 10:g} % of the 8,600 labels" in others
    assert "100 more rows" in more
    assert f"about {100 * 0.5 * 41 / 26:.0f} wrong labels, an estimate" in coming
    # Before enough decisions a probability alone would promise too much.
    known[49] = UNKNOWN
    few = outlook(known, is_issue, np.full(n, 0.5))
    assert few.next_wrong is None
    assert not any("estimate" in sentence for sentence in describe_outlook(few))
    # Of flagged rows some must have been drawn too.
    known[drawn[is_issue[drawn]][:50]] = WRONG
    assert any("By the 5" in sentence for sentence in describe_outlook(outlook(known, is_issue)))
    known[:] = UNKNOWN
    assert [
        "Nothing is known yet" in sentence for sentence in describe_outlook(outlook(known, is_issue))
    ] == [True]
