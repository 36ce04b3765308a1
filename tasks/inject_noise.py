"""Stage `inject_noise`: the labels as given, made wrong on purpose or read from outside."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks import DatasetError, ParamsError
from tasks.label_quality import noise
from tasks.own_files.labels import class_indices, read_label_columns
from tasks.params import InjectNoise, Params
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS
from tasks.tables.facts import read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.schemas import column_array


def inject_noise(params: Params, workspace: Path) -> None:
    """Write data/given_labels.parquet: only labels of the training split are touched.

    Raises:
        DatasetError: labels to be made wrong are unknown, or the file of given labels does not fit.
        ParamsError: the kind of noise or the transition matrix does not fit the classes.
    """
    section = params.inject_noise
    path = workspace / "data" / "examples.parquet"
    examples = read_table(path, EXAMPLES, columns=["split", "true_label"], optional=["original_split"])
    facts = read_facts(examples, str(path))
    ids = column_array(examples, "example_id")
    split = column_array(examples, "split")
    true_label = examples.column("true_label")
    known = ~true_label.is_null().to_numpy()
    truth = true_label.fill_null(0).to_numpy().astype(np.int64)

    # Unlabeled rows have no given label, so they are no rows of this table.
    labeled = split != "unlabeled"
    train = split == "train"
    given = truth.copy()
    if section.kind == "file":
        folder = workspace / "inputs" / "labels"
        file_ids, file_labels = read_given_labels(folder, str(section.path), facts.class_names)
        given[train] = _match_rows(ids[train], file_ids, file_labels, str(section.path))
    elif not known[train].all():
        raise DatasetError(
            f"inject_noise.kind: {section.kind} starts from true labels; {int((~known[train]).sum())} "
            "training rows have none. Give the labels in a file with kind: file."
        )
    else:
        given[train] = make_noisy(given[train], section, facts.n_classes)
    labeled &= known | train
    columns = {
        "example_id": ids[labeled],
        "split": split[labeled],
        "given_label": given[labeled],
        "true_label": pa.array(truth[labeled], pa.int16(), mask=~known[labeled]),
        "is_noisy": pa.array((given != truth)[labeled], pa.bool_(), mask=~known[labeled]),
    }
    if "original_split" in examples.column_names:
        columns["original_split"] = column_array(examples, "original_split")[labeled]
    table = make_table(GIVEN_LABELS, facts, columns)
    write_table(workspace / "data" / "given_labels.parquet", table, GIVEN_LABELS)
    is_counted = known[train].all() and section.kind != "none"
    wrong = f"{int((given != truth)[train].sum()):,} of " if is_counted else ""
    found = f"{wrong}{int(train.sum()):,} training labels{' are wrong' if wrong else ''}"
    print(f"inject_noise: {found} ({section.kind}), data/given_labels.parquet")


def make_noisy(labels: npt.NDArray[Any], section: InjectNoise, n_classes: int) -> npt.NDArray[Any]:
    """`labels` (N,) with the noise that the section describes, drawn from its seed."""
    if section.kind in ("symmetric", "pair") and n_classes < 2:
        raise ParamsError(
            f"params.yaml: inject_noise.kind: {section.kind} needs at least 2 classes; the data set has "
            f"{n_classes}."
        )
    rng = np.random.default_rng(section.seed)
    if section.kind == "uniform":
        return noise.uniform_noise(labels, section.rate, n_classes, rng)
    if section.kind == "symmetric":
        return noise.symmetric_noise(labels, section.rate, n_classes, rng)
    if section.kind == "pair":
        return noise.pair_noise(labels, section.rate, n_classes, rng)
    if section.kind == "matrix":
        matrix = np.array(section.transition_matrix, dtype=np.float64)
        if len(matrix) != n_classes:
            raise ParamsError(
                f"params.yaml: inject_noise.transition_matrix has {len(matrix)} rows; the data set has "
                f"{n_classes} classes."
            )
        return noise.matrix_noise(labels, matrix, rng)
    return labels


def read_given_labels(
    folder: Path, name: str, class_names: tuple[str, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int16]]:
    """Read `example_id` and `given_label` from a CSV or Parquet file in `folder`.

    Labels are class indices or class names; `class_indices` says which.

    Raises:
        DatasetError: the file lies outside `folder`, is missing or unreadable, lacks a column, or holds a
            label that is no class.
    """
    try:
        path = (folder / name).resolve()
        is_file = path.is_file()
    except (OSError, ValueError) as error:  # too long, or with a null byte
        raise DatasetError(f"inject_noise.path: expected a file name, found {name!r} ({error}).") from error
    if not path.is_relative_to(folder.resolve()):
        raise DatasetError(f"inject_noise.path: expected a file inside {folder}, found {name}.")
    if not is_file:
        raise DatasetError(f"inject_noise.path: expected the file {folder / name}, found none.")
    where, needed = str(folder / name), ("example_id", "given_label")
    table = read_label_columns(path, path.suffix == ".csv", "given_label", needed, where)
    ids, labels = table.column("example_id"), table.column("given_label")
    if not pa.types.is_integer(ids.type) or ids.null_count or labels.null_count:
        raise DatasetError(
            f"{where}: expected integer example_id and no empty cell, found example_id of {ids.type}, "
            f"{ids.null_count + labels.null_count} empty cells."
        )
    indices = class_indices(labels, class_names, where)
    try:
        ids = ids.cast(pa.int64())
    except pa.ArrowException as error:
        raise DatasetError(f"{where}: expected example_id of int64 ({error}).") from error
    return ids.to_numpy(), indices


def _match_rows(
    ids: npt.NDArray[Any], file_ids: npt.NDArray[np.int64], file_labels: npt.NDArray[np.int16], name: str
) -> npt.NDArray[np.int16]:
    """The file's labels in the order of `ids`; every training row must be in the file exactly once."""
    order = np.argsort(file_ids, kind="stable")
    sorted_ids = file_ids[order]
    repeated = sorted_ids[1:][np.diff(sorted_ids) == 0]
    unknown = np.setdiff1d(sorted_ids, ids)
    missing = np.setdiff1d(ids, sorted_ids)
    for expected, kind, found in (
        ("each example_id once", "repeated", repeated),
        ("example_id of training rows alone", "unknown", unknown),
        ("a label for every training row", "missing", missing),
    ):
        if len(found):
            raise DatasetError(
                f"{name}: expected {expected}, found {len(found)} {kind}, the first {int(found[0])}."
            )
    return file_labels[order][np.searchsorted(sorted_ids, ids)]
