"""`python -m tasks import-probs`: start at `prune` with probabilities and labels from elsewhere.

Writes data/pred_probs.parquet and data/given_labels.parquet, checked, without download or training. It is
a stage of docs/own_probs.yaml, or run by hand before `dvc repro --single-item prune`. Probabilities
and embeddings are read in portions, so they may exceed the memory, and are kept in float32.
"""

import argparse
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tasks import DatasetError
from tasks.own_files.labels import (
    MOST_CLASSES,
    UNKNOWN,
    class_indices,
    csv_schema,
    listed,
    read_label_columns,
    readable,
)
from tasks.tables.catalog import GIVEN_LABELS, PRED_PROBS
from tasks.tables.facts import DatasetFacts
from tasks.tables.files import atomic_path
from tasks.tables.portions import BUFFER_BYTES, regrouped, stream_to
from tasks.tables.probabilities import SUM_TOLERANCE, rows_off_1

NO_FOLD = -1
"""The fold of a row whose model's training rows are not known."""
# Folds are kept in int16.
_MOST_FOLD = 2**15 - 1
_RANGE_TOLERANCE = 1e-6
_PORTION_ENTRIES = 2**22
_ID, _FOLD, _GIVEN, _TRUE = "example_id", "fold", "given_label", "true_label"

Array = npt.NDArray[Any]


def import_probs(workspace: Path, arguments: Sequence[str]) -> None:
    """Read the command line's files and write the two tables, both or neither.

    Raises:
        DatasetError: a file is missing or not what it should be; says what was expected and found.
    """
    parser = argparse.ArgumentParser(prog="python -m tasks import-probs", description=__doc__)
    parser.add_argument("--pred-probs", type=Path, required=True, help="Parquet, CSV or .npy, N x K")
    parser.add_argument("--labels", type=Path, required=True, help="Parquet, CSV or .npy, N given labels")
    parser.add_argument("--class-names", help="names by class index: a,b,c or a text file, one a line")
    parser.add_argument("--embeddings", type=Path, help="Parquet, CSV or .npy, N x d, for importance")
    parser.add_argument("--true-labels", type=Path, help="Parquet, CSV or .npy, N labels to measure against")
    chosen = parser.parse_args(arguments)
    predictions = open_vectors(chosen.pred_probs, PROBABILITIES)
    embeddings = open_vectors(chosen.embeddings, EMBEDDINGS) if chosen.embeddings else None
    names = class_names(chosen.class_names, predictions)
    given = read_labels(chosen.labels, names, _GIVEN)
    true = read_labels(chosen.true_labels, names, _TRUE) if chosen.true_labels else None
    check_same_rows(predictions, given)
    if true:
        check_same_rows(given, true)
    if embeddings:
        check_same_rows(predictions, embeddings)
    try:
        done = write_tables(workspace / "data", predictions, embeddings, given, true, names)
    except OSError as error:
        raise DatasetError(
            f"{workspace / 'data'}: expected to write pred_probs.parquet and given_labels.parquet here "
            f"({error}). Nothing there has changed."
        ) from error
    print(
        f"data/pred_probs.parquet and data/given_labels.parquet hold {done:,} rows of {len(names)} classes"
        f"{f', with embeddings of {embeddings.width} numbers' if embeddings else ''}."
    )
    # As a stage of docs/own_probs.yaml it is followed by what follows.
    if "DVC_STAGE" not in os.environ:
        print(
            "Next: dvc repro --single-item prune\n"
            "The tables stand where dvc.yaml has outputs of inject_noise and aggregate: a plain `dvc repro`\n"
            "would make those again, `dvc exp run` and `dvc checkout` take them away. To keep versions,\n"
            'take the pipeline of docs/own_probs.yaml (README, "Your own probabilities").'
        )


