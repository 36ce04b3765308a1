"""Stage `train_fold`: a model trained on the other folds predicts its own fold, and unlabelled rows."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks import DatasetError, ParamsError
from tasks.contents import Content, Features
from tasks.params import Params, uses_unlabeled
from tasks.tables.catalog import (
    FOLD_PRED_PROBS,
    FOLD_UNLABELED_PROBS,
    FOLDS,
    GIVEN_LABELS,
    SPLIT_ROWS,
    TRAINING_SIGNALS,
)
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.joins import join, locate
from tasks.tables.proofs import ONE_SPACE, rows_digest
from tasks.tables.schemas import column_array
from tasks.training.protocol import Loss, Rows, Signals
from tasks.training.setup import make_model, read_rows

# Rows of the held-out fold that draw its learning curve each epoch; all of it is predicted at the end.
_CURVE_ROWS = 2_000


def train_fold(params: Params, workspace: Path, fold: int) -> float:
    """Write what the model of a fold predicts, of its own rows and of unlabelled ones, and training signals.

    The digest of the rows that the model learned from travels in the metadata of
    data/pred_probs/fold_K.parquet, so that `aggregate` can prove that the predictions are out-of-fold.

    Returns:
        Seconds spent on fitting and predicting, imports and files left out.

    Raises:
        ParamsError: there is no such fold.
        DatasetError: the objective learns from rows without a label, and there are none.
        TrainingError: the model cannot learn from these rows, or the loss is not finite.
    """
    section = params.train_fold
    if fold not in section.folds:
        raise ParamsError(f"--fold: expected one of {list(section.folds)}, found {fold}.")
    folds = read_table(FOLDS.at(workspace), FOLDS)
    ids, in_fold = column_array(folds, "example_id"), column_array(folds, "fold") == fold
    given_path = GIVEN_LABELS.at(workspace)
    given = join(read_table(given_path, GIVEN_LABELS, columns=["given_label"]), ids, str(given_path))
    labels = column_array(given, "given_label").astype(np.int64)
    splits = read_table(SPLIT_ROWS.at(workspace), SPLIT_ROWS, columns=["split"])
    unlabeled_ids = column_array(splits, "example_id")[column_array(splits, "split") == "unlabeled"]
    if uses_unlabeled(section.objective) and not len(unlabeled_ids):
        raise DatasetError(
            f"train_fold.objective: {section.objective} learns from rows without a label, found none. "
            "Call the split of such rows `unlabeled`, hide labels (download.labels_per_class), or choose "
            "another objective."
        )
    all_ids, all_rows, facts = read_rows(params, workspace)
    content = all_rows.take(locate(all_ids, ids))
    unlabeled = all_rows.take(locate(all_ids, unlabeled_ids)) if len(unlabeled_ids) else None
    rows = Rows(content, labels, np.ones(len(ids), dtype=np.float32))
    learned, held_out = np.flatnonzero(~in_fold), np.flatnonzero(in_fold)

    started = time.monotonic()
    model = make_model(
        params,
        facts,
        content,
        seed=fold_seed(section.seed, fold),
        loss=Loss(section.gce_q, section.label_smoothing),
        objective=section.objective,
        log_dir=workspace / "plots" / "train_fold" / f"fold_{fold}",
        title=f"fold {fold}",
    )
    signals = model.fit(rows.take(learned), rows.take(held_out[:_CURVE_ROWS]), unlabeled)
    own = content.take(held_out)
    predictions = model.predict(own)
    unlabeled_probs = (
        np.zeros((0, facts.n_classes)) if unlabeled is None else model.predict(unlabeled).pred_probs
    )
    training_s = time.monotonic() - started

    tables: list[tuple[Any, dict[str, Any], dict[str, str]]] = [
        (
            FOLD_PRED_PROBS,
            {
                "example_id": ids[held_out],
                "fold": np.full(len(held_out), fold),
                "pred_probs": predictions.pred_probs,
                "embedding": predictions.embedding,
            },
            {
                "trained_on": rows_digest(ids[learned]),
                **({ONE_SPACE: "yes"} if is_row_itself(predictions.embedding, own) else {}),
            },
        ),
        (FOLD_UNLABELED_PROBS, {"example_id": unlabeled_ids, "pred_probs": unlabeled_probs}, {}),
        (
            TRAINING_SIGNALS,
            {"example_id": ids[learned], "mean_margin": margins(signals, len(learned))},
            {},
        ),
    ]
    for artifact, columns, extra in tables:
        table = make_table(artifact, facts, columns)
        write_table(artifact.at(workspace, fold=fold), table, artifact, extra)
    return training_s


def is_row_itself(embedding: npt.NDArray[np.floating], content: Content) -> bool:
    """Whether the embedding (N, D) of N rows is what the model was given, as with frozen features."""
    return isinstance(content, Features) and np.array_equal(embedding, content.values())


def margins(signals: Signals | None, n_rows: int) -> npt.NDArray[np.float32] | pa.Array:
    """(N,) the mean margin of each row; null where the model measures none."""
    return pa.nulls(n_rows, pa.float32()) if signals is None else signals.mean_margin


def fold_seed(seed: int, fold: int) -> int:
    """A seed of its own for each fold, from the recipe's."""
    return int(np.random.SeedSequence([seed, fold]).generate_state(1)[0])
