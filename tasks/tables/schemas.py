"""What a table of the pipeline is to look like, and the checks of that."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks import ArtifactError
from tasks.tables.facts import read_facts


@dataclass(frozen=True)
class Tensor:
    """A column in which every row is an array of one shape: `ndim` dimensions of `value_type`."""

    value_type: pa.DataType
    ndim: int | None = None

    def matches(self, found: pa.Field) -> bool:
        """Whether a column is of this kind."""
        kind = found.type
        return (
            isinstance(kind, pa.FixedShapeTensorType)
            and kind.value_type == self.value_type
            and (self.ndim is None or len(kind.shape) == self.ndim)
            # Rows in another order of axes than they lie in memory: nobody writes that here.
            and not kind.permutation
        )

    def __str__(self) -> str:
        dimensions = "" if self.ndim is None else f", {self.ndim} dimension(s)"
        return f"fixed_shape_tensor of {self.value_type}{dimensions}"


@dataclass(frozen=True)
class Pictures:
    """A column of uint8 pictures of one shape: bytes of one length, and the shape in the field's metadata.

    As numbers in lists, pictures take 13 times the processor time to read and 3.5 times the memory.
    """

    def matches(self, found: pa.Field) -> bool:
        """Whether a column is of this kind."""
        if not pa.types.is_fixed_size_binary(found.type):
            return False
        try:
            return bool(math.prod(picture_shape(found)) == found.type.byte_width)
        except (KeyError, ValueError, TypeError, RecursionError):
            return False

    def __str__(self) -> str:
        return "fixed_size_binary with the shape of a picture in its metadata"


_SHAPE = b"shape"


def picture_shape(field: pa.Field) -> tuple[int, ...]:
    """(H, W) or (H, W, C) of a column of pictures.

    Raises:
        KeyError, TypeError, ValueError: the metadata says no such shape.
    """
    shape = tuple(json.loads((field.metadata or {})[_SHAPE]))
    if len(shape) not in (2, 3) or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(shape)
    return shape


def picture_metadata(shape: Sequence[int]) -> dict[bytes, bytes]:
    """What `picture_shape` reads back."""
    return {_SHAPE: json.dumps(list(shape)).encode()}


@dataclass(frozen=True)
class Column:
    """One column: its name, type, whether it may hold nulls, and whether the table may lack it."""

    name: str
    type: pa.DataType | Tensor | Pictures
    nullable: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Artifact:
    """A named kind of table.

    `stage` is the command that rebuilds it. `path` is where it lies in a workspace; of a table that a stage
    writes many times, it holds a name in braces. `one_of` names columns of which exactly one is present.
    `allowed` maps a string column to its permitted values. `may_be_empty` tables may have no row.
    `advice` is what messages say in place of the command that rebuilds a file.
    """

    name: str
    stage: str
    path: str
    columns: tuple[Column, ...]
    one_of: tuple[str, ...] = ()
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    may_be_empty: bool = False
    advice: str = ""

    @property
    def remedy(self) -> str:
        """What to do about a file that is not what it should be."""
        return self.advice or f"Rebuild it with `dvc repro {self.stage}`."

    def at(self, workspace: Path, **names: object) -> Path:
        """The file in a workspace; `names` fill in the braces of `path`."""
        return workspace / self.path.format(**names)


def column_array(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A column as one NumPy array: (N,) for plain types, (N, ...) for tensors and pictures.

    Raises:
        ArtifactError: the column holds a null.
    """
    column = table.column(name)
    if column.null_count:
        raise ArtifactError(
            f"Column `{name}` was expected without nulls here; {column.null_count} of {len(column)} rows "
            "are null."
        )
    column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], type=column.type)
    if pa.types.is_fixed_size_binary(column.type):
        return _pixels(column, table.schema.field(name))
    if isinstance(column.type, pa.FixedShapeTensorType):
        shape = (len(column), *column.type.shape)
        values = column.storage.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(values).reshape(shape)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def tensor_rows(table: pa.Table, name: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[Any]]:
    """The positions (M,) of the rows in which a column of tensors is not null, and their values (M, ...)."""
    chunked = table.column(name)
    if not len(chunked):
        return np.zeros(0, dtype=np.intp), np.zeros((0, *chunked.type.shape))
    column = pa.concat_arrays(chunked.chunks)
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    # Flattening leaves null rows out.
    values = column.storage.flatten().to_numpy(zero_copy_only=False)
    return rows, np.asarray(values).reshape(len(rows), *column.type.shape)


def _pixels(column: pa.FixedSizeBinaryArray, field: pa.Field) -> npt.NDArray[np.uint8]:
    """(N, H, W) or (N, H, W, C) of a column of pictures, without copying."""
    shape = picture_shape(field)
    width = column.type.byte_width
    _, values = column.buffers()
    pixels = np.frombuffer(values, dtype=np.uint8, count=len(column) * width, offset=column.offset * width)
    return pixels.reshape(len(column), *shape)


