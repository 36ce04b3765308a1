import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.audit import RIGHT, UNKNOWN, WRONG
from tasks.label_quality.audited_cut import CUTS, choose_cut, describe_cut, try_cuts


def draw(rng: np.random.Generator, n: int, n_seen: int, is_right) -> tuple[np.ndarray, np.ndarray]:
    """Suggestions in a random order, of which the first `n_seen` are decided; and which are right."""
    prob = rng.random(n)
    right = rng.random(n) < is_right(prob)
    return prob, np.where(np.arange(n) < n_seen, np.where(right, RIGHT, WRONG), UNKNOWN)


def test_the_lowest_cut_is_chosen_at_which_suggestions_are_right() -> None:
    prob, known = draw(np.random.default_rng(0), 5_000, 1_500, lambda prob: np.where(prob > 0.78, 1, 0.5))
    tried = try_cuts(prob, known)
    assert [each.cut for each in tried] == list(CUTS)
    chosen = choose_cut(tried, 0.95)
    assert chosen is not None
    assert (chosen.cut, chosen.n_wrong) == (0.8, 0)
    assert chosen.n_seen == (prob[:1_500] >= 0.8).sum()
    assert 0.95 <= chosen.precision < 1
    assert f"of {chosen.n_seen:,} drawn at random and decided, 0 are wrong" in describe_cut(tried, 0.95)


@pytest.mark.parametrize("n_seen", [0, 20])
def test_too_few_verdicts_choose_nothing_and_say_so(n_seen: int) -> None:
    prob, known = draw(np.random.default_rng(0), 1_000, n_seen, np.ones_like)
    tried = try_cuts(prob, known)
    assert choose_cut(tried, 0.95) is None
    assert f"of {n_seen} drawn at random and decided, 0 are wrong" in describe_cut(tried, 0.95)
    assert choose_cut(try_cuts(np.zeros(0), np.zeros(0)), 0.95) is None


@given(st.integers(0, 2**32 - 1), st.integers(0, 80), st.integers(0, 80))
def test_where_the_bound_holds_it_holds_of_the_rows_that_nobody_decided_on(
    seed: int, n: int, n_seen: int
) -> None:
    rng = np.random.default_rng(seed)
    prob, right = rng.random(n), rng.random(n) < rng.random()
    known = np.where(np.arange(n) < n_seen, np.where(right, RIGHT, WRONG), UNKNOWN)
    for each in try_cuts(prob, known):
        chosen = prob >= each.cut
        left = chosen & (known == UNKNOWN)
        assert each.n_rows == chosen.sum()
        if not left.any():
            assert np.isnan(each.precision)
        elif each.precision > right[left].mean():
            # Only of a draw that is far from what it was drawn from.
            assert right[chosen & ~left].mean() > right[left].mean()


@pytest.mark.parametrize(
    ("n_runs", "most_missed"), [(100, 13), pytest.param(400, 36, marks=pytest.mark.endurance)]
)
def test_no_cut_is_chosen_more_often_than_stated_where_too_few_are_right(
    n_runs: int, most_missed: int
) -> None:
    """Suggestions of all probabilities are right a little less often than is asked for."""
    missed = 0
    for seed in range(n_runs):
        rng = np.random.default_rng(seed)
        prob, right = rng.random(400), rng.permutation(400) >= 42  # 89.5 % right
        # The one who looks stops as soon as a cut is chosen.
        for n_seen in range(20, 400, 20):
            known = np.where(np.arange(400) < n_seen, np.where(right, RIGHT, WRONG), UNKNOWN)
            chosen = choose_cut(try_cuts(prob, known), 0.9)
            if chosen:
                left = (prob >= chosen.cut) & (known == UNKNOWN)
                missed += right[left].mean() < 0.9
                break
    # 5 % are stated; more would be a miss of 3.7 standard deviations.
    assert missed <= most_missed
