"""The schema of every Parquet artifact, and the one door through which tables are written and read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks import ArtifactError
from tasks.artifacts.files import atomic_path


@dataclass(frozen=True)
class Tensor:
    """A column in which every row is an array of one shape: `ndim` dimensions of `value_type`."""

    value_type: pa.DataType
    ndim: int | None = None

    def matches(self, found: pa.DataType) -> bool:
        """Whether a column of type `found` is of this kind."""
        return (
            isinstance(found, pa.FixedShapeTensorType)
            and found.value_type == self.value_type
            and (self.ndim is None or len(found.shape) == self.ndim)
        )

    def __str__(self) -> str:
        dimensions = "" if self.ndim is None else f", {self.ndim} dimension(s)"
        return f"fixed_shape_tensor of {self.value_type}{dimensions}"


@dataclass(frozen=True)
class Column:
    """One column: its name, type, whether it may hold nulls, and whether the table may lack it."""

    name: str
    type: pa.DataType | Tensor
    nullable: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Artifact:
    """A named kind of table.

    `stage` is the command that rebuilds it. `one_of` names columns of which exactly one is present.
    `allowed` maps a string column to its permitted values.
    """

    name: str
    stage: str
    columns: tuple[Column, ...]
    one_of: tuple[str, ...] = ()
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetFacts:
    """What all stages share about a data set; travels in the metadata of every table.

    `class_names` (K,) gives names by class index. `content` is `image`, `text` or `features`; `shape` is
    the shape of one row of the content, e.g. (28, 28), and is empty for text.
    """

    dataset: str
    class_names: tuple[str, ...]
    content: str
    shape: tuple[int, ...]

    @property
    def n_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)


SPLITS = ("train", "test", "unlabeled")
SOURCES = ("given", "pseudo", "unlabeled", "reviewed")
FILTER_COLUMNS = (
    "prune_by_class",
    "prune_by_noise_rate",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
    "noise_posterior",
)

_ID = Column("example_id", pa.int64())
_SPLIT = Column("split", pa.string())
# The split that the data set came with, where `download.pool_test` made test rows training rows.
_ORIGINAL_SPLIT = Column("original_split", pa.string(), optional=True)
_LABEL = pa.int16()
_VECTOR = Tensor(pa.float32(), ndim=1)
_PRED_PROBS = (
    _ID,
    Column("fold", pa.int16()),
    Column("pred_probs", _VECTOR),
    Column("embedding", _VECTOR, optional=True),
)

EXAMPLES = Artifact(
    "examples",
    "download",
    (
        _ID,
        _SPLIT,
        _ORIGINAL_SPLIT,
        Column("true_label", _LABEL, nullable=True),
        Column("image", Tensor(pa.uint8()), optional=True),
        Column("text", pa.string(), optional=True),
        Column("features", _VECTOR, optional=True),
    ),
    one_of=("image", "text", "features"),
    allowed={"split": SPLITS, "original_split": SPLITS},
)
GIVEN_LABELS = Artifact(
    "given_labels",
    "inject_noise",
    (
        _ID,
        _SPLIT,
        _ORIGINAL_SPLIT,
        Column("given_label", _LABEL),
        Column("true_label", _LABEL, nullable=True),
        Column("is_noisy", pa.bool_(), nullable=True),
    ),
    allowed={"split": SPLITS, "original_split": SPLITS},
)
FOLDS = Artifact("folds", "assign_folds", (_ID, Column("fold", pa.int16())))
FOLD_PRED_PROBS = Artifact("fold_pred_probs", "train_fold", _PRED_PROBS)
PRED_PROBS = Artifact("pred_probs", "aggregate", _PRED_PROBS)
LABEL_ISSUES = Artifact(
    "label_issues",
    "prune",
    (
        _ID,
        Column("given_label", _LABEL),
        Column("suggested_label", _LABEL),
        Column("suggested_prob", pa.float32()),
        Column("self_confidence", pa.float64()),
        Column("normalized_margin", pa.float64()),
        Column("confidence_weighted_entropy", pa.float64()),
        Column("importance", pa.float64(), nullable=True),
        Column("importance_percentile", pa.float64(), nullable=True),
        Column("contrast", pa.float64(), nullable=True),
        Column("is_issue", pa.bool_()),
        Column("rank", pa.int64(), nullable=True),
        *(Column(name, pa.bool_()) for name in FILTER_COLUMNS),
    ),
)
TRAINING_SET = Artifact(
    "training_set",
    "pseudo_label",
    (
        _ID,
        Column("label", _LABEL),
        Column("soft_label", _VECTOR),
        Column("weight", pa.float32()),
        Column("source", pa.string()),
        Column("given_label", _LABEL),
    ),
    allowed={"source": SOURCES},
)

_FACTS_KEY = b"relabel"
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


def column_array(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A column as one NumPy array: (N,) for plain types, (N, ...) for tensors.

    A nullable integer column comes as it is when it holds no null, and raises `ArtifactError` when it does.
    """
    column = table.column(name)
    column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], type=column.type)
    if isinstance(column.type, pa.FixedShapeTensorType):
        shape = (len(column), *column.type.shape)
        values = column.storage.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(values).reshape(shape)
    if column.null_count:
        raise ArtifactError(
            f"Column `{name}` was expected without nulls here; {column.null_count} of {len(column)} rows "
            "are null."
        )
    return np.asarray(column.to_numpy(zero_copy_only=False))


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
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=_metadata(facts)))
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


