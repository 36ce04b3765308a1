"""A person's own arrays: .npy files of features or pictures, and of their labels."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks import DatasetError
from tasks.contents import Examples, Features, Fetch, Images
from tasks.datasets._own import (
    Found,
    OwnOptions,
    as_examples,
    check_found,
    find_labels,
    inside,
    place_of,
    read_splits,
)
from tasks.own_files.columns import ARRAY, load_array, open_file
from tasks.own_files.ids import row_keys
from tasks.own_files.pictures import LEAST_SIDE, check_channels, pixels_of

GIVES = ("features", "image")


class Options(OwnOptions):
    """`content` is the file of features (N, d) or pictures (N, H, W) or (N, H, W, C), the others (N,).

    `ids` name the rows, else their number does; `split` says train, valid, test or unlabeled.
    """

    content: str = ""
    labels: str = ""
    truth: str | None = None
    ids: str | None = None
    split: str | None = None


def read(inputs: Path, options: Options, fetch: Fetch) -> Examples:  # noqa: ARG001  # it lies in inputs/
    """Read the arrays.

    Raises:
        DatasetError: a file is missing or damaged, or they do not fit each other.
    """
    folder = place_of(inputs / "examples", options)
    found = find(folder, options)
    path = inside(folder, options.content, "content")
    values = np.asarray(load_array(path, most_dimensions=4))
    if found.kind == "image":
        return as_examples(found, options, Images(pixels_of(values, str(path))))
    with np.errstate(over="ignore"):
        features = values.astype(np.float32)
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DatasetError(f"{path}: expected numbers that are finite in float32, found others in row {row}.")
    return as_examples(found, options, Features(features))


def find(folder: Path, options: Options) -> Found:
    """The rows of the arrays, each under its number.

    Raises:
        DatasetError: a file is missing or damaged, or they do not fit each other.
    """
    path = inside(folder, options.content, "content")
    content = load_array(path, most_dimensions=4)
    if content.ndim < 2 or content.dtype.kind not in "fiub":
        raise DatasetError(
            f"{path}: expected features (N, d) or pictures (N, H, W) or (N, H, W, C), found "
            f"{content.dtype} of shape {content.shape}."
        )
    if content.ndim > 2:
        check_channels(content.shape[1:], str(path))
        if min(content.shape[1:3]) < LEAST_SIDE:
            raise DatasetError(
                f"{path}: expected pictures of at least {LEAST_SIDE} x {LEAST_SIDE} pixels, found "
                f"{content.shape[1]} x {content.shape[2]}."
            )
    n = len(content)
    found = {
        option: _column(folder, getattr(options, option), option, n, options.content)
        for option in ("labels", "truth", "ids", "split")
    }
    (labels, where), (truth, where_true) = found["labels"], found["truth"]
    names, (given, true) = find_labels([labels, truth], options.class_names, (), [where, where_true])
    (ids, where_ids), (split, where_split) = found["ids"], found["split"]
    return check_found(
        Found(
            where=str(path),
            kind="features" if content.ndim == 2 else "image",
            class_names=names,
            key=[str(row) for row in range(n)] if ids is None else row_keys(ids, where_ids),
            keys_are="the number of the row, from 0" if ids is None else str(options.ids),
            split=np.repeat("train", n) if split is None else read_splits(split, where_split),
            given=given,
            true=true,
        )
    )


def _column(
    folder: Path, name: str | None, option: str, n_rows: int, content: str
) -> tuple[pa.ChunkedArray | None, str]:
    """A file of one value for each row, and what a sentence calls it; None where no file is named.

    Raises:
        DatasetError: the file is missing or damaged, or has another number of rows.
    """
    if name is None:
        return None, option
    file = open_file(inside(folder, name, option))
    if file.names != [ARRAY]:
        raise DatasetError(f"{file.path}: expected a .npy file of {option}, found {file.form}.")
    if file.n_rows != n_rows:
        raise DatasetError(
            f"{file.path}: expected a value for each of the {n_rows:,} rows of {content}, found "
            f"{file.n_rows:,}."
        )
    return next(iter(file.portions([ARRAY], n_rows=max(n_rows, 1) + 1))).column(ARRAY), str(file.path)
