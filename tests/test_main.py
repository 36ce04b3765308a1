"""The command line: one readable paragraph and exit status 1, or usage and 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.command_line import main

SHIPPED = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text(SHIPPED.read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_missing_input_is_one_paragraph_and_status_1(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pseudo_label"]) == 1
    error = capsys.readouterr().err
    assert "pseudo_label: " in error
    assert "label_issues.parquet" in error
    assert "dvc repro prune" in error
    assert "Traceback" not in error
    assert not (workspace / "data").exists()


def test_a_wrong_parameter_names_its_path(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "params.yaml").write_text(SHIPPED.read_text().replace("epochs: 5", "epochs: 0"))
    assert main(["download"]) == 1
    assert "train_fold.epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("model: convnet", "model: convnt", "train_fold.model: expected one of "),
        ("muon_lr: 0.1", "muon_lr: fast", "models.convnet.muon_lr: "),
    ],
)
def test_a_wrong_plugin_or_option_is_told_before_any_stage_runs(
    workspace: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    (workspace / "params.yaml").write_text(SHIPPED.read_text().replace(old, new))
    assert main(["download"]) == 1
    assert says in capsys.readouterr().err
    assert not (workspace / "data").exists()


def test_debug_shows_the_traceback(workspace: Path) -> None:
    with pytest.raises(Exception, match=r"label_issues\.parquet"):
        main(["pseudo_label", "--debug"])


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["train_fold"], ["prune", "--fold", "1"], ["retrain", "--fold", "1"], []]
)
def test_wrong_usage_is_status_2(workspace: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_a_fold_or_label_set_that_is_not_there_is_named(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train_fold", "--fold", "7"]) == 1
    assert "expected one of [0, 1, 2, 3, 4], found 7" in capsys.readouterr().err
    assert main(["retrain", "--labels", "best"]) == 1
    assert "expected one of given, cleaned, true, found best" in capsys.readouterr().err


def test_stage_times_are_recorded_where_asked(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SHIPPED.read_text().replace("dataset: mnist", "dataset: digits")
    (workspace / "params.yaml").write_text(text)
    monkeypatch.setenv("RELABEL_STAGE_RECORD", str(workspace / "times.jsonl"))
    assert main(["download"]) == 0
    assert '"stage": "download"' in (workspace / "times.jsonl").read_text()
    # The flow tells by it what ran from what was restored, and why it failed.
    assert main(["import-probs", "--pred-probs", "none.npy", "--labels", "none.csv"]) == 1
    last = json.loads((workspace / "times.jsonl").read_text().splitlines()[-1])
    assert last["stage"] == "import_probs"
    assert "none.npy" in last["failure"]


def test_what_a_process_says_reaches_a_pipe_though_it_ends_without_tearing_down(tmp_path: Path) -> None:
    preset = [sys.executable, "-m", "tasks", "preset", "digits", "--into", str(tmp_path / "digits")]
    said = subprocess.run(preset, cwd=SHIPPED.parent, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    assert str(tmp_path / "digits") in said.stdout


def test_the_status_is_that_of_the_work_though_stdout_is_closed_or_its_reader_has_left(
    workspace: Path, tmp_path: Path
) -> None:
    text = SHIPPED.read_text().replace("dataset: mnist", "dataset: digits")
    (workspace / "params.yaml").write_text(text)
    python = [sys.executable, "-m", "tasks"]
    # An empty word lets Python keep what it prints until it ends.
    here = {**os.environ, "PYTHONPATH": str(SHIPPED.parent), "PYTHONUNBUFFERED": ""}
    reader, left = os.pipe()
    os.close(reader)
    stage = subprocess.run([*python, "download"], stdout=left, stderr=subprocess.PIPE, env=here)
    os.close(left)
    assert (stage.returncode, stage.stderr) == (0, b"")
    assert (workspace / "data" / "examples.parquet").exists()
    preset = [*python, "preset", "digits", "--into", str(tmp_path / "digits")]
    closed = ["sh", "-c", 'exec "$@" >&-', "sh"]
    made = subprocess.run([*closed, *preset], cwd=SHIPPED.parent, capture_output=True)
    assert (made.returncode, made.stderr) == (0, b"")