def check_table(table: pa.Table, artifact: Artifact, where: str, only: Sequence[str] | None = None) -> None:
    """Check column names and types, nulls, allowed values, and that `example_id` is unique.

    Raises:
        ArtifactError: names `where`, the column, what was expected and what was found.
    """
    check_schema(table.schema, artifact, where, only)
    check_columns(table, artifact, where)
    check_unique(column_array(table, "example_id"), artifact, where)


def check_columns(table: pa.Table, artifact: Artifact, where: str) -> None:
    """Check nulls, texts, labels and allowed values, of which any part of a table can be asked.

    Raises:
        ArtifactError: see `check_table`.
    """
    for column in artifact.columns:
        if column.name not in table.column_names:
            continue
        values = table.column(column.name)
        if values.null_count and not column.nullable:
            raise ArtifactError(
                f"{where}: column `{column.name}` was expected without nulls, found {values.null_count} "
                f"null(s) in {len(values)} rows. {artifact.remedy}"
            )
        if values.type == pa.string():
            _check_texts(values, column.name, artifact, where)
        elif column.type == pa.int16() and column.name.endswith("label") and len(values):
            _check_labels(table, column.name, artifact, where)
    for name, allowed in artifact.allowed.items():
        if name in table.column_names:
            found = {value for value in pc.unique(table.column(name)).to_pylist() if value is not None}
            if not found <= set(allowed):
                raise ArtifactError(
                    f"{where}: column `{name}` was expected to hold only {', '.join(allowed)}, found "
                    f"{_listed(sorted(found - set(allowed)))}. {artifact.remedy}"
                )


def _check_texts(values: pa.ChunkedArray, name: str, artifact: Artifact, where: str) -> None:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ArtifactError(
            f"{where}: column `{name}` was expected to hold text in UTF-8, found damaged text. "
            f"{artifact.remedy}"
        ) from error


def _check_labels(table: pa.Table, name: str, artifact: Artifact, where: str) -> None:
    """A class index below 0 would count from the end of the class names, in silence."""
    extremes = pc.min_max(table.column(name)).as_py()
    low, high = extremes["min"], extremes["max"]
    n_classes = read_facts(table, where).n_classes
    if low is not None and (low < 0 or high >= n_classes):
        raise ArtifactError(
            f"{where}: column `{name}` was expected to hold class indices 0..{n_classes - 1}, found "
            f"{low if low < 0 else high}. {artifact.remedy}"
        )


def _listed(names: Sequence[str]) -> str:
    """Names for a sentence, none of them longer than a sentence bears."""
    return ", ".join(repr(name[:80])[1:-1] for name in names[:30]) + (", ..." if len(names) > 30 else "")


def check_unique(ids: npt.NDArray[np.integer], artifact: Artifact, where: str) -> None:
    """Check that no id repeats.

    Raises:
        ArtifactError: see `check_table`.
    """
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        raise ArtifactError(
            f"{where}: column `example_id` was expected to be unique, found {int(unique[counts > 1][0])} "
            f"{int(counts[counts > 1][0])} times. {artifact.remedy}"
        )


def check_schema(
    schema: pa.Schema,
    artifact: Artifact,
    where: str,
    only: Sequence[str] | None,
    any_width: bool = False,
) -> None:
    """Check that the columns are there and of their types.

    With `any_width`, numbers may be wider or narrower, and pictures tensors of uint8, as in older versions.

    Raises:
        ArtifactError: see `check_table`.
    """
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
                f"{_listed(schema.names)}. {artifact.remedy}"
            )
        found = schema.field(index)
        if not (_fits(column, found) or (any_width and _is_alike(column, found))):
            raise ArtifactError(
                f"{where}: column `{column.name}` was expected as {column.type}, found {found.type}. "
                f"{artifact.remedy}"
            )
    if artifact.one_of and wanted is None:
        present = [name for name in artifact.one_of if name in schema.names]
        if len(present) != 1:
            raise ArtifactError(
                f"{where}: exactly one of the columns {', '.join(artifact.one_of)} was expected, found "
                f"{', '.join(present) or 'none'}. {artifact.remedy}"
            )


def _fits(column: Column, found: pa.Field) -> bool:
    if isinstance(column.type, Tensor | Pictures):
        return column.type.matches(found)
    return bool(found.type == column.type)


def _is_alike(column: Column, found: pa.Field) -> bool:
    """Whether a column holds the same kind of values in another type."""
    if isinstance(column.type, Pictures):
        return Tensor(pa.uint8()).matches(found)
    if isinstance(column.type, Tensor):
        return False
    alike = (pa.types.is_integer, pa.types.is_floating)
    return any(is_kind(found.type) and is_kind(column.type) for is_kind in alike)
