import numpy as np
import pytest

from tasks.label_quality.noise import symmetric_noise
from tasks.label_quality.self_tests.class_shares import compare_class_shares


def calibrated(n, rare, rng):
    """Labels of two classes, and probabilities that they are drawn from."""
    own = np.clip(rng.beta(rare, 1 - rare, size=n), 1e-6, 1 - 1e-6)
    return (rng.random(n) < own).astype(np.int64), np.column_stack([1 - own, own])


@pytest.mark.parametrize("rare", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("n", [100, 5_000])
def test_calibrated_probabilities_are_not_warned_of(rare: float, n: int) -> None:
    for seed in range(20):
        assert not compare_class_shares(*calibrated(n, rare, np.random.default_rng(seed))).is_shifted


def test_class_weights_are_seen() -> None:
    labels, probs = calibrated(5_000, 0.02, np.random.default_rng(0))
    weighted = probs * [1, 49]
    found = compare_class_shares(labels, weighted / weighted.sum(axis=1, keepdims=True))
    assert (found.label, found.is_shifted) == (1, True)
    assert found.given == labels.mean()


def test_noise_that_the_classifier_learned_from_is_no_shift() -> None:
    rng = np.random.default_rng(0)
    labels, probs = calibrated(5_000, 0.1, rng)
    noisy = symmetric_noise(labels, 0.3, 2, rng)
    assert not compare_class_shares(noisy, 0.7 * probs + 0.3 * probs[:, ::-1]).is_shifted
