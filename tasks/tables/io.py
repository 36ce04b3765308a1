"""The one door through which tables are written and read whole; `portions` reads them in parts.

A table is written in row groups of some 4 MB as they lie in memory. A reader of one group at
a time holds little, whatever a row weighs. Equal rows give equal bytes, whatever the portions they came in,
for one pyarrow version.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks import ArtifactError
from tasks.tables.facts import DatasetFacts, facts_metadata
from tasks.tables.files import atomic_path
from tasks.tables.schemas import (
    Artifact,
    Column,
    Pictures,
    Tensor,
    check_schema,
    check_table,
    column_array,
    picture_metadata,
)

GROUP_BYTES = 2**22
"""A row group ends with the row that reaches this size, in bytes as decoded."""
GROUP_ROWS = 2**16
"""The most rows of a row group."""
# A flipped bit is a damaged file by its page's checksum, not another value.
_WRITE_OPTIONS: Mapping[str, object] = {"compression": "zstd", "write_page_checksum": True}


def tensor_column(
    values: npt.NDArray[np.generic], is_null: npt.NDArray[np.bool_] | None = None
) -> pa.ExtensionArray:
    """An (N, ...) array as a column of N fixed-shape tensors, without copying; null where `is_null` (N,)."""
    values = np.ascontiguousarray(values)
    width = int(np.prod(values.shape[1:]))
    flat = pa.array(values.reshape(-1))
    mask = None if is_null is None else pa.array(is_null)
    storage = pa.FixedSizeListArray.from_arrays(flat, width, mask=mask)
    tensor = pa.fixed_shape_tensor(pa.from_numpy_dtype(values.dtype), list(values.shape[1:]))
    return pa.ExtensionArray.from_storage(tensor, storage)


def make_table(artifact: Artifact, facts: DatasetFacts, columns: Mapping[str, object]) -> pa.Table:
    """Build a table of `artifact` from arrays: columns in schema order, rows in `example_id` order.

    Columns come as NumPy arrays, lists or Arrow arrays; a tensor with nulls as `tensor_column` makes it.

    Raises:
        ArtifactError: a column is missing, of the wrong type or length, or `example_id` repeats.
    """
    fields: list[pa.Field] = []
    arrays: list[pa.Array] = []
    for column in artifact.columns:
        if column.name not in columns:
            if column.optional:
                continue
            raise ArtifactError(f"{artifact.name}: column `{column.name}` was not given. {artifact.remedy}")
        try:
            array, metadata = _column(column, columns[column.name])
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise ArtifactError(
                f"{artifact.name}: column `{column.name}` was expected as {column.type}, found values that "
                f"do not fit ({error}). {artifact.remedy}"
            ) from error
        if arrays and len(array) != len(arrays[0]):
            raise ArtifactError(
                f"{artifact.name}: column `{column.name}` was expected to have {len(arrays[0])} rows, found "
                f"{len(array)}. {artifact.remedy}"
            )
        arrays.append(array)
        fields.append(pa.field(column.name, array.type, nullable=column.nullable, metadata=metadata))
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=facts_metadata(facts)))
    check_table(table, artifact, where=artifact.name)
    ids = column_array(table, "example_id")
    if np.any(ids[1:] < ids[:-1]):
        table = table.take(pa.array(np.argsort(ids)))
    return table


def _column(column: Column, values: object) -> tuple[pa.Array, dict[bytes, bytes] | None]:
    """The values as Arrow has them, and the metadata of their field."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(column.type, Pictures):
        pixels = np.ascontiguousarray(values, dtype=np.uint8)
        width = int(np.prod(pixels.shape[1:]))
        buffers = [None, pa.py_buffer(pixels)]
        array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(pixels), buffers)
        return array, picture_metadata(pixels.shape[1:])
    if isinstance(values, pa.Array) and isinstance(column.type, Tensor):
        return values, None
    if isinstance(column.type, Tensor):
        return tensor_column(np.asarray(values, dtype=column.type.value_type.to_pandas_dtype())), None
    return pa.array(values, type=column.type, from_pandas=isinstance(values, np.ndarray)), None


