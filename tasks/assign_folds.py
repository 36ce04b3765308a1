"""Stage `assign_folds`: which model predicts which training row, stratified on the given labels, by group."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks import DatasetError
from tasks.params import Params
from tasks.tables.catalog import FOLDS, GIVEN_LABELS, SPLIT_ROWS
from tasks.tables.facts import read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.joins import join
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array


def assign_folds(params: Params, workspace: Path) -> None:
    """Write data/folds.parquet: one fold for every training row.

    Raises:
        DatasetError: no row is a training row, or a class has fewer rows than there are folds.
    """
    n_folds = len(params.train_fold.folds)
    path = GIVEN_LABELS.at(workspace)
    given = read_table(path, GIVEN_LABELS, columns=["split", "given_label"])
    facts = read_facts(given, str(path))
    train = column_array(given, "split") == "train"
    ids = column_array(given, "example_id")[train]
    reader = TableReader(SPLIT_ROWS.at(workspace), SPLIT_ROWS, ["group"], optional=["together"])
    group = "together" if "together" in reader.schema.names else "group"
    splits = join(read_table(SPLIT_ROWS.at(workspace), SPLIT_ROWS, columns=[group]), ids)
    folds = stratified_folds(
        column_array(given, "given_label")[train],
        column_array(splits, group),
        n_folds,
        params.assign_folds.seed,
        facts.class_names,
    )
    write_table(FOLDS.at(workspace), make_table(FOLDS, facts, {"example_id": ids, "fold": folds}), FOLDS)
    print(f"assign_folds: {len(ids):,} training rows in {n_folds} folds, {FOLDS.path}")


def stratified_folds(
    labels: npt.NDArray[np.integer],
    groups: npt.NDArray[np.integer],
    n_folds: int,
    seed: int,
    class_names: tuple[str, ...],
) -> npt.NDArray[np.int16]:
    """(N,) fold of each row: classes are spread evenly, and a group lies in one fold.

    A group counts as one row of the class that most of its rows are given (of equal counts, the lowest).

    Raises:
        DatasetError: there is no row, or a class that occurs has fewer rows than there are folds, or all of
            its rows in one fold, as near duplicates have; names the class.
    """
    # Imported here: scikit-learn costs a second that `--help` and the tests of errors need not pay.
    from sklearn.model_selection import StratifiedKFold

    if not len(labels):
        raise DatasetError("Rows of split `train` were expected, to be spread over folds; found none.")
    n_rows = np.bincount(labels, minlength=len(class_names))
    for k in np.flatnonzero((n_rows > 0) & (n_rows < n_folds)):
        raise DatasetError(
            f"Class `{class_names[k]}` was expected to have at least {n_folds} training rows, one a fold; "
            f"found {n_rows[k]}. Shorten train_fold.folds or add rows of this class."
        )
    class_of_group, group_of_row = majority_classes(labels, groups)
    if np.bincount(class_of_group).max() < n_folds:
        raise DatasetError(
            f"Rows were expected to form at least {n_folds} groups that differ, found fewer: most are near "
            "duplicates. Shorten train_fold.folds, or set split_rows.near_duplicates to false."
        )
    fold_of_group = np.empty(len(class_of_group), dtype=np.int16)
    splitter = StratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of a class with few groups some folds get no row.
        warnings.filterwarnings("ignore", message="The least populated class")
        splits = splitter.split(np.zeros(len(class_of_group)), class_of_group)
        for fold, (_, held_out) in enumerate(splits):
            fold_of_group[held_out] = fold
    folds = fold_of_group[group_of_row]
    in_folds = np.bincount(np.unique(labels.astype(np.int64) * n_folds + folds) // n_folds)
    for k in np.flatnonzero(in_folds == 1):
        raise DatasetError(
            f"Class `{class_names[k]}` was expected to have rows that differ, found {n_rows[k]} near "
            "duplicates of one another or of other rows: they lie in one fold, whose model would learn from "
            "no row of this class. Add rows of this class, or set split_rows.near_duplicates to false."
        )
    return folds


def majority_classes(
    labels: npt.NDArray[np.integer], groups: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    """(G,) the class most rows of each group are given, groups by their first row; (N,) each row's group."""
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    # Groups in the order of their first rows: where all rows are single, groups are the rows themselves.
    order = np.argsort(first, kind="stable")
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    group_of_row = number[place]
    pairs, counts = np.unique(np.stack([group_of_row, labels]), axis=1, return_counts=True)
    # The last write wins: pairs by count, and of equal counts the lowest class last.
    ranked = np.lexsort((-pairs[1], counts, pairs[0]))
    found = np.empty(len(order), dtype=np.int64)
    found[pairs[0][ranked]] = pairs[1][ranked]
    return found, group_of_row
