"""`python -m tasks explain`, beside the tables that it reads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_made import write_run

from tasks.command_line import main
from tasks.decisions.log import PATH, Decision, append_decisions, read_decisions
from tasks.explain import _ordinal, describe_life
from tasks.params import load_params
from tasks.pseudo_label import pseudo_label
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS, TRAINING_SET
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table, write_table
from tasks.tables.schemas import column_array


def life_of(folder: Path, example_id: int, ask_classifiers: bool = False) -> dict[str, Any]:
    return describe_life(load_params(folder / "params.yaml"), folder, str(example_id), ask_classifiers)


def decide(
    folder: Path,
    example_id: int,
    decision: str,
    label: str = "",
    given: str | None = None,
    reason: str = "",
) -> None:
    given = given or life_of(folder, example_id)["given_label"]
    line = Decision(
        str(example_id), decision, label, given, "anna", "2026-01-31T12:00:00Z", "0123456789ab-dirty", reason
    )
    append_decisions(folder / PATH, [line])


def worst(folder: Path) -> int:
    issues = read_table(folder / "data" / "label_issues.parquet", LABEL_ISSUES)
    return int(column_array(issues, "example_id")[issues.column("rank").to_pylist().index(0)])


def test_every_row_is_told_as_the_tables_have_it(finished_run: Path) -> None:
    data = finished_run / "data"
    issues = read_table(data / "label_issues.parquet", LABEL_ISSUES).to_pylist()
    predictions = read_table(data / "pred_probs.parquet", PRED_PROBS)
    trained = {
        row["example_id"]: row for row in read_table(data / "training_set.parquet", TRAINING_SET).to_pylist()
    }
    given = {
        row["example_id"]: row for row in read_table(data / "given_labels.parquet", GIVEN_LABELS).to_pylist()
    }
    names = read_facts(predictions).class_names
    probs = dict(
        zip(column_array(predictions, "example_id"), column_array(predictions, "pred_probs"), strict=True)
    )
    some = [row for row in issues if row["is_issue"]][:6] + [row for row in issues if not row["is_issue"]][:2]
    for row in some:
        life = life_of(finished_run, row["example_id"])
        source = given[row["example_id"]]
        assert life["given_label"] == names[source["given_label"]]
        assert life["true_label"] == names[source["true_label"]]
        assert list(life["prediction"]["pred_probs"].values()) == probs[row["example_id"]].tolist()
        assert life["issue"]["scores"]["self_confidence"] == row["self_confidence"]
        assert life["issue"]["filters"]["both"] == row["both"]
        assert (life["issue"]["rank"], life["issue"]["is_issue"]) == (row["rank"], row["is_issue"])
        assert life["issue"]["n_issues"] == sum(row["is_issue"] for row in issues)
        repaired = trained[row["example_id"]]
        assert life["training"]["action"] == repaired["action"]
        dropped = repaired["action"] == "dropped"
        assert life["training"]["label"] == (None if dropped else names[repaired["label"]])
        assert life["training"]["up_to_date"]
        assert life["decisions"] == []


def test_decisions_are_told_with_what_became_of_them(workspace_copy: Path) -> None:
    example_id = worst(workspace_copy)
    decide(workspace_copy, example_id, "drop")
    (line,) = read_decisions(workspace_copy / PATH)
    decide(workspace_copy, example_id, "undo", line.name)
    decide(workspace_copy, example_id, "choose", "7")
    decide(workspace_copy, example_id, "keep")
    life = life_of(workspace_copy, example_id)
    assert [line["outcome"] for line in life["decisions"]] == ["withdrawn", "undo", "replaced", "stands"]
    assert life["decisions"][3]["revision"] == "0123456789ab-dirty"
    assert not life["training"]["up_to_date"]
    pseudo_label(load_params(workspace_copy / "params.yaml"), workspace_copy)
    life = life_of(workspace_copy, example_id)
    assert life["training"]["action"] == life["training"]["source"] == "reviewed"
    assert life["training"]["label"] == life["given_label"]
    assert life["training"]["up_to_date"]
    decide(workspace_copy, example_id, "drop")
    assert not life_of(workspace_copy, example_id)["training"]["up_to_date"]
    pseudo_label(load_params(workspace_copy / "params.yaml"), workspace_copy)
    assert life_of(workspace_copy, example_id)["training"] == {
        "action": "dropped", "label": None, "up_to_date": True
    }  # fmt: skip
    # A stage that has not seen the latest line is not up to date, though the row is what it would be.
    decide(workspace_copy, example_id, "drop")
    assert not life_of(workspace_copy, example_id)["training"]["up_to_date"]
    # The row went back to another given label: what was said of the old one is not applied.
    decide(workspace_copy, example_id, "keep", given="none of them")
    assert (
        "given label was none of them" in life_of(workspace_copy, example_id)["decisions"][-1]["not_applied"]
    )


def test_the_command_asks_the_classifiers_and_prints_one_story(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished_run)
    example_id = worst(finished_run)
    assert main(["explain", str(example_id), "--json"]) == 0
    life = json.loads(capsys.readouterr().out)
    assert set(life["classifiers"]) == {"given", "cleaned", "true"}
    for probs in life["classifiers"].values():
        assert sum(probs.values()) == pytest.approx(1, abs=1e-4)
    # The classifier of the true labels knows better than the label that was given.
    assert np.argmax(list(life["classifiers"]["true"].values())) == int(life["true_label"])
    assert main(["explain", str(example_id), "--no-classifiers"]) == 0
    said = capsys.readouterr().out
    metrics = json.loads((finished_run / "metrics" / "label_issues.json").read_text())
    for part in (
        f"yes, 1st of {life['issue']['n_issues']} suspects (by auto)",
        "rule the noise model at sharpness",
        f"It flags {metrics['n_issues']:,} of {metrics['n_rows']:,} rows",
        "error_prob",
        "did not learn from this row",
        "self_confidence",
        "training set",
    ):
        assert part in " ".join(said.split())
    assert "trained on given" not in said


def test_a_decision_says_why_its_row_was_shown(
    workspace_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example_id = worst(workspace_copy)
    for reason in ("suspect", "audit", ""):
        decide(workspace_copy, example_id, "keep", reason=reason)
    assert [line["reason"] for line in life_of(workspace_copy, example_id)["decisions"]] == [
        "suspect",
        "audit",
        "",
    ]
    monkeypatch.chdir(workspace_copy)
    assert main(["explain", str(example_id), "--no-classifiers"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("shown as a suspect") == said.count("drawn at random") == 1
    assert said.count("anna: keep") == 3


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (13, "13th"), (21, "21st"),
     (112, "112th"), (1_203, "1,203rd"), (5_990, "5,990th")],
)  # fmt: skip
def test_a_place_is_counted_as_people_do(number: int, said: str) -> None:
    assert _ordinal(number) == said


def test_a_reader_that_leaves_early_is_no_error(finished_run: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tasks",
        "explain",
        str(worst(finished_run)),
        "--no-classifiers",
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        command, cwd=finished_run, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_test_row_and_a_half_finished_run_are_told_as_far_as_they_go(workspace_copy: Path) -> None:
    given = read_table(workspace_copy / "data" / "given_labels.parquet", GIVEN_LABELS)
    test_row = int(column_array(given, "example_id")[column_array(given, "split") == "test"][0])
    life = life_of(workspace_copy, test_row)
    assert (life["split"], life["prediction"], life["issue"], life["training"]) == ("test", None, None, None)
    example_id = worst(workspace_copy)
    (workspace_copy / "data" / "training_set.parquet").unlink()
    (workspace_copy / "data" / "pred_probs.parquet").unlink()
    life = life_of(workspace_copy, example_id)
    assert (life["prediction"], life["training"]) == (None, None)
    assert life["issue"]["is_issue"]


def test_a_pooled_row_says_which_split_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, ["a text"] * 60, pooled=True)
    monkeypatch.chdir(tmp_path)
    for example_id, split, said in (9, "test", "split test, pooled with train"), (6, "train", "split train"):
        life = life_of(tmp_path, example_id)
        assert (life["split"], life["original_split"]) == ("train", split)
        assert main(["explain", str(example_id)]) == 0
        assert f"{example_id} of mine, {said} revision" in " ".join(capsys.readouterr().out.split())


def test_what_cannot_be_explained_is_one_sentence(
    workspace_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workspace_copy)
    assert main(["explain", "123456"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("explain: expected the key of a row")
    assert "'123456'" in said
    assert said.count("\n") == 1
    path = EXAMPLES.at(workspace_copy)
    write_table(
        path, read_table(path, EXAMPLES), EXAMPLES, {"left_out": "1 row is left out: 123456 (no text)."}
    )
    assert main(["explain", "123456"]) == 1
    assert capsys.readouterr().err.endswith("which is none. 1 row is left out: 123456 (no text).\n")
    # A number that no integer of 64 bits is, and one that Python does not read.
    for key in ("9" * 30, "9" * 5000):
        assert main(["explain", key]) == 1
        assert capsys.readouterr().err.startswith("explain: expected the key of a row")
    (workspace_copy / PATH).parent.mkdir()
    (workspace_copy / PATH).write_text("id\n")
    assert main(["explain", "0"]) == 1
    assert "line 1: expected the header" in capsys.readouterr().err
    (workspace_copy / "data" / "given_labels.parquet").unlink()
    assert main(["explain", "0"]) == 1
    assert "dvc repro inject_noise" in capsys.readouterr().err


def test_of_probabilities_from_elsewhere_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, [f"text {row}" for row in range(90)])
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "3", "--no-classifiers"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "whether its model learned from this row is not on record" in said
    assert "did not learn from this row" not in said
