"""Tables in portions: a reader holds one row group of a table, or a few, and never all of it."""

import os
import shutil
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks import ArtifactError
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import GROUP_BYTES, damaged, existing, fixed_bytes
from tasks.tables.joins import join
from tasks.tables.schemas import Artifact, check_columns, check_schema, check_unique, column_array

Result = TypeVar("Result")

_LARGEST_GROUP = 16 * GROUP_BYTES
# Read-ahead buffer of each column, in bytes, where a large row group is decoded in pieces. Without it
# pyarrow holds the whole column.
_BUFFER_BYTES = 2**20


class TableReader:
    """A table in parts, in order of `example_id`. A part is a row group: about 4 MB as decoded.

    Each part is checked when it is first read. Parts may be read in any order, as often as wanted, and by
    several threads at a time. A file that is replaced meanwhile is read on as it was.

    Attributes:
        path: the file.
        where: what messages call it.
        schema: of all columns of the file.
        n_rows: rows of all parts.
        starts: (parts + 1,) the number of the first row of each part, and `n_rows`.
        bounds: (parts, 2) the lowest and the highest id of each part.
        part_bytes: about what the largest part takes in memory, and `n_bytes` all of them.
    """

    def __init__(
        self,
        path: Path,
        artifact: Artifact,
        columns: Sequence[str] | None = None,
        optional: Sequence[str] = (),
        *,
        any_layout: bool = False,
        where: str = "",
    ) -> None:
        """Open the file, check its schema, and read all ids once.

        Args:
            path: the file.
            artifact: what it should be.
            columns: the columns to read beside `example_id`; all by default.
            optional: more columns, to be read where the file has them.
            any_layout: whether to take a file of an older version: row groups of any size, rows in any
                order, numbers of another width, pictures as tensors, any values in columns of text. Large
                row groups are then decoded in pieces, and rows out of order are sorted in memory.
            where: what messages call the file; its path by default.

        Raises:
            ArtifactError: the file is missing, damaged or not what it should be, an id repeats, rows are out
                of order, or a row group is too large.
        """
        existing(path, artifact)
        self.path, self.where, self._any_layout = path, where or str(path), any_layout
        self._artifact = replace(artifact, allowed={}) if any_layout else artifact
        self._opened = threading.local()
        self._verified: set[tuple[int, str]] = set()
        with self._damaged():
            self._source = pa.OSFile(str(path))
            with pq.ParquetFile(self._source) as file:
                self._metadata, self.schema = file.metadata, file.schema_arrow
        if columns is not None:
            columns = [*columns, *(name for name in optional if name in self.schema.names)]
        self._check_schema(columns)
        self._columns = self.schema.names if columns is None else columns
        groups = range(self._metadata.num_row_groups)
        self._groups = [group for group in groups if self._metadata.row_group(group).num_rows]
        self.starts = np.cumsum([0, *(self._metadata.row_group(group).num_rows for group in self._groups)])
        self.n_rows = int(self.starts[-1])
        self._sizes = [self._measure(group) for group in self._groups]
        self.part_bytes, self.n_bytes = max(self._sizes, default=0), sum(self._sizes)
        self._check_sizes()
        found = list(map_in_order(self._bounds_of, len(self), available_cores()))
        self.bounds = np.array([bounds for bounds, _ in found], dtype=np.int64).reshape(-1, 2)
        between = np.all(self.bounds[1:, 0] > self.bounds[:-1, 1])
        self._ascends = bool(between) and all(ascends for _, ascends in found)
        if not self._ascends:
            self._check_order()

    def __len__(self) -> int:
        return len(self._groups)

    def read(self, part: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one part: `example_id` and `columns`, by default those that were named on opening.

        Raises:
            ArtifactError: the part is damaged, or holds values that it should not.
        """
        wanted = self._wanted(columns)
        is_new = any((part, name) not in self._verified for name in wanted)
        with self._damaged():
            # Once is enough: checksums take a fifth of the time.
            file = self._file_of_thread(verify=is_new)
            table = file.read_row_group(self._groups[part], columns=wanted, use_threads=False)
        if is_new:
            check_columns(table, self._artifact, self.where)
            self._verified.update((part, name) for name in wanted)
        return table

    def portions(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows in order, a part at a time, or less where a part is large; see `read`."""
        pieces = (piece for part in range(len(self)) for piece in self._pieces(part, columns))
        if self._ascends:
            yield from pieces
            return
        table = pa.concat_tables([self.nothing(columns), *pieces])
        table = table.take(pa.array(np.argsort(column_array(table, "example_id"))))
        step = max(GROUP_BYTES * self.n_rows // max(table.nbytes, 1), 1)
        yield from (table.slice(start, step) for start in range(0, self.n_rows, step))

    def rows(self, ids: npt.NDArray[np.integer], columns: Sequence[str] | None = None) -> pa.Table:
        """The rows with these `example_id` (M,), in their order; only parts that may hold them are read.

        Raises:
            ArtifactError: a row is not there; see also `read`.
        """
        return join(self.find(ids, columns), ids, self.where)

    def find(self, ids: npt.NDArray[np.integer], columns: Sequence[str] | None = None) -> pa.Table:
        """Those of the rows with these `example_id` (M,) that are there, each once, in the file's order."""
        # What ascends, as most often, is each there once: `unique` would take as long as the reading.
        wanted = ids if np.all(ids[1:] > ids[:-1]) else np.unique(ids)
        first = np.searchsorted(wanted, self.bounds[:, 0])
        last = np.searchsorted(wanted, self.bounds[:, 1], side="right")
        found = [self.nothing(columns)]
        for part in np.flatnonzero(last > first).tolist():
            wanted_here = wanted[first[part] : last[part]]
            for table in self._pieces(part, columns):
                ids_here = column_array(table, "example_id")
                # Tables of the same rows have the same parts, as a rule: nothing needs to be looked up then.
                if np.array_equal(ids_here, wanted_here):
                    found.append(table)
                    continue
                is_wanted = np.isin(ids_here, wanted_here, assume_unique=True)
                if is_wanted.all():
                    found.append(table)
                elif is_wanted.any():
                    # A copy of these rows, which does not keep the others in memory.
                    found.append(table.take(pa.array(np.flatnonzero(is_wanted))))
        return pa.concat_tables(found)

    def column(self, name: str, null: Any = None) -> npt.NDArray[Any]:
        """A whole column, (N,) or (N, ...), in order of `example_id`; `null` stands for nulls.

        Beside the result, memory holds one portion.

        Raises:
            ArtifactError: the column holds a null, and nothing stands for it; see also `read`.
        """
        first = column_array(self.nothing([name]), name)
        whole, filled = np.empty((self.n_rows, *first.shape[1:]), dtype=first.dtype), 0
        for table in self.portions([name]):
            if null is not None:
                place = table.schema.get_field_index(name)
                column = table.column(name).fill_null(null)
                table = table.set_column(place, table.schema.field(name), column)
            whole[filled : filled + table.num_rows] = column_array(table, name)
            filled += table.num_rows
        return whole

    @property
    def facts(self) -> DatasetFacts:
        """See `read_facts`."""
        return read_facts(self.schema.empty_table(), self.where)

    def metadata(self, key: str) -> str | None:
        """What the file's writer said of it under `key`; see `write_table`."""
        value = (self.schema.metadata or {}).get(key.encode())
        return None if value is None else value.decode(errors="replace")

    def shape_of(self, column: str) -> tuple[int, ...]:
        """The shape of one row of a tensor column."""
        return tuple(self.schema.field(column).type.shape)

    def nothing(self, columns: Sequence[str] | None = None) -> pa.Table:
        """A part without rows."""
        return self.schema.empty_table().select(self._wanted(columns))

    def _wanted(self, columns: Sequence[str] | None) -> list[str]:
        """The names of columns, in order of the file."""
        if columns is not None:
            self._check_schema(columns)
        wanted = {"example_id", *(self._columns if columns is None else columns)}
        return [name for name in self.schema.names if name in wanted]

    def _pieces(self, part: int, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        n_rows, size = int(self.starts[part + 1] - self.starts[part]), self._sizes[part]
        if size <= 2 * GROUP_BYTES:
            yield self.read(part, columns)
            return
        with self._damaged(), self._open(verify=True, buffer_size=_BUFFER_BYTES) as file:
            for batch in file.iter_batches(
                max(GROUP_BYTES * n_rows // size, 1),
                row_groups=[self._groups[part]],
                columns=self._wanted(columns),
                use_threads=False,
            ):
                table = pa.Table.from_batches([batch])
                check_columns(table, self._artifact, self.where)
                yield table

    def _damaged(self) -> AbstractContextManager[None]:
        return damaged(self.path, self._artifact, self.where)

    def _open(self, verify: bool, **options: object) -> pq.ParquetFile:
        return pq.ParquetFile(
            self._source,
            metadata=self._metadata,
            page_checksum_verification=verify,
            pre_buffer=False,
            **options,
        )

    def _file_of_thread(self, verify: bool) -> pq.ParquetFile:
        # One `ParquetFile` does not serve several threads; the file beneath it does.
        name = "verifying" if verify else "plain"
        if not hasattr(self._opened, name):
            setattr(self._opened, name, self._open(verify))
        return getattr(self._opened, name)

    def _check_schema(self, columns: Sequence[str] | None) -> None:
        check_schema(self.schema, self._artifact, self.where, columns, any_width=self._any_layout)

    def _bounds_of(self, part: int) -> tuple[tuple[int, int], bool]:
        """The lowest and the highest id of a part, and whether its ids ascend."""
        ids = column_array(self.read(part, []), "example_id")
        return (int(ids.min()), int(ids.max())), bool(np.all(ids[1:] > ids[:-1]))

    def _check_order(self) -> None:
        ids = np.concatenate([column_array(self.read(part, []), "example_id") for part in range(len(self))])
        check_unique(ids, self._artifact, self.where)
        if not self._any_layout:
            fall = np.flatnonzero(ids[1:] < ids[:-1])[0]
            raise ArtifactError(
                f"{self.where}: rows were expected in ascending order of `example_id`, found {ids[fall + 1]} "
                f"after {ids[fall]}. {self._artifact.remedy} {_IMPORT}"
            )

    def _check_sizes(self) -> None:
        if self._any_layout:
            return
        for group, size in zip(self._groups, self._sizes, strict=True):
            n_rows = self._metadata.row_group(group).num_rows
            if size > _LARGEST_GROUP and n_rows > 1:
                raise ArtifactError(
                    f"{self.where}: row groups of about {GROUP_BYTES // 2**20} MB were expected, found one "
                    f"of {size / 2**20:,.0f} MB ({n_rows:,} rows). {self._artifact.remedy} {_IMPORT}"
                )

    def _measure(self, group: int) -> int:
        """About how many bytes the columns of a row group take in memory.

        Encoded they may take less than decoded, but of texts only the size as encoded is known.
        """
        found, columns = self._metadata.row_group(group), self._wanted(None)
        chunks = map(found.column, range(found.num_columns))
        encoded: int = sum(
            chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns
        )
        decoded: int = found.num_rows * sum(fixed_bytes(self.schema.field(name)) for name in columns)
        return max(encoded, decoded)


_IMPORT = "If the file is your own, import it with `python -m tasks import-probs`."


class Scratch:
    """Rows of one array, (N, ...), in an unnamed file: written once, read back as often as wanted.

    What is costly to decode is then read at the speed of memory, for as long as the system has memory to
    spare for the file. A memory map would do the same, but counts as memory of the process. The space is
    free again when the object is gone, or the process.
    """

    def __init__(self, folder: Path, row_shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        """An empty file in `folder`."""
        self._handle, name = tempfile.mkstemp(prefix=".scratch.", suffix=".tmp", dir=folder)
        Path(name).unlink()
        weakref.finalize(self, os.close, self._handle)
        self._row_shape, self._dtype = row_shape, np.dtype(dtype)
        self._row_bytes = int(np.prod(row_shape)) * self._dtype.itemsize

    @staticmethod
    def fits(folder: Path, n_bytes: int) -> bool:
        """Whether the disk has twice that much free."""
        return shutil.disk_usage(folder).free > 2 * n_bytes

    def write(self, start: int, rows: npt.NDArray[np.generic]) -> None:
        """Keep rows from number `start` on.

        Raises:
            OSError: the disk is full.
        """
        content = np.ascontiguousarray(rows, dtype=self._dtype).data.cast("B")
        if os.pwrite(self._handle, content, start * self._row_bytes) < len(content):
            raise OSError("the scratch file takes no more")

    def read(self, start: int, n_rows: int) -> npt.NDArray[Any]:
        """Rows that were written."""
        rows = np.empty((n_rows, *self._row_shape), dtype=self._dtype)
        content = rows.data.cast("B")
        if os.preadv(self._handle, [content], start * self._row_bytes) < len(content):
            raise OSError("the scratch file ends too early")
        return rows


def map_in_order(function: Callable[[int], Result], n_items: int, n_threads: int) -> Iterator[Result]:
    """The results of `function` for 0, 1, ... in order, computed by threads that run a little ahead."""
    if n_threads <= 1 or n_items <= 1:
        yield from map(function, range(n_items))
        return
    pool = ThreadPoolExecutor(n_threads)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in range(n_items):
            waiting.append(pool.submit(function, item))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
