"""Stage `aggregate`: the folds' predictions as one table, proved to be out-of-fold, and their quality.

Memory follows a portion of the probabilities, and some 30 bytes a row for ids, folds and training signals.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks import ArtifactError
from tasks.params import Params
from tasks.prediction_quality import Counts, labels_to_meet, write_quality
from tasks.tables.catalog import (
    FOLD_PRED_PROBS,
    FOLD_UNLABELED_PROBS,
    FOLDS,
    GIVEN_LABELS,
    PRED_PROBS,
    TRAINING_SIGNALS,
    UNLABELED_PROBS,
)
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import read_table, write_stream
from tasks.tables.joins import join, locate
from tasks.tables.portions import TableReader
from tasks.tables.proofs import ONE_SPACE, OUT_OF_FOLD, folds_digest, rows_digest
from tasks.tables.schemas import column_array

# Probabilities that are in memory at a time, and twice as many while they are put together.
_PORTION_ENTRIES = 2**21

Ints = npt.NDArray[np.int64]


def aggregate(params: Params, workspace: Path) -> None:
    """Write data/pred_probs.parquet, data/unlabeled_probs.parquet, metrics and plots of the predictions.

    Raises:
        ArtifactError: a row has no or more than one prediction, or one from a model that may have seen it.
    """
    path = FOLDS.at(workspace)
    folds = read_table(path, FOLDS)
    ids, fold_of = column_array(folds, "example_id"), column_array(folds, "fold")
    facts = read_facts(folds, str(path))
    names = [int(fold) for fold in np.unique(fold_of)]
    predictions = [open_predictions(workspace, fold, ids, fold_of, facts) for fold in names]
    given_path = GIVEN_LABELS.at(workspace)
    given = read_table(given_path, GIVEN_LABELS, columns=["given_label", "true_label"])
    given = join(given, ids, str(given_path))
    labels = column_array(given, "given_label")
    truth = None if given.column("true_label").null_count else column_array(given, "true_label")
    counts = write_predictions(workspace, ids, fold_of, names, predictions, labels, truth, params)
    write_unlabeled(workspace, names, facts)
    metrics = write_quality(workspace, counts, labels, truth, facts.class_names)
    print(
        f"aggregate: {len(labels):,} rows predicted out of fold, {metrics['given']['accuracy']:.2%} as their "
        f"given label, {PRED_PROBS.path}"
    )


def open_predictions(
    workspace: Path, fold: int, ids: Ints, fold_of: npt.NDArray[np.integer], facts: DatasetFacts
) -> TableReader:
    """The predictions of a fold, proved to be out-of-fold.

    Raises:
        ArtifactError: see `check_out_of_fold`, or they are of other classes.
    """
    path = FOLD_PRED_PROBS.at(workspace, fold=fold)
    reader = TableReader(path, FOLD_PRED_PROBS)
    trained_on = reader.metadata("trained_on") or ""
    check_out_of_fold(ids, fold_of, fold, reader.column("example_id"), trained_on, str(path))
    (n_classes,) = reader.shape_of("pred_probs")
    if n_classes != facts.n_classes:
        raise ArtifactError(
            f"{path}: expected probabilities of {facts.n_classes} classes, found {n_classes}. Run `dvc repro "
            f"--force --single-item train_fold@{fold}` and aggregate again."
        )
    return reader


def write_predictions(
    workspace: Path,
    ids: Ints,
    fold_of: npt.NDArray[np.integer],
    names: Sequence[int],
    predictions: Sequence[TableReader],
    labels: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer] | None,
    params: Params,
) -> dict[str, Counts]:
    """Write data/pred_probs.parquet; return what is counted against `given` and, if known, `true` labels."""
    facts = predictions[0].facts
    margins = mean_margins(workspace, names, ids)
    against = labels_to_meet(labels, truth)
    counts = {name: Counts(facts.n_classes, params.aggregate.calibration_bins) for name in against}
    wanted = [name for name in ("fold", "pred_probs", "embedding") if name in predictions[0].schema.names]
    width = sum(int(np.prod(predictions[0].shape_of(name))) for name in wanted[1:])
    step = max(_PORTION_ENTRIES // width, 1)
    rows_of_folds = [NextRows(reader, wanted) for reader in predictions]
    # The proof travels with the table, so that `prune` can tell whether these rows and folds are the proved.
    extra = {OUT_OF_FOLD: folds_digest(ids, fold_of)}
    if all(reader.metadata(ONE_SPACE) for reader in predictions):
        extra[ONE_SPACE] = "yes"
    with write_stream(PRED_PROBS.at(workspace), PRED_PROBS, facts, extra) as append:
        for start in range(0, len(ids), step):
            part = slice(start, start + step)
            # Each fold's rows are in order of `example_id`, so its next rows are those of this part.
            n_of_fold = [int((fold_of[part] == fold).sum()) for fold in names]
            tables = [rows.take(n) for rows, n in zip(rows_of_folds, n_of_fold, strict=True)]
            table = join(pa.concat_tables(tables), ids[part])
            columns = {name: column_array(table, name) for name in ("example_id", *wanted)}
            append({**columns, "mean_margin": margins.slice(start, step)})
            for name, counted in counts.items():
                counted.add(against[name][part], columns["pred_probs"])
    return counts


class NextRows:
    """The rows of a table, some at a time."""

    def __init__(self, reader: TableReader, columns: Sequence[str]) -> None:
        self._portions = reader.portions(columns)
        self._waiting = reader.nothing(columns)

    def take(self, n_rows: int) -> pa.Table:
        """The next `n_rows`, of which there are so many."""
        while self._waiting.num_rows < n_rows:
            self._waiting = pa.concat_tables([self._waiting, next(self._portions)])
        ready, self._waiting = self._waiting.slice(0, n_rows), self._waiting.slice(n_rows)
        return ready


def mean_margins(workspace: Path, folds: Sequence[int], ids: Ints) -> pa.Array:
    """(N,) the mean margin of each row over the models that learned from it; null where one measured none.

    Raises:
        ArtifactError: a fold's signals are of other rows than its model learned from.
    """
    total, n_models = np.zeros(len(ids)), np.zeros(len(ids), dtype=np.int16)
    measured = np.ones(len(ids), dtype=bool)
    for fold in folds:
        path = TRAINING_SIGNALS.at(workspace, fold=fold)
        signals = read_table(path, TRAINING_SIGNALS)
        places = locate(ids, column_array(signals, "example_id"), FOLDS.path)
        margins = signals.column("mean_margin")
        total[places] += margins.fill_null(0).to_numpy()
        measured[places] &= margins.is_valid().to_numpy()
        n_models[places] += 1
    if (n_models != len(folds) - 1).any():
        raise ArtifactError(
            f"{TRAINING_SIGNALS.path}: expected each training row in the signals of all folds but its own, "
            f"found {int((n_models != len(folds) - 1).sum()):,} that are not. Run `dvc repro --force "
            "train_fold`."
        )
    return pa.array(total / n_models, pa.float32(), mask=~measured)


def write_unlabeled(workspace: Path, folds: Sequence[int], facts: DatasetFacts) -> None:
    """Write data/unlabeled_probs.parquet: of each unlabelled row the mean over the folds' models.

    Raises:
        ArtifactError: the folds predicted other rows.
    """
    readers = [
        TableReader(FOLD_UNLABELED_PROBS.at(workspace, fold=fold), FOLD_UNLABELED_PROBS) for fold in folds
    ]
    ids = readers[0].column("example_id")
    for reader in readers:
        if not np.array_equal(reader.column("example_id"), ids):
            raise ArtifactError(
                f"{reader.path}: expected the unlabelled rows that {readers[0].path} has, found others. "
                "Run `dvc repro --force train_fold`."
            )
    step = max(_PORTION_ENTRIES // facts.n_classes, 1)
    rows_of_folds = [NextRows(reader, ["pred_probs"]) for reader in readers]
    with write_stream(UNLABELED_PROBS.at(workspace), UNLABELED_PROBS, facts) as append:
        for start in range(0, max(len(ids), 1), step):
            part = ids[start : start + step]
            mean = np.zeros((len(part), facts.n_classes))
            for rows in rows_of_folds:
                mean += column_array(rows.take(len(part)), "pred_probs")
            append({"example_id": part, "pred_probs": mean / len(readers)})


def check_out_of_fold(
    ids: npt.NDArray[np.integer],
    fold_of: npt.NDArray[np.integer],
    fold: int,
    predicted: npt.NDArray[np.integer],
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
