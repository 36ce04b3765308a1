from dataclasses import fields

import numpy as np
import pytest
from evidence import make_evidence
from hypothesis import given
from hypothesis import strategies as st

from tasks import plugins
from tasks.pseudo_labels.threshold import repair
from tasks.repair import LEAST_ERROR_PROB, MOST_WRONG, leave_as_given, spare

LABELS = np.array([0, 0, 1, 2], dtype=np.int16)
PRED_PROBS = np.array(
    [[0.1, 0.8, 0.1], [0.75, 0.25, 0.0], [0.0, 0.25, 0.75], [0.5, 0.25, 0.25]], dtype=np.float32
)
IS_ISSUE = np.array([False, False, True, True])


def repaired(*case):
    options = plugins.read_options("pseudo_labels", "threshold")
    return repair(make_evidence(*case), options, None, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("otherwise", "label", "weight", "action", "source", "soft"),
    [
        ("drop", None, 0, "dropped", "given", []),
        ("keep", 2, 1, "kept", "given", []),
        ("soft", 0, 1, "softened", "pseudo", [[0.5, 0.25, 0.25]]),
    ],
)
def test_sure_issues_are_relabelled_and_the_others_treated_as_asked(
    otherwise, label, weight, action, source, soft
):
    found = repaired(LABELS, PRED_PROBS, IS_ISSUE, 0.7, otherwise)
    assert found.action.tolist() == ["trusted", "trusted", "relabelled", action]
    assert found.source.tolist() == ["given", "given", "pseudo", source]
    assert found.label[:3].tolist() == [0, 0, 2]
    assert label is None or found.label[3] == label
    assert found.weight.tolist() == [1, 1, 1, weight]
    assert found.soft_rows.tolist() == [3] * len(soft)
    assert found.soft_label.tolist() == soft
    assert found.is_changed.tolist() == [False, False, True, action != "kept"]


def with_unlabeled(pred_probs, **options):
    """What becomes of rows without a label, beside two labelled rows of class 0 and one each of 1 and 2."""
    evidence = make_evidence(LABELS, PRED_PROBS, IS_ISSUE, 0.7, "drop", unlabeled=np.array(pred_probs))
    chosen = plugins.read_options("pseudo_labels", "threshold", options)
    return repair(evidence, chosen, None, np.random.default_rng(0)).unlabeled


UNSURE, SURE = [0.4, 0.3, 0.3], [0.95, 0.03, 0.02]


def test_with_a_cut_of_one_no_row_joins_though_a_model_says_exactly_one():
    certain = [[0.0, 1.0, 0.0]] * 3
    assert set(with_unlabeled(certain, class_balance=False).action) == {"pseudo_labelled"}
    assert set(with_unlabeled(certain, class_balance=False, min_confidence=1.0).action) == {"unlabeled"}


def test_unlabelled_rows_join_where_the_model_is_sure():
    found = with_unlabeled([UNSURE, SURE, [0.0, 1.0, 0.0], [0.0, 0.06, 0.94], [0.0, 0.0, 1.0]])
    joined = "pseudo_labelled"
    assert found.action.tolist() == ["unlabeled", joined, joined, "unlabeled", joined]
    assert found.label.tolist() == [0, 0, 1, 2, 2]
    assert found.weight.tolist() == [0, 1, 1, 0, 1]
    assert set(found.source) == {"unlabeled"}
    assert not len(found.soft_rows)


def test_no_class_takes_more_unlabelled_rows_than_its_share_of_the_labelled_lets_expect():
    probs = (
        [[0.95 + row / 1000, 0.05 - row / 1000, 0] for row in range(7)] + [[0, 1, 0]] * 2 + [[0, 0, 1]] * 2
    )
    # Half of the labelled rows are of class 0: so may be 6 of the 11.
    assert np.flatnonzero(with_unlabeled(probs).is_kept).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert with_unlabeled(probs, class_balance=False).is_kept.all()
    assert np.flatnonzero(with_unlabeled(probs, share=0.25).is_kept).tolist() == [7, 9]
    assert not with_unlabeled(probs, share=0.0).is_kept.any()


def test_no_class_takes_its_rows_where_another_has_no_sure_one():
    probs = [SURE] * 7 + [[0, 1, 0]] + [[0.1, 0, 0.9]] * 4
    assert not with_unlabeled(probs).is_kept.any()
    assert with_unlabeled(probs, class_balance=False).is_kept.sum() == 8
    # One sure row of the third class: a third of those that may be of it, so twice that part of the others.
    found = with_unlabeled([*probs, [0, 0, 1]])
    assert np.bincount(found.label[found.is_kept]).tolist() == [4, 1, 1]


def test_issues_that_are_not_sure_may_lose_their_label_and_lend_their_content():
    found = repaired(LABELS, PRED_PROBS, IS_ISSUE, 0.7, "unlabeled")
    assert found.action.tolist() == ["trusted", "trusted", "relabelled", "unlabeled"]
    assert found.weight.tolist() == [1, 1, 1, 0]
    assert found.is_changed.tolist() == [False, False, True, True]


