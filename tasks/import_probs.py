"""`python -m tasks import-probs`: start at `prune` with probabilities and labels from elsewhere.

Writes data/pred_probs.parquet and data/given_labels.parquet, checked, without download or training. Not a
stage: `dvc repro --single-item prune` comes next. Files are read in portions, so they may exceed the memory.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tasks import DatasetError
from tasks.artifacts import GIVEN_LABELS, PRED_PROBS, DatasetFacts, write_stream

SUM_TOLERANCE = 1e-3
"""How far from 1 the probabilities of a row may sum: float16 and printed decimals stay within."""
NO_FOLD = -1
"""The fold of a row whose model's training rows are not known."""
_RANGE_TOLERANCE = 1e-6
_PORTION_ENTRIES = 2**22
_ID, _FOLD, _PROBS, _LABEL = "example_id", "fold", "pred_probs", "given_label"

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
    chosen = parser.parse_args(arguments)
    predictions = open_predictions(chosen.pred_probs)
    names = class_names(chosen.class_names, predictions)
    ids, labels = read_labels(chosen.labels, names)
    if predictions.has_ids != (ids is not None):
        one, other = (chosen.pred_probs, chosen.labels)[:: 1 if predictions.has_ids else -1]
        raise DatasetError(
            f"{other}: expected the column {_ID}, since {one} has it, found none; give it to both files or "
            "to neither (then rows go by their order)."
        )
    if predictions.n_rows is not None and predictions.n_rows != len(labels):
        raise _lengths(chosen, predictions.n_rows, len(labels))
    facts = DatasetFacts(chosen.pred_probs.stem, names, "features", (0,))
    data = workspace / "data"
    done = 0
    with (
        write_stream(data / "pred_probs.parquet", PRED_PROBS, facts) as append_probs,
        write_stream(data / "given_labels.parquet", GIVEN_LABELS, facts) as append_labels,
    ):
        for portion in predictions.portions():
            check_probabilities(portion.pred_probs, done, predictions.path)
            n = len(portion.pred_probs)
            if done + n > len(labels):
                raise _lengths(chosen, done + n, len(labels))
            here = np.arange(done, done + n) if portion.ids is None else portion.ids
            if ids is None:
                given = labels[done : done + n]
            else:
                given = labels[_places(ids, here, chosen.labels)]
            fold = np.full(n, NO_FOLD) if portion.fold is None else portion.fold
            append_probs({_ID: here, _FOLD: fold, _PROBS: portion.pred_probs})
            append_labels(
                {
                    _ID: here,
                    "split": np.full(n, "train"),
                    _LABEL: given,
                    "true_label": pa.nulls(n, pa.int16()),
                    "is_noisy": pa.nulls(n, pa.bool_()),
                }
            )
            done += n
        if done != len(labels):
            raise _lengths(chosen, done, len(labels))
    print(
        f"data/pred_probs.parquet and data/given_labels.parquet hold {done:,} rows of {len(names)} classes.\n"
        "Next: dvc repro --single-item prune\n"
        "`dvc status` lists inject_noise and aggregate from now on, since their outputs are yours, not\n"
        "theirs; a plain `dvc repro` would make their own again."
    )


# -- Probabilities.


@dataclass(frozen=True)
class Portion:
    """Consecutive rows: `pred_probs` (n, K) and, where the file has them, `ids` (n,) and `fold` (n,)."""

    pred_probs: Array
    ids: Array | None = None
    fold: Array | None = None


