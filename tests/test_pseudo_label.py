import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest

import tasks.pseudo_label
from tasks import ArtifactError
from tasks.decisions.log import PATH, Decision, append_decisions
from tasks.params import load_params
from tasks.pseudo_label import pseudo_label
from tasks.tables.catalog import FILTER_COLUMNS, GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS, TRAINING_SET
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.schemas import column_array

FACTS = DatasetFacts("toy", ("ant", "bee"), "features", (2,))
IDS = np.array([3, 5, 8, 13, 21, 34])
TRUE = np.array([0, 1, 1, 0, 1, 0])
GIVEN = np.array([0, 1, 0, 1, 1, 0])
IS_ISSUE = np.array([False, False, True, True, True, False])
# Of the issues the first is repaired, the second is too doubtful, the third is made wrong.
PRED_PROBS_ROWS = np.array(
    [[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.625, 0.375], [0.95, 0.05], [0.7, 0.3]], dtype=np.float32
)


@pytest.fixture
def params(pytestconfig):
    return load_params(pytestconfig.rootpath / "params.yaml")


def choose(params, **values):
    """`params` with other values in the section `pseudo_label`."""
    return params.model_copy(update={"pseudo_label": params.pseudo_label.model_copy(update=values)})


def write_inputs(workspace, *, known=True, order=slice(None), is_issue=IS_ISSUE):
    """The six rows above and one test row; all tables but the issues in any `order`."""
    scores = PRED_PROBS_ROWS[np.arange(6), GIVEN].astype(np.float64)
    ids = np.append(IDS, 55)
    unknown = np.full(7, not known)
    tables = {
        "given_labels": (
            GIVEN_LABELS,
            {
                "example_id": ids,
                "split": np.repeat(["train", "test"], [6, 1]),
                "given_label": np.append(GIVEN, 1),
                "true_label": pa.array(np.append(TRUE, 1), pa.int16(), mask=unknown),
                "is_noisy": pa.array(np.append(GIVEN != TRUE, False), pa.bool_(), mask=unknown),
            },
        ),
        "pred_probs": (
            PRED_PROBS,
            {"example_id": IDS, "fold": np.arange(6) % 2, "pred_probs": PRED_PROBS_ROWS},
        ),
        "label_issues": (
            LABEL_ISSUES,
            {
                "example_id": IDS,
                "given_label": GIVEN,
                "suggested_label": PRED_PROBS_ROWS.argmax(axis=1),
                "suggested_prob": PRED_PROBS_ROWS.max(axis=1),
                "self_confidence": scores,
                "normalized_margin": scores,
                "confidence_weighted_entropy": scores,
                "importance": pa.nulls(6, pa.float64()),
                "importance_percentile": pa.nulls(6, pa.float64()),
                "contrast": pa.nulls(6, pa.float64()),
                "is_issue": is_issue,
                "rank": pa.nulls(6, pa.int64()),
                **dict.fromkeys(FILTER_COLUMNS, is_issue),
            },
        ),
    }
    for name, (artifact, columns) in tables.items():
        table = make_table(artifact, FACTS, columns)
        if name != "label_issues":
            table = table.take(pa.array(np.arange(table.num_rows)[order]))
        write_table(workspace / "data" / f"{name}.parquet", table, artifact)


def run(params, workspace):
    """The training set and the metrics."""
    pseudo_label(params, workspace)
    table = read_table(workspace / "data" / "training_set.parquet", TRAINING_SET)
    return table, json.loads((workspace / "metrics" / "training_set.json").read_text())


def test_drop_relabels_confident_issues_and_leaves_doubtful_ones_out(params, tmp_path, capsys):
    write_inputs(tmp_path)
    table, metrics = run(choose(params, min_confidence=0.7, otherwise="drop"), tmp_path)
    assert table.column_names == [column.name for column in TRAINING_SET.columns]
    assert read_facts(table) == FACTS
    assert column_array(table, "example_id").tolist() == [3, 5, 8, 21, 34]
    assert column_array(table, "label").tolist() == [0, 1, 1, 0, 0]
    assert column_array(table, "given_label").tolist() == [0, 1, 0, 1, 0]
    assert column_array(table, "source").tolist() == ["given", "given", "pseudo", "pseudo", "given"]
    assert column_array(table, "weight").tolist() == [1] * 5
    assert np.array_equal(column_array(table, "soft_label"), np.eye(2)[[0, 1, 1, 0, 0]])
    assert metrics["n_rows_before"] == 6
    assert metrics["n_rows_after"] == 5
    assert metrics["actions"] == {
        "trusted": 3,
        "relabelled": 2,
        "softened": 0,
        "kept": 0,
        "dropped": 1,
        "reviewed": 0,
    }
    assert metrics["label_accuracy"] == pytest.approx(
        {"before": 4 / 6, "after": 4 / 5, "of_pseudo_labels": 1 / 2}
    )
    assert capsys.readouterr().out == (
        "pseudo_label: 5 of 6 rows to train on (3 trusted, 2 relabelled, 1 dropped), "
        "data/training_set.parquet\n"
    )


