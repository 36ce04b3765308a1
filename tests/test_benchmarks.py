"""What the benchmarks say, and the workspaces that they make."""

import csv
import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from small_runs import ROOT

from benchmarks.accept import settings
from benchmarks.data import describe as describe_data
from benchmarks.doors import idle_share
from benchmarks.frozen import Split, draw_labelled, errors
from benchmarks.killing import leftovers
from benchmarks.stopping import Population, is_possible
from benchmarks.stopping import measure as measure_stopping
from benchmarks.unlabeled import METHODS, cell_text
from benchmarks.unlabeled import settings as settings_of_cell
from benchmarks.unlabeled_table import measure as measure_table
from benchmarks.unlabeled_table import write_table
from benchmarks.why_unlabeled import ellipse_of, qda_panels, write_picture
from benchmarks.workspaces import make_workspace, set_params
from tasks.label_quality.audit import bound_wrong
from tasks.params import load_params


def test_time_outside_stages_counts_stages_side_by_side_once(tmp_path: Path) -> None:
    folder = tmp_path / ".dvc" / "tmp" / "relabel"
    folder.mkdir(parents=True)
    for name, began_at, wall_s in (
        ("a", 100.0, 4.0),
        ("b", 102.0, 4.0),
        ("c", 103.0, 1.0),
        ("d", 108.0, 1.0),
    ):
        (folder / f"{name}.jsonl").write_text(json.dumps({"began_at": began_at, "wall_s": wall_s}) + "\n")
    # At work from 100 to 106 and from 108 to 109.
    assert idle_share(tmp_path, 10.0) == pytest.approx(0.3)


