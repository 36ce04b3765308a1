import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.noise import (
    doubt_noise,
    instance_noise,
    matrix_noise,
    pair_noise,
    symmetric_noise,
    uniform_noise,
)


def values_of(labels, seed=0):
    """(N, 5) standard normal numbers."""
    return np.random.default_rng(seed).normal(size=(len(labels), 5)).astype(np.float32)


def probs_of(labels, n_classes, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(n_classes), len(labels))


NOISES = {
    "instance": lambda labels, rng: instance_noise(labels, [values_of(labels)], 0.3, 4, rng),
    "doubt": lambda labels, rng: doubt_noise(labels, probs_of(labels, 4), 0.3, rng),
    "uniform": lambda labels, rng: uniform_noise(labels, 0.3, 4, rng),
    "symmetric": lambda labels, rng: symmetric_noise(labels, 0.3, 4, rng),
    "pair": lambda labels, rng: pair_noise(labels, 0.3, 4, rng),
    "matrix": lambda labels, rng: matrix_noise(labels, np.full((4, 4), 0.25), rng),
}


@st.composite
def label_sets(draw):
    """Labels (N,), the number of classes, a rate and a seed."""
    n_classes = draw(st.integers(2, 12))
    labels = draw(st.lists(st.integers(0, n_classes - 1), min_size=1, max_size=200))
    return (
        np.array(labels, dtype=np.int16),
        n_classes,
        draw(st.floats(0, 1)),
        draw(st.integers(0, 2**32 - 1)),
    )


@given(label_sets())
def test_symmetric_noise_changes_exactly_the_share_asked_for(case):
    labels, n_classes, rate, seed = case
    noisy = symmetric_noise(labels, rate, n_classes, np.random.default_rng(seed))
    assert (noisy != labels).sum() == round(rate * len(labels))
    assert noisy.min() >= 0
    assert noisy.max() < n_classes


@given(label_sets())
def test_pair_noise_moves_exactly_the_share_asked_for_to_the_next_class(case):
    labels, n_classes, rate, seed = case
    noisy = pair_noise(labels, rate, n_classes, np.random.default_rng(seed))
    changed = noisy != labels
    assert changed.sum() == round(rate * len(labels))
    assert np.array_equal(noisy[changed], (labels[changed] + 1) % n_classes)


@given(label_sets())
def test_uniform_noise_changes_at_most_the_share_drawn(case):
    labels, n_classes, rate, seed = case
    noisy = uniform_noise(labels, rate, n_classes, np.random.default_rng(seed))
    assert (noisy != labels).sum() <= round(rate * len(labels))
    assert noisy.min() >= 0
    assert noisy.max() < n_classes


def test_uniform_noise_spreads_evenly_over_all_classes_the_true_one_too():
    labels = np.full(40_000, 2)
    noisy = uniform_noise(labels, 1.0, 4, np.random.default_rng(0))
    assert np.bincount(noisy, minlength=4) / len(labels) == pytest.approx(np.full(4, 0.25), abs=0.01)


def test_symmetric_noise_spreads_evenly_over_the_other_classes():
    labels = np.full(30_000, 2)
    noisy = symmetric_noise(labels, 1.0, 4, np.random.default_rng(0))
    expected = np.array([1, 1, 0, 1]) / 3
    assert np.bincount(noisy, minlength=4) / len(labels) == pytest.approx(expected, abs=0.01)


def test_noisy_rows_are_drawn_from_everywhere():
    labels = np.zeros(20_000, dtype=np.int64)
    changed = symmetric_noise(labels, 0.5, 3, np.random.default_rng(0)) != 0
    quarters = changed.reshape(4, -1).mean(axis=1)
    assert quarters == pytest.approx(np.full(4, 0.5), abs=0.03)


