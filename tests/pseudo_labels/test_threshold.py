import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tasks.pseudo_labels.selection import repair_labels

LABELS = np.array([0, 0, 1, 2], dtype=np.int16)
PRED_PROBS = np.array(
    [[0.1, 0.8, 0.1], [0.75, 0.25, 0.0], [0.0, 0.25, 0.75], [0.5, 0.25, 0.25]], dtype=np.float32
)
IS_ISSUE = np.array([False, False, True, True])


@pytest.mark.parametrize("otherwise", ["drop", "keep", "soft"])
def test_a_confident_issue_is_relabelled_whatever_happens_to_the_others(otherwise):
    repair = repair_labels(LABELS, PRED_PROBS, IS_ISSUE, 0.7, otherwise)
    assert repair.label[2] == 2
    assert repair.soft_label[2].tolist() == [0, 0, 1]
    assert repair.is_pseudo[2]
    assert repair.keep[2]
    assert repair.action[2] == "relabelled"


def test_drop_leaves_the_other_issues_out():
    repair = repair_labels(LABELS, PRED_PROBS, IS_ISSUE, 0.7, "drop")
    assert repair.keep.tolist() == [True, True, True, False]
    assert repair.action.tolist() == ["trusted", "trusted", "relabelled", "dropped"]
    assert repair.is_pseudo.tolist() == [False, False, True, False]


def test_keep_leaves_the_other_issues_their_given_label():
    repair = repair_labels(LABELS, PRED_PROBS, IS_ISSUE, 0.7, "keep")
    assert repair.keep.all()
    assert repair.label.tolist() == [0, 0, 2, 2]
    assert repair.soft_label[3].tolist() == [0, 0, 1]
    assert repair.action.tolist() == ["trusted", "trusted", "relabelled", "kept"]
    assert repair.is_pseudo.tolist() == [False, False, True, False]


def test_soft_trains_the_other_issues_on_their_probabilities():
    repair = repair_labels(LABELS, PRED_PROBS, IS_ISSUE, 0.7, "soft")
    assert repair.keep.all()
    assert repair.label.tolist() == [0, 0, 2, 0]
    assert repair.soft_label[3].tolist() == [0.5, 0.25, 0.25]
    assert repair.action.tolist() == ["trusted", "trusted", "relabelled", "softened"]
    assert repair.is_pseudo.tolist() == [False, False, True, True]


@pytest.mark.parametrize(("threshold", "action"), [(0.75, "relabelled"), (0.7500001, "dropped")])
def test_the_threshold_itself_is_confident_enough(threshold, action):
    repair = repair_labels(LABELS, PRED_PROBS.astype(np.float64), IS_ISSUE, threshold, "drop")
    assert repair.action[2] == action


def test_another_way_to_treat_issues_is_refused():
    with pytest.raises(ValueError, match="found 'forget'"):
        repair_labels(LABELS, PRED_PROBS, IS_ISSUE, 0.5, "forget")


@st.composite
def repairs(draw):
    """Arguments of `repair_labels`."""
    n, n_classes = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return (
        rng.integers(n_classes, size=n).astype(np.int16),
        rng.dirichlet(np.full(n_classes, 0.5), size=n).astype(np.float32),
        rng.random(n) < draw(st.floats(0, 1)),
        draw(st.floats(0, 1)),
        draw(st.sampled_from(["drop", "keep", "soft"])),
    )


@given(repairs())
def test_rows_without_an_issue_are_untouched(arguments):
    labels, pred_probs, is_issue, _, _ = arguments
    repair = repair_labels(*arguments)
    trusted = ~is_issue
    assert np.array_equal(repair.action == "trusted", trusted)
    assert repair.keep[trusted].all()
    assert not repair.is_pseudo[trusted].any()
    assert np.array_equal(repair.label[trusted], labels[trusted])
    assert np.array_equal(repair.soft_label[trusted], np.eye(pred_probs.shape[1])[labels[trusted]])


@given(repairs())
def test_every_issue_is_relabelled_by_confidence_or_treated_as_asked(arguments):
    labels, pred_probs, is_issue, min_confidence, otherwise = arguments
    repair = repair_labels(*arguments)
    confident = pred_probs.max(axis=1) >= min_confidence
    other = {"drop": "dropped", "keep": "kept", "soft": "softened"}[otherwise]
    assert (repair.action[is_issue & confident] == "relabelled").all()
    assert (repair.action[is_issue & ~confident] == other).all()
    assert np.array_equal(repair.keep, repair.action != "dropped")
    assert np.array_equal(repair.is_pseudo, np.isin(repair.action, ["relabelled", "softened"]))
    expected = np.where(repair.is_pseudo, pred_probs.argmax(axis=1), labels)
    assert np.array_equal(repair.label, expected)


@given(repairs())
def test_soft_labels_are_float32_rows_that_sum_to_1_and_agree_with_the_label(arguments):
    repair = repair_labels(*arguments)
    assert repair.soft_label.dtype == np.float32
    assert repair.soft_label.sum(axis=1) == pytest.approx(np.ones(len(repair.label)), abs=1e-6)
    assert np.array_equal(repair.soft_label.argmax(axis=1), repair.label)


@given(repairs())
def test_inputs_are_not_modified(arguments):
    before = [np.copy(value) for value in arguments[:3]]
    repair_labels(*arguments)
    for value, copy in zip(arguments[:3], before, strict=True):
        assert np.array_equal(value, copy)
