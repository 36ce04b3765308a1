"""Stage retrain: one label set in, a checkpoint and its probabilities of rows that nobody trains on out."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_runs import write_params

from tasks import DatasetError
from tasks.params import load_params
from tasks.reading import read_content
from tasks.retrain import retrain
from tasks.tables.catalog import EXAMPLES, SPLIT_ROWS, TEST_PROBS, TRAINING_SET
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array
from tasks.training.checkpoints import load_model


def test_where_every_row_has_a_label_no_picture_of_embeddings_is_made(finished_run: Path) -> None:
    found = read_table(TEST_PROBS.at(finished_run, labels="cleaned"), TEST_PROBS)
    assert found.column_names == ["example_id", "split", "pred_probs"]
    assert 'id="maps"' not in (finished_run / "report" / "index.html").read_text()
    assert "path" not in (finished_run / "plots" / "test_maps.svg").read_text()


def test_test_probabilities_are_those_of_the_checkpoint(finished_run: Path) -> None:
    model, facts = load_model(finished_run / "models" / "classifier.ckpt")
    assert facts.class_names == tuple(str(k) for k in range(10))
    examples = read_table(EXAMPLES.at(finished_run), EXAMPLES, columns=["split"])
    rows = np.flatnonzero(column_array(examples, "split") == "test")
    found = read_table(TEST_PROBS.at(finished_run, labels="cleaned"), TEST_PROBS)
    np.testing.assert_array_equal(
        column_array(found, "example_id"), column_array(examples, "example_id")[rows]
    )
    assert set(column_array(found, "split")) == {"test"}
    predicted = model.predict(read_content(EXAMPLES.at(finished_run), facts).take(rows))
    np.testing.assert_array_equal(column_array(found, "pred_probs"), predicted.pred_probs)


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
    weight = column_array(read_table(TRAINING_SET.at(finished_run), TRAINING_SET), "weight")
    assert rows == {"given": 1438, "cleaned": int((weight > 0).sum()), "true": 1438}


def test_unknown_truth_is_refused_with_a_remedy(workspace_copy: Path) -> None:
    path = workspace_copy / "data" / "given_labels.parquet"
    table = pq.read_table(path)
    unknown = pa.nulls(table.num_rows, pa.int16())
    index = table.column_names.index("true_label")
    pq.write_table(table.set_column(index, table.schema.field("true_label"), unknown), path)
    with pytest.raises(DatasetError, match=r"Remove `true` from retrain\.label_sets"):
        retrain(load_params(workspace_copy / "params.yaml"), workspace_copy, labels="true")


def test_without_rows_to_measure_on_the_table_of_probabilities_has_none(workspace_copy: Path) -> None:
    write_params(workspace_copy, train_fold__epochs=1)
    path = SPLIT_ROWS.at(workspace_copy)
    table = pq.read_table(path)
    index = table.column_names.index("split")
    splits = pa.array(["train"] * table.num_rows)
    pq.write_table(table.set_column(index, table.schema.field("split"), splits), path)
    retrain(load_params(workspace_copy / "params.yaml"), workspace_copy, labels="given")
    assert read_table(TEST_PROBS.at(workspace_copy, labels="given"), TEST_PROBS).num_rows == 0


def test_a_training_set_in_which_nothing_was_cleaned_is_said_to_be_one(
    workspace_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(workspace_copy, train_fold__model="nearest_mean")
    params = load_params(workspace_copy / "params.yaml")
    retrain(params, workspace_copy, labels="cleaned")
    assert "nothing was cleaned" not in capsys.readouterr().out
    path = TRAINING_SET.at(workspace_copy)
    table = read_table(path, TRAINING_SET)
    index = table.column_names.index("action")
    kept = pa.array(["kept"] * table.num_rows)
    pq.write_table(table.set_column(index, table.schema.field("action"), kept), path)
    retrain(params, workspace_copy, labels="cleaned")
    assert "nothing was cleaned" in capsys.readouterr().out
