"""A person's own examples, from `inputs/examples/examples.parquet`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks import DatasetError
from tasks.artifacts import DatasetFacts, column_array
from tasks.datasets import Examples

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
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: expected your examples here, found no file.") from error
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path}: expected a readable Parquet file ({error}).") from error
    names = set(table.column_names)
    content = names & {"image", "features"}
    if "example_id" not in names or len(content) != 1:
        raise DatasetError(
            f"{path}: expected the column example_id and one of image and features, found "
            f"{', '.join(table.column_names)}."
        )
    ids = _integers(table, "example_id", path).astype(np.int64)
    if len(np.unique(ids)) != len(ids):
        raise DatasetError(f"{path}: expected unique example_id, found {len(ids)} rows with repeats.")
    (kind,) = content
    values = _tensor(table.column(kind), kind, path)
    split = np.array(table.column("split").to_pylist() if "split" in names else ["train"] * len(ids))
    labels: npt.NDArray[Any] | None = None
    if "true_label" in names and table.column("true_label").null_count < len(ids):
        column = table.column("true_label")
        if not pa.types.is_integer(column.type):
            raise DatasetError(f"{path}: expected integer true_label (class index), found {column.type}.")
        values_or_zero = column.fill_null(0).to_numpy().astype(np.int64)
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


def _integers(table: pa.Table, name: str, path: Path) -> npt.NDArray[Any]:
    column = table.column(name)
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DatasetError(f"{path}: expected integer `{name}` without nulls, found {column.type}.")
    return np.asarray(column.to_numpy())


def _tensor(column: pa.ChunkedArray, kind: str, path: Path) -> npt.NDArray[Any]:
    if isinstance(column.type, pa.FixedShapeTensorType):
        values = column_array(pa.table({kind: column}), kind)
    else:
        try:
            values = np.stack([np.asarray(row) for row in column.to_pylist()])
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{path}: expected rows of one length in `{kind}` ({error}).") from error
    if kind == "image" and (
        values.min() < 0 or values.max() > 255 or not np.array_equal(values, np.rint(values))
    ):
        raise DatasetError(f"{path}: expected whole pixel values 0..255 in `image`.")
    dtype = np.uint8 if kind == "image" else np.float32
    values = values.astype(dtype)
    if kind == "features" and not np.isfinite(values).all():
        raise DatasetError(f"{path}: expected finite values in `features`, found NaN or infinity.")
    return values
