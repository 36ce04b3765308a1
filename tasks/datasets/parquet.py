"""A person's own examples, from `inputs/examples/examples.parquet`.

Columns: `example_id`, whole numbers or texts, each once; `image` (uint8, or encoded) or `features`
(float), as a fixed-shape tensor or a list column whose rows have one length. Optionally `split` (`train`
where absent), `given_label` (what people said) and `true_label` (what is known to be right): class indices or
names, null where there is none.
"""

import unicodedata
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import model_validator

from tasks import DatasetError
from tasks.contents import OF_KIND, Examples, Fetch
from tasks.own_files.columns import check_texts
from tasks.own_files.ids import row_keys
from tasks.own_files.labels import class_indices
from tasks.own_files.names import listed
from tasks.own_files.pictures import (
    Picture,
    decode_pictures,
    encoded_bytes,
    is_encoded,
    pixels_of,
    read_headers,
    shape_of,
)
from tasks.sections import Section
from tasks.tables.catalog import SPLITS
from tasks.tables.facts import DatasetFacts
from tasks.tables.schemas import column_array

FILE = "examples.parquet"


class Options(Section):
    """`class_names` by class index."""

    class_names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [unicodedata.normalize("NFC", name).strip() for name in self.class_names]
        for name in names:
            if not name or names.count(name) > 1:
                raise ValueError(
                    f"class_names must be different and not empty; found {name!r} {names.count(name)} times"
                )
        return self


def read(inputs: Path, options: Options, fetch: Fetch) -> Examples:  # noqa: ARG001  # it lies in inputs/
    """Read own examples.

    Raises:
        DatasetError: the file or a column is missing, of another type, or rows differ in length.
    """
    path = inputs / "examples" / FILE
    if not options.class_names:
        raise DatasetError(
            "dataset: parquet needs `datasets.parquet.class_names` in params.yaml, the names by class index."
        )
    table = _read(path)
    names = set(table.column_names)
    contents = names & {"image", "features"}
    if "example_id" not in names or len(contents) != 1:
        raise DatasetError(
            f"{path}: expected the column example_id and one of image and features, found "
            f"{listed(table.column_names, 10)}."
        )
    if not table.num_rows:
        raise DatasetError(f"{path}: expected examples, found no rows.")
    (kind,) = contents
    values = _vectors(table.column(kind), kind, path)
    return Examples(
        facts=DatasetFacts("parquet", options.class_names, kind, values.shape[1:]),
        key=row_keys(table.column("example_id"), f"{path}, column example_id"),
        split=_split(table, path) if "split" in names else np.repeat("train", table.num_rows),
        given_label=_labels(table, "given_label", options.class_names, path),
        true_label=_labels(table, "true_label", options.class_names, path),
        content=OF_KIND[kind](values),
    )


def _read(path: Path) -> pa.Table:
    try:
        if path.is_file():
            check_texts(path)
        # No `pq.read_table`: it would look for columns in the names of folders.
        if path.exists() and not path.is_file():
            raise DatasetError(f"{path}: expected your examples here, found a folder, pipe or device.")
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
            if "split" in table.column_names:
                # Text that is no UTF-8; labels and ids are looked at where they are read.
                table.column("split").validate(full=True)
        table.column_names  # noqa: B018  # decodes them
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: expected your examples here, found no file.") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: expected a readable Parquet file ({error}).") from error
    return table


def _split(table: pa.Table, path: Path) -> npt.NDArray[np.str_]:
    values = table.column("split").to_pylist()
    for value in values:
        if value not in SPLITS:
            raise DatasetError(f"{path}: expected `split` of {', '.join(SPLITS)}, found {value!r}.")
    return np.array(values)


def _labels(
    table: pa.Table, name: str, class_names: tuple[str, ...], path: Path
) -> npt.NDArray[np.int16] | None:
    """(N,) class indices of a column, -1 where it is null; None where the table has no such labels."""
    if name not in table.column_names or table.column(name).null_count == table.num_rows:
        return None
    return class_indices([table.column(name)], class_names, f"{path}, column {name}")


def _vectors(column: pa.ChunkedArray, kind: str, path: Path) -> npt.NDArray[np.uint8 | np.float32]:
    """The content as one array: images of 2 or 3 dimensions a row, features of 1."""
    if column.null_count:
        raise DatasetError(f"{path}: expected `{kind}` without nulls, found {column.null_count}.")
    if kind == "image" and is_encoded(column.type):
        return _encoded(column, path)
    values = _nested(column, kind, path)
    if values.dtype.kind not in "iuf":
        raise DatasetError(f"{path}: expected numbers in every cell of `{kind}`, found {column.type}.")
    if values.ndim - 1 not in ((2, 3) if kind == "image" else (1,)) or not values.size:
        wanted = "height x width (x channels)" if kind == "image" else "one list of numbers"
        raise DatasetError(
            f"{path}: expected each row of `{kind}` to be {wanted}, found shape {values.shape[1:]}."
        )
    if kind == "image":
        return pixels_of(values, f"{path}, column {kind}")
    with np.errstate(over="ignore"):  # a value beyond float32 is infinite there, and refused
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise DatasetError(f"{path}: expected finite values in `features`, found NaN or infinity.")
    return values


def _encoded(column: pa.ChunkedArray, path: Path) -> npt.NDArray[np.uint8]:
    """Pictures that are encoded, as bytes or as Hugging Face's datasets keeps them, all of one size."""
    pictures = [
        Picture(f"{path}, column image, row {row}", content)
        for row, content in enumerate(encoded_bytes(column, f"{path}, column image"))
    ]
    return decode_pictures(pictures, shape_of(read_headers(pictures), None, str(path)))


def _nested(column: pa.ChunkedArray, kind: str, path: Path) -> npt.NDArray[Any]:
    """A column of tensors, or of lists in lists, as one array."""
    if isinstance(column.type, pa.FixedShapeTensorType):
        return column_array(pa.table({kind: column}), kind)
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) and array.num_chunks else array
    shape = [len(array)]
    while isinstance(array.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        lengths = pc.unique(pc.list_value_length(array)).to_pylist()
        if len(lengths) != 1 or lengths[0] is None:
            raise DatasetError(
                f"{path}: expected rows of one length in `{kind}`, found lengths "
                f"{', '.join(map(str, sorted(lengths, key=str)[:3]))}."
            )
        shape.append(lengths[0])
        array = array.flatten()
    if array.null_count:
        raise DatasetError(f"{path}: expected numbers in every cell of `{kind}`, found empty ones.")
    is_number = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    if not is_number:
        raise DatasetError(f"{path}: expected numbers in every cell of `{kind}`, found {column.type}.")
    return np.asarray(array.to_numpy(zero_copy_only=False)).reshape(shape)
