import numpy as np
import pytest
from cleanlab import rank
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.scores import (
    SCORES,
    confidence_weighted_entropy,
    normalized_margin,
    rank_issues,
    self_confidence,
)

REFERENCE = {
    "self_confidence": rank.get_self_confidence_for_each_label,
    "normalized_margin": rank.get_normalized_margin_for_each_label,
    "confidence_weighted_entropy": rank.get_confidence_weighted_entropy_for_each_label,
}


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_scores_equal_cleanlabs(name, dtype, tolerance, draw_label_case):
    compared = 0
    for seed in range(300):
        labels, probs = draw_label_case(seed)
        probs = probs.astype(dtype)
        found = SCORES[name](labels, probs)
        assert found.dtype == np.float64
        assert found == pytest.approx(REFERENCE[name](labels, probs), rel=tolerance, abs=tolerance), seed
        compared += 1
    assert compared == 300


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


@pytest.mark.parametrize("name", SCORES)
def test_scores_lie_in_0_to_1_and_leave_their_input_alone(name, draw_label_case):
    for seed in range(50):
        labels, probs = draw_label_case(seed)
        before = probs.copy()
        scores = SCORES[name](labels, probs)
        assert scores.min() >= 0
        assert scores.max() <= 1
        assert np.array_equal(probs, before)


@given(st.data())
def test_issues_are_ranked_by_score_then_id_in_any_row_order(data):
    n = data.draw(st.integers(1, 30))
    ids = np.array(data.draw(st.permutations(range(100, 100 + n))))
    score = np.array(data.draw(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=n, max_size=n)))
    is_issue = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    ranks = rank_issues(is_issue, score, ids)
    expected = sorted((score[i], ids[i]) for i in range(n) if is_issue[i])
    assert (ranks[~is_issue] == -1).all()
    found = {int(r): (score[i], ids[i]) for i, r in enumerate(ranks) if r >= 0}
    assert [found[r] for r in range(len(expected))] == expected