def test_keep_leaves_doubtful_issues_as_given(params, tmp_path):
    write_inputs(tmp_path)
    table, metrics = run(choose(params, min_confidence=0.7, otherwise="keep"), tmp_path)
    assert column_array(table, "example_id").tolist() == IDS.tolist()
    assert column_array(table, "label").tolist() == [0, 1, 1, 1, 0, 0]
    assert column_array(table, "source")[3] == "given"
    assert metrics["actions"] == {
        "trusted": 3,
        "relabelled": 2,
        "softened": 0,
        "kept": 1,
        "dropped": 0,
        "reviewed": 0,
    }
    assert metrics["label_accuracy"]["after"] == pytest.approx(4 / 6)


def test_soft_trains_doubtful_issues_on_their_probabilities(params, tmp_path):
    write_inputs(tmp_path)
    table, metrics = run(choose(params, min_confidence=0.7, otherwise="soft"), tmp_path)
    assert column_array(table, "soft_label")[3].tolist() == [0.625, 0.375]
    assert column_array(table, "label")[3] == 0
    assert column_array(table, "source")[3] == "pseudo"
    assert metrics["actions"]["softened"] == 1
    assert metrics["label_accuracy"] == pytest.approx(
        {"before": 4 / 6, "after": 5 / 6, "of_pseudo_labels": 2 / 3}
    )


def test_a_lower_threshold_relabels_the_doubtful_issue_too(params, tmp_path):
    write_inputs(tmp_path)
    _, metrics = run(choose(params, min_confidence=0.625, otherwise="drop"), tmp_path)
    assert metrics["actions"]["relabelled"] == 3
    assert metrics["n_rows_after"] == 6


def test_without_issues_the_training_set_is_what_was_given(params, tmp_path):
    write_inputs(tmp_path, is_issue=np.zeros(6, dtype=bool))
    table, metrics = run(params, tmp_path)
    assert column_array(table, "label").tolist() == GIVEN.tolist()
    assert set(column_array(table, "source")) == {"given"}
    assert metrics["label_accuracy"]["of_pseudo_labels"] is None
    assert metrics["label_accuracy"]["after"] == metrics["label_accuracy"]["before"]


def test_without_the_truth_there_is_no_accuracy(params, tmp_path):
    write_inputs(tmp_path, known=False)
    _, metrics = run(params, tmp_path)
    assert set(metrics) == {"n_rows_before", "n_rows_after", "actions", "decisions"}


def test_rows_are_joined_by_id_whatever_their_order(params, tmp_path):
    write_inputs(tmp_path / "sorted")
    write_inputs(tmp_path / "reversed", order=slice(None, None, -1))
    expected, found = (run(params, tmp_path / name) for name in ("sorted", "reversed"))
    assert found[0].equals(expected[0])
    assert found[1] == expected[1]


def test_a_row_without_probabilities_is_an_error_that_names_it(params, tmp_path):
    write_inputs(tmp_path)
    path = tmp_path / "data" / "pred_probs.parquet"
    write_table(path, read_table(path, PRED_PROBS).slice(1), PRED_PROBS)
    with pytest.raises(ArtifactError, match="1 missing, the first 3"):
        pseudo_label(params, tmp_path)
    assert not (tmp_path / "data" / "training_set.parquet").exists()


def test_a_missing_input_is_an_error_that_names_the_command(params, tmp_path):
    write_inputs(tmp_path)
    (tmp_path / "data" / "label_issues.parquet").unlink()
    with pytest.raises(ArtifactError, match="dvc repro prune"):
        pseudo_label(params, tmp_path)


def test_where_every_row_is_dropped_the_accuracy_after_is_unknown(params, tmp_path):
    write_inputs(tmp_path, is_issue=np.ones(6, dtype=bool))
    table, metrics = run(choose(params, min_confidence=1.0, otherwise="drop"), tmp_path)
    assert table.num_rows == 0
    assert metrics["n_rows_after"] == 0
    assert metrics["label_accuracy"]["after"] is None


def decide(workspace, *decisions):
    """Append decisions: (example_id, decision, label, given_label)."""
    lines = [Decision(*values, "anna", "2026-01-31T12:00:00Z", "none") for values in decisions]
    append_decisions(workspace / PATH, lines)


