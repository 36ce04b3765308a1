from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from tasks.gated_repair import count_views, hold_back, judge
from tasks.label_quality.gate import beyond_chance
from tasks.label_quality.issues import find_label_issues
from tasks.repair import Evidence, relabel_issues

N_CLASSES, N = 5, 20_000
TESTED = {
    "planted": {"uniform": {"auroc": 0.95}},
    "class_shares": {"is_shifted": False},
    "second_opinion": {"is_known": True},
}


def make(rate, mistakes, seed=0):
    """Labels wrong at `rate`, a classifier that errs on a share of doubtful rows, and who votes on them.

    The second opinion is right on 95 % of the rows, and makes half of the classifier's mistakes.
    """
    rng = np.random.default_rng(seed)
    true = rng.integers(N_CLASSES, size=N)
    given = np.where(rng.random(N) < rate, (true + 1) % N_CLASSES, true)
    prob = rng.uniform(0.6, 1, size=N)
    errs = (prob < 0.9) & (rng.random(N) < mistakes)
    suggested = np.where(errs, (true + 2) % N_CLASSES, true)
    second = np.where(rng.random(N) < 0.95, true, rng.integers(N_CLASSES, size=N))
    second = np.where(errs & (rng.random(N) < 0.5), suggested, second)
    return doubt(given, suggested, prob, min_confidence=0.7), second, true


def doubt(given, suggested, prob, **others):
    """Evidence against every given label (N,) that the classifier does not suggest."""
    return Evidence(
        ids=np.arange(N),
        labels=given,
        is_issue=given != suggested,
        suggested=suggested,
        suggested_prob=prob,
        n_classes=N_CLASSES,
        pred_probs=lambda rows: np.zeros((len(rows), N_CLASSES)),
        otherwise="drop",
        **others,
    )


def repair(evidence, second, self_tests=TESTED):
    made = relabel_issues(evidence, evidence.suggested_prob >= evidence.min_confidence)
    gate = judge(made, evidence, 0.6, second, self_tests)
    held = hold_back(made, evidence, gate, second)
    return made, gate, held.repair, held.contested


def test_of_a_good_classifier_all_changes_are_made_but_those_that_are_contested():
    evidence, second, _ = make(0.1, 0.01)
    made, gate, left, contested = repair(evidence, second)
    assert gate.relabel is None
    assert not gate.least_confidence
    assert contested.any()
    assert np.array_equal(contested, made.is_changed & (second == evidence.labels))
    assert np.array_equal(left.label[contested], evidence.labels[contested])
    assert set(left.action[contested]) == {"kept"}
    assert np.array_equal(left.label[~contested], made.label[~contested])


def test_of_a_worse_one_only_the_surest_are_that_the_second_opinion_confirms():
    evidence, second, true = make(0.1, 0.15)
    second[::10] = -1
    made, gate, left, _ = repair(evidence, second)
    assert gate.relabel is None
    assert gate.least_confidence > evidence.min_confidence
    relabelled = left.source == "pseudo"
    assert 0 < relabelled.sum() < (made.source == "pseudo").sum()
    assert evidence.suggested_prob[relabelled].min() >= gate.least_confidence
    assert set((second == made.label)[relabelled & (second >= 0)]) == {True}
    assert (relabelled & (second == -1)).any()  # nobody was asked of these
    right = evidence.suggested == true
    assert right[relabelled].mean() > 0.85 > 0.5 > right[made.source == "pseudo"].mean()
    assert np.array_equal(left.label[~relabelled], evidence.labels[~relabelled])


def test_where_all_labels_are_right_none_is_changed():
    evidence, second, true = make(0.0, 0.15)
    _, gate, left, _ = repair(evidence, second)
    assert gate.relabel == gate.drop == "own_mistakes"
    assert np.array_equal(left.label, true)
    assert left.is_kept.all()


@pytest.mark.parametrize("self_tests", [{}, {**TESTED, "second_opinion": None}])
def test_without_a_second_opinion_nothing_is_contested(self_tests):
    evidence, _, _ = make(0.1, 0.01)
    made, gate, left, contested = repair(evidence, None, self_tests)
    assert gate.relabel is None
    assert gate.beyond_chance == 0
    assert not contested.any()
    assert np.array_equal(left.label, made.label)