def test_a_workspace_is_a_repository_with_its_own_parameters(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "workspace"
    make_workspace(folder, settings(seed=2, rate=0.4), source=ROOT)
    params = load_params(folder / "params.yaml")
    assert (params.inject_noise.rate, params.inject_noise.seed, params.retrain.seed) == (0.4, 2, 2)
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""


def test_changing_a_parameter_changes_nothing_else_and_keeps_the_comments(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shipped = (ROOT / "params.yaml").read_text()
    path.write_text(shipped)
    set_params(path, {"train_fold.epochs": 3})
    expected = load_params(ROOT / "params.yaml").model_dump()
    expected["train_fold"]["epochs"] = 3
    assert load_params(path).model_dump() == expected
    comments = [line.split("#", 1)[1] for line in shipped.splitlines() if "#" in line]
    assert [line.split("#", 1)[1] for line in path.read_text().splitlines() if "#" in line] == comments


@pytest.mark.parametrize("method", METHODS)
def test_a_cell_with_unlabelled_rows_has_parameters_that_hold(tmp_path: Path, method: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    set_params(path, settings_of_cell(method, "digits", 100, 3, 50))
    params = load_params(path)
    assert (params.download.labels_per_class, params.download.labels_seed) == (10, 3)
    assert len(params.retrain.label_sets) == 1


def test_a_cell_says_mean_spread_and_how_many_runs() -> None:
    assert cell_text([1.0, 2.0, 3.0]) == "2.00 ± 1.00 (3)"
    assert cell_text([1.5]) == "1.50 (1)"


def test_an_ellipse_has_the_deviations_of_its_covariance_as_axes() -> None:
    turn = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    long, short, angle = ellipse_of(turn @ np.diag([9.0, 4.0]) @ turn.T, 2)
    assert (long, short) == pytest.approx((6, 4))
    assert np.tan(np.radians(angle)) == pytest.approx(np.tan(0.5))


def test_the_picture_of_ellipses_in_the_manual_is_what_the_code_draws(tmp_path: Path) -> None:
    write_picture(tmp_path / "qda.svg", qda_panels())
    assert (tmp_path / "qda.svg").read_text() == (ROOT / "docs" / "qda.svg").read_text()


def test_a_table_with_few_labels_hides_all_others_and_gains_from_rows_without_one(tmp_path: Path) -> None:
    path = tmp_path / "cancer.csv"
    write_table(path, 20, draw=0)
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shown = [row for row in rows if row["split"] != "test" and row["diagnosis"]]
    assert len(rows) == 569
    assert Counter(row["diagnosis"] for row in shown) == {"benign": 10, "malignant": 10}
    assert all(row["diagnosis"] in ("", row["truth"]) for row in rows)
    found = measure_table(tmp_path / "run", 20, 0, {})
    assert 0.9 < found.before < found.after < 1
    assert 0.9 * found.n_joined < found.n_right <= found.n_joined


def test_a_run_is_told_by_its_metrics_and_what_needs_the_truth_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "label_issues.json").write_text('{"n_rows": 1000, "f1": 0.5}')
    repair = {"n_rows_before": 1000, "n_rows_after": 900, "label_accuracy": {"before": 0.9, "after": 0.95}}
    (folder / "training_set.json").write_text(json.dumps(repair))
    assert describe_data(tmp_path, 61.4, 90.2, 1234.5) == [
        *("1,000", "61", "90", "1,234", "0.500", "90.0%", "95.0%", "90.0%")
    ]
    (folder / "label_issues.json").write_text('{"n_rows": 1000}')
    (folder / "training_set.json").write_text('{"n_rows_before": 1000, "n_rows_after": 900}')
    assert describe_data(tmp_path, 1, 1, 1)[4:] == ["", "", "", "90.0%"]


def test_reviewers_are_simulated_as_often_as_the_bounds_say() -> None:
    is_wrong = np.arange(400) < 20
    found = measure_stopping(Population("made up", is_wrong), 60)
    assert (found["rows"], found["wrong"]) == (400, 0.05)
    # 5 % are stated; fewer than 51 of 60 would be a miss of 3.5 standard deviations.
    assert min(found["holds after every verdict"], found["holds at the stop"]) >= 51 / 60
    # A row that is skipped can only widen the bounds.
    assert found["holds, skipping"] == 1
    assert found["ordinary interval"] < found["holds after every verdict"]
    assert 0.05 < found["at most, 200 verdicts"] < 0.15
    # What is checked after every verdict is what the bounds say.
    rng = np.random.default_rng(0)
    for seen in (1, 20, 150, 399, 400):
        for wrong in rng.hypergeometric(20, 380, seen, size=5).tolist():
            bounds = bound_wrong(400, seen, wrong)
            assert bool(is_possible(400, 20, np.array(seen), np.array(wrong))) == (
                bounds.low <= 20 <= bounds.high
            )


def test_labels_flow_along_frozen_features_where_few_are_known() -> None:
    """Two arcs of points, on which three labels a class say little and neighbours say much."""
    rng = np.random.default_rng(0)
    true = rng.integers(2, size=600)
    angle = rng.uniform(0, np.pi * 0.9, 600) + np.pi * true
    points = np.stack([np.cos(angle), np.sin(angle), 0.4 * (true - 0.5)], axis=1).astype(np.float32)
    split = Split(points[:400], true[:400], points[400:], true[400:], 2)
    own = draw_labelled(split.true, 3, 2, rng)
    assert split.true[own].tolist() == [0, 0, 0, 1, 1, 1]
    found = errors(split, own)
    assert set(found) == {"labelled rows alone", "threshold", "threshold, min_confidence 0.8", "propagation"}
    assert found["propagation"] <= found["labelled rows alone"]
    assert found["propagation"] < 10


def test_a_reader_that_is_dead_holds_no_lock(tmp_path: Path) -> None:
    locks = tmp_path / ".dvc" / "tmp" / "rwlock"
    locks.parent.mkdir(parents=True)
    with subprocess.Popen(["true"]) as dead:
        pass
    for entry, is_held in (
        ({"read": {"a": [{"pid": dead.pid, "cmd": "dvc repro"}]}}, False),
        ({"read": {"a": [{"pid": os.getpid(), "cmd": "dvc repro"}]}}, True),
        ({"write": {"a": {"pid": dead.pid, "cmd": "dvc repro"}}}, True),
        ({"read": {}, "write": {}}, False),
    ):
        locks.write_text(json.dumps(entry))
        assert bool(leftovers(tmp_path, tmp_path)) == is_held, entry
