"""Stage `inject_noise`: the labels as given, made wrong on purpose or read from outside."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from tasks import DatasetError, ParamsError
from tasks.inject_noise.doubt import LEAST_ROWS, cross_validate
from tasks.inject_noise.vectors import ContentReader
from tasks.label_quality import noise
from tasks.own_files.ids import ID_COLUMNS
from tasks.own_files.labels import GIVEN, read_labels
from tasks.own_files.names import shown
from tasks.params import InjectNoise, Params
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, HELD_OUT, SPLIT_ROWS
from tasks.tables.facts import read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.joins import join, locate
from tasks.tables.schemas import column_array

_NONE = -1
"""In the place of a class index: there is no label."""
_OF_CONTENT = ("instance", "doubt")
# `instance` draws a matrix for each class; more numbers than these, of 4 bytes each, are refused.
_MOST_WEIGHTS = 2**28


def inject_noise(params: Params, workspace: Path) -> None:
    """Write data/given_labels.parquet: the labelled rows, of which only training labels are touched.

    Raises:
        DatasetError: labels to be made wrong are unknown, a training row has no label, or the file of given
            labels does not fit.
        ParamsError: the kind of noise or the transition matrix does not fit the classes, or retraining on
            true labels is asked for and not all are known.
    """
    section = params.inject_noise
    path = EXAMPLES.at(workspace)
    examples = read_table(path, EXAMPLES, columns=["key", "given_label", "true_label"])
    facts = read_facts(examples, str(path))
    ids = column_array(examples, "example_id")
    splits = join(read_table(SPLIT_ROWS.at(workspace), SPLIT_ROWS, columns=["split"]), ids)
    split = column_array(splits, "split")
    train = split == "train"
    brought, truth = (
        examples.column(name).fill_null(_NONE).to_numpy() for name in ("given_label", "true_label")
    )
    given = np.where(brought != _NONE, brought, truth).astype(np.int64)
    # Labels as they come are in question, even where the data set calls them true.
    in_question = section.kind == "none" and bool((brought == _NONE).all())
    if section.kind == "file":
        # Rows that were held out are the owner's training rows too.
        is_theirs = train | (split == HELD_OUT)
        given[is_theirs] = read_given_labels(
            workspace / "inputs" / "labels",
            str(section.path),
            ids[is_theirs],
            examples.column("key").filter(is_theirs),
            facts.class_names,
        )
    elif section.kind == "none":
        _check_all_labelled(given[train])
    else:
        unknown = int((truth[train] == _NONE).sum())
        if unknown:
            raise DatasetError(
                f"inject_noise.kind: {section.kind} starts from true labels; {unknown} training rows have "
                "none. Set inject_noise.kind to none to take the labels as they come, or to file to read "
                "them from inputs/labels."
            )
        true = truth[train].astype(np.int64)
        if section.kind in _OF_CONTENT:
            content = ContentReader(workspace, ids[train])
            given[train] = make_noisy_by_content(true, content, section, facts.n_classes)
        else:
            given[train] = make_noisy(true, section, facts.n_classes)
    known = (truth != _NONE) & ~(train & in_question)
    _check_label_sets(params, int((~known[train]).sum()), int(train.sum()))
    labelled = (given != _NONE) & (split != "unlabeled")
    columns = {
        "example_id": ids[labelled],
        "key": examples.column("key").filter(labelled),
        "split": split[labelled],
        "given_label": given[labelled],
        "true_label": pa.array(truth[labelled], pa.int16(), mask=~known[labelled]),
        "is_noisy": pa.array((given != truth)[labelled], pa.bool_(), mask=~known[labelled]),
    }
    write_table(GIVEN_LABELS.at(workspace), make_table(GIVEN_LABELS, facts, columns), GIVEN_LABELS)
    is_counted = bool(known[train].all())
    wrong = f"{int((given != truth)[train].sum()):,} of " if is_counted else ""
    found = f"{wrong}{int(train.sum()):,} training labels{' are wrong' if wrong else ''}"
    print(f"inject_noise: {found} ({section.kind}), {GIVEN_LABELS.path}")


def _check_label_sets(params: Params, n_unknown: int, n_rows: int) -> None:
    """Refuse to retrain on true labels that are not known: better here than after the trainings.

    dvc.yaml does not list this as a parameter of the stage, as it changes nothing that is written: a label
    set that is taken out or added reruns nothing here. `retrain` refuses too.
    """
    if params.trains_on_truth and n_unknown:
        raise ParamsError(
            "params.yaml: retrain.label_sets: `true` needs the true label of every training row; with "
            f"inject_noise.kind: {params.inject_noise.kind} it is not known of {n_unknown:,} of {n_rows:,}. "
            "Remove `true` there."
        )


def _check_all_labelled(given: npt.NDArray[np.int64]) -> None:
    missing = int((given == _NONE).sum())
    if missing:
        raise DatasetError(
            f"expected a label for every training row, found {missing:,} of {len(given):,} without one. Give "
            "them in a file (inject_noise.kind: file), or call their split `unlabeled`."
        )


def make_noisy(
    labels: npt.NDArray[np.integer], section: InjectNoise, n_classes: int
) -> npt.NDArray[np.integer]:
    """`labels` (N,) with the noise that the section describes, drawn from its seed."""
    if section.kind in ("symmetric", "pair"):
        _check_classes(section.kind, n_classes)
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


def make_noisy_by_content(
    labels: npt.NDArray[np.int64], content: ContentReader, section: InjectNoise, n_classes: int
) -> npt.NDArray[np.integer]:
    """`labels` (N,) with noise that looks at the `content` of their rows, drawn from the section's seed.

    Raises:
        ParamsError: there are too few classes, or too many.
        DatasetError: too few rows to learn from.
    """
    _check_classes(section.kind, n_classes)
    rng = np.random.default_rng(section.seed)
    if section.kind == "doubt":
        counts = np.bincount(labels, minlength=n_classes)
        if (counts >= LEAST_ROWS).sum() < 2:
            raise DatasetError(
                f"inject_noise.kind: doubt learns the true labels; it needs 2 classes with {LEAST_ROWS} "
                f"training rows, found {int((counts >= LEAST_ROWS).sum())}. Choose another kind."
            )
        return noise.doubt_noise(
            labels, cross_validate(content, labels, n_classes, section.seed), section.rate, rng
        )
    size = next((values.shape[1] for values in content.vectors()), 0)
    if n_classes**2 * size > _MOST_WEIGHTS:
        raise ParamsError(
            f"params.yaml: inject_noise.kind: instance draws {size:,} numbers for each pair of classes, and "
            f"takes at most {int((_MOST_WEIGHTS / size) ** 0.5)} classes then; the data set has {n_classes}. "
            "Choose another kind."
        )
    with threadpool_limits(1):  # another number of threads gives other last bits
        return noise.instance_noise(labels, content.standardised(), section.rate, n_classes, rng)


def _check_classes(kind: str, n_classes: int) -> None:
    if n_classes < 2:
        raise ParamsError(
            f"params.yaml: inject_noise.kind: {kind} needs at least 2 classes; the data set has {n_classes}."
        )


def read_given_labels(
    folder: Path,
    name: str,
    ids: npt.NDArray[np.int64],
    keys: pa.ChunkedArray,
    class_names: tuple[str, ...],
) -> npt.NDArray[np.int16]:
    """(N,) the labels of rows `ids` (N,) from a person's table in `folder`, whatever the order there.

    The table has ids, which are what the owner calls the rows (`keys`, (N,)), and the column `given_label`:
    class indices or class names; `class_indices` says which.

    Raises:
        DatasetError: the file lies outside `folder`, is missing or unreadable, lacks a column, holds a label
            that is no class, or not exactly one label for each row.
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
    where = folder / name
    labels = read_labels(where, class_names, GIVEN)
    if labels.ids is None:
        raise DatasetError(
            f"{where}: expected ids of the rows (a column {' or '.join(ID_COLUMNS)}), found none."
        )
    found_ids = labels.ids.example_id
    for expected, kind, these, others, keys_at in (
        ("rows that the training set has", "unknown", found_ids, ids, labels.ids.keys),
        ("a label for every training row", "missing", ids, found_ids, keys.take),
    ):
        lacking = np.flatnonzero(~np.isin(these, others))
        if len(lacking):
            raise DatasetError(
                f"{where}: expected {expected}, found {len(lacking):,} {kind}, the first "
                f"{shown(keys_at(lacking[:1])[0].as_py())}."
            )
    return labels.indices[locate(found_ids, ids)]