@dataclass(frozen=True)
class Predictions:
    """A file of probabilities: what is known before it is read, and its rows in portions.

    `class_names` are the headings of the columns, where each class has one; `n_rows` is not known of CSV.
    """

    path: Path
    kind: str
    n_classes: int
    n_rows: int | None
    has_ids: bool
    class_names: tuple[str, ...] | None

    def portions(self) -> Iterator[Portion]:
        """The rows, a few megabytes at a time."""
        step = max(_PORTION_ENTRIES // self.n_classes, 1)
        if self.kind == "npy":
            array = _load(self.path)
            for start in range(0, len(array), step):
                yield Portion(np.array(array[start : start + step]))
            return
        if self.kind == "csv":
            batches: Any = pacsv.open_csv(self.path)
        else:
            batches = pq.ParquetFile(self.path, pre_buffer=False).iter_batches(step)
        try:
            for batch in batches:
                yield self._portion(pa.table(batch))
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{self.path}: expected readable rows ({error}).") from error

    def _portion(self, table: pa.Table) -> Portion:
        for name in table.column_names:
            if table.column(name).null_count:
                raise DatasetError(
                    f"{self.path}: expected a value in every row of column {name}, found none."
                )
        if self.class_names is None:
            column = table.column(_PROBS).combine_chunks()
            column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            storage = column.storage if isinstance(column, pa.ExtensionArray) else column
            flat = storage.flatten().to_numpy(zero_copy_only=False)
            if len(flat) != self.n_classes * table.num_rows:
                raise DatasetError(
                    f"{self.path}: expected {self.n_classes} probabilities in every row of column {_PROBS}, "
                    "found rows of other lengths."
                )
            probs = flat.reshape(-1, self.n_classes)
        else:
            probs = np.column_stack([table.column(name).to_numpy() for name in self.class_names])
        fold = table.column(_FOLD).to_numpy() if _FOLD in table.column_names else None
        ids = _ids(table, self.path) if self.has_ids else None
        return Portion(probs, ids, fold)


def open_predictions(path: Path) -> Predictions:
    """Look at a file of probabilities without reading its rows.

    Raises:
        DatasetError: the file is missing, not readable, or has no probabilities.
    """
    kind = _kind(path)
    if kind == "npy":
        array = _load(path)
        if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind != "f":
            raise DatasetError(
                f"{path}: expected float probabilities of shape (N, K) with K >= 2, found {array.dtype} of "
                f"shape {array.shape}."
            )
        return Predictions(path, kind, array.shape[1], len(array), False, None)
    try:
        if kind == "csv":
            with pacsv.open_csv(path) as reader:
                schema, n_rows, first = reader.schema, None, None
        else:
            with pq.ParquetFile(path) as file:
                schema, n_rows = file.schema_arrow, file.metadata.num_rows
                first = next(file.iter_batches(1), None)
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise DatasetError(f"{path}: expected a readable {kind} file ({error}).") from error
    if _PROBS in schema.names and kind == "parquet":
        kinds = (pa.FixedShapeTensorType, pa.ListType, pa.LargeListType, pa.FixedSizeListType)
        value = getattr(schema.field(_PROBS).type, "value_type", None)
        if not isinstance(schema.field(_PROBS).type, kinds) or not pa.types.is_floating(value):
            raise DatasetError(
                f"{path}: expected column {_PROBS} to hold lists of float, found {schema.field(_PROBS).type}."
            )
        n_classes = len(first.column(_PROBS)[0].as_py()) if first is not None and first.num_rows else 0
        if isinstance(schema.field(_PROBS).type, pa.FixedShapeTensorType):
            n_classes = schema.field(_PROBS).type.shape[0]
        names = None
    else:
        names = tuple(name for name in schema.names if name not in (_ID, _FOLD))
        for name in names:
            found = schema.field(name).type
            if not (pa.types.is_floating(found) or (kind == "csv" and pa.types.is_integer(found))):
                raise DatasetError(
                    f"{path}: expected numbers in column {name}, one column a class, found {found}."
                )
        n_classes = len(names)
    if n_classes < 2:
        raise DatasetError(f"{path}: expected probabilities of at least 2 classes, found {n_classes}.")
    return Predictions(path, kind, n_classes, n_rows, _ID in schema.names, names)


def check_probabilities(pred_probs: Array, first_row: int, path: Path) -> None:
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
            f"{first_row + row}, column {column}; logits need a softmax first."
        )
    sums = pred_probs.sum(axis=1, dtype=np.float64)
    wrong = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    if len(wrong):
        raise DatasetError(
            f"{path}: expected the probabilities of each row to sum to 1 (within {SUM_TOLERANCE:g}), found "
            f"{sums[wrong[0]]:g} in row {first_row + wrong[0]}."
        )


