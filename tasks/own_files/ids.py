"""What a person's file calls its rows: a column of ids, or the index of a pandas table."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks import DatasetError
from tasks.own_files.columns import OwnFile, is_text, readable
from tasks.own_files.names import listed, shown
from tasks.tables.keys import example_ids_of

ID_COLUMNS = ("example_id", "id", "key")
"""Names under which a column of ids is found; the first that is there counts."""
# What pandas calls an index without a name: in Parquet, and in CSV, written once and twice.
_UNNAMED = re.compile(r"__index_level_\d+__")
_UNNAMED_IN_CSV = ("", "Unnamed: 0")
_WHOLE = "^(0|-?[1-9][0-9]{0,18})$"
# Whole numbers in a column that pandas once made float, for want of one of them.
_WHOLE_FLOAT = r"^(0|-?[1-9][0-9]{0,15})[.,]0$"
_MOST_EXACT = 2**53


@dataclass(frozen=True)
class Ids:
    """The ids of the N rows of a file, in its order, each once.

    Attributes:
        path: the file.
        column: where they were found.
        unused: other columns that hold ids too.
        example_id: (N,) int64, see `tasks.tables.keys`.
        text: (N,) what the file calls the rows; None where that is the number `example_id`.
    """

    path: Path
    column: str
    unused: tuple[str, ...]
    example_id: npt.NDArray[np.int64]
    text: pa.LargeStringArray | None

    @cached_property
    def ascend(self) -> bool:
        """Whether the rows of the file are in order of `example_id`."""
        return bool(np.all(self.example_id[1:] > self.example_id[:-1]))

    @cached_property
    def order(self) -> npt.NDArray[np.intp]:
        """(N,) the rows of the file by ascending `example_id`."""
        return np.arange(len(self.example_id)) if self.ascend else np.argsort(self.example_id)

    def keys(self, rows: npt.NDArray[np.intp]) -> pa.Array:
        """What the file calls some of its rows, as text."""
        if self.text is None:
            return pa.array(self.example_id[rows]).cast(pa.string())
        return self.text.take(pa.array(rows)).cast(pa.string())


def id_columns(file: OwnFile) -> tuple[str, ...]:
    """The columns of a file that name its rows, and so are no content."""
    named = [name for name in ID_COLUMNS if name in file.names]
    index = [name for name in _pandas_index(file) if isinstance(name, str)]
    return tuple(dict.fromkeys([*named, *index]))


def read_ids(file: OwnFile) -> Ids | None:
    """The ids of a file, None where it has none.

    The index that pandas gives to a table without one, 0, 1, 2, ..., names no rows.

    Raises:
        DatasetError: an id is missing, repeated, or neither text nor a whole number; or the index of a pandas
            table has several levels.
    """
    if file.kind == "npy":
        return None
    columns = id_columns(file)
    index = _pandas_index(file)
    if not (set(columns) & set(ID_COLUMNS)):
        if len(index) > 1:
            raise DatasetError(
                f"{file.path}: expected one column of ids, found an index of {len(index)} levels "
                f"({listed(list(map(str, index)))}). Make one column `{ID_COLUMNS[0]}` of them."
            )
        if index and isinstance(index[0], range):
            return Ids(file.path, "index", (), np.arange(index[0].start, index[0].stop, index[0].step), None)
    if not columns:
        return None
    column, *unused = columns
    where = f"{file.path}, column {shown(column)}"
    with readable(file.path, file.form):
        keys = _read_keys(file, column, where)
        if is_text(keys.type):
            ids = example_ids_of(keys.to_pylist(), where)
            return Ids(file.path, column, tuple(unused), ids, keys)
    ids = np.asarray(keys.to_numpy())
    if column in _UNNAMED_IN_CSV and np.array_equal(ids, np.arange(len(ids))):
        return None
    _check_repeats(ids, where)
    return Ids(file.path, column, tuple(unused), ids, None)


def row_keys(column: pa.ChunkedArray, where: str) -> list[str]:
    """(N,) what the owner calls each row, from a column of ids that was read already.

    Raises:
        DatasetError: see `read_ids`.
    """
    with readable(where, "column of ids"):
        keys = _join(_keys(column, 0, where).chunks)
        return list(map(str, keys.to_pylist()))


class Rows(Protocol):
    """A file of rows: their ids where it has them, and their number where it is known."""

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def ids(self) -> Ids | None: ...  # noqa: D102
    @property
    def n_rows(self) -> int | None: ...  # noqa: D102


def check_same_rows(one: Rows, other: Rows) -> None:
    """Check what is known of two files that should be of the same rows, in whatever order.

    Raises:
        DatasetError: one has ids and the other has none, a row of one is missing in the other, or their
            numbers differ.
    """
    if one.ids and other.ids:
        if np.array_equal(one.ids.example_id, other.ids.example_id):
            return
        for having, lacking in ((one.ids, other.ids), (other.ids, one.ids)):
            is_missing = ~np.isin(having.example_id, lacking.example_id, assume_unique=True)
            rows = np.flatnonzero(is_missing)
            if len(rows):
                raise DatasetError(
                    f"{lacking.path}: expected every row of {having.path}, by {having.column}, found no row "
                    f"for {shown(having.keys(rows[:1])[0].as_py())} ({len(rows):,} of {len(is_missing):,} "
                    "are missing)."
                )
    elif ids := one.ids or other.ids:
        path = other.path if one.ids else one.path
        raise DatasetError(
            f"{path}: expected ids of the rows (a column {' or '.join(ID_COLUMNS)}), since {ids.path} has "
            f"them ({ids.column}), found none. Give them to every file, or to none: then rows go by their "
            "order."
        )
    elif one.n_rows is not None and other.n_rows is not None and one.n_rows != other.n_rows:
        raise DatasetError(
            f"{other.path}: expected as many rows as {one.path} has, found {other.n_rows:,} for "
            f"{one.n_rows:,}."
        )


def _pandas_index(file: OwnFile) -> list[str | range]:
    """The levels of the index of a pandas table: columns, or numbers that stand for them."""
    if file.kind == "csv":
        return [name for name in file.names[:1] if name in _UNNAMED_IN_CSV and len(file.names) > 1]
    levels: dict[str | range, bool] = {}  # and whether each has a name
    with suppress(KeyError, TypeError, ValueError, RecursionError, OverflowError):
        # Whatever else it is, pandas did not write it.
        for level in json.loads((file.schema.metadata or {})[b"pandas"])["index_columns"]:
            if not isinstance(level, dict):
                levels |= {level: True} if level in file.names else {}
                continue
            numbers = range(level["start"], level["stop"], level["step"])
            # pandas too leaves an index aside that is longer or shorter than the table.
            if len(numbers) == file.n_rows and max(abs(numbers.start), abs(numbers.stop)) < 2**63:
                levels[numbers] = level["name"] is not None
    levels |= {name: True for name in file.names if _UNNAMED.fullmatch(name)}
    default = range(file.n_rows or 0)
    return [] if levels == {default: False} else list(levels)


def _read_keys(file: OwnFile, column: str, where: str) -> pa.Array:
    """(N,) int64 where all are whole numbers, text otherwise."""
    chunks: list[pa.Array] = []
    done = 0
    for portion in file.portions([column], as_text=True):
        keys = portion.column(column)
        # Blanks after a separator are no part of what the owner calls a row.
        keys = pc.utf8_trim_whitespace(keys) if file.kind == "csv" else keys
        chunks += _keys(keys, done, where).chunks
        done += portion.num_rows
    return _join(chunks)


def _join(chunks: Sequence[pa.Array]) -> pa.Array:
    """Parts of a column as one: int64 where all of it is, text otherwise."""
    if all(pa.types.is_integer(chunk.type) for chunk in chunks):
        return pa.concat_arrays(chunks) if chunks else pa.array([], pa.int64())
    keys = pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in chunks])
    return _as_numbers(keys, _WHOLE_FLOAT)


def _as_numbers(keys: pa.Array | pa.ChunkedArray, pattern: str) -> pa.Array | pa.ChunkedArray:
    """Text as int64 where all of it is of the pattern, without a fraction of 0; as it is otherwise."""
    if pc.all(pc.match_substring_regex(keys, pattern)).as_py():
        with suppress(pa.ArrowInvalid):  # beyond int64
            return pc.replace_substring_regex(keys, "[.,]0$", "").cast(pa.int64())
    return keys


def _keys(column: pa.ChunkedArray, first_row: int, where: str) -> pa.ChunkedArray:
    """A part of a column as int64 or text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
        is_whole = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), _MOST_EXACT))
        if pc.all(is_whole).as_py() is not False:
            column = column.cast(pa.int64())
    elif is_text(kind):
        column = column.cast(pa.large_string())
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.large_string()), column)
        column = _as_numbers(column, _WHOLE)
    elif pa.types.is_unsigned_integer(kind):  # some are beyond int64
        column = _as_numbers(column.cast(pa.large_string()), _WHOLE)
    elif pa.types.is_integer(kind):
        column = column.cast(pa.int64())
    elif not pa.types.is_null(kind):
        raise DatasetError(f"{where}: expected ids that are whole numbers or text, found {kind}.")
    if column.null_count:
        row = first_row + pc.index(column.is_null(), True).as_py()
        raise DatasetError(f"{where}: expected an id in every row, found none in row {row}.")
    if pa.types.is_floating(column.type):
        row = first_row + pc.index(is_whole, False).as_py()
        raise DatasetError(
            f"{where}: expected ids that are whole numbers or text, found {column[row - first_row]} in row "
            f"{row}."
        )
    return column


def _check_repeats(ids: npt.NDArray[np.int64], where: str) -> None:
    if np.all(ids[1:] > ids[:-1]):
        return
    found, counts = np.unique(ids, return_counts=True)
    if len(found) < len(ids):
        first = int(np.argmax(counts > 1))
        raise DatasetError(
            f"{where}: expected each row under an id of its own, found {found[first]} in {counts[first]} "
            "rows."
        )