def read_facts(table: pa.Table, where: str = "table") -> DatasetFacts:
    """The facts about the data set that travel in a table's metadata.

    Raises:
        ArtifactError: the metadata is missing or not readable.
    """
    raw = (table.schema.metadata or {}).get(_FACTS_KEY)
    try:
        facts = json.loads(raw)  # type: ignore[arg-type]  # None is caught below with the rest
        return DatasetFacts(
            dataset=facts["dataset"],
            class_names=tuple(facts["class_names"]),
            content=facts["content"],
            shape=tuple(facts["shape"]),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise ArtifactError(
            f"{where}: expected the schema metadata `relabel` (JSON with dataset, class_names, content, "
            f"shape), found {raw!r}. Rebuild the file with `dvc repro`."
        ) from error


def _metadata(facts: DatasetFacts) -> dict[bytes, bytes]:
    content = {
        "dataset": facts.dataset,
        "class_names": list(facts.class_names),
        "content": facts.content,
        "shape": list(facts.shape),
    }
    return {_FACTS_KEY: json.dumps(content).encode()}


def check_table(table: pa.Table, artifact: Artifact, where: str, only: Sequence[str] | None = None) -> None:
    """Check column names and types, nulls, allowed values, and that `example_id` is unique.

    Raises:
        ArtifactError: names `where`, the column, what was expected and what was found.
    """
    check_schema(table.schema, artifact, where, only)
    check_columns(table, artifact, where)
    check_unique(column_array(table, "example_id"), artifact, where)


def check_columns(table: pa.Table, artifact: Artifact, where: str) -> None:
    """Check nulls and allowed values, of which any part of a table can be asked.

    Raises:
        ArtifactError: see `check_table`.
    """
    remedy = f"Rebuild it with `dvc repro {artifact.stage}`."
    for column in artifact.columns:
        if column.name not in table.column_names:
            continue
        values = table.column(column.name)
        if values.null_count and not column.nullable:
            raise ArtifactError(
                f"{where}: column `{column.name}` was expected without nulls, found {values.null_count} "
                f"null(s) in {len(values)} rows. {remedy}"
            )
    for name, allowed in artifact.allowed.items():
        if name in table.column_names:
            found = {value for value in pc.unique(table.column(name)).to_pylist() if value is not None}
            if not found <= set(allowed):
                raise ArtifactError(
                    f"{where}: column `{name}` was expected to hold only {', '.join(allowed)}, found "
                    f"{', '.join(sorted(found - set(allowed)))}. {remedy}"
                )


def check_unique(ids: npt.NDArray[Any], artifact: Artifact, where: str) -> None:
    """Check that no id repeats.

    Raises:
        ArtifactError: see `check_table`.
    """
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        raise ArtifactError(
            f"{where}: column `example_id` was expected to be unique, found {int(unique[counts > 1][0])} "
            f"{int(counts[counts > 1][0])} times. Rebuild it with `dvc repro {artifact.stage}`."
        )


def check_schema(schema: pa.Schema, artifact: Artifact, where: str, only: Sequence[str] | None) -> None:
    """Check that the columns are there and of their types.

    Raises:
        ArtifactError: see `check_table`.
    """
    remedy = f"Rebuild it with `dvc repro {artifact.stage}`."
    wanted = None if only is None else {"example_id", *only}
    for column in artifact.columns:
        if wanted is not None and column.name not in wanted:
            continue
        index = schema.get_field_index(column.name)
        if index < 0:
            if column.optional and (wanted is None or column.name not in wanted):
                continue
            raise ArtifactError(
                f"{where}: column `{column.name}` ({column.type}) was expected, found only "
                f"{', '.join(schema.names)}. {remedy}"
            )
        found = schema.field(index).type
        fits = column.type.matches(found) if isinstance(column.type, Tensor) else found == column.type
        if not fits:
            raise ArtifactError(
                f"{where}: column `{column.name}` was expected as {column.type}, found {found}. {remedy}"
            )
    if artifact.one_of and wanted is None:
        present = [name for name in artifact.one_of if name in schema.names]
        if len(present) != 1:
            raise ArtifactError(
                f"{where}: exactly one of the columns {', '.join(artifact.one_of)} was expected, found "
                f"{', '.join(present) or 'none'}. {remedy}"
            )