# -- Labels and names.


def class_names(chosen: str | None, predictions: Predictions) -> tuple[str, ...]:
    """Names by class index: those chosen, the headings of the probabilities' columns, or 0, 1, 2, ...

    Raises:
        DatasetError: their number is not that of the classes, or one repeats.
    """
    if chosen is None:
        return predictions.class_names or tuple(map(str, range(predictions.n_classes)))
    path = Path(chosen)
    if "," not in chosen and path.is_file():
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    else:
        names = tuple(name.strip() for name in chosen.split(","))
    if len(names) != predictions.n_classes or len(set(names)) != len(names):
        raise DatasetError(
            f"--class-names: expected {predictions.n_classes} different names, found {len(names)}: "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}."
        )
    return names


def read_labels(path: Path, names: Sequence[str]) -> tuple[Array | None, Array]:
    """The ids (N,), where the file has them, and the given labels (N,) as class indices.

    Raises:
        DatasetError: the file is missing or not readable, or a label is no class.
    """
    kind = _kind(path)
    ids = None
    if kind == "npy":
        labels = _load(path)
        if labels.ndim != 1 or labels.dtype.kind not in "iuU":
            raise DatasetError(
                f"{path}: expected labels of shape (N,), class indices or names, found {labels.dtype} of "
                f"shape {labels.shape}."
            )
    else:
        try:
            table = pacsv.read_csv(path) if kind == "csv" else pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{path}: expected a readable {kind} file ({error}).") from error
        if _LABEL not in table.column_names:
            raise DatasetError(
                f"{path}: expected the column {_LABEL}, found only {', '.join(table.column_names)}."
            )
        column = table.column(_LABEL)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.null_count or not (pa.types.is_integer(column.type) or _is_text(column.type)):
            raise DatasetError(
                f"{path}: expected a class index or name in every row of column {_LABEL}, found "
                f"{column.type} with {column.null_count} empty."
            )
        labels = column.to_numpy()
        ids = _ids(table, path) if _ID in table.column_names else None
        if ids is not None and len(np.unique(ids)) != len(ids):
            raise DatasetError(f"{path}: expected unique {_ID}, found {len(ids)} rows with repeats.")
    if labels.dtype.kind in "iu":
        wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
        indices = np.asarray(labels)
    else:
        kinds, places = np.unique(labels.astype(str), return_inverse=True)
        index_of = {name: index for index, name in enumerate(names)}
        indices = np.array([index_of.get(str(kind), -1) for kind in kinds])[places]
        wrong = np.flatnonzero(indices < 0)
    if len(wrong):
        raise DatasetError(
            f"{path}: expected labels among the {len(names)} classes {', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''} or their indices, found {labels[wrong[0]]} in row "
            f"{wrong[0]}."
        )
    return ids, indices.astype(np.int16)


def _ids(table: pa.Table, path: Path) -> Array:
    column = table.column(_ID)
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DatasetError(f"{path}: expected an integer {_ID} in every row, found {column.type}.")
    return np.asarray(column.to_numpy()).astype(np.int64)


def _places(ids: Array, wanted: Array, path: Path) -> Array:
    order = np.argsort(ids, kind="stable")
    places = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    found = order[places]
    missing = np.flatnonzero(ids[found] != wanted)
    if len(missing):
        raise DatasetError(f"{path}: expected a label for every {_ID}, found none for {wanted[missing[0]]}.")
    return found


def _lengths(chosen: argparse.Namespace, n_probs: int, n_labels: int) -> DatasetError:
    return DatasetError(
        f"{chosen.labels}: expected as many labels as {chosen.pred_probs} has rows, found {n_labels:,} for "
        f"{n_probs:,} or more."
    )


def _is_text(found: pa.DataType) -> bool:
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


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
