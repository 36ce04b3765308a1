import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_predict

from tasks.label_quality.in_sample import LEAST_AGREEMENT, LOWEST_RATIO, Surprise


def test_calibrated_probabilities_are_as_surprised_as_they_expect():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([0.5, 0.5, 0.5], size=50_000)
    labels = (rng.random(50_000)[:, None] >= probs.cumsum(axis=1)[:, :-1]).sum(axis=1)
    assert Surprise.of(labels, probs).ratio == pytest.approx(1, abs=0.02)
    assert Surprise.of(probs.argmax(axis=1), probs).ratio < 0.8
    assert Surprise.of(probs.argmin(axis=1), probs).ratio > 2


def test_batches_add(draw_label_case):
    labels, probs = draw_label_case(8)
    whole = Surprise.of(labels, probs)
    parts = Surprise.of(labels[:10], probs[:10]) + Surprise.of(labels[10:], probs[10:])
    assert (parts.n_rows, parts.n_agreed) == (whole.n_rows, whole.n_agreed)
    assert parts.found == pytest.approx(whole.found)
    assert parts.expected == pytest.approx(whole.expected)


def test_no_rows_and_no_doubt_give_no_warning():
    assert not Surprise().looks_in_sample
    assert not Surprise.of(np.array([0, 1]), np.eye(2)).looks_in_sample


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_memorising_model_is_warned_about_on_its_own_rows_and_not_out_of_fold(noise):
    digits = load_digits()
    rng = np.random.default_rng(0)
    wrong = rng.random(len(digits.target)) < noise
    labels = np.where(wrong, rng.integers(10, size=len(wrong)), digits.target)
    forest = RandomForestClassifier(30, random_state=0)
    inside = forest.fit(digits.data, labels).predict_proba(digits.data)
    outside = cross_val_predict(forest, digits.data, labels, cv=3, method="predict_proba")
    assert Surprise.of(labels, inside).looks_in_sample
    assert not Surprise.of(labels, outside).looks_in_sample


def test_good_and_somewhat_timid_predictions_of_clean_labels_are_no_reason_for_a_warning():
    # As of the folds' models of the main job: 99.4 % agree, with 0.76 of the expected surprise.
    assert not Surprise(n_rows=60_000, n_agreed=59_613, found=1_276, expected=1_687).looks_in_sample
    assert Surprise(n_rows=60_000, n_agreed=59_786, found=7_284, expected=32_480).looks_in_sample


def test_a_few_rows_that_agree_are_no_reason_for_a_warning():
    assert not Surprise(n_rows=2, n_agreed=2, found=0.1, expected=0.5).looks_in_sample
    assert Surprise(n_rows=200, n_agreed=200, found=10, expected=50).looks_in_sample


def test_honest_probabilities_of_a_rare_class_are_no_reason_for_a_warning():
    # 2 % of the rows are of one class, found by half; the model is timid, as label smoothing makes it.
    rng = np.random.default_rng(0)
    labels = (rng.random(5_000) < 0.02).astype(np.int64)
    seen = np.where(rng.random(5_000) < 0.5, labels, 0)
    probs = 0.9 * np.eye(2)[seen] + 0.05
    found = Surprise.of(labels, probs)
    assert found.agreement > LEAST_AGREEMENT
    assert found.ratio < LOWEST_RATIO
    assert not found.looks_in_sample
    # A model that has learned these labels by heart is still seen.
    assert Surprise.of(labels, 0.9 * np.eye(2)[labels] + 0.05).looks_in_sample