def write_tables(
    folder: Path,
    predictions: "Vectors",
    embeddings: "Vectors | None",
    given: "Labels",
    true: "Labels | None",
    names: tuple[str, ...],
) -> int:
    """Write the two tables, both or neither, and return N.

    Raises:
        DatasetError: rows are not what they should be.
        OSError: they cannot be written.
    """
    step = max(_PORTION_ENTRIES // max(predictions.width, embeddings.width if embeddings else 0), 1)
    facts = DatasetFacts(predictions.path.stem, names, "features", (0,))
    probs_path, labels_path = (folder / f"{name}.parquet" for name in ("pred_probs", "given_labels"))
    done, last_id = 0, None
    # Both are whole before either appears: probabilities beside other labels would look like a data set.
    with (
        unchanged_on_failure(labels_path),
        atomic_path(probs_path) as new_probs,
        atomic_path(labels_path) as new_labels,
        stream_to(new_probs, probs_path, PRED_PROBS, facts) as append_probs,
        stream_to(new_labels, labels_path, GIVEN_LABELS, facts) as append_labels,
    ):
        for portion, vectors in in_step(predictions, embeddings, step):
            n = len(portion.values)
            columns_of_classes = None if predictions.in_lists else predictions.columns
            check_probabilities(portion.values, done, predictions.path, columns_of_classes)
            if done + n > given.n_rows:
                raise _lengths(predictions, _count(done, n, step), given, f"{given.n_rows:,}")
            rows = slice(done, done + n)
            ids = np.arange(done, done + n) if portion.ids is None else portion.ids
            check_ascending(ids, last_id, done, predictions.path)
            last_id = int(ids[-1])
            columns = {
                _ID: ids,
                _FOLD: np.full(n, NO_FOLD) if portion.fold is None else portion.fold,
                "pred_probs": portion.values,
            }
            if embeddings and vectors:
                columns["embedding"] = finite_vectors(vectors.values, done, embeddings.path)
            append_probs(columns)
            labels = given.of(ids, rows)
            truth = true.of(ids, rows) if true else np.full(n, UNKNOWN, dtype=np.int16)
            append_labels(
                {
                    _ID: ids,
                    "split": np.full(n, "train"),
                    _GIVEN: labels,
                    _TRUE: pa.array(truth, pa.int16(), mask=truth == UNKNOWN),
                    "is_noisy": pa.array(labels != truth, pa.bool_(), mask=truth == UNKNOWN),
                }
            )
            done += n
        if not done:
            raise DatasetError(f"{predictions.path}: expected rows, found none.")
        if done != given.n_rows:
            raise _lengths(predictions, f"{done:,}", given, f"{given.n_rows:,}")
    return done


@contextmanager
def unchanged_on_failure(path: Path) -> Iterator[None]:
    """If the block fails, `path` is the file that it was before, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.with_name(f".before.{path.name}.tmp")
    before.unlink(missing_ok=True)
    if path.exists():
        try:
            os.link(path, before)
        except OSError:  # not every file system has links
            shutil.copy2(path, before)
    try:
        yield
    except BaseException:
        if before.exists():
            before.replace(path)
        else:
            path.unlink(missing_ok=True)
        raise
    finally:
        before.unlink(missing_ok=True)


# -- Probabilities and embeddings: files with a vector in every row.


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
class Portion:
    """Consecutive rows: `values` (n, width) and, where the file has them, `ids` (n,) and `fold` (n,)."""

    values: Array
    ids: Array | None = None
    fold: Array | None = None


@dataclass(frozen=True)
class Vectors:
    """A file of N vectors: what is known before it is read, and its rows in portions.

    `columns` is one column of lists, or one of numbers for each of the `width` entries; `headings` are these,
    and those of ids and folds, as the file spells them; `n_rows` is not known of CSV.
    """

    path: Path
    kind: str
    width: int
    n_rows: int | None
    has_ids: bool = False
    has_folds: bool = False
    columns: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()
    in_lists: bool = False

    def portions(self, n_rows: int) -> Iterator[Portion]:
        """The rows, `n_rows` at a time; fewer in the last portion alone."""
        if self.kind == "npy":
            array = _load(self.path)
            for start in range(0, len(array), n_rows):
                yield Portion(np.array(array[start : start + n_rows]))
            return
        done = 0
        with readable(str(self.path), self.kind):
            for table in regrouped(self._batches(n_rows), n_rows):
                if table.num_rows:
                    yield self._portion(table, done)
                done += table.num_rows

    def _batches(self, n_rows: int) -> Iterator[pa.RecordBatch]:
        names = [heading.strip() for heading in self.headings]
        if self.kind == "csv":
            # Types are inferred from the first block, where fractions may look like integers.
            kinds = [pa.int64() if name in (_ID, _FOLD) else pa.float64() for name in names]
            options = pacsv.ConvertOptions(
                include_columns=self.headings, column_types=dict(zip(self.headings, kinds, strict=True))
            )
            with pacsv.open_csv(self.path, convert_options=options) as reader:
                for batch in reader:
                    yield batch.rename_columns(names)
        else:
            with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
                for batch in file.iter_batches(n_rows, columns=self.headings):
                    yield batch.select(self.headings).rename_columns(names)

    def _portion(self, table: pa.Table, first_row: int) -> Portion:
        for name in table.column_names:
            if table.column(name).null_count:
                row = first_row + pc.index(table.column(name).is_null(), True).as_py()
                raise DatasetError(
                    f"{self.path}: expected a value in every row of column {name}, found none in row {row}."
                )
        fold = _folds(table, first_row, self.path) if self.has_folds else None
        ids = _ids(table, self.path) if self.has_ids else None
        return Portion(self._values(table), ids, fold)

    def _values(self, table: pa.Table) -> Array:
        if not self.in_lists:
            return np.column_stack([table.column(name).to_numpy() for name in self.columns])
        column = table.column(self.columns[0]).combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        storage = column.storage if isinstance(column, pa.ExtensionArray) else column
        lengths = pc.list_value_length(storage).to_numpy()
        other = np.flatnonzero(lengths != self.width)
        if len(other):
            raise DatasetError(
                f"{self.path}: expected {self.width} numbers in every row of column {self.columns[0]}, "
                f"found {lengths[other[0]]} in one."
            )
        return np.asarray(storage.flatten().to_numpy(zero_copy_only=False)).reshape(-1, self.width)


def open_vectors(path: Path, content: Content) -> Vectors:
    """Look at a file of vectors without reading its rows.

    Raises:
        DatasetError: the file is missing, not readable, or has no such vectors.
    """
    kind = _kind(path)
    if kind == "npy":
        array = _load(path)
        kinds = "fiu" if content.integers else "f"
        if array.ndim != 2 or array.shape[1] < content.least or array.dtype.kind not in kinds:
            raise DatasetError(
                f"{path}: expected {content.noun} of shape {content.shape}, found {array.dtype} of shape "
                f"{array.shape}."
            )
        _check_most(array.shape[1], content, path)
        return Vectors(path, kind, array.shape[1], len(array))
    if kind == "csv":
        schema, n_rows = csv_schema(path, str(path)), None
    else:
        with readable(str(path), kind), pq.ParquetFile(path) as file:
            schema, n_rows = file.schema_arrow, file.metadata.num_rows
    heading_of = {heading.strip(): heading for heading in schema.names}
    if len(heading_of) != len(schema.names):
        names = [heading.strip() for heading in schema.names]
        repeated = next(name for name in names if names.count(name) > 1)
        raise DatasetError(
            f"{path}: expected a name of its own for each column, found {repeated!r} again"
            f"{'; the first line of a CSV holds the names' if kind == 'csv' else ''}."
        )
    lists = [name for name in content.columns if name in heading_of] if kind == "parquet" else []
    if lists:
        columns = (lists[0],)
        width = _list_length(path, content, schema.field(heading_of[lists[0]]))
    else:
        # One file may hold everything: labels are no entries.
        columns = tuple(name for name in heading_of if name not in (_ID, _FOLD, _GIVEN, _TRUE))
        width = len(columns)
        _check_headings(columns, path)
        for name in columns:
            found = schema.field(heading_of[name]).type
            if not (content.holds(found) or (kind == "csv" and pa.types.is_integer(found))):
                raise DatasetError(f"{path}: expected only columns of {content.noun}, found {name}: {found}.")
    if width < content.least:
        raise DatasetError(
            f"{path}: expected {content.noun} of shape {content.shape}, found {width} in a row."
        )
    _check_most(width, content, path)
    has_folds = content is PROBABILITIES and _FOLD in heading_of
    whole = [*([_ID] if _ID in heading_of else []), *([_FOLD] if has_folds else [])]
    for name in whole:
        found = schema.field(heading_of[name]).type
        if not (pa.types.is_integer(found) or pa.types.is_null(found)):
            raise DatasetError(f"{path}: expected whole numbers in column {name}, found {found}.")
    headings = tuple(heading_of[name] for name in (*columns, *whole))
    return Vectors(path, kind, width, n_rows, _ID in whole, has_folds, columns, headings, bool(lists))


def _check_headings(names: Sequence[str], path: Path) -> None:
    """Check that the columns of numbers have names, which may be names of classes.

    Raises:
        DatasetError: one has none, or the first line holds probabilities.
    """
    for place, name in enumerate(names):
        if name in ("", "Unnamed: 0", "__index_level_0__"):
            raise DatasetError(
                f"{path}: expected a name for each column of numbers, found {name!r} in place {place}; if it "
                f"is the index of a pandas table, save that with index=False, or call it {_ID}."
            )
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return
    # Classes may be called 0 and 1, which sum to 1 too.
    if any(0 < number < 1 for number in numbers) and abs(sum(numbers) - 1) <= SUM_TOLERANCE:
        raise DatasetError(
            f"{path}: expected a first line of names, found probabilities ({listed(names)}); give every "
            "column a name."
        )


def _check_most(width: int, content: Content, path: Path) -> None:
    if width > content.most:
        raise DatasetError(
            f"{path}: expected at most {content.most:,} {content.noun} in a row, found {width:,}."
        )


def _list_length(path: Path, content: Content, field: pa.Field) -> int:
    """How many numbers the first row of a column of lists holds, 0 where there is no row."""
    kinds = (pa.FixedShapeTensorType, pa.ListType, pa.LargeListType, pa.FixedSizeListType)
    flat = not isinstance(field.type, pa.FixedShapeTensorType) or len(field.type.shape) == 1
    if not (isinstance(field.type, kinds) and flat and content.holds(field.type.value_type)):
        raise DatasetError(
            f"{path}: expected column {field.name} to hold lists of {content.noun}, found {field.type}."
        )
    if isinstance(field.type, pa.FixedShapeTensorType):
        return int(field.type.shape[0])
    with readable(str(path), "parquet"), pq.ParquetFile(path) as file:
        first = next(file.iter_batches(1, columns=[field.name]), None)
    row = first.column(0)[0].as_py() if first is not None and first.num_rows else None
    return len(row or ())


def in_step(
    predictions: Vectors, embeddings: Vectors | None, n_rows: int
) -> Iterator[tuple[Portion, Portion | None]]:
    """The rows of both files side by side, `n_rows` at a time.

    Raises:
        DatasetError: one ends before the other, or their ids differ.
    """
    if embeddings is None:
        yield from ((portion, None) for portion in predictions.portions(n_rows))
        return
    done = 0
    for portion, vectors in zip_longest(predictions.portions(n_rows), embeddings.portions(n_rows)):
        n, n_vectors = (0 if part is None else len(part.values) for part in (portion, vectors))
        if n != n_vectors:
            counts = (_count(done, length, n_rows) for length in (n, n_vectors))
            raise _lengths(predictions, next(counts), embeddings, next(counts))
        if portion.ids is not None and vectors.ids is not None:
            differing = np.flatnonzero(portion.ids != vectors.ids)
            if len(differing):
                row = differing[0]
                raise DatasetError(
                    f"{embeddings.path}: expected each {_ID} of {predictions.path}, in its order, found "
                    f"{vectors.ids[row]} in row {done + row} instead of {portion.ids[row]}."
                )
        yield portion, vectors
        done += n


def finite_vectors(values: Array, first_row: int, path: Path) -> npt.NDArray[np.float32]:
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


def check_probabilities(
    pred_probs: Array, first_row: int, path: Path, columns: Sequence[str] | None = None
) -> None:
    """Check that rows hold probabilities.

    Raises:
        DatasetError: one is not finite or outside [0, 1] by more than 1e-6, or a row's sum is more than
            `SUM_TOLERANCE` from 1; names the row.
    """
    low, high = -_RANGE_TOLERANCE, 1 + _RANGE_TOLERANCE
    if not (pred_probs.min() >= low and pred_probs.max() <= high):
        row, column = np.argwhere(~((pred_probs >= low) & (pred_probs <= high)))[0]
        raise DatasetError(
            f"{path}: expected finite probabilities in [0, 1], found {pred_probs[row, column]} in row "
            f"{first_row + row}, column {columns[column] if columns else column}; logits need a softmax "
            "first."
        )
    wrong, sums = rows_off_1(pred_probs)
    if len(wrong):
        raise DatasetError(
            f"{path}: expected the probabilities of each row to sum to 1 (within {SUM_TOLERANCE:g}), found "
            f"{sums[0]:g} in row {first_row + wrong[0]}."
        )


# -- Labels and names.


def class_names(chosen: str | None, predictions: Vectors) -> tuple[str, ...]:
    """Names by class index: those chosen, the headings of the probabilities' columns, or 0, 1, 2, ...

    Raises:
        DatasetError: their number is not that of the classes, or one repeats or is empty.
    """
    if chosen is None:
        named = predictions.columns and not predictions.in_lists
        return predictions.columns if named else tuple(map(str, range(predictions.width)))
    path = Path(chosen)
    if "," not in chosen and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"{path}: expected text in UTF-8, found other bytes ({error.reason})."
            ) from error
        names = tuple(line.strip() for line in lines if line.strip())
    else:
        names = tuple(name.strip() for name in chosen.split(","))
    if len(names) != predictions.width or len(set(names)) != len(names) or "" in names:
        empty = ", one of them empty" if "" in names else ""
        raise DatasetError(
            f"--class-names: expected {predictions.width} different names, found {len(names)}{empty}: "
            f"{listed(names)}."
        )
    return names


@dataclass(frozen=True)
class Labels:
    """Class indices (N,) or `UNKNOWN` and, where the file has them, the ids (N,) of their rows, ascending."""

    path: Path
    indices: npt.NDArray[np.int16]
    ids: Array | None

    @property
    def n_rows(self) -> int:
        """N."""
        return len(self.indices)

    @property
    def has_ids(self) -> bool:
        """Whether the file has them."""
        return self.ids is not None

    def of(self, ids: Array, rows: slice) -> npt.NDArray[np.int16]:
        """The labels of `ids`, or of `rows` where the file has no ids.

        Raises:
            DatasetError: an id has no label.
        """
        if self.ids is None:
            return self.indices[rows]
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        missing = np.flatnonzero(self.ids[places] != ids)
        if len(missing):
            raise DatasetError(
                f"{self.path}: expected a label for every {_ID}, found none for {ids[missing[0]]}."
            )
        return self.indices[places]


def read_labels(path: Path, names: Sequence[str], name: str) -> Labels:
    """The labels in column `name`, as class indices; a .npy file holds nothing else.

    Only a true label may be `UNKNOWN`.

    Raises:
        DatasetError: the file is missing or not readable, or a label is no class.
    """
    kind = _kind(path)
    ids = None
    if kind == "npy":
        array = _load(path)
        if array.ndim != 1 or array.dtype.kind not in "iuU":
            raise DatasetError(
                f"{path}: expected labels of shape (N,), class indices or names, found {array.dtype} of "
                f"shape {array.shape}."
            )
        labels = pa.chunked_array([pa.array(array.astype(array.dtype.newbyteorder("=")))])
    else:
        table = read_label_columns(path, kind == "csv", name, (name,), str(path))
        labels = table.column(name)
        if labels.null_count and name == _GIVEN:
            row = pc.index(labels.is_null(), True).as_py()
            raise DatasetError(
                f"{path}: expected a class index or name in every row of column {name}, found none in row "
                f"{row}."
            )
        ids = _ids(table, path) if _ID in table.column_names else None
        if ids is not None and len(np.unique(ids)) != len(ids):
            kinds, counts = np.unique(ids, return_counts=True)
            repeated = int(np.argmax(counts > 1))
            raise DatasetError(
                f"{path}: expected unique {_ID}, found {kinds[repeated]} in {counts[repeated]} rows."
            )
    indices = class_indices(labels, names, str(path))
    if ids is None:
        return Labels(path, indices, None)
    order = np.argsort(ids)
    return Labels(path, indices[order], ids[order])


# -- What files have in common.


def check_same_rows(one: Vectors | Labels, other: Vectors | Labels) -> None:
    """Check what is known of the rows of two files before they are read.

    Raises:
        DatasetError: one has ids and the other has none, or their lengths differ.
    """
    if one.has_ids != other.has_ids:
        having, lacking = (one, other) if one.has_ids else (other, one)
        raise DatasetError(
            f"{lacking.path}: expected the column {_ID}, since {having.path} has it, found none; give it to "
            "every file or to none (then rows go by their order)."
        )
    if None not in (one.n_rows, other.n_rows) and one.n_rows != other.n_rows:
        raise _lengths(one, f"{one.n_rows:,}", other, f"{other.n_rows:,}")


def _count(done: int, n: int, step: int) -> str:
    """How many rows a file has, as far as is known after a portion of `n` where `step` were asked for."""
    return f"{done + n:,}{' or more' if n == step else ''}"


def _lengths(one: Vectors | Labels, n_rows: str, other: Vectors | Labels, n_other: str) -> DatasetError:
    return DatasetError(
        f"{other.path}: expected as many rows as {one.path} has, found {n_other} for {n_rows}."
    )


def check_ascending(ids: Array, last: int | None, first_row: int, path: Path) -> None:
    """Check that ids ascend, from `last`, the id before them.

    Raises:
        DatasetError: one repeats or is lower than the one before; names the row.
    """
    if last is not None:
        ids, first_row = np.concatenate([[last], ids]), first_row - 1
    wrong = np.flatnonzero(ids[1:] <= ids[:-1])
    if len(wrong):
        row = wrong[0] + 1
        raise DatasetError(
            f"{path}: expected every {_ID} once and in ascending order, found {ids[row]} after "
            f"{ids[row - 1]} in row {first_row + row}; sort the rows by {_ID}."
        )


def _ids(table: pa.Table, path: Path) -> Array:
    column = table.column(_ID)
    if not pa.types.is_integer(column.type) or column.null_count:
        found = f"{column.null_count} empty" if column.null_count else str(column.type)
        raise DatasetError(f"{path}: expected an integer {_ID} in every row, found {found}.")
    try:
        return np.asarray(column.cast(pa.int64()).to_numpy())
    except pa.ArrowException as error:
        raise DatasetError(f"{path}: expected {_ID} of int64 ({error}).") from error


def _folds(table: pa.Table, first_row: int, path: Path) -> Array:
    fold = np.asarray(table.column(_FOLD).to_numpy())
    wrong = np.flatnonzero((fold < NO_FOLD) | (fold > _MOST_FOLD))
    if len(wrong):
        raise DatasetError(
            f"{path}: expected a {_FOLD} from 0 to {_MOST_FOLD:,} (or {NO_FOLD}, not known), found "
            f"{fold[wrong[0]]} in row {first_row + wrong[0]}."
        )
    return fold


def _kind(path: Path) -> str:
    if not path.is_file():
        raise DatasetError(f"{path}: expected a file here, found none.")
    kind = {".npy": "npy", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}.get(path.suffix.lower())
    if kind is None:
        raise DatasetError(
            f"{path}: expected a .parquet, .csv or .npy file, found {path.suffix or 'no suffix'}."
        )
    return kind


def _load(path: Path) -> Array:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise DatasetError(
            f"{path}: expected a .npy file of numbers, without pickled objects ({error})."
        ) from error
