"""Stage `train_fold`: a model trained on the other folds predicts its own fold, and unlabelled rows.

`train_fold.ensemble` models, each with a seed of its own, predict by the mean of their probabilities
(Lakshminarayanan, Pritzel and Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles", NeurIPS 2017).
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

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
from tasks.tables.schemas import Artifact, column_array
from tasks.training.protocol import Loss, Rows
from tasks.training.setup import make_model, read_rows

# Rows of the held-out fold that draw its learning curve each epoch; all of it is predicted at the end.
_CURVE_ROWS = 2_000

Floats = npt.NDArray[np.float32]


def train_fold(params: Params, workspace: Path, fold: int) -> float:
    """Write what the models of a fold predict, of its own rows and of unlabelled ones, and training signals.

    Probabilities and signals are the means over the models, embeddings are the first model's.

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

    n_models = section.ensemble
    log_dir = workspace / "plots" / "train_fold" / f"fold_{fold}"

    def train(member: int) -> tuple[Floats, list[Floats]]:
        """The embedding of the fold's rows by this model, and all of which there is a mean."""
        model = make_model(
            params,
            facts,
            content,
            seed=fold_seed(section.seed, fold, member),
            loss=Loss(section.gce_q, section.label_smoothing),
            objective=section.objective,
            # That of the first holds the others, so that it is the one output, and made anew with it.
            log_dir=log_dir / f"model_{member + 1}" if member else log_dir,
            title=f"fold {fold}" + (f", model {member + 1} of {n_models}" if n_models > 1 else ""),
        )
        signals = model.fit(rows.take(learned), rows.take(held_out[:_CURVE_ROWS]), unlabeled)
        predicted = model.predict(content.take(held_out))
        of_unlabeled = (
            np.zeros((0, facts.n_classes), dtype=np.float32)
            if unlabeled is None
            else model.predict(unlabeled).pred_probs
        )
        margins = [] if signals is None else [signals.mean_margin]
        return predicted.embedding, [predicted.pred_probs, of_unlabeled, *margins]

    started = time.monotonic()
    embedding, means = mean_of_models(train, n_models, f"train_fold: fold {fold}")
    pred_probs, unlabeled_probs, *margins = means
    training_s = time.monotonic() - started

    tables: list[tuple[Artifact, dict[str, object], dict[str, str]]] = [
        (
            FOLD_PRED_PROBS,
            {
                "example_id": ids[held_out],
                "fold": np.full(len(held_out), fold),
                "pred_probs": pred_probs,
                "embedding": embedding,
            },
            {
                "trained_on": rows_digest(ids[learned]),
                **({ONE_SPACE: "yes"} if is_row_itself(embedding, content.take(held_out)) else {}),
            },
        ),
        (FOLD_UNLABELED_PROBS, {"example_id": unlabeled_ids, "pred_probs": unlabeled_probs}, {}),
        (
            TRAINING_SIGNALS,
            {
                "example_id": ids[learned],
                # A model that measures none leaves nulls.
                "mean_margin": margins[0] if margins else pa.nulls(len(learned), pa.float32()),
            },
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


def mean_of_models(
    train: Callable[[int], tuple[Floats, list[Floats]]], n_models: int, where: str
) -> tuple[Floats, list[Floats]]:
    """The embedding of the first model, and the mean of each of the arrays over the models.

    One model is trained at a time. Where the second says exactly what the first said, as a model does that
    draws nothing at random, the others are not trained, and a line on stderr says so.

    Args:
        train: trains model 0, 1, ...; what it embeds, and the arrays.
        n_models: at least 1.
        where: stage and fold.
    """
    embedding, first = train(0)
    sums = [array.astype(np.float64) for array in first]
    for member in range(1, n_models):
        _, others = train(member)
        if member == 1 and all(map(np.array_equal, first, others)):
            print(
                f"{where}: another seed gives the same model, so train_fold.ensemble: {n_models} changes "
                "nothing; set it to 1 to save time.",
                file=sys.stderr,
            )
            return embedding, first
        for total, array in zip(sums, others, strict=True):
            total += array
    return embedding, [(total / n_models).astype(np.float32) for total in sums]


def fold_seed(seed: int, fold: int, member: int = 0) -> int:
    """A seed of its own for each fold and each model of it, from the recipe's."""
    # NumPy takes a missing last number for 0, so the first model has the seed that a single one always had.
    return int(np.random.SeedSequence([seed, fold, member]).generate_state(1)[0])
