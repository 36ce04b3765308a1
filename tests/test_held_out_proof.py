from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tasks.held_out_proof import compare_on_held_out
from tasks.params import load_params
from tasks.repair import Evidence, leave_as_given, relabel_issues
from tasks.tables.catalog import GIVEN_LABELS
from tasks.tables.facts import DatasetFacts
from tasks.tables.io import make_table, write_table

N, N_HELD_OUT = 400, 300
RNG = np.random.default_rng(0)
TRUE = RNG.integers(2, size=N + N_HELD_OUT)
POINTS = RNG.normal(size=(N + N_HELD_OUT, 2)) + 2 * TRUE[:, None]
# A third of the rows of one class are labelled as the other.
GIVEN = np.where((TRUE == 1) & (RNG.random(len(TRUE)) < 0.34), 0, TRUE)


def train(ids, labels, of, weight=None):
    """Logistic regression, as a student."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(POINTS[ids], labels, weight)
    return SimpleNamespace(pred_probs=model.predict_proba(POINTS[of]))


@pytest.fixture
def params(pytestconfig):
    params = load_params(pytestconfig.rootpath / "params.yaml")
    section = params.train_fold.model_copy(update={"model": "logistic"})
    return params.model_copy(update={"train_fold": section})


def write_labels(workspace, held_out="held_out"):
    """All rows, the last of which are held out and have right labels, if any."""
    split = np.repeat(["train", held_out], [N, N_HELD_OUT])
    labels = np.append(GIVEN[:N], TRUE[N:])
    columns = {
        "example_id": np.arange(len(TRUE)),
        "key": np.arange(len(TRUE)).astype(str),
        "split": split,
        "given_label": labels,
        "true_label": TRUE,
        "is_noisy": labels != TRUE,
    }
    facts = DatasetFacts("clouds", ("low", "high"), "features", (2,))
    write_table(GIVEN_LABELS.at(workspace), make_table(GIVEN_LABELS, facts, columns), GIVEN_LABELS)


def repair(suggested, **values):
    evidence = Evidence(
        ids=np.arange(N),
        labels=GIVEN[:N],
        is_issue=suggested != GIVEN[:N],
        suggested=suggested,
        suggested_prob=np.ones(N),
        n_classes=2,
        pred_probs=lambda rows: np.full((len(rows), 2), 0.5),
        min_confidence=0.8,
        otherwise="drop",
        **values,
    )
    return evidence, relabel_issues(evidence, np.ones(N, dtype=bool))


def test_a_repair_is_as_much_better_as_its_student_predicts_more_held_out_rows(params, tmp_path):
    write_labels(tmp_path)
    good = compare_on_held_out(params, tmp_path, *repair(TRUE[:N]), train)
    # Each label of one class becomes the other, unless it is that.
    worse = compare_on_held_out(params, tmp_path, *repair(np.where(RNG.random(N) < 0.8, 0, GIVEN[:N])), train)
    assert good.low > 0
    assert worse.high < 0
    right = [
        (train(np.arange(N), labels, np.arange(N, len(TRUE))).pred_probs.argmax(axis=1) == TRUE[N:]).mean()
        for labels in (GIVEN[:N], TRUE[:N])
    ]
    assert good.value == pytest.approx(right[1] - right[0])


def test_rows_that_are_dropped_teach_nothing(params, tmp_path):
    write_labels(tmp_path)
    evidence, _ = repair(TRUE[:N])
    made = relabel_issues(evidence, np.zeros(N, dtype=bool))
    taught = []
    compare_on_held_out(
        params, tmp_path, evidence, made, lambda *asked: (taught.append(asked[0]), train(*asked))[1]
    )
    assert [len(ids) for ids in taught] == [N, (GIVEN[:N] == TRUE[:N]).sum()]


def test_a_repair_that_leaves_one_class_is_tried_too(params, tmp_path):
    write_labels(tmp_path)
    found = compare_on_held_out(params, tmp_path, *repair(np.zeros(N, dtype=np.int64)), train)
    before = train(np.arange(N), GIVEN[:N], np.arange(N, len(TRUE))).pred_probs.argmax(axis=1)
    assert found.value == pytest.approx((TRUE[N:] == 0).mean() - (before == TRUE[N:]).mean())
    assert found.high < 0


def test_students_learn_with_the_weights_of_the_repair(params, tmp_path):
    write_labels(tmp_path)
    evidence, made = repair(TRUE[:N])
    weight = np.linspace(0.1, 1, N, dtype=np.float32)
    seen = []

    def look(ids, labels, of, weight):
        seen.append(weight)
        return train(ids, labels, of, weight)

    compare_on_held_out(params, tmp_path, evidence, replace(made, weight=weight), look)
    assert (seen[0] == 1).all()
    assert (seen[1] == weight).all()


@pytest.mark.parametrize("lacking", ["held-out rows", "changes", "a model that is no network", "rows"])
def test_where_there_is_nothing_to_compare_nothing_is_trained(params, tmp_path, lacking):
    write_labels(tmp_path, "test" if lacking == "held-out rows" else "held_out")
    evidence, made = repair(TRUE[:N])
    if lacking == "changes":
        made = leave_as_given(evidence.labels, evidence.is_issue, 2)
    if lacking == "a model that is no network":
        section = params.train_fold.model_copy(update={"model": "mlp"})
        params = params.model_copy(update={"train_fold": section})

    def refuse(*_):
        pytest.fail("trained")

    student = None if lacking == "rows" else refuse
    assert compare_on_held_out(params, tmp_path, evidence, made, student) is None