def write_table(
    path: Path, table: pa.Table, artifact: Artifact, extra: Mapping[str, str] | None = None
) -> None:
    """Check `table` against `artifact` and write it atomically as zstd Parquet.

    `extra` is added to the file's metadata.
    """
    check_table(table, artifact, where=str(path))
    with atomic_path(path) as temporary, _Writer(temporary, str(path), artifact, extra) as writer:
        writer.append(table)


@contextmanager
def write_stream(
    path: Path, artifact: Artifact, facts: DatasetFacts, extra: Mapping[str, str] | None = None
) -> Iterator[Callable[[Mapping[str, object]], None]]:
    """Yield a function that appends rows, as `make_table` takes them, to an artifact; see `write_table`.

    Rows come in ascending order of `example_id`. The file appears under its name when the block ends well.

    Raises:
        ArtifactError: rows do not fit the artifact, come out of order, or there is none.
    """
    with atomic_path(path) as temporary, stream_to(temporary, path, artifact, facts, extra) as append:
        yield append


@contextmanager
def stream_to(
    temporary: Path,
    path: Path,
    artifact: Artifact,
    facts: DatasetFacts,
    extra: Mapping[str, str] | None = None,
) -> Iterator[Callable[[Mapping[str, object]], None]]:
    """`write_stream` to an `atomic_path` of `path`: for files that are to appear together."""
    with _Writer(temporary, str(path), artifact, extra) as writer:
        yield lambda columns: writer.append(make_table(artifact, facts, columns))


class _Writer:
    """Cuts rows, in portions of any length, into row groups."""

    def __init__(self, path: Path, where: str, artifact: Artifact, extra: Mapping[str, str] | None) -> None:
        self._path, self._where, self._artifact = path, where, artifact
        self._extra = {key.encode(): value.encode() for key, value in (extra or {}).items()}
        self._file: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._held_rows = self._held_bytes = 0
        self._last_id: int | None = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._file is not None:
                self._file.close()

    def append(self, table: pa.Table) -> None:
        self._check_order(column_array(table, "example_id"))
        sizes, start = np.cumsum(row_bytes(table)), 0
        while start < len(sizes):
            before = sizes[start - 1] if start else 0
            full = int(np.searchsorted(sizes, before + GROUP_BYTES - self._held_bytes)) + 1
            end = min(full, start + GROUP_ROWS - self._held_rows, len(sizes))
            self._waiting.append(table.slice(start, end - start))
            self._held_rows += end - start
            self._held_bytes += int(sizes[end - 1] - before)
            if self._held_rows >= GROUP_ROWS or self._held_bytes >= GROUP_BYTES:
                self._write()
            start = end
        if not len(sizes) and not self._waiting:
            self._waiting.append(table)

    def _check_order(self, ids: npt.NDArray[np.integer]) -> None:
        if self._last_id is not None:
            ids = np.concatenate([[self._last_id], ids])
        if len(falls := np.flatnonzero(ids[1:] <= ids[:-1])):
            raise ArtifactError(
                f"{self._where}: rows were expected in ascending order of `example_id`, found "
                f"{ids[falls[0] + 1]} after {ids[falls[0]]}."
            )
        self._last_id = int(ids[-1]) if len(ids) else None

    def _finish(self) -> None:
        nothing = self._file is None and not self._held_rows
        # A table that may be empty still needs one portion without rows: it tells the shapes of tensors.
        if nothing and not (self._artifact.may_be_empty and self._waiting):
            raise ArtifactError(f"{self._where}: rows were expected, found none.")
        if self._waiting:
            self._write()

    def _write(self) -> None:
        rows = pa.concat_tables(self._waiting).combine_chunks()
        rows = rows.replace_schema_metadata({**(rows.schema.metadata or {}), **self._extra})
        if self._file is None:
            self._file = pq.ParquetWriter(
                self._path, rows.schema, **_WRITE_OPTIONS, **_encodings(rows.schema)
            )
        if rows.num_rows:
            self._file.write_table(rows, row_group_size=rows.num_rows)
        self._waiting, self._held_rows, self._held_bytes = [], 0, 0


