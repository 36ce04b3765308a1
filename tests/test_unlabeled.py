"""Rows without a label, through the pipeline: hidden, predicted, taken where sure, learned from, measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_runs import run_pipeline, write_params

from tasks.tables.catalog import EXAMPLES, TEST_PROBS, TRAINING_SET, UNLABELED_PROBS
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage ran on digits with ten labels a class, by logistic regression."""
    folder = tmp_path_factory.mktemp("unlabeled")
    write_params(
        folder,
        download__labels_per_class=10,
        inject_noise__rate=0.0,
        train_fold__model="logistic",
        pseudo_labels__threshold__min_confidence=0.5,
    )
    run_pipeline(folder)
    return folder


def test_the_five_steps_learn_from_rows_without_a_label(run: Path) -> None:
    table = read_table(TRAINING_SET.at(run), TRAINING_SET)
    source, action = column_array(table, "source"), column_array(table, "action")
    joined = (source == "unlabeled") & (action == "pseudo_labelled")
    metrics = json.loads((run / "metrics" / "training_set.json").read_text())["unlabeled"]
    assert joined.sum() == metrics["n_joined"] > 300
    assert (source == "unlabeled").sum() == metrics["n_rows"] == 1438 - 100
    assert metrics["label_accuracy"]["of_joined"] > metrics["label_accuracy"]["of_all"] > 0.8
    given, cleaned = (
        json.loads((run / "metrics" / f"retrain_{name}.json").read_text()) for name in ("given", "cleaned")
    )
    assert given["n_rows"] == 100
    assert cleaned["n_rows"] == 100 + metrics["n_joined"] - metrics_dropped(run)


def metrics_dropped(run: Path) -> int:
    return json.loads((run / "metrics" / "training_set.json").read_text())["actions"]["dropped"]


def test_the_labels_that_joined_are_those_of_models_that_saw_labelled_rows_alone(run: Path) -> None:
    table = read_table(TRAINING_SET.at(run), TRAINING_SET).to_pandas().set_index("example_id")
    probs = read_table(UNLABELED_PROBS.at(run), UNLABELED_PROBS)
    values, ids = column_array(probs, "pred_probs"), column_array(probs, "example_id")
    joined = (table.action[ids] == "pseudo_labelled").to_numpy()
    assert values.max(axis=1)[joined].min() >= 0.5
    np.testing.assert_array_equal(table.label[ids][joined], values.argmax(axis=1)[joined])
    assert table.given_label[ids].isna().all()


def test_the_retrained_model_predicts_the_rows_without_a_label(run: Path) -> None:
    examples = read_table(EXAMPLES.at(run), EXAMPLES, columns=["split"])
    split = column_array(examples, "split")
    found = read_table(TEST_PROBS.at(run, labels="cleaned"), TEST_PROBS)
    is_predicted = np.isin(column_array(examples, "example_id"), column_array(found, "example_id"))
    assert set(split[is_predicted]) == {"test", "unlabeled"}
    assert (is_predicted == (split != "train")).all()


def test_the_report_counts_the_rows_that_joined(run: Path) -> None:
    joined = json.loads((run / "metrics" / "training_set.json").read_text())["unlabeled"]["n_joined"]
    assert f"rows without a label that joined,{joined}" in (run / "plots" / "funnel.csv").read_text().replace(
        '"', ""
    )
    assert f"{joined:,} of 1,338 rows without a label joined" in (run / "report" / "index.html").read_text()
