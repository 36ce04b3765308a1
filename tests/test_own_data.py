"""A person's own data, from files to report: features, named labels, truth known for test rows alone."""

import csv
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML
from sklearn.datasets import load_digits
from small_runs import ENVIRONMENT, ROOT, dvc, run_pipeline, write_params
from warm import run_warm

from benchmarks.workspaces import make_workspace, set_params
from tasks.tables.catalog import (
    FOLD_UNLABELED_PROBS,
    HELD_OUT,
    LABEL_ISSUES,
    PRED_PROBS,
    SPLIT_ROWS,
    TRAINING_SET,
    UNLABELED_PROBS,
)
from tasks.tables.io import read_table
from tasks.tables.keys import example_id_of
from tasks.tables.schemas import column_array

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A finished run on own files, and the ids whose label in the CSV is wrong."""
    folder = tmp_path_factory.mktemp("own")
    digits = load_digits()
    ids = np.arange(len(digits.target)) * 7 + 1000
    is_test = np.arange(len(ids)) % 4 == 0
    rng = np.random.default_rng(0)
    wrong = rng.choice(np.flatnonzero(~is_test), 100, replace=False)
    labels = digits.target.copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, 100)) % 10

    (folder / "inputs" / "examples").mkdir(parents=True)
    (folder / "inputs" / "labels").mkdir()
    examples = pa.table(
        {
            "example_id": ids,
            "split": np.where(is_test, "test", "train"),
            "true_label": pa.array(digits.target, pa.int64(), mask=~is_test),
            "features": list(digits.data),
        }
    )
    pq.write_table(examples, folder / "inputs" / "examples" / "examples.parquet")
    with (folder / "inputs" / "labels" / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["example_id", "given_label"])
        rows.writerows((ids[i], NAMES[labels[i]]) for i in rng.permutation(np.flatnonzero(~is_test)))

    write_params(
        folder, inject_noise__kind="file", inject_noise__path="labels.csv", train_fold__model="logistic"
    )
    sets = {
        "given": {"table": "given_labels", "checkpoint": "classifier_given"},
        "cleaned": {"table": "training_set", "checkpoint": "classifier"},
    }
    own = {"download.dataset": "parquet", "datasets.parquet.class_names": NAMES, "retrain.label_sets": sets}
    set_params(folder / "params.yaml", own | {"train_fold.model": "logistic"})
    run_pipeline(folder)
    return folder, ids[wrong]


def test_wrong_labels_are_found_without_knowing_the_truth(own_run: tuple[Path, np.ndarray]) -> None:
    folder, wrong = own_run
    issues = read_table(folder / "data" / "label_issues.parquet", LABEL_ISSUES)
    flagged = column_array(issues, "example_id")[column_array(issues, "is_issue")]
    hits = len(np.intersect1d(flagged, wrong))
    assert hits / len(wrong) > 0.8
    assert hits / len(flagged) > 0.6


def test_metrics_claim_nothing_that_is_not_known(own_run: tuple[Path, np.ndarray]) -> None:
    folder, _ = own_run
    found = json.loads((folder / "metrics" / "label_issues.json").read_text())
    assert set(found) == {
        *("n_rows", "n_issues", "rule", "n_contradicting"),
        *("n_errors_estimated", "n_errors_low", "n_errors_high"),
    }
    assert "true" not in json.loads((folder / "metrics" / "cross_validation.json").read_text())
    assert "label_accuracy" not in json.loads((folder / "metrics" / "training_set.json").read_text())
    assert set(json.loads((folder / "metrics" / "report.json").read_text())) == {
        *("gain", "gain_low", "gain_high")
    }


def test_the_test_rows_measure_the_gain(own_run: tuple[Path, np.ndarray]) -> None:
    folder, _ = own_run
    accuracy = {
        name: json.loads((folder / "metrics" / f"retrain_{name}.json").read_text())["test"]["accuracy"]
        for name in ("given", "cleaned")
    }
    assert min(accuracy.values()) > 0.85
    page = (folder / "report" / "index.html").read_text()
    assert "estimated" in page
    assert "seven" in page


def test_the_training_set_keeps_the_given_label_of_every_row(own_run: tuple[Path, np.ndarray]) -> None:
    folder, wrong = own_run
    table = read_table(folder / "data" / "training_set.parquet", TRAINING_SET)
    pseudo = column_array(table, "source") == "pseudo"
    changed = column_array(table, "label") != column_array(table, "given_label")
    np.testing.assert_array_equal(pseudo, changed)
    assert pseudo.any()
    assert np.isin(column_array(table, "example_id")[pseudo], wrong).mean() > 0.6


@pytest.fixture
def own_probs(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A workspace with two files of one's own in inputs/probs, given labels (N,) and true ones."""
    folder = tmp_path / "workspace"
    make_workspace(folder, {}, source=ROOT)
    rng = np.random.default_rng(0)
    true = rng.integers(3, size=300)
    given = np.where(rng.random(300) < 0.1, (true + 1) % 3, true)
    inputs = folder / "inputs" / "probs"
    np.save(inputs / "pred_probs.npy", np.where(np.eye(3)[true] > 0, 0.9, 0.05))
    names = np.array(["ant", "bee", "cat"])
    (inputs / "labels.csv").write_text("given_label\n" + "\n".join(names[given]) + "\n")
    return folder, given, true