def test_what_a_person_decided_outranks_the_model(params, tmp_path):
    write_inputs(tmp_path)
    decide(tmp_path, (8, "keep", "", "ant"), (13, "accept", "ant", "bee"), (3, "drop", "", "ant"))
    decide(tmp_path, (21, "choose", "bee", "bee"), (34, "unsure", "", "ant"))
    table, metrics = run(choose(params, min_confidence=0.7, otherwise="drop"), tmp_path)
    assert column_array(table, "example_id").tolist() == [5, 8, 13, 21, 34]
    assert column_array(table, "label").tolist() == [1, 0, 0, 1, 0]
    assert column_array(table, "source").tolist() == ["given", "reviewed", "reviewed", "reviewed", "given"]
    assert column_array(table, "weight").tolist() == [1] * 5
    assert np.array_equal(column_array(table, "soft_label"), np.eye(2)[[1, 0, 0, 1, 0]])
    assert metrics["actions"] == {
        "trusted": 2, "relabelled": 0, "softened": 0, "kept": 0, "dropped": 1, "reviewed": 3
    }  # fmt: skip
    assert metrics["decisions"] == {
        "md5": hashlib.md5((tmp_path / PATH).read_bytes()).hexdigest(),
        "keep": 1, "accept": 1, "choose": 1, "drop": 1, "unsure": 1, "not_applied": 0,
        "not_applied_first": [],
    }  # fmt: skip
    assert metrics["label_accuracy"]["of_pseudo_labels"] is None


def test_an_undone_decision_leaves_the_same_bytes_as_none(params, tmp_path):
    write_inputs(tmp_path)
    run(params, tmp_path)
    path = tmp_path / "data" / "training_set.parquet"
    before = path.read_bytes()
    decide(tmp_path, (8, "keep", "", "ant"))
    run(params, tmp_path)
    assert path.read_bytes() != before
    decide(tmp_path, (8, "undo", "2026-01-31T12:00:00Z anna: keep", "ant"))
    run(params, tmp_path)
    assert path.read_bytes() == before


def test_a_decision_about_another_given_label_is_reported_not_applied(params, tmp_path, capsys):
    write_inputs(tmp_path)
    expected, _ = run(params, tmp_path)
    decide(tmp_path, (8, "keep", "", "bee"), (99, "drop", "", "ant"), (3, "choose", "cat", "ant"))
    capsys.readouterr()
    table, metrics = run(params, tmp_path)
    assert table.equals(expected)
    assert metrics["decisions"]["not_applied"] == 3
    assert metrics["decisions"]["not_applied_first"][0] == {
        "example_id": 8,
        "reason": "its given label was bee then and is ant now",
    }
    said = capsys.readouterr().out
    assert "3 decision(s) not applied" in said
    assert "example 99 (drop, anna): no training row has this id" in said


def test_a_broken_line_of_a_decision_stops_the_stage_and_changes_nothing(params, tmp_path):
    write_inputs(tmp_path)
    decide(tmp_path, (8, "keep", "", "ant"))
    with (tmp_path / PATH).open("a") as file:
        file.write("8,kep,,ant,anna,2026-01-31T12:00:00Z,none\n")
    with pytest.raises(ArtifactError, match=r"decisions\.csv, line 3: expected a decision .*found 'kep'"):
        pseudo_label(params, tmp_path)
    assert not (tmp_path / "data" / "training_set.parquet").exists()


def decide_meanwhile(monkeypatch, workspace, times):
    """Somebody drops a row, given as ant, each time that the stage has written its table."""
    rows = iter([3, 8, 34] * times)
    write = tasks.pseudo_label.write_table
    left = [times]

    def write_and_decide(*arguments):
        write(*arguments)
        if left[0]:
            left[0] -= 1
            decide(workspace, (next(rows), "drop", "", "ant"))

    monkeypatch.setattr(tasks.pseudo_label, "write_table", write_and_decide)


def test_a_decision_that_comes_while_the_stage_runs_is_applied(params, tmp_path, monkeypatch):
    write_inputs(tmp_path)
    decide(tmp_path, (5, "drop", "", "bee"))
    decide_meanwhile(monkeypatch, tmp_path, 2)
    table, metrics = run(params, tmp_path)
    assert not {3, 5, 8} & set(column_array(table, "example_id").tolist())
    assert metrics["decisions"]["drop"] == 3
    assert metrics["decisions"]["md5"] == hashlib.md5((tmp_path / PATH).read_bytes()).hexdigest()


def test_a_stage_that_never_sees_the_last_decision_fails(params, tmp_path, monkeypatch):
    write_inputs(tmp_path)
    decide_meanwhile(monkeypatch, tmp_path, 1_000)
    with pytest.raises(ArtifactError, match="changed 10 times in a row"):
        run(params, tmp_path)
