import numpy as np
import pytest
from cleanlab import rank
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.confident_joint import check_inputs, confident_thresholds
from tasks.label_quality.scores import (
    SCORES,
    adjust_pred_probs,
    confidence_weighted_entropy,
    normalized_margin,
    ranking_score,
    ranks,
    self_confidence,
)

REFERENCE = {
    "self_confidence": rank.get_self_confidence_for_each_label,
    "normalized_margin": rank.get_normalized_margin_for_each_label,
    "confidence_weighted_entropy": rank.get_confidence_weighted_entropy_for_each_label,
}

SEEDS = [
    pytest.param(range(75), id="some"),
    pytest.param(range(75, 300), id="many", marks=pytest.mark.endurance),
]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_scores_equal_cleanlabs(name, dtype, tolerance, seeds, draw_label_case):
    compared = 0
    for seed in seeds:
        labels, probs = draw_label_case(seed)
        probs = probs.astype(dtype)
        found = SCORES[name](labels, probs)
        assert found.dtype == np.float64
        assert found == pytest.approx(REFERENCE[name](labels, probs), rel=tolerance, abs=tolerance), seed
        compared += 1
    assert compared == len(seeds)


def test_scores_of_a_hand_made_row():
    labels, probs = np.array([1]), np.array([[0.5, 0.25, 0.25]])
    assert self_confidence(labels, probs) == pytest.approx([0.25])
    assert normalized_margin(labels, probs) == pytest.approx([(0.25 - 0.5 + 1) / 2])
    ratio = (1.5 * np.log(2) / np.log(3)) / 0.25
    assert confidence_weighted_entropy(labels, probs) == pytest.approx([np.log(1 + ratio) / ratio])


def test_the_trap_of_cleanlab_is_matched_no_entropy_scores_0_even_where_the_label_is_right():
    probs = np.array([[1.0, 0.0], [1.0, 0.0]])
    labels = np.array([0, 1])
    assert confidence_weighted_entropy(labels, probs).tolist() == [0.0, 0.0]
    assert REFERENCE["confidence_weighted_entropy"](labels, probs).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_entropy_score_of_float_noise_outside_0_to_1_is_that_of_0_and_1(dtype):
    # Found by hand: each of these rows passes the check of inputs, and scored -0.17, -188673 or NaN.
    noisy = np.array([[1.0000001, 0], [1.0000001, 1e-12], [1 + 9e-7, -9e-7], [-9e-7, 1 + 9e-7]], dtype=dtype)
    for given_class in (0, 1):
        labels = np.full(len(noisy), given_class)
        check_inputs(labels, noisy)
        found = confidence_weighted_entropy(labels, noisy)
        assert found.min() >= 0
        assert found.max() <= 1
        clipped = np.clip(noisy, 0, 1)
        assert np.array_equal(found, confidence_weighted_entropy(labels, clipped))
        expected = REFERENCE["confidence_weighted_entropy"](labels, clipped.astype(np.float64))
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
        with pytest.raises(ValueError, match="interval"):
            REFERENCE["confidence_weighted_entropy"](labels, noisy)


@pytest.mark.parametrize("name", SCORES)
def test_scores_lie_in_0_to_1_and_leave_their_input_alone(name, draw_label_case):
    for seed in range(50):
        labels, probs = draw_label_case(seed)
        before = probs.copy()
        scores = SCORES[name](labels, probs)
        assert scores.min() >= 0
        assert scores.max() <= 1
        assert np.array_equal(probs, before)


@given(st.lists(st.sampled_from([0.1, 0.5, 0.9]), max_size=30))
def test_issues_are_ranked_by_score_then_order(scores):
    found = ranks(np.array(scores))
    assert found.tolist() == [
        sorted((s, i) for i, s in enumerate(scores)).index((s, i)) for i, s in enumerate(scores)
    ]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("name", ["self_confidence", "normalized_margin"])
def test_adjusted_scores_equal_cleanlabs(name, seeds, draw_label_case):
    for seed in seeds:
        labels, probs = draw_label_case(seed)
        probs = probs.astype(np.float64)
        found = ranking_score(name, confident_thresholds(labels, probs))(labels, probs)
        expected = rank.get_label_quality_scores(labels, probs, method=name, adjust_pred_probs=True)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12), seed


def test_adjusted_rows_sum_to_1_and_lift_the_class_of_the_lowest_threshold():
    adjusted = adjust_pred_probs(np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([0.8, 0.4]))
    assert adjusted.sum(axis=1) == pytest.approx([1, 1])
    assert adjusted[0] == pytest.approx([0.5 / 1.4, 0.9 / 1.4])


def test_the_entropy_score_refuses_adjusted_probabilities_as_cleanlab_does():
    labels, probs = np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]])
    with pytest.raises(ValueError, match="entropy"):
        ranking_score("confidence_weighted_entropy", np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="entropy"):
        rank.get_label_quality_scores(
            labels, probs, method="confidence_weighted_entropy", adjust_pred_probs=True
        )
