"""Stage `train_fold`: a model trained on the other folds predicts the rows of its own."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks import ParamsError
from tasks.params import Params
from tasks.tables.catalog import EXAMPLES, FOLD_PRED_PROBS, FOLDS, GIVEN_LABELS
from tasks.tables.facts import read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.joins import locate
from tasks.tables.proofs import rows_digest
from tasks.tables.schemas import column_array

# Rows of the held-out fold that draw its learning curve each epoch; all of it is predicted at the end.
_CURVE_ROWS = 2_000


def train_fold(params: Params, workspace: Path, fold: int) -> float:
    """Write data/pred_probs/fold_K.parquet and the learning curves of the fold.

    The digest of the rows that the model learned from travels in the file's metadata, so that `aggregate`
    can prove that the predictions are out-of-fold.

    Returns:
        Seconds spent on fitting and predicting, imports and files left out.

    Raises:
        ParamsError: there is no such fold.
        TrainingError: the loss is not finite.
    """
    # Imported here, so that the command line and the light stages do not pay for torch.
    from tasks.models import classifier

    recipe = params.train_fold
    if fold not in recipe.folds:
        raise ParamsError(f"--fold: expected one of {list(recipe.folds)}, found {fold}.")
    data = workspace / "data"
    given = read_table(data / "given_labels.parquet", GIVEN_LABELS, columns=["split", "given_label"])
    folds = read_table(data / "folds.parquet", FOLDS)
    facts = read_facts(given, str(data / "given_labels.parquet"))
    examples = read_table(data / "examples.parquet", EXAMPLES, columns=[facts.content])

    ids = column_array(folds, "example_id")
    in_fold = column_array(folds, "fold") == fold
    labels = column_array(given, "given_label")[locate(column_array(given, "example_id"), ids)]
    content = column_array(examples, facts.content)
    rows = locate(column_array(examples, "example_id"), ids)
    targets = classifier.one_hot(labels, facts.n_classes)

    def select(chosen: npt.NDArray[Any]) -> classifier.TrainingRows:
        return classifier.TrainingRows(
            content[rows[chosen]], targets[chosen], np.ones(len(rows[chosen]), dtype=np.float32)
        )

    held_out = np.flatnonzero(in_fold)
    started = time.monotonic()
    model = classifier.fit(
        select(np.flatnonzero(~in_fold)),
        select(held_out).head(_CURVE_ROWS),
        recipe,
        seed=fold_seed(recipe.seed, fold),
        log_dir=workspace / "plots" / "train_fold" / f"fold_{fold}",
        title=f"fold {fold}",
    )
    predictions = classifier.predict(model, content[rows[held_out]])
    training_s = time.monotonic() - started
    table = make_table(
        FOLD_PRED_PROBS,
        facts,
        {
            "example_id": ids[held_out],
            "fold": np.full(len(held_out), fold),
            "pred_probs": predictions.pred_probs,
            "embedding": predictions.embedding,
        },
    )
    write_table(
        data / "pred_probs" / f"fold_{fold}.parquet",
        table,
        FOLD_PRED_PROBS,
        extra={"trained_on": rows_digest(ids[~in_fold])},
    )
    return training_s


def fold_seed(seed: int, fold: int) -> int:
    """A seed of its own for each fold, from the recipe's."""
    return int(np.random.SeedSequence([seed, fold]).generate_state(1)[0])
