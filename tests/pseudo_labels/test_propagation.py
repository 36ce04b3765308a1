"""The method: labels flow to rows without a label and to issues, on what a student makes of the rows."""

import numpy as np
import pytest
from evidence import make_evidence

from tasks import RepairError, plugins
from tasks.pseudo_labels.propagation import directions, repair
from tasks.training.protocol import Predictions

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(3, size=300)
# Three directions, which a straight look tells apart well.
EMBEDDING = (np.eye(3)[TRUTH] + RNG.normal(scale=0.25, size=(300, 3))).astype(np.float32)
N = 60
LABELS = np.where(np.arange(N) % 10 == 0, (TRUTH[:N] + 1) % 3, TRUTH[:N])
IS_ISSUE = TRUTH[:N] != LABELS
# The model suggests the truth, sure of it, but for the first issue.
PRED_PROBS = np.eye(3)[np.where(np.arange(N) == 0, LABELS, TRUTH[:N])] * 0.9 + 0.1 / 3


class Student:
    """Gives the embedding, and notes what it was to learn from."""

    def __call__(self, ids, labels, of):
        self.ids, self.labels = ids, labels
        return Predictions(np.zeros((len(of), 3), np.float32), EMBEDDING[of])


def repaired(otherwise="drop", unlabeled=True, student=None, **options):
    guesses = np.full((300 - N, 3), 1 / 3) if unlabeled else None
    evidence = make_evidence(LABELS, PRED_PROBS, IS_ISSUE, 0.5, otherwise, unlabeled=guesses)
    chosen = plugins.read_options("pseudo_labels", "propagation", {"k": 10, **options})
    return repair(evidence, chosen, student or Student(), np.random.default_rng(0))


def test_labels_flow_from_trusted_rows_alone():
    student = Student()
    found = repaired(student=student)
    assert student.ids.tolist() == np.flatnonzero(~IS_ISSUE).tolist()
    assert student.labels.tolist() == LABELS[~IS_ISSUE].tolist()
    joined = found.unlabeled.is_kept
    assert np.mean(found.unlabeled.label[joined] == TRUTH[N:][joined]) > 0.97
    assert joined.sum() > 180
    # The surer the row, the more it counts; all classes count alike.
    sums = [found.unlabeled.weight[joined & (found.unlabeled.label == k)].sum() for k in range(3)]
    assert min(sums) > 0.7 * max(sums)
    assert len(np.unique(found.unlabeled.weight[joined])) > 100


def test_an_issue_is_relabelled_where_the_graph_and_the_model_agree():
    found = repaired()
    relabelled = found.action == "relabelled"
    assert relabelled.sum() >= 4
    assert (found.label[relabelled] == TRUTH[:N][relabelled]).all()
    assert found.action[0] == "dropped", "the model does not suggest what flows there"
    assert set(found.action[~IS_ISSUE]) == {"trusted"}


@pytest.mark.parametrize(
    ("sureness", "alpha", "relabelled"), [(0.9, 0.99, True), (0.1, 0.5, True), (0.1, 0.99, False)]
)
def test_the_graph_or_the_model_must_be_sure(sureness, alpha, relabelled):
    """Where each row has all others as neighbours, labels flow far with alpha 0.99: no class is likely."""
    suggestions = np.where(np.arange(N) == 0, LABELS, TRUTH[:N])
    probs = np.eye(3)[suggestions] * sureness + (1 - sureness) / 3
    evidence = make_evidence(LABELS, probs, IS_ISSUE, 0.8, "drop")
    options = plugins.read_options("pseudo_labels", "propagation", {"k": N - 1, "gamma": 1.0, "alpha": alpha})
    found = repair(evidence, options, Student(), np.random.default_rng(0))
    assert (found.action == "relabelled").any() == relabelled
    assert found.action[0] == "dropped", "the model does not suggest what flows there"


@pytest.mark.parametrize(
    ("otherwise", "action", "kept"),
    [("keep", "kept", True), ("soft", "softened", True), ("unlabeled", "unlabeled", False)],
)
def test_other_issues_are_treated_as_asked(otherwise, action, kept):
    found = repaired(otherwise)
    assert found.action[0] == action
    assert found.is_kept[0] == kept


def test_without_rows_without_a_label_it_repairs_issues_alone():
    found = repaired(unlabeled=False)
    assert found.unlabeled is None
    assert (found.action == "relabelled").any()


def test_rows_may_be_limited_by_certainty_and_share():
    every = repaired().unlabeled
    few = repaired(share=0.1).unlabeled
    assert few.is_kept.sum() == 24
    assert every.weight[few.is_kept].mean() > every.weight[every.is_kept].mean()
    assert repaired(min_certainty=1.0).unlabeled.is_kept.sum() == 0


@pytest.mark.parametrize("is_learned", [False, True])
def test_rows_of_zeros_are_reached_by_nothing(is_learned):
    class Dead(Student):
        def __call__(self, ids, labels, of):
            found = super().__call__(ids, labels, of).embedding.copy()
            found[100:150] = 0
            return Predictions(np.zeros((len(of), 3), np.float32), found, is_learned)

    found = repaired(student=Dead()).unlabeled
    assert not found.is_kept[100 - N : 150 - N].any()
    assert found.is_kept.sum() > 150


def test_what_a_student_says_counts_as_much_as_how_it_embeds():
    """Here all embeddings look much alike, as after a mean over places; the probabilities do not."""

    class Alike(Student):
        def __call__(self, ids, labels, of):
            rng = np.random.default_rng(1)
            probs = (np.eye(3)[TRUTH] + rng.uniform(0.1, 0.6, size=(300, 3)))[of].astype(np.float32)
            values = (1 + 0.01 * rng.normal(size=(len(of), 3))).astype(np.float32)
            return Predictions(probs / probs.sum(axis=1, keepdims=True), values, is_learned=True)

    found = repaired(student=Alike()).unlabeled
    assert np.mean(found.label[found.is_kept] == TRUTH[N:][found.is_kept]) > 0.95
    assert found.is_kept.sum() > 180


def test_the_direction_of_a_row_has_two_parts_of_length_1():
    probs = np.random.default_rng(1).dirichlet(np.ones(3), 300).astype(np.float32)
    found = directions(Predictions(probs, EMBEDDING, is_learned=True))
    np.testing.assert_allclose(np.linalg.norm(found[:, :3], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found[:, 3:], axis=1), 1, rtol=1e-5)
    # Values of the embedding do not count by their unit.
    others = EMBEDDING * np.float32([1, 100, 0.01]) + np.float32([5, 0, 0])
    again = directions(Predictions(probs, others, is_learned=True))
    np.testing.assert_allclose(again, found, atol=1e-4)
    np.testing.assert_array_equal(found[:, 3:].argmax(axis=1), probs.argmax(axis=1))
    np.testing.assert_array_equal(directions(Predictions(probs, EMBEDDING)), EMBEDDING)


def test_fewer_rows_than_neighbours_are_refused():
    with pytest.raises(RepairError, match=r"k: expected fewer neighbours than the 300 rows, found 300"):
        repaired(k=300)


def test_beside_probabilities_of_ones_own_there_is_nothing_to_train_on():
    evidence = make_evidence(LABELS, PRED_PROBS, IS_ISSUE)
    with pytest.raises(RepairError, match="no rows to train one on"):
        repair(evidence, plugins.read_options("pseudo_labels", "propagation"), None, np.random.default_rng(0))