def test_what_two_views_agree_on_does_not_depend_on_how_many_issues_were_asked():
    evidence, second, _ = make(0.3, 0.4)
    asked = evidence.is_issue | (np.random.default_rng(1).random(N) < 0.2)
    few = np.where(asked, second, -1)
    of_all, of_few = (repair(evidence, views)[1].beyond_chance for views in (second, few))
    assert of_few == pytest.approx(of_all, abs=0.01)
    # As if none counted more than another.
    as_they_are = np.zeros((N_CLASSES, N_CLASSES), dtype=np.int64)
    np.add.at(as_they_are, (evidence.suggested[asked], second[asked]), 1)
    assert beyond_chance(as_they_are) < of_all - 0.03
    assert np.array_equal(count_views(evidence, np.full(N, -1)), np.zeros((N_CLASSES, N_CLASSES)))


def test_of_classes_that_overlap_no_label_is_changed_however_many_rows_there_are():
    rng = np.random.default_rng(0)
    # Two normal classes 1 apart, which classifier and second opinion know as well as can be.
    labels = rng.integers(2, size=N)
    prob_of_1 = 1 / (1 + np.exp(0.5 - rng.normal(labels)))
    suggested, prob = (prob_of_1 > 0.5).astype(np.int64), np.maximum(prob_of_1, 1 - prob_of_1)
    evidence, _, _ = make(0.0, 0.0)
    evidence = replace(
        evidence,
        labels=labels,
        is_issue=labels != suggested,
        suggested=suggested,
        suggested_prob=prob,
        n_classes=2,
        otherwise="keep",
    )
    made, gate, left, _ = repair(evidence, suggested)
    assert made.is_changed.sum() > 1_000
    assert gate.relabelled.of_model.value == 1
    assert gate.noise.is_falling
    assert gate.relabel == "classes_overlap"
    assert np.array_equal(left.label, labels)


@pytest.mark.parametrize("otherwise", ["drop", "keep"])
def test_rows_to_relabel_are_dropped_where_opinions_are_too_few(otherwise):
    rng = np.random.default_rng(0)
    true, prob = rng.integers(N_CLASSES, size=N), rng.uniform(0.6, 1, size=N)
    rows = np.flatnonzero(prob > 0.75)[:6]
    given = true.copy()
    given[rows] = (given[rows] + 1) % N_CLASSES
    evidence = doubt(given, true, prob, min_confidence=0.7)
    second = true.copy()
    second[rows[0]] = given[rows[0]]
    made, gate, left, contested = repair(replace(evidence, otherwise=otherwise), second)
    assert made.is_changed.nonzero()[0].tolist() == rows.tolist()
    assert gate.relabel == "second_opinion"
    assert contested.nonzero()[0].tolist() == ([rows[0]] if otherwise == "drop" else [])
    assert (~left.is_kept).nonzero()[0].tolist() == (rows[1:].tolist() if otherwise == "drop" else [])
    assert np.array_equal(left.label, given)
    assert set(left.source) == {"given"}
    assert set(left.action[rows[1:]]) == {"dropped" if otherwise == "drop" else "kept"}


def make_unknown_class():
    """As `make`: half of the rows of the last class are missed (N,), and no second opinion is for it."""
    evidence, second, true = make(0.1, 0.01)
    last = true == N_CLASSES - 1
    is_missed = last & (np.arange(N) % 2 == 0)
    suggested = np.where(is_missed, 0, evidence.suggested)
    prob = np.where(is_missed, evidence.suggested_prob / 2 + 0.3, evidence.suggested_prob)
    evidence = replace(
        evidence, suggested=suggested, suggested_prob=prob, is_issue=suggested != evidence.labels
    )
    return evidence, np.where(last, 0, second), true, is_missed


def test_a_class_that_neither_view_knows_does_not_lose_its_right_labels():
    evidence, second, true, is_missed = make_unknown_class()
    made = relabel_issues(evidence, evidence.suggested_prob >= evidence.min_confidence)
    gate = replace(judge(made, evidence, 0.9, second, TESTED), relabel=None, drop=None)
    held = hold_back(made, evidence, gate, second)
    right = is_missed & (evidence.labels == true)
    assert right.sum() > 1_500
    assert made.is_changed[right].all()
    assert held.spared[right].sum() > 500
    assert held.repair.is_changed[right].mean() < 0.15
    assert not held.spared[~(evidence.labels == N_CLASSES - 1)].any()
    assert not held.repair.is_changed[held.spared].any()
    assert np.array_equal(held.repair.label[held.spared], evidence.labels[held.spared])


