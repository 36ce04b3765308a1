"""Metrics and plots of earlier stages: damaged ones are a sentence that names the file, never a traceback."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_made import write_run

from tasks import ArtifactError
from tasks.report import report
from tasks.reporting.matrices import read_entries
from tasks.reporting.measured import CrossValidation, Detection, read_metrics, read_plot

QUALITY = {"accuracy": 0.9, "log_loss": 0.3, "expected_calibration_error": 0.1}
FOUND: dict[str, Any] = {"n_rows": 9, "given": QUALITY, "true": QUALITY, "of_a_later_version": [1]}


def test_metrics_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "cross_validation.json"
    path.write_text(json.dumps(FOUND))
    assert read_metrics(path, CrossValidation) == FOUND


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"[]",
        b"[" * 100_000,
        b'{"n_rows": 9}',
        b'\xff\xfe{"n_rows": 9}',
        json.dumps(FOUND | {"n_rows": "9"}).encode(),
        json.dumps(FOUND | {"n_rows": 1e400}).encode(),
        json.dumps(FOUND | {"given": QUALITY | {"accuracy": 1.5}}).encode(),
        json.dumps(FOUND | {"given": QUALITY | {"accuracy": "x" * 70_000}}).encode(),
        json.dumps(FOUND | {"given": QUALITY | {"log_loss": float("nan")}}).encode(),
    ],
)
def test_damaged_metrics_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cross_validation.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as found:
        read_metrics(path, CrossValidation)
    assert str(found.value).startswith(f"{path}: expected")
    assert len(str(found.value)) < 1000


def test_what_is_measured_against_the_truth_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "label_issues.json"
    estimated = {"n_rows": 9, "n_issues": 1, "n_errors_estimated": 1}
    measured = {"n_errors": 2, "precision": 1.0, "recall": 0.5, "f1": None}
    too_weak = {"n_errors_estimated": None}
    for content in (estimated, estimated | measured, estimated | too_weak, estimated | measured | too_weak):
        path.write_text(json.dumps(content))
        assert read_metrics(path, Detection) == content
    for name in measured:
        path.write_text(
            json.dumps({key: value for key, value in (estimated | measured).items() if key != name})
        )
        with pytest.raises(ArtifactError, match=name):
            read_metrics(path, Detection)


HEAD = "given,true,confident_joint\n"


@pytest.mark.parametrize(
    "content",
    [
        *("", HEAD, "given,true\na,b\n", "given,true,confident_joint,confident_joint\na,b,1,2\n", "\0" * 50),
        *(f"{HEAD}a,b\n", f"{HEAD}a,b,\n", f"{HEAD}a,b,inf\n", f"{HEAD}a,b,x\n", f"{HEAD}z,b,1\n"),
        *(f'{HEAD}"a,b,1\n', f"{HEAD}a,b,{'9' * 200_000}\n"),
    ],
)
def test_damaged_plots_are_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "joints.csv"
    path.write_text(content)
    with pytest.raises(ArtifactError) as found:
        read_entries(path, ["a", "b"])
    assert str(found.value).startswith(f"{path}: expected")
    assert len(str(found.value)) < 1000


@pytest.mark.parametrize("read", [partial(read_metrics, form=Detection), partial(read_plot, texts=[])])
def test_a_file_without_permission_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tasks.reporting.measured.read_small", refuse)
    with pytest.raises(ArtifactError, match="permission") as found:
        read(tmp_path / "file")
    assert "ebuild" not in str(found.value)


def test_an_empty_cell_and_a_nan_are_no_number(tmp_path: Path) -> None:
    path = tmp_path / "filters.csv"
    path.write_text("filter,n_issues,f1\nboth,3,nan\nnone,0,\n")
    assert read_plot(path, ["filter"], ["n_issues"]) == [
        {"filter": "both", "n_issues": 3, "f1": None},
        {"filter": "none", "n_issues": 0, "f1": None},
    ]


def test_curves_of_differing_lengths_are_one_sentence(tmp_path: Path) -> None:
    params = write_run(tmp_path, np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32))
    path = tmp_path / "plots" / "train_fold" / "fold_1" / "plots" / "metrics" / "validation" / "accuracy.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ArtifactError, match=r"fold_1\S+accuracy.tsv: expected .*3 epochs.* 4"):
        report(params, tmp_path)