# DVC and git keep versions in somebody's name.
AUTHOR = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT | AUTHOR, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_probabilities_from_elsewhere_are_pruned_without_download_or_training(own_probs) -> None:
    # As the manual says: two files of one's own, then `prune` and `pseudo_label`.
    folder, given, true = own_probs
    files = ("--pred-probs", "inputs/probs/pred_probs.npy", "--labels", "inputs/probs/labels.csv")
    words = ["tasks", "import-probs", *files, "--class-names", "ant,bee,cat"]
    status, said, _ = run_warm(words, folder, ENVIRONMENT)
    assert status == 0, said
    assert "dvc repro --single-item prune" in said
    dvc(folder, "repro", "--single-item", "prune")
    dvc(folder, "repro", "--single-item", "pseudo_label")
    status = dvc(folder, "status")
    assert "inject_noise" in status
    assert "prune:" not in status
    assert "pseudo_label:" not in status
    issues = read_table(folder / "data" / "label_issues.parquet", LABEL_ISSUES)
    flagged = column_array(issues, "example_id")[column_array(issues, "is_issue")]
    assert set(flagged) == set(np.flatnonzero(given != true))
    repaired = read_table(folder / "data" / "training_set.parquet", TRAINING_SET)
    np.testing.assert_array_equal(column_array(repaired, "label"), true)


@pytest.mark.slow
def test_probabilities_from_elsewhere_have_versions_too(own_probs) -> None:
    folder, *_ = own_probs
    pipeline = (ROOT / "docs" / "own_probs.yaml").read_text()
    (folder / "dvc.yaml").write_text(pipeline.replace('options: ""', "options: --class-names ant,bee,cat"))
    said = dvc(folder, "repro")
    assert "--single-item" not in said
    for command in (["add", "--all"], ["commit", "--quiet", "--no-gpg-sign", "-m", "Own"]):
        run(folder, "git", *command)
    assert not run(folder, "git", "ls-files", "inputs/probs/*.npy", "data")
    tables = [folder / "data" / f"{name}.parquet" for name in ("given_labels", "pred_probs", "label_issues")]
    first = [path.read_bytes() for path in tables]
    changes = ["-S", "prune.filter_by=both", "-S", "prune.frac_noise=0.5"]
    dvc(folder, "exp", "run", *changes, "--name", "half", **AUTHOR)
    assert [path.read_bytes() for path in tables[:2]] == first[:2]
    assert tables[2].read_bytes() != first[2]
    status, told, _ = run_warm(["flows.compare", "HEAD", "half", "--json"], folder, ENVIRONMENT, apart=True)
    assert status == 0
    found = json.loads(told)
    assert found["params"]
    # Back to the first version, and all is as it was.
    run(folder, "git", "checkout", "--quiet", "params.yaml", "dvc.lock", "metrics")
    dvc(folder, "checkout")
    assert [path.read_bytes() for path in tables] == first


def test_the_pipeline_for_own_probabilities_has_the_stages_of_the_main_one() -> None:
    own, main = (
        YAML(typ="safe").load((ROOT / path).read_text())["stages"]
        for path in ("docs/own_probs.yaml", "dvc.yaml")
    )
    assert own.keys() == {"import_probs", "prune", "pseudo_label", "report"}
    assert own["prune"] == main["prune"]
    assert own["pseudo_label"] == main["pseudo_label"]
    trained = {"data/test_probs", "plots/retrain", "plots/train_fold"}
    assert set(own["report"]["deps"]) == set(main["report"]["deps"]) - trained
    for part in ("cmd", "outs", "metrics"):
        assert own["report"][part] == main["report"][part]
    assert set(own["report"]["params"]) < set(main["report"]["params"])


