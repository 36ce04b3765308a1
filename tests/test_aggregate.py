"""Stage aggregate: joins the folds, and refuses what is not proved to be out-of-fold."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from tasks import ArtifactError
from tasks.aggregate import aggregate, check_out_of_fold
from tasks.params import Params, load_params
from tasks.prediction_quality import Counts, per_class_table
from tasks.tables.catalog import FOLDS, GIVEN_LABELS, PRED_PROBS
from tasks.tables.io import read_table
from tasks.tables.proofs import rows_digest
from tasks.tables.schemas import column_array

IDS = np.arange(10)
FOLD_OF = IDS % 2


@pytest.fixture
def params(workspace_copy: Path) -> Params:
    return load_params(workspace_copy / "params.yaml")


def test_every_training_row_has_exactly_one_prediction(finished_run: Path) -> None:
    folds = read_table(finished_run / "data" / "folds.parquet", FOLDS)
    joined = read_table(finished_run / "data" / "pred_probs.parquet", PRED_PROBS)
    np.testing.assert_array_equal(column_array(joined, "example_id"), column_array(folds, "example_id"))
    np.testing.assert_array_equal(column_array(joined, "fold"), column_array(folds, "fold"))


def test_metrics_equal_those_computed_from_the_tables(finished_run: Path) -> None:
    joined = read_table(finished_run / "data" / "pred_probs.parquet", PRED_PROBS)
    given = read_table(finished_run / "data" / "given_labels.parquet", GIVEN_LABELS)
    train = column_array(given, "split") == "train"
    predicted = column_array(joined, "pred_probs").argmax(axis=1)
    metrics = json.loads((finished_run / "metrics" / "cross_validation.json").read_text())
    for name in ("given", "true"):
        labels = column_array(given, f"{name}_label")[train]
        assert metrics[name]["accuracy"] == pytest.approx(np.mean(predicted == labels))
    assert metrics["true"]["accuracy"] > metrics["given"]["accuracy"] > 0.5


def test_the_reliability_diagram_is_that_of_the_calibration_error(finished_run: Path) -> None:
    rows = pacsv.read_csv(finished_run / "plots" / "reliability" / "out_of_fold.csv").to_pylist()
    metrics = json.loads((finished_run / "metrics" / "cross_validation.json").read_text())
    for labels in ("given", "true"):
        bins = [row for row in rows if row["labels"] == labels]
        assert sum(row["rows"] for row in bins) == 1438
        error = sum(row["rows"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / 1438
        assert error == pytest.approx(metrics[labels]["expected_calibration_error"])


def test_the_per_class_table_counts_every_row_once(finished_run: Path) -> None:
    with (finished_run / "plots" / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [str(k) for k in range(10)]
    assert sum(int(row["rows_given"]) for row in rows) == 1438


def test_per_class_recall_is_a_share_of_the_class() -> None:
    labels, truth = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    probs = np.eye(2)[[0, 1, 1, 0]]
    counts = {"given": Counts(2, 15), "true": Counts(2, 15)}
    for rows in (slice(0, 1), slice(1, 4)):
        counts["given"].add(labels[rows], probs[rows])
        counts["true"].add(truth[rows], probs[rows])
    table = per_class_table(labels, truth, counts, ("a", "b")).to_pydict()
    assert table["recall_given"] == [0.5, 0.5]
    assert table["recall_true"] == pytest.approx([1.0, 2 / 3])
    assert table["wrong_share_of_given"] == [0.5, 0.0]


def test_a_fold_file_from_other_folds_is_refused(workspace_copy: Path, params: Params) -> None:
    folder = workspace_copy / "data" / "pred_probs"
    shutil.copy(folder / "fold_0.parquet", folder / "fold_1.parquet")
    with pytest.raises(ArtifactError, match=r"fold_1\.parquet: expected one prediction for each"):
        aggregate(params, workspace_copy)


def test_predictions_of_a_model_that_saw_the_rows_are_refused(workspace_copy: Path, params: Params) -> None:
    path = workspace_copy / "data" / "pred_probs" / "fold_0.parquet"
    table = pq.read_table(path)
    everything = column_array(read_table(workspace_copy / "data" / "folds.parquet", FOLDS), "example_id")
    metadata = {**table.schema.metadata, b"trained_on": rows_digest(everything).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(ArtifactError, match="it may have seen what it predicts"):
        aggregate(params, workspace_copy)


def test_the_same_folds_give_the_same_table_and_one_line_says_how_good(
    workspace_copy: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace_copy / "data" / "pred_probs.parquet"
    before = path.read_bytes()
    aggregate(params, workspace_copy)
    assert path.read_bytes() == before
    accuracy = json.loads((workspace_copy / "metrics" / "cross_validation.json").read_text())["given"]
    assert capsys.readouterr().out == (
        f"aggregate: 1,438 rows predicted out of fold, {accuracy['accuracy']:.2%} as their given label, "
        "data/pred_probs.parquet\n"
    )


def test_a_missing_fold_is_named_with_its_remedy(workspace_copy: Path, params: Params) -> None:
    (workspace_copy / "data" / "pred_probs" / "fold_1.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"fold_1\.parquet.*missing.*dvc repro train_fold"):
        aggregate(params, workspace_copy)


def test_nothing_is_written_when_a_check_fails(workspace_copy: Path, params: Params) -> None:
    (workspace_copy / "data" / "pred_probs" / "fold_1.parquet").unlink()
    before = (workspace_copy / "data" / "pred_probs.parquet").read_bytes()
    with pytest.raises(ArtifactError):
        aggregate(params, workspace_copy)
    assert (workspace_copy / "data" / "pred_probs.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("predicted", "trained_on"),
    [
        (IDS[FOLD_OF == 0][:-1], IDS[FOLD_OF != 0]),  # a row missing
        (np.append(IDS[FOLD_OF == 0], 1), IDS[FOLD_OF != 0]),  # a row of another fold
        (IDS[FOLD_OF == 0], IDS),  # trained on all
        (IDS[FOLD_OF == 0], IDS[FOLD_OF != 0][:-1]),  # trained on fewer
    ],
)
def test_the_proof_fails_on_each_fault(predicted: np.ndarray, trained_on: np.ndarray) -> None:
    check_out_of_fold(IDS, FOLD_OF, 0, IDS[FOLD_OF == 0], rows_digest(IDS[FOLD_OF != 0]), "file")
    with pytest.raises(ArtifactError, match="dvc repro"):
        check_out_of_fold(IDS, FOLD_OF, 0, predicted, rows_digest(trained_on), "file")