@pytest.mark.parametrize(("threshold", "action"), [(0.75, "relabelled"), (0.7500001, "dropped")])
def test_the_threshold_itself_is_confident_enough(threshold, action):
    assert repaired(LABELS, PRED_PROBS.astype(np.float64), IS_ISSUE, threshold).action[2] == action


@st.composite
def cases(draw):
    """Arguments of `make_evidence`."""
    n, n_classes = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Rows sum to 1 but for rounding, as those from elsewhere do.
    pred_probs = rng.dirichlet(np.full(n_classes, 0.5), size=n) * rng.uniform(0.999, 1.001, (n, 1))
    return (
        rng.integers(n_classes, size=n).astype(np.int16),
        pred_probs.astype(np.float32),
        rng.random(n) < draw(st.floats(0, 1)),
        draw(st.floats(0, 1)),
        draw(st.sampled_from(["drop", "keep", "soft", "unlabeled"])),
    )


@given(cases())
def test_rows_without_an_issue_are_left_as_given_and_all_others_fit_together(case):
    labels, pred_probs, is_issue, min_confidence, otherwise = case
    before = [np.copy(values) for values in case[:3]]
    found = repaired(*case)
    assert all(np.array_equal(values, copy) for values, copy in zip(case[:3], before, strict=True))
    sure = pred_probs.max(axis=1) >= min_confidence
    other = {"drop": "dropped", "keep": "kept", "soft": "softened"}.get(otherwise, otherwise)
    expected = np.where(is_issue, np.where(sure, "relabelled", other), "trusted")
    assert found.action.tolist() == expected.tolist()
    is_pseudo = np.isin(expected, ["relabelled", "softened"])
    assert found.source.tolist() == np.where(is_pseudo, "pseudo", "given").tolist()
    assert found.label.tolist() == np.where(is_pseudo, pred_probs.argmax(axis=1), labels).tolist()
    assert found.is_kept.tolist() == (~np.isin(expected, ["dropped", "unlabeled"])).tolist()
    assert found.soft_rows.tolist() == np.flatnonzero(expected == "softened").tolist()
    assert found.soft_label.sum(axis=1) == pytest.approx(np.ones(len(found.soft_rows)), abs=1e-6)
    assert found.soft_label.argmax(axis=1).tolist() == found.label[found.soft_rows].tolist()
    as_given = leave_as_given(labels, is_issue, pred_probs.shape[1])
    for name in ("label", "weight", "soft_label"):
        assert getattr(found, name).dtype == getattr(as_given, name).dtype


@given(cases(), st.integers(0, 2**32 - 1))
def test_issues_that_are_spared_are_kept_and_nothing_else_changes(case, seed):
    error_prob = np.random.default_rng(seed).random(len(case[0]))
    error_prob[error_prob < 0.1] = np.nan
    options = plugins.read_options("pseudo_labels", "threshold")
    found = repair(make_evidence(*case, error_prob=error_prob), options, None, np.random.default_rng(0))
    before = repaired(*case)
    spared = spare(before.action == "dropped", error_prob)
    assert found.action.tolist() == np.where(spared, "kept", before.action).tolist()
    assert found.weight.tolist() == np.where(spared, 1, before.weight).tolist()
    assert found.label.tolist() == before.label.tolist()
    assert found.source.tolist() == before.source.tolist()


@given(cases())
def test_left_as_given_is_what_keeping_every_issue_gives(case):
    labels, pred_probs, is_issue, _, _ = case
    kept = repaired(labels, pred_probs, is_issue, 1.1, "keep")
    as_given = leave_as_given(labels, is_issue, pred_probs.shape[1])
    assert not as_given.is_changed.any()
    assert kept.unlabeled is None
    for field in fields(kept)[:-1]:
        assert getattr(kept, field.name).tolist() == getattr(as_given, field.name).tolist()


@given(st.integers(0, 300), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_likeliest_right_issues_are_spared_and_few_of_them_are_expected_to_be_wrong(n, share, seed):
    rng = np.random.default_rng(seed)
    rest, error_prob = rng.random(n) < share, rng.random(n) ** 3
    error_prob[rng.random(n) < 0.1] = np.nan
    spared = spare(rest, error_prob)
    left = ~rest | spared
    assert not (spared & ~rest).any()
    assert error_prob[spared].sum() <= MOST_WRONG * left.sum() + 1e-9
    others = rest & ~spared & (error_prob < LEAST_ERROR_PROB)
    if others.any():
        least = error_prob[others].min()
        assert not (error_prob[spared] > least).any()
        # One more would be too many.
        assert error_prob[spared].sum() + least > MOST_WRONG * (left.sum() + 1) - 1e-9
