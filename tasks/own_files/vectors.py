"""Vectors from a person's own file: probabilities or embeddings, one in every row."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks import DatasetError
from tasks.own_files.columns import OwnFile, open_file, readable
from tasks.own_files.ids import Ids, id_columns, read_ids
from tasks.own_files.labels import GIVEN, MOST_CLASSES, TRUE
from tasks.own_files.names import listed, shown
from tasks.tables.portions import Scratch
from tasks.tables.probabilities import SUM_TOLERANCE, rows_off_1

NO_FOLD = -1
"""The fold of a row whose model's training rows are not known."""
FOLD = "fold"
# Folds are kept in int16.
_MOST_FOLD = 2**15 - 1
_RANGE_TOLERANCE = 1e-6

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Content:
    """What the vectors of a file are: which numbers, and `columns` that may hold them as lists."""

    columns: tuple[str, ...]
    noun: str
    shape: str
    least: int
    most: int
    integers: bool

    def holds(self, found: pa.DataType | None) -> bool:
        """Whether a value of type `found` is a number of this kind."""
        return found is not None and bool(
            pa.types.is_floating(found) or (self.integers and pa.types.is_integer(found))
        )


PROBABILITIES = Content(
    ("pred_probs",), "float probabilities", "(N, K) with K >= 2", 2, MOST_CLASSES, integers=False
)
EMBEDDINGS = Content(("embedding", "features"), "numbers", "(N, d)", 1, 2**31 - 1, integers=True)


@dataclass(frozen=True)
class Vectors:
    """A file of N vectors: what is known before it is read, and its rows in portions.

    `columns` is one column of lists, or one of numbers for each of the `width` entries. `folds` (N,) are of
    probabilities alone. `n_rows` is not known of CSV without ids and folds.
    """

    file: OwnFile
    content: Content
    width: int
    columns: tuple[str, ...]
    in_lists: bool
    ids: Ids | None
    folds: npt.NDArray[np.int16] | None

    @property
    def path(self) -> Path:
        """Where they are."""
        return self.file.path

    @property
    def n_rows(self) -> int | None:
        """N, where it is known."""
        return self.file.n_rows if self.ids is None else len(self.ids.example_id)

    def in_order(self, n_rows: int, folder: Path) -> Iterator[npt.NDArray[np.float32]]:
        """The checked vectors (n, width) by ascending id, `n_rows` at a time; fewer in the last portion.

        Where the file has another order, they are kept in an unnamed file in `folder` meanwhile.

        Raises:
            DatasetError: a row is not what it should be.
            OSError: `folder` takes no more.
        """
        portions = _regroup(self._checked(n_rows), n_rows)
        if self.ids is None or self.ids.ascend:
            yield from portions
        else:
            yield from _sort(portions, self.ids.order, n_rows, Scratch(folder, (self.width,), np.float32))

    def _checked(self, n_rows: int) -> Iterator[npt.NDArray[np.float32]]:
        done = 0
        for portion in self.file.portions(self.columns, n_rows=n_rows):
            with readable(self.path, self.file.form):
                values = self._values(portion, done)
            if self.content is PROBABILITIES:
                _check_probabilities(values, done, self.path, () if self.in_lists else self.columns)
            yield _finite(values, done, self.path)
            done += len(values)
        if not done:
            raise DatasetError(f"{self.path}: expected rows of {self.content.noun}, found none.")

    def _values(self, portion: pa.Table, first_row: int) -> Array:
        for name in portion.column_names:
            if portion.column(name).null_count:
                row = first_row + pc.index(portion.column(name).is_null(), True).as_py()
                raise DatasetError(
                    f"{self.path}: expected a value in every row of column {shown(name)}, found none in row "
                    f"{row}."
                )
        if not self.in_lists:
            return np.column_stack([portion.column(name).to_numpy() for name in self.columns])
        column = portion.column(self.columns[0]).combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        storage = column.storage if isinstance(column, pa.ExtensionArray) else column
        lengths = pc.list_value_length(storage).to_numpy()
        other = np.flatnonzero(lengths != self.width)
        if len(other):
            raise DatasetError(
                f"{self.path}: expected {self.width} numbers in every row of column {self.columns[0]}, "
                f"found {lengths[other[0]]} in row {first_row + other[0]}."
            )
        return np.asarray(storage.flatten().to_numpy(zero_copy_only=False)).reshape(-1, self.width)