def test_matrix_noise_follows_the_matrix():
    matrix = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
    labels = np.repeat([0, 1, 2], 30_000)
    noisy = matrix_noise(labels, matrix, np.random.default_rng(0))
    found = np.array([np.bincount(noisy[labels == k], minlength=3) / 30_000 for k in range(3)])
    assert found == pytest.approx(matrix, abs=0.01)
    assert np.array_equal(found == 0, matrix == 0)


@given(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=3, max_size=3))
def test_matrix_noise_never_draws_an_impossible_class(weights):
    weights = np.array(weights, dtype=np.float64) + np.eye(3)
    matrix = weights / weights.sum(axis=1, keepdims=True)
    labels = np.tile([0, 1, 2], 100)
    noisy = matrix_noise(labels, matrix, np.random.default_rng(0))
    assert (matrix[labels, noisy] > 0).all()


@pytest.mark.parametrize("kind", NOISES)
def test_noise_leaves_its_input_alone_and_keeps_the_type(kind):
    labels = np.arange(200, dtype=np.int16) % 4
    before = labels.copy()
    noisy = NOISES[kind](labels, np.random.default_rng(0))
    assert np.array_equal(labels, before)
    assert not np.array_equal(noisy, before)
    assert noisy.dtype == np.int16


@pytest.mark.parametrize("kind", NOISES)
def test_equal_seeds_give_equal_noise_and_other_seeds_other_noise(kind):
    labels = np.arange(200) % 4
    first, same, other = (NOISES[kind](labels, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("noise", [uniform_noise, symmetric_noise, pair_noise])
@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_0_to_1_is_refused(noise, rate):
    with pytest.raises(ValueError, match="noise rate must be in"):
        noise(np.zeros(10, dtype=np.int64), rate, 3, np.random.default_rng(0))


@pytest.mark.parametrize("noise", [symmetric_noise, pair_noise])
def test_one_class_is_refused_where_there_is_no_other_to_move_to(noise):
    with pytest.raises(ValueError, match="at least 2 classes"):
        noise(np.zeros(10, dtype=np.int64), 0.5, 1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1.0, 0.0]], "square"),
        ([1.0, 0.0], "square"),
        ([[0.5, 0.4], [0.0, 1.0]], "sum to 1"),
        ([[1.5, -0.5], [0.0, 1.0]], "probabilities"),
        ([[1.0]], "label 1 has no row"),
    ],
)
def test_a_matrix_that_is_no_transition_matrix_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        matrix_noise(np.array([0, 1]), np.array(matrix), np.random.default_rng(0))


# --- noise that looks at the content --------------------------------------------------------------------


@given(label_sets())
def test_doubt_noise_changes_exactly_the_share_asked_for(case):
    labels, n_classes, rate, seed = case
    noisy = doubt_noise(labels, probs_of(labels, n_classes, seed), rate, np.random.default_rng(seed))
    assert (noisy != labels).sum() == round(rate * len(labels))
    assert noisy.min() >= 0
    assert noisy.max() < n_classes


@given(label_sets())
def test_without_noise_of_its_own_doubt_takes_the_smallest_margins_and_the_likeliest_other_class(case):
    labels, n_classes, rate, seed = case
    probs = probs_of(labels, n_classes, seed)
    noisy = doubt_noise(labels, probs, rate, np.random.default_rng(seed), deviation=0)
    sorted_probs = np.sort(probs, axis=1)
    margin = sorted_probs[:, -1] - sorted_probs[:, -2]
    changed = np.flatnonzero(noisy != labels)
    kept = np.flatnonzero(noisy == labels)
    if len(changed) and len(kept):
        assert margin[changed].max() <= margin[kept].min()
    for row in changed:
        others = [k for k in range(n_classes) if k != labels[row]]
        assert noisy[row] == max(others, key=lambda k, row=row: probs[row, k])