def test_no_less_sure_row_takes_the_place_of_one_that_may_well_be_right_in_what_its_class_may_lose():
    evidence, second, _, is_missed = make_unknown_class()
    made = relabel_issues(evidence, evidence.suggested_prob >= 0.95)
    gate = replace(judge(made, evidence, 0.9, second, TESTED), relabel=None, drop=None, least_confidence=0.0)
    held = hold_back(made, evidence, gate, second)
    assert held.spared[is_missed].any()
    error_prob = np.where(held.repair.action == "dropped", np.arange(N) % 4 / 3, 0.95)
    doubted = hold_back(made, replace(evidence, error_prob=error_prob), gate, second)
    assert (doubted.doubtful & is_missed).sum() > 20
    assert np.array_equal(doubted.spared, held.spared)
    assert np.array_equal(doubted.repair.is_changed, held.repair.is_changed & ~doubted.doubtful)


def test_without_a_second_opinion_a_rare_class_whose_labels_are_right_keeps_them():
    rng = np.random.default_rng(0)
    features, digit = load_digits(return_X_y=True)
    eights = np.flatnonzero(digit == 8)
    rows = np.setdiff1d(np.arange(len(digit)), eights[15:])
    features, true = features[rows] / 16, digit[rows]
    is_rare = true == 8
    others = np.setdiff1d(np.arange(10), [8])
    is_drawn = ~is_rare & (rng.random(len(true)) < 0.1)
    labels = np.where(is_drawn, rng.choice(others, len(true)), true).astype(np.int64)
    pred_probs = cross_val_predict(
        LogisticRegression(C=0.1),
        features,
        labels,
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        method="predict_proba",
    )
    flags = find_label_issues(labels, pred_probs, filters=("auto",)).flags["auto"]
    evidence = replace(
        make(0.0, 0.0)[0],
        ids=np.arange(len(labels)),
        labels=labels,
        is_issue=flags,
        suggested=pred_probs.argmax(axis=1),
        suggested_prob=pred_probs.max(axis=1),
        n_classes=10,
    )
    made, gate, left, _ = repair(evidence, None, {**TESTED, "second_opinion": None})
    assert not gate.closed
    assert made.is_changed[is_rare].sum() >= 8  # of 15
    assert not left.is_changed[is_rare].any()
    # Of the other classes all is done that the gate lets through.
    assert np.array_equal(left.is_changed[~is_rare], made.is_changed[~is_rare])
    assert left.is_changed[labels != true].mean() > 0.9


def test_a_row_is_not_dropped_where_the_classifier_errs_more_often_than_labels_are_wrong():
    rng = np.random.default_rng(3)
    true = rng.integers(N_CLASSES, size=N)
    given = np.where(rng.random(N) < 0.1, (true + 1) % N_CLASSES, true)
    prob = rng.uniform(0.6, 1, size=N)
    errs = (prob < 0.75) & (rng.random(N) < 0.4)
    suggested = np.where(errs, (true + 2) % N_CLASSES, true)
    evidence = doubt(given, suggested, prob, min_confidence=0.9, error_prob=np.full(N, 0.7))
    made = relabel_issues(evidence, prob >= 0.9)
    gate = replace(judge(made, evidence, 0.6, suggested, TESTED), relabel=None, drop=None)
    held = hold_back(made, evidence, gate, suggested)
    would, dropped = made.action == "dropped", held.repair.action == "dropped"
    is_right = given == true
    assert is_right[would].mean() > 0.4
    assert is_right[held.doubtful].mean() > 0.7
    assert is_right[dropped].mean() < 0.1
    assert np.array_equal(held.doubtful, would & ~dropped)
    assert np.array_equal(held.repair.label[held.doubtful], given[held.doubtful])
    # The word of the noise model stands where it is sure, and is all there is where it is not known.
    for error_prob in (np.full(N, 0.95), np.full(N, np.nan), None):
        sure = replace(evidence, error_prob=error_prob)
        assert not hold_back(made, sure, gate, suggested).doubtful.any()
