"""Stage `assign_folds`: which model predicts which training row, stratified on the given labels."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks import DatasetError
from tasks.params import Params
from tasks.tables.catalog import FOLDS, GIVEN_LABELS
from tasks.tables.facts import read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.schemas import column_array


def assign_folds(params: Params, workspace: Path) -> None:
    """Write data/folds.parquet: one fold for every training row.

    Raises:
        DatasetError: no row is a training row, or a class has fewer rows than there are folds.
    """
    section = params.assign_folds
    path = workspace / "data" / "given_labels.parquet"
    given = read_table(path, GIVEN_LABELS, columns=["split", "given_label"])
    facts = read_facts(given, str(path))
    train = column_array(given, "split") == "train"
    ids = column_array(given, "example_id")[train]
    folds = stratified_folds(
        column_array(given, "given_label")[train], section.n_splits, section.seed, facts.class_names
    )
    table = make_table(FOLDS, facts, {"example_id": ids, "fold": folds})
    write_table(workspace / "data" / "folds.parquet", table, FOLDS)
    print(f"assign_folds: {len(ids):,} training rows in {section.n_splits} folds, data/folds.parquet")


def stratified_folds(
    labels: npt.NDArray[Any], n_splits: int, seed: int, class_names: tuple[str, ...]
) -> npt.NDArray[np.int16]:
    """(N,) fold of each row, classes spread evenly over `n_splits` folds.

    Raises:
        DatasetError: there is no row, or a class that occurs has fewer rows than folds; names the class.
    """
    # Imported here: scikit-learn costs a second that `--help` and the tests of errors need not pay.
    from sklearn.model_selection import StratifiedKFold

    if not len(labels):
        raise DatasetError("Rows of split `train` were expected, to be spread over folds; found none.")
    counts = np.bincount(labels, minlength=len(class_names))
    for k in np.flatnonzero((counts > 0) & (counts < n_splits)):
        raise DatasetError(
            f"Class `{class_names[k]}` was expected to have at least {n_splits} training rows, one a fold; "
            f"found {counts[k]}. Lower assign_folds.n_splits or add rows of this class."
        )
    folds = np.empty(len(labels), dtype=np.int16)
    splitter = StratifiedKFold(n_splits=n_splits, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(labels)), labels)):
        folds[held_out] = fold
    return folds
