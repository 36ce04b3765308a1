"""Rounds of students: what each may learn from, and when they stop."""

import numpy as np
import pytest
from evidence import make_evidence

from tasks.pseudo_labels import threshold
from tasks.students import best_of, is_of_use, teach
from tasks.training.protocol import Predictions

LABELS = np.array([0, 1, 0, 1, 0, 1])
FOLD = np.array([0, 0, 1, 1, 2, 2], dtype=np.int16)
# Of the labelled rows two thirds are predicted as given.
PRED_PROBS = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.6, 0.4]])
# What the model of each fold says of four rows without a label.
OF_FOLDS = np.array(
    [
        [[1, 0], [0, 1], [0.6, 0.4], [0.6, 0.4]],
        [[0.6, 0.4], [0.6, 0.4], [1, 0], [0, 1]],
        [[1, 0], [0.6, 0.4], [0.6, 0.4], [0, 1]],
    ],
    dtype=np.float32,
)


def taught(right_of_round, most_rounds=5):
    """The rounds of students who are right about so many of the two rows of their fold, and their lessons."""
    evidence = make_evidence(LABELS, PRED_PROBS, np.zeros(6, dtype=bool), unlabeled=OF_FOLDS.mean(axis=0))
    lessons = []

    def train(ids, labels, of):
        n_right = right_of_round[len(lessons) // 3]
        lessons.append((ids.tolist(), labels.tolist(), of.tolist()))
        own = [LABELS[id] if place < n_right else 1 - LABELS[id] for place, id in enumerate(of[:2])]
        others = np.full((4, 2), 0.5)
        others[len(lessons) % 4] = [0, 1]
        return Predictions(np.concatenate([np.eye(2)[own], others]), np.zeros((6, 1)))

    def repair(known):
        return threshold.repair(known, threshold.Options(class_balance=False), None, np.random.default_rng(0))

    return teach(evidence, evidence.unlabeled, FOLD, OF_FOLDS, repair, train, most_rounds), lessons


def test_a_student_learns_nothing_of_the_labels_of_its_own_fold():
    rounds, lessons = taught([2, 2])
    for fold, (ids, labels, of) in enumerate(lessons[:3]):
        own = np.flatnonzero(fold == FOLD).tolist()
        assert of == [*own, 6, 7, 8, 9]
        # Labels of the other folds, and those that the model without this fold is sure of.
        sure = np.flatnonzero(OF_FOLDS[fold].max(axis=1) >= 0.95)
        assert ids == [*np.flatnonzero(fold != FOLD), *(6 + sure)]
        assert labels == [*LABELS[fold != FOLD], *OF_FOLDS[fold][sure].argmax(axis=1)]
    # In the second round the students of the first teach.
    for fold, (ids, labels, _) in enumerate(lessons[3:6]):
        assert ids[4:] == [6 + (fold + 1) % 4]
        assert labels[4:] == [1]
    assert [each.accuracy for each in rounds] == pytest.approx([4 / 6, 1, 1])
    assert [each.n_joined for each in rounds] == [0, 2, 1]


@pytest.mark.parametrize(
    ("right", "accuracies", "best", "of_use"),
    [
        ([2, 2, 2], [4 / 6, 1, 1], 1, True),
        ([1, 2], [4 / 6, 1 / 2], 0, False),
        ([2, 1, 2], [4 / 6, 1, 1 / 2], 1, True),
        ([0], [4 / 6, 0], 0, False),
    ],
)
def test_rounds_stop_where_labelled_rows_are_known_no_better_out_of_fold(right, accuracies, best, of_use):
    rounds, _ = taught(right)
    assert [each.accuracy for each in rounds] == pytest.approx(accuracies)
    assert best_of(rounds) is rounds[best]
    assert is_of_use(rounds) is of_use


def test_no_more_rounds_are_trained_than_are_asked_for():
    rounds, lessons = taught([2, 2], most_rounds=1)
    assert len(rounds) == 2
    assert len(lessons) == 3