def open_vectors(path: Path, content: Content) -> Vectors:
    """Look at a file of vectors; its ids and folds are read, its vectors are not.

    Raises:
        DatasetError: the file is missing, not readable, or has no such vectors, or its ids or folds are not
            what they should be.
    """
    file = open_file(path)
    has_lists = file.kind in ("parquet", "arrow", "npz")
    lists = [name for name in content.columns if name in file.names] if has_lists else []
    if file.kind == "npz" and not lists:
        # Of arrays, the one that has rows of numbers.
        lists = [field.name for field in file.schema if pa.types.is_fixed_size_list(field.type)]
        if len(lists) != 1:
            raise DatasetError(
                f"{path}: expected an array {' or '.join(content.columns)}, found {listed(file.names)}."
            )
    if file.kind == "npy" or lists:
        columns = (lists or file.names)[:1]
        width = _list_length(file, content, columns[0])
    else:
        # One file may hold everything: labels are no entries.
        others = {*id_columns(file), FOLD, GIVEN, TRUE}
        columns = [name for name in file.names if name not in others]
        width = len(columns)
        _check_headings(columns, path)
        for name in columns:
            found = file.schema.field(name).type
            if not (content.holds(found) or (file.kind == "csv" and _may_be_number(found))):
                raise DatasetError(
                    f"{path}: expected only columns of {content.noun}, found {shown(name)}: {found}."
                )
    if width < content.least:
        raise DatasetError(
            f"{path}: expected {content.noun} of shape {content.shape}, found {width} in a row."
        )
    if width > content.most:
        raise DatasetError(
            f"{path}: expected at most {content.most:,} {content.noun} in a row, found {width:,}."
        )
    has_folds = content is PROBABILITIES and FOLD in file.names
    in_lists = file.kind == "npy" or bool(lists)
    return Vectors(
        file,
        content,
        width,
        tuple(columns),
        in_lists,
        read_ids(file),
        _read_folds(file) if has_folds else None,
    )


def _may_be_number(found: pa.DataType) -> bool:
    """Whether a column of a CSV may hold fractions where its beginning is of this type."""
    return bool(pa.types.is_integer(found) or pa.types.is_null(found))


def _check_headings(names: Sequence[str], path: Path) -> None:
    """Check that the columns of numbers have names, which may be names of classes.

    Raises:
        DatasetError: one has none, or the first line holds probabilities.
    """
    for place, name in enumerate(names):
        if not name or name.startswith("Unnamed: "):
            raise DatasetError(
                f"{path}: expected a name for each column of numbers, found {name!r} in place {place}. If "
                "it is the index of a pandas table, save that with index=False, or call it example_id."
            )
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return
    # Classes may be called 0 and 1, which sum to 1 too.
    if any(0 < number < 1 for number in numbers) and abs(sum(numbers) - 1) <= SUM_TOLERANCE:
        raise DatasetError(
            f"{path}: expected a first line of names, found probabilities ({listed(names)}). Give every "
            "column a name."
        )


def _list_length(file: OwnFile, content: Content, name: str) -> int:
    """How many numbers the first row of a column of lists holds, 0 where there is no row."""
    kind = file.schema.field(name).type
    kinds = (pa.FixedShapeTensorType, pa.ListType, pa.LargeListType, pa.FixedSizeListType)
    flat = not isinstance(kind, pa.FixedShapeTensorType) or len(kind.shape) == 1
    if not (isinstance(kind, kinds) and flat and content.holds(kind.value_type)):
        where = "an array" if file.kind == "npy" else f"column {name} to hold lists"
        raise DatasetError(f"{file.path}: expected {where} of {content.noun}, {content.shape}, found {kind}.")
    if isinstance(kind, pa.FixedShapeTensorType):
        return int(kind.shape[0])
    if isinstance(kind, pa.FixedSizeListType):
        return int(kind.list_size)
    first = next(file.portions([name], n_rows=1), None)
    row = first.column(0)[0].as_py() if first is not None and first.num_rows else None
    return len(row or ())


