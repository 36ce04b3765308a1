import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.split_rows.held_out import hold_out


def draw_rows(seed):
    """Labels and groups: classes of unequal size, some rows without a label, some rows in groups."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 400))
    labels = rng.choice(6, n, p=rng.dirichlet(np.ones(6))) - 1
    groups = np.arange(n)
    together = rng.random(n) < rng.choice([0, 0.1, 0.5])
    groups[together] = rng.integers(0, max(n // 4, 1), together.sum())
    return labels, groups, rng


@given(st.integers(0, 10**9), st.floats(0, 1))
def test_a_group_is_held_out_as_a_whole_and_each_class_by_its_share(seed, share):
    labels, groups, rng = draw_rows(seed)
    held = hold_out(labels, groups, share, rng)
    for group in np.unique(groups):
        assert len(set(held[groups == group])) == 1
    alone = np.unique(groups, return_counts=True)
    single = np.isin(groups, alone[0][alone[1] == 1])
    for label in np.unique(labels):
        own = labels == label
        # Single rows make up for what groups cannot give or took; where there are enough, to one row.
        lacking = share * own.sum() - held[own & ~single].sum()
        expected = np.clip(lacking, 0, (own & single).sum())
        assert abs(held[own & single].sum() - expected) <= 0.5 + 1e-6


@given(st.integers(0, 10**9))
def test_the_same_seed_holds_out_the_same_rows_and_another_others(seed):
    labels, groups, _ = draw_rows(seed)
    drawn = [hold_out(labels, groups, 0.3, np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(*drawn)


def test_seeds_draw_all_rows_equally_often():
    labels = np.repeat([0, 1], [300, 100])
    groups = np.arange(400)
    groups[:60] = np.arange(60) // 2  # 30 pairs
    groups[60:90] = np.arange(30) // 3 + 1000  # 10 triples
    often = np.mean(
        [hold_out(labels, groups, 0.2, np.random.default_rng(seed)) for seed in range(400)], axis=0
    )
    # Duplicates are held out neither more nor less often than single rows: 0.2 but for rounding of groups.
    assert often[:60].mean() == pytest.approx(0.2, abs=0.02)
    assert often[60:90].mean() == pytest.approx(0.2, abs=0.02)
    assert often[90:].mean() == pytest.approx(0.2, abs=0.01)
    assert often[90:].max() < 0.3
    assert often[90:].min() > 0.1


def test_a_group_that_is_too_large_is_not_held_out():
    labels, groups = np.zeros(100, np.int64), np.r_[np.zeros(60), np.arange(1, 41)].astype(np.int64)
    held = hold_out(labels, groups, 0.1, np.random.default_rng(0))
    assert not held[:60].any()
    assert held.sum() == 10


def test_nothing_and_everything():
    labels, groups, rng = draw_rows(3)
    assert not hold_out(labels, groups, 0, rng).any()
    assert hold_out(labels, groups, 1, rng).all()
    assert len(hold_out(labels[:0], groups[:0], 0.5, rng)) == 0


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        hold_out(np.zeros(3, np.int64), np.arange(3), share, np.random.default_rng(0))


def test_arrays_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        hold_out(np.zeros(3, np.int64), np.arange(2), 0.5, np.random.default_rng(0))
