"""A person's own examples, from `inputs/examples/examples.parquet`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks import DatasetError
from tasks.datasets import Examples
from tasks.tables.catalog import SPLITS
from tasks.tables.facts import DatasetFacts
from tasks.tables.schemas import column_array

FILE = "examples.parquet"


def load(folder: Path, class_names: Sequence[str]) -> Examples:
    """Read own examples.

    Columns: `example_id` (integer, unique); `image` (uint8) or `features` (float), as a fixed-shape tensor
    or a list column whose rows have one length; optionally `split` (`train` where absent) and `true_label`
    (integer class index, null where unknown).

    Raises:
        DatasetError: the file or a column is missing, of another type, or rows differ in length.
    """
    path = folder / FILE
    if not class_names:
        raise DatasetError("dataset: parquet needs `download.class_names`, the names by class index.")
    try:
        table = pq.read_table(path)
        names = set(table.column_names)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: expected your examples here, found no file.") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: expected a readable Parquet file ({error}).") from error
    content = names & {"image", "features"}
    if "example_id" not in names or len(content) != 1:
        raise DatasetError(
            f"{path}: expected the column example_id and one of image and features, found "
            f"{', '.join(table.column_names)}."
        )
    if not table.num_rows:
        raise DatasetError(f"{path}: expected examples, found no rows.")
    ids = _ids(table, path)
    if len(np.unique(ids)) != len(ids):
        raise DatasetError(f"{path}: expected unique example_id, found {len(ids)} rows with repeats.")
    (kind,) = content
    values = _tensor(table.column(kind), kind, path)
    split = _split(table, path) if "split" in names else np.repeat("train", len(ids))
    labels: npt.NDArray[Any] | None = None
    if "true_label" in names and table.column("true_label").null_count < len(ids):
        column = table.column("true_label")
        if not pa.types.is_integer(column.type):
            raise DatasetError(f"{path}: expected integer true_label (class index), found {column.type}.")
        values_or_zero = column.fill_null(0).to_numpy()
        is_unknown = column.is_null().to_numpy()
        known = values_or_zero[~is_unknown]
        if known.size and (known.min() < 0 or known.max() >= len(class_names)):
            raise DatasetError(
                f"{path}: expected true_label in 0..{len(class_names) - 1}, found "
                f"{known.min()}..{known.max()}."
            )
        labels = np.ma.masked_array(values_or_zero.astype(np.int16), is_unknown)
    order = np.argsort(ids)
    return Examples(
        facts=DatasetFacts("parquet", tuple(class_names), kind, values.shape[1:]),
        example_id=ids[order],
        split=split[order],
        true_label=None if labels is None else labels[order],
        content=values[order],
    )


def _ids(table: pa.Table, path: Path) -> npt.NDArray[np.int64]:
    column = table.column("example_id")
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DatasetError(
            f"{path}: expected integer `example_id` without nulls, found {column.type} with "
            f"{column.null_count} null(s)."
        )
    try:
        return np.asarray(column.cast(pa.int64()).to_numpy())
    except pa.ArrowException as error:
        raise DatasetError(f"{path}: expected `example_id` of int64 ({error}).") from error


def _split(table: pa.Table, path: Path) -> npt.NDArray[Any]:
    values = table.column("split").to_pylist()
    for value in values:
        if value not in SPLITS:
            raise DatasetError(f"{path}: expected `split` of {', '.join(SPLITS)}, found {value!r}.")
    return np.array(values)


def _tensor(column: pa.ChunkedArray, kind: str, path: Path) -> npt.NDArray[Any]:
    """The content as one array: images of 2 or 3 dimensions a row, features of 1."""
    if column.null_count:
        raise DatasetError(f"{path}: expected `{kind}` without nulls, found {column.null_count}.")
    if isinstance(column.type, pa.FixedShapeTensorType):
        values = column_array(pa.table({kind: column}), kind)
    else:
        try:
            values = np.stack([np.asarray(row) for row in column.to_pylist()])
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{path}: expected rows of one length in `{kind}` ({error}).") from error
    if values.dtype.kind not in "iuf":
        raise DatasetError(f"{path}: expected numbers in every cell of `{kind}`, found {column.type}.")
    if values.ndim - 1 not in ((2, 3) if kind == "image" else (1,)) or not values.size:
        wanted = "height x width (x channels)" if kind == "image" else "one list of numbers"
        raise DatasetError(
            f"{path}: expected each row of `{kind}` to be {wanted}, found shape {values.shape[1:]}."
        )
    if kind == "image":
        if values.min() < 0 or values.max() > 255 or not np.array_equal(values, np.rint(values)):
            raise DatasetError(f"{path}: expected whole pixel values 0..255 in `image`.")
        return values.astype(np.uint8)
    with np.errstate(over="ignore"):  # a value beyond float32 is infinite there, and refused
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise DatasetError(f"{path}: expected finite values in `features`, found NaN or infinity.")
    return values