def _read_folds(file: OwnFile) -> npt.NDArray[np.int16]:
    """(N,) the fold of each row, in the order of the file."""
    parts = [np.empty(0, dtype=np.int16)]
    done = 0
    for portion in file.portions([FOLD], as_text=True):
        column = portion.column(FOLD)
        with readable(file.path, f"column {FOLD} of whole numbers"):
            folds = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
        is_fold = (folds >= NO_FOLD) & (folds <= _MOST_FOLD) & (folds == np.rint(folds))
        if not is_fold.all():
            row = int(np.argmin(is_fold))
            raise DatasetError(
                f"{file.path}: expected a {FOLD} from 0 to {_MOST_FOLD:,} (or {NO_FOLD}, not known), found "
                f"{shown(column[row].as_py())} in row {done + row}."
            )
        parts.append(folds.astype(np.int16))
        done += len(folds)
    return np.concatenate(parts)


def _regroup(portions: Iterable[Array], n_rows: int) -> Iterator[Array]:
    """Rows in portions of any length, `n_rows` at a time; fewer in the last portion alone."""
    held: list[Array] = []
    n_held = 0
    for portion in portions:
        while len(portion):
            held.append(portion[: n_rows - n_held])
            portion = portion[n_rows - n_held :]
            n_held += len(held[-1])
            if n_held == n_rows:
                yield np.concatenate(held) if len(held) > 1 else held[0]
                held, n_held = [], 0
    if held:
        yield np.concatenate(held)


def _sort(
    portions: Iterable[Array], order: npt.NDArray[np.intp], n_rows: int, scratch: Scratch
) -> Iterator[Array]:
    """The rows at `order` (N,), `n_rows` at a time.

    A row goes to the block of the scratch file in which it will be read. There it comes after those that come
    before it in the file, so a block is one piece to read, and a portion has one piece for each block.
    """
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    n_blocks = -(-len(order) // n_rows)
    filled = np.arange(n_blocks) * n_rows
    done = 0
    for portion in portions:
        block = rank[done : done + len(portion)] // n_rows
        by_block = np.argsort(block, kind="stable")
        ends = np.searchsorted(block[by_block], np.arange(n_blocks), side="right")
        for number, rows in enumerate(np.split(by_block, ends[:-1])):
            if len(rows):
                scratch.write(int(filled[number]), portion[rows])
                filled[number] += len(rows)
        done += len(portion)
    for start in range(0, len(order), n_rows):
        rows = order[start : start + n_rows]
        yield scratch.read(start, len(rows))[np.searchsorted(np.sort(rows), rows)]


def _finite(values: Array, first_row: int, path: Path) -> npt.NDArray[np.float32]:
    """The vectors in float32.

    Raises:
        DatasetError: a number is not finite in float32; names the row.
    """
    with np.errstate(over="ignore"):
        vectors = values.astype(np.float32)
    finite = np.isfinite(vectors)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise DatasetError(
            f"{path}: expected numbers that are finite in float32, found {values[row, column]} in row "
            f"{first_row + row}, column {column}."
        )
    return vectors


def _check_probabilities(pred_probs: Array, first_row: int, path: Path, columns: Sequence[str] = ()) -> None:
    """Check that rows hold probabilities.

    Raises:
        DatasetError: one is not finite or outside [0, 1] by more than 1e-6, or a row's sum is more than
            `SUM_TOLERANCE` from 1; names the row.
    """
    low, high = -_RANGE_TOLERANCE, 1 + _RANGE_TOLERANCE
    if len(pred_probs) and not (pred_probs.min() >= low and pred_probs.max() <= high):
        row, column = np.argwhere(~((pred_probs >= low) & (pred_probs <= high)))[0]
        found = pred_probs[row, column]
        raise DatasetError(
            f"{path}: expected finite probabilities in [0, 1], found {found} in row {first_row + row}, "
            f"column {shown(columns[column]) if columns else column}"
            + ("." if np.isnan(found) else "; logits need a softmax first, percentages a division by 100.")
        )
    wrong, sums = rows_off_1(pred_probs)
    if len(wrong):
        raise DatasetError(
            f"{path}: expected the probabilities of each row to sum to 1 (within {SUM_TOLERANCE:g}), found "
            f"{sums[0]:g} in row {first_row + wrong[0]}. If they were rounded, divide each row by its sum."
        )
