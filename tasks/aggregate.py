"""Stage `aggregate`: the folds' predictions as one table, proved to be out-of-fold, and their quality."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from tasks import ArtifactError
from tasks.label_quality.metrics import prediction_quality, reliability
from tasks.params import Params
from tasks.tables.catalog import FOLD_PRED_PROBS, FOLDS, GIVEN_LABELS, PRED_PROBS
from tasks.tables.facts import read_facts
from tasks.tables.files import atomic_path, write_json
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.joins import locate
from tasks.tables.proofs import OUT_OF_FOLD, folds_digest, rows_digest
from tasks.tables.schemas import column_array


def aggregate(params: Params, workspace: Path) -> None:
    """Write data/pred_probs.parquet, metrics/cross_validation.json, and plots by class and by confidence.

    Raises:
        ArtifactError: a row has no or more than one prediction, or one from a model that may have seen it.
    """
    data = workspace / "data"
    folds = read_table(data / "folds.parquet", FOLDS)
    ids, fold_of = column_array(folds, "example_id"), column_array(folds, "fold")
    facts = read_facts(folds, str(data / "folds.parquet"))
    tables = []
    for fold in np.unique(fold_of):
        path = data / "pred_probs" / f"fold_{fold}.parquet"
        table = read_table(path, FOLD_PRED_PROBS)
        trained_on = (table.schema.metadata or {}).get(b"trained_on", b"").decode()
        check_out_of_fold(ids, fold_of, int(fold), column_array(table, "example_id"), trained_on, str(path))
        tables.append(table)

    joined = {
        name: np.concatenate([column_array(table, name) for table in tables])
        for name in ("example_id", "fold", "pred_probs", "embedding")
    }
    # The proof travels with the table, so that `prune` can tell whether these rows and folds are the proved.
    proof = folds_digest(joined["example_id"], joined["fold"])
    write_table(
        data / "pred_probs.parquet",
        make_table(PRED_PROBS, facts, joined),
        PRED_PROBS,
        extra={OUT_OF_FOLD: proof},
    )

    given = read_table(data / "given_labels.parquet", GIVEN_LABELS)
    rows = locate(column_array(given, "example_id"), joined["example_id"], str(data / "given_labels.parquet"))
    labels = column_array(given, "given_label")[rows]
    known = ~given.column("true_label").is_null().to_numpy()[rows]
    truth = given.column("true_label").fill_null(0).to_numpy()[rows]
    n_bins = params.aggregate.calibration_bins
    metrics: dict[str, Any] = {
        "n_rows": len(labels),
        "given": prediction_quality(labels, joined["pred_probs"], n_bins),
    }
    if known.all():
        metrics["true"] = prediction_quality(truth, joined["pred_probs"], n_bins)
    write_json(workspace / "metrics" / "cross_validation.json", metrics)
    by_confidence = {"given": reliability(labels, joined["pred_probs"], n_bins)}
    if known.all():
        by_confidence["true"] = reliability(truth, joined["pred_probs"], n_bins)
    with atomic_path(workspace / "plots" / "reliability" / "out_of_fold.csv") as temporary:
        pacsv.write_csv(
            pa.concat_tables(
                [
                    pa.table({"labels": [name] * len(bins["rows"]), **bins})
                    for name, bins in by_confidence.items()
                ]
            ),
            temporary,
        )
    table = per_class_table(labels, truth if known.all() else None, joined["pred_probs"], facts.class_names)
    with atomic_path(workspace / "plots" / "per_class.csv") as temporary:
        pacsv.write_csv(table, temporary)
    print(
        f"aggregate: {len(labels):,} rows predicted out of fold, {metrics['given']['accuracy']:.2%} as their "
        "given label, data/pred_probs.parquet"
    )


def check_out_of_fold(
    ids: npt.NDArray[Any],
    fold_of: npt.NDArray[Any],
    fold: int,
    predicted: npt.NDArray[Any],
    trained_on: str,
    where: str,
) -> None:
    """Prove that a file predicts exactly the rows of its fold, by a model that learned from all others.

    Args:
        ids: (N,) ids of all training rows.
        fold_of: (N,) fold of each.
        fold: the fold that the file is for.
        predicted: (M,) ids of the file's rows, unique.
        trained_on: digest of the ids that the model learned from (`rows_digest`).
        where: the file, for messages.

    Raises:
        ArtifactError: a row is missing or foreign, or the model learned from other rows than it should.
    """
    remedy = f"Run `dvc repro --force --single-item train_fold@{fold}` and aggregate again."
    expected = ids[fold_of == fold]
    missing, foreign = np.setdiff1d(expected, predicted), np.setdiff1d(predicted, expected)
    if len(missing) or len(foreign):
        raise ArtifactError(
            f"{where}: expected one prediction for each of the {len(expected)} rows of fold {fold} in "
            f"data/folds.parquet, found {len(missing)} rows missing and {len(foreign)} of other folds. "
            f"{remedy}"
        )
    if trained_on != rows_digest(ids[fold_of != fold]):
        raise ArtifactError(
            f"{where}: expected predictions of a model trained on the other folds of data/folds.parquet "
            f"alone, found one trained on other rows: it may have seen what it predicts. {remedy}"
        )


def per_class_table(
    labels: npt.NDArray[Any],
    truth: npt.NDArray[Any] | None,
    pred_probs: npt.NDArray[Any],
    class_names: tuple[str, ...],
) -> pa.Table:
    """One row a class: rows given it, share of them predicted as it, and the same against the truth."""
    predicted = pred_probs.argmax(axis=1)
    n_classes = len(class_names)

    def counts_and_recall(of: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        counts = np.bincount(of, minlength=n_classes)
        hits = np.bincount(of[predicted == of], minlength=n_classes)
        return counts, hits / np.maximum(counts, 1)

    columns: dict[str, Any] = {"class": list(class_names)}
    columns["rows_given"], columns["recall_given"] = counts_and_recall(labels)
    if truth is not None:
        columns["rows_true"], columns["recall_true"] = counts_and_recall(truth)
        wrong = np.bincount(labels[labels != truth], minlength=n_classes)
        columns["wrong_share_of_given"] = wrong / np.maximum(columns["rows_given"], 1)
    return pa.table(columns)