@pytest.fixture(scope="module")
def named_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on rows with names for ids and labels that people gave, some without one, and no test split."""
    folder = tmp_path_factory.mktemp("named")
    digits = load_digits()
    rng = np.random.default_rng(1)
    n = len(digits.target)
    wrong = rng.random(n) < 0.08
    labels = np.where(wrong, (digits.target + 1) % 10, digits.target)
    unlabeled = np.arange(n) % 5 == 0
    given = [None if unlabeled[row] else NAMES[labels[row]] for row in range(n)]
    examples = pa.table(
        {
            "example_id": [f"scans/{row:04d}.png" for row in range(n)],
            "split": np.where(unlabeled, "unlabeled", "train"),
            "given_label": pa.array(given),
            "features": list(digits.data),
        }
    )
    (folder / "inputs" / "examples").mkdir(parents=True)
    pq.write_table(examples, folder / "inputs" / "examples" / "examples.parquet")
    sets = {
        "given": {"table": "given_labels", "checkpoint": "classifier_given"},
        "cleaned": {"table": "training_set", "checkpoint": "classifier"},
    }
    write_params(folder, inject_noise__kind="none", train_fold__model="nearest_mean")
    own = {"download.dataset": "parquet", "datasets.parquet.class_names": NAMES, "retrain.label_sets": sets}
    set_params(folder / "params.yaml", own)
    run_pipeline(folder)
    return folder


def test_rows_keep_the_names_that_their_owner_gave_them(named_run: Path) -> None:
    issues = read_table(LABEL_ISSUES.at(named_run), LABEL_ISSUES)
    keys = issues.column("key").to_pylist()
    assert all(re.fullmatch(r"scans/\d{4}\.png", key) for key in keys)
    assert [example_id_of(key) for key in keys] == issues.column("example_id").to_pylist()
    assert re.search(r"<figcaption>scans/\d{4}\.png<br>", (named_run / "report" / "index.html").read_text())


def test_a_tenth_of_the_rows_is_held_out_and_measures_the_repair(named_run: Path) -> None:
    splits = read_table(SPLIT_ROWS.at(named_run), SPLIT_ROWS)
    split, original = column_array(splits, "split"), column_array(splits, "original_split")
    n_held = int((split == HELD_OUT).sum())
    assert n_held / (original == "train").sum() == pytest.approx(0.1, abs=0.01)
    trained_on = column_array(read_table(TRAINING_SET.at(named_run), TRAINING_SET), "example_id")
    held = column_array(splits, "example_id")[split == HELD_OUT]
    assert not np.isin(held, trained_on).any()
    run = json.loads((named_run / "metrics" / "retrain_cleaned.json").read_text())
    assert (run["n_test_rows"], run["test_split"], run["test_labels"]) == (n_held, HELD_OUT, "given")
    assert "by their <b>given</b> labels" in (named_run / "report" / "index.html").read_text()


def test_unlabelled_rows_are_predicted_by_the_models_of_all_folds(named_run: Path) -> None:
    found = read_table(UNLABELED_PROBS.at(named_run), UNLABELED_PROBS)
    splits = read_table(SPLIT_ROWS.at(named_run), SPLIT_ROWS)
    unlabeled = column_array(splits, "example_id")[column_array(splits, "split") == "unlabeled"]
    np.testing.assert_array_equal(column_array(found, "example_id"), unlabeled)
    folds = [
        column_array(
            read_table(FOLD_UNLABELED_PROBS.at(named_run, fold=fold), FOLD_UNLABELED_PROBS), "pred_probs"
        )
        for fold in (0, 1)
    ]
    np.testing.assert_allclose(column_array(found, "pred_probs"), np.mean(folds, axis=0), atol=1e-6)


def test_a_model_without_epochs_leaves_no_curve_and_no_signal(named_run: Path) -> None:
    probs = read_table(PRED_PROBS.at(named_run), PRED_PROBS)
    assert probs.column("mean_margin").null_count == probs.num_rows
    assert 'id="curves"' not in (named_run / "report" / "index.html").read_text()