def test_doubt_noise_prefers_doubtful_rows_and_spares_no_kind_of_row():
    """A share of errors is in rows that are easy: noise of 1.5 on the logarithm leaves some there."""
    rng = np.random.default_rng(0)
    top = rng.uniform(0.5, 1, 20_000)
    probs = np.stack([top, 1 - top], axis=1)
    noisy = doubt_noise(np.zeros(20_000, np.int64), probs, 0.2, rng)
    shares = [noisy[(low <= top) & (top < low + 0.1)].mean() for low in (0.5, 0.7, 0.9)]
    assert shares[0] > 2 * shares[1] > 2 * shares[2] > 0.02


@given(label_sets())
def test_instance_noise_stays_among_the_classes_whatever_the_portions(case):
    labels, n_classes, rate, seed = case
    values = values_of(labels, seed)
    whole = instance_noise(labels, [values], rate, n_classes, np.random.default_rng(seed))
    parts = np.array_split(values, 3)
    parted = instance_noise(labels, parts, rate, n_classes, np.random.default_rng(seed))
    assert whole.min() >= 0
    assert whole.max() < n_classes
    # Sums of other order have other last bits, which a draw may fall between.
    assert (whole != parted).mean() <= 0.01


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 0.4, 1.0])
def test_instance_noise_changes_about_the_share_asked_for(rate):
    labels = np.arange(20_000) % 10
    noisy = instance_noise(labels, [values_of(labels)], rate, 10, np.random.default_rng(0))
    assert (noisy != labels).mean() == pytest.approx(rate, abs=0.015)
    if rate in (0.0, 1.0):
        assert (noisy != labels).mean() == rate


def test_instance_noise_gives_rows_that_are_alike_the_same_wrong_class():
    """The matrix of a class and the row decide: equal rows go one way, and other classes another way."""
    rng = np.random.default_rng(0)
    kinds = 8 * rng.normal(size=(2, 40)).astype(np.float32)
    kind = np.arange(6_000) % 2
    labels = np.arange(6_000) // 2 % 3
    noisy = instance_noise(labels, [kinds[kind]], 0.3, 6, rng)
    targets = {}
    for k in range(3):
        for each in (0, 1):
            chosen = (labels == k) & (kind == each) & (noisy != labels)
            assert 0.25 < chosen.sum() / ((labels == k) & (kind == each)).sum() < 0.35
            counts = np.bincount(noisy[chosen], minlength=6)
            assert counts.max() > 0.9 * counts.sum()
            targets[k, each] = counts.argmax()
    assert len(set(targets.values())) > 1


def test_instance_noise_follows_the_equation_of_its_paper():
    """An oracle, row by row: the class of a flip is drawn by softmax(x W_y) over the other classes."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=(1, 4)).astype(np.float32)
    many = np.repeat(values, 40_000, axis=0)
    labels = np.full(40_000, 1)
    noisy = instance_noise(labels, [many], 0.5, 3, np.random.default_rng(7))
    same = np.random.default_rng(7)
    rates = same.normal(0.5, 0.1, 40_000)
    assert ((rates > 0) & (rates < 1)).all()
    same.random(40_000)
    weights = same.standard_normal((3, 4, 3), dtype=np.float32)
    odds = np.exp((values @ weights[1])[0])
    expected = odds[[0, 2]] / odds[[0, 2]].sum()
    found = np.array([(noisy == k).sum() for k in (0, 2)]) / (noisy != 1).sum()
    assert found == pytest.approx(expected, abs=0.01)
    assert (noisy != 1).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rates_outside_0_to_1_and_one_class_are_refused_here_too(rate):
    labels, rng = np.zeros(10, dtype=np.int64), np.random.default_rng(0)
    with pytest.raises(ValueError, match="noise rate must be in"):
        instance_noise(labels, [values_of(labels)], rate, 3, rng)
    with pytest.raises(ValueError, match="noise rate must be in"):
        doubt_noise(labels, probs_of(labels, 3), rate, rng)
    with pytest.raises(ValueError, match="at least 2 classes"):
        instance_noise(labels, [values_of(labels)], 0.5, 1, rng)
    with pytest.raises(ValueError, match="at least 2 classes"):
        doubt_noise(labels, probs_of(labels, 1), 0.5, rng)
