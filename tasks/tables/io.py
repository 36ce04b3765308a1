"""The one door through which tables are written and read."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks import ArtifactError
from tasks.tables.facts import DatasetFacts, facts_metadata
from tasks.tables.files import atomic_path
from tasks.tables.schemas import Artifact, Tensor, check_schema, check_table, column_array

# Larger groups make fewer, longer runs for the codec; 16,384 rows of a 1,000-class table are 64 MB.
ROW_GROUP_ROWS = 16_384
# A flipped bit is a damaged file by its page's checksum, not another value.
WRITE_OPTIONS: Mapping[str, Any] = {"compression": "zstd", "write_page_checksum": True}


def tensor_column(values: npt.NDArray[Any]) -> pa.ExtensionArray:
    """An (N, ...) array as a column of N fixed-shape tensors, without copying."""
    values = np.ascontiguousarray(values)
    width = int(np.prod(values.shape[1:]))
    flat = pa.array(values.reshape(-1))
    storage = pa.FixedSizeListArray.from_arrays(flat, width)
    tensor = pa.fixed_shape_tensor(pa.from_numpy_dtype(values.dtype), list(values.shape[1:]))
    return pa.ExtensionArray.from_storage(tensor, storage)


def make_table(artifact: Artifact, facts: DatasetFacts, columns: Mapping[str, Any]) -> pa.Table:
    """Build a table of `artifact` from arrays: columns in schema order, rows in `example_id` order.

    Raises:
        ArtifactError: a column is missing, of the wrong type or length, or `example_id` repeats.
    """
    remedy = f"Rebuild it with `dvc repro {artifact.stage}`."
    fields: list[pa.Field] = []
    arrays: list[pa.Array] = []
    for column in artifact.columns:
        if column.name not in columns:
            if column.optional:
                continue
            raise ArtifactError(f"{artifact.name}: column `{column.name}` was not given. {remedy}")
        values = columns[column.name]
        try:
            if isinstance(column.type, Tensor):
                array = tensor_column(np.asarray(values, dtype=column.type.value_type.to_pandas_dtype()))
            else:
                array = pa.array(values, type=column.type, from_pandas=isinstance(values, np.ndarray))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise ArtifactError(
                f"{artifact.name}: column `{column.name}` was expected as {column.type}, found values that "
                f"do not fit ({error}). {remedy}"
            ) from error
        if arrays and len(array) != len(arrays[0]):
            raise ArtifactError(
                f"{artifact.name}: column `{column.name}` was expected to have {len(arrays[0])} rows, found "
                f"{len(array)}. {remedy}"
            )
        arrays.append(array)
        fields.append(pa.field(column.name, array.type, nullable=column.nullable))
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=facts_metadata(facts)))
    check_table(table, artifact, where=artifact.name)
    ids = column_array(table, "example_id")
    if np.any(ids[1:] < ids[:-1]):
        table = table.take(pa.array(np.argsort(ids)))
    return table


def write_table(
    path: Path, table: pa.Table, artifact: Artifact, extra: Mapping[str, str] | None = None
) -> None:
    """Check `table` against `artifact` and write it atomically as zstd Parquet.

    `extra` is added to the file's metadata. Equal tables give equal bytes (for one pyarrow version).
    """
    check_table(table, artifact, where=str(path))
    if extra:
        added = {key.encode(): value.encode() for key, value in extra.items()}
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **added})
    plain = plain_columns(table.schema)
    with atomic_path(path) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=ROW_GROUP_ROWS,
            use_dictionary=plain,
            write_statistics=plain,
            **WRITE_OPTIONS,
        )


def plain_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns that are no tensors: they get dictionary pages and statistics.

    Dictionaries help labels and strings and only cost time on pixels and probabilities.
    """
    return [f.name for f in schema if not isinstance(f.type, pa.FixedShapeTensorType)]


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
    with damaged(path, artifact):
        # Columns are chosen after the schema check, so that a missing one is named as such.
        schema = pq.read_schema(path)
        if columns is not None:
            columns = [*columns, *(name for name in optional if name in schema.names)]
        check_schema(schema, artifact, str(path), only=columns)
        wanted = None if columns is None else ["example_id", *_others(columns)]
        table = pq.read_table(path, columns=wanted, page_checksum_verification=True)
        check_table(table, artifact, where=str(path), only=columns)
    return table


def existing(path: Path, artifact: Artifact) -> None:
    """Refuse a file that is not there.

    Raises:
        ArtifactError: names it and the command that builds it.
    """
    if not path.exists():
        raise ArtifactError(
            f"{path}: this file of stage `{artifact.stage}` was expected and is missing. "
            f"Rebuild it with `dvc repro {artifact.stage}`."
        )


@contextmanager
def damaged(path: Path, artifact: Artifact) -> Iterator[None]:
    """Turn pyarrow's complaints about a file into an `ArtifactError` that names it."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path}: expected a readable Parquet file, found a damaged one ({error}). "
            f"Rebuild it with `dvc repro {artifact.stage}`."
        ) from error


def _others(columns: Sequence[str]) -> list[str]:
    return [name for name in columns if name != "example_id"]
