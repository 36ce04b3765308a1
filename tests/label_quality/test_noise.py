import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.noise import matrix_noise, pair_noise, symmetric_noise, uniform_noise

NOISES = {
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