def row_bytes(table: pa.Table) -> npt.NDArray[np.int64]:
    """(N,) about how many bytes each row takes in memory."""
    sizes = np.full(table.num_rows, sum(map(fixed_bytes, table.schema)), dtype=np.int64)
    for field in table.schema:
        if pa.types.is_string(field.type):
            sizes += pc.fill_null(pc.binary_length(table.column(field.name)), 0).to_numpy()
    return sizes


def fixed_bytes(field: pa.Field) -> int:
    """Bytes of a value of a column, 0 where they vary."""
    if isinstance(field.type, pa.FixedShapeTensorType):
        return math.prod(map(int, field.type.shape)) * int(field.type.value_type.bit_width) // 8
    if pa.types.is_primitive(field.type) or pa.types.is_fixed_size_binary(field.type):
        return max(int(field.type.bit_width) // 8, 1)
    return 0


def _encodings(schema: pa.Schema) -> dict[str, object]:
    """How columns are written: labels by dictionary, ids by their differences, the rest as it is.

    A dictionary of values that hardly repeat takes longer to write than the values, and more space. No one
    asks for the least and the greatest picture or vector.
    """
    types = {field.name: field.type for field in schema}
    return {
        "use_dictionary": [name for name, kind in types.items() if pa.types.is_int16(kind)],
        "column_encoding": {
            name: "DELTA_BINARY_PACKED" for name, kind in types.items() if pa.types.is_int64(kind)
        },
        "write_statistics": [name for name, kind in types.items() if pa.types.is_primitive(kind)],
    }


def read_table(
    path: Path, artifact: Artifact, columns: Sequence[str] | None = None, optional: Sequence[str] = ()
) -> pa.Table:
    """Read an artifact (or some of its columns) and check it.

    Beside `columns`, those of `optional` come where the file has them.

    Raises:
        ArtifactError: names the file, the column, what was expected and found, and the command that
            rebuilds it.
    """
    existing(path, artifact)
    with damaged(path, artifact), pq.ParquetFile(path, page_checksum_verification=True) as file:
        # Columns are chosen after the schema check, so that a missing one is named as such.
        schema = file.schema_arrow
        if columns is not None:
            columns = [*columns, *(name for name in optional if name in schema.names)]
        check_schema(schema, artifact, str(path), only=columns)
        table = file.read(None if columns is None else list(dict.fromkeys(["example_id", *columns])))
        check_table(table, artifact, where=str(path), only=columns)
    return table


def existing(path: Path, artifact: Artifact) -> None:
    """Refuse what is no file.

    Raises:
        ArtifactError: names it and the command that builds it.
    """
    with damaged(path, artifact):
        is_file = path.is_file()
    if is_file:
        return
    if path.exists():
        raise ArtifactError(
            f"{path}: this file of stage `{artifact.stage}` was expected, found a folder, pipe or device. "
            f"Remove it. {artifact.remedy}"
        )
    raise ArtifactError(
        f"{path}: this file of stage `{artifact.stage}` was expected and is missing. {artifact.remedy}"
    )


@contextmanager
def damaged(path: Path, artifact: Artifact, where: str = "") -> Iterator[None]:
    """Turn complaints about a file into an `ArtifactError` that names it: by its path, or as `where` says.

    A file that may not be read, and memory that does not suffice, say nothing of the file's content.
    """
    where = where or str(path)
    try:
        yield
    except PermissionError as error:
        raise ArtifactError(
            f"{where}: expected a file that you may read, found no permission ({error.strerror}). "
            f"`chmod u+r {path}` grants it."
        ) from error
    except (MemoryError, pa.ArrowMemoryError) as error:
        raise ArtifactError(
            f"{where}: expected memory enough to read this file, found too little ({error or 'none left'}). "
            "Close other programs, or use a machine with more."
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{where}: expected a readable Parquet file, found a damaged one "
            f"({' '.join(str(error).split())}). {artifact.remedy}"
        ) from error
