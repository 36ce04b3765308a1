"""Stage retrain: one label set in, a checkpoint and its figures on the clean test split out."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from small_runs import write_params

from tasks import DatasetError
from tasks.models import classifier
from tasks.params import load_params
from tasks.retrain import retrain
from tasks.tables.catalog import EXAMPLES
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array


def test_metrics_are_those_of_the_checkpoint_on_the_true_test_labels(finished_run: Path) -> None:
    model, class_names = classifier.load(finished_run / "models" / "classifier.ckpt")
    assert class_names == tuple(str(k) for k in range(10))
    examples = read_table(finished_run / "data" / "examples.parquet", EXAMPLES)
    test = column_array(examples, "split") == "test"
    predicted = classifier.predict(model, column_array(examples, "image")[test]).pred_probs.argmax(axis=1)
    accuracy = np.mean(predicted == column_array(examples, "true_label")[test])
    metrics = json.loads((finished_run / "metrics" / "retrain_cleaned.json").read_text())
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy)
    assert metrics["n_test_rows"] == test.sum() == 359


def test_the_reliability_diagram_is_that_of_the_test_rows(finished_run: Path) -> None:
    for name in ("given", "cleaned", "true"):
        bins = pacsv.read_csv(finished_run / "plots" / "reliability" / f"retrain_{name}.csv").to_pylist()
        metrics = json.loads((finished_run / "metrics" / f"retrain_{name}.json").read_text())
        assert sum(row["rows"] for row in bins) == metrics["n_test_rows"]
        right = sum(row["rows"] * row["accuracy"] for row in bins) / metrics["n_test_rows"]
        assert right == pytest.approx(metrics["test"]["accuracy"])


def test_each_label_set_trains_on_its_own_labels(finished_run: Path) -> None:
    states = [
        (finished_run / "models" / f"{name}.ckpt").read_bytes()
        for name in ("classifier_given", "classifier", "classifier_true")
    ]
    assert len(set(states)) == 3
    rows = {
        name: json.loads((finished_run / "metrics" / f"retrain_{name}.json").read_text())["n_rows"]
        for name in ("given", "cleaned", "true")
    }
    kept = pq.read_metadata(finished_run / "data" / "training_set.parquet").num_rows
    assert rows == {"given": 1438, "cleaned": kept, "true": 1438}


def test_unknown_truth_is_refused_with_a_remedy(workspace_copy: Path) -> None:
    path = workspace_copy / "data" / "given_labels.parquet"
    table = pq.read_table(path)
    unknown = pa.nulls(table.num_rows, pa.int16())
    index = table.column_names.index("true_label")
    pq.write_table(table.set_column(index, table.schema.field("true_label"), unknown), path)
    with pytest.raises(DatasetError, match=r"Remove `true` from retrain\.label_sets"):
        retrain(load_params(workspace_copy / "params.yaml"), workspace_copy, labels="true")


def test_without_a_test_split_there_are_no_test_figures(workspace_copy: Path) -> None:
    write_params(workspace_copy, train_fold__epochs=1)
    path = workspace_copy / "data" / "examples.parquet"
    table = pq.read_table(path)
    index = table.column_names.index("split")
    splits = pa.array(["train"] * table.num_rows)
    pq.write_table(table.set_column(index, table.schema.field("split"), splits), path)
    retrain(load_params(workspace_copy / "params.yaml"), workspace_copy, labels="given")
    metrics = json.loads((workspace_copy / "metrics" / "retrain_given.json").read_text())
    assert metrics == {"n_rows": 1438, "n_test_rows": 0}
    bins = pacsv.read_csv(workspace_copy / "plots" / "reliability" / "retrain_given.csv")
    assert bins.column_names == ["low", "high", "rows", "confidence", "accuracy"]
    assert bins.num_rows == 0
