"""Tables larger than memory: the same files as `read_table` and `write_table`, row group by row group."""

import os
import shutil
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks import ArtifactError
from tasks.artifacts.files import atomic_path
from tasks.artifacts.tables import (
    ROW_GROUP_ROWS,
    WRITE_OPTIONS,
    Artifact,
    DatasetFacts,
    check_columns,
    check_schema,
    column_array,
    damaged,
    existing,
    make_table,
    plain_columns,
    read_facts,
    read_table,
)

Result = TypeVar("Result")


class TableReader:
    """An artifact in parts of consecutive rows, in order of `example_id`; each is checked as it is read.

    The parts are the file's row groups. A file whose rows are in another order is sorted in memory, if it
    fits. Parts may be read in any order, as often as wanted, by several threads at a time.

    Attributes:
        n_rows: rows of all parts.
        facts: see `read_facts`.
        starts: (parts + 1,) the number of the first row of each part, and `n_rows`.
        bounds: (parts, 2) the lowest and the highest id of each part.
        part_bytes: what the largest part takes in memory, about.
    """

    def __init__(
        self, path: Path, artifact: Artifact, columns: Sequence[str] | None = None, max_bytes: int = 2**62
    ) -> None:
        """Open the file, check its schema, and read all ids once.

        Args:
            path: the file.
            artifact: what it should be.
            columns: the columns wanted beside `example_id`; all by default.
            max_bytes: what sorting may take where it is needed.

        Raises:
            ArtifactError: the file is missing, damaged or not what it should be, an id repeats, or the rows
                are out of order and too many to sort.
        """
        existing(path, artifact)
        self._files = threading.local()
        self.path, self._artifact, self._only = path, artifact, columns
        with damaged(path, artifact):
            with pq.ParquetFile(path) as file:
                self._metadata, self._schema = file.metadata, file.schema_arrow
            check_schema(self._schema, artifact, str(path), columns)
            self._columns = self._schema.names if columns is None else ["example_id", *columns]
            self.facts = read_facts(self._schema.empty_table(), str(path))
            n_groups = self._metadata.num_row_groups
            self._groups = [group for group in range(n_groups) if self._metadata.row_group(group).num_rows]
            # Ids alone take little memory, whatever `max_bytes`.
            found = list(
                map_in_order(
                    lambda place: self._bounds_of(self._groups[place]), len(self._groups), available_cores()
                )
            )
        self._sorted: pa.Table | None = None
        self._verified: set[int] = set()
        bounds = [ends for ends in found if ends is not None]
        sizes = [self._metadata.row_group(group).num_rows for group in self._groups]
        if len(bounds) < len(found) or any(after[0] <= before[1] for before, after in pairwise(bounds)):
            self._sorted = self._sort(max_bytes)
            ids = column_array(self._sorted, "example_id")
            parts = [ids[start : start + ROW_GROUP_ROWS] for start in range(0, len(ids), ROW_GROUP_ROWS)]
            bounds, sizes = [(int(part[0]), int(part[-1])) for part in parts], [len(part) for part in parts]
        self.bounds = np.array(bounds, dtype=np.int64).reshape(-1, 2)
        self.starts = np.cumsum([0, *sizes])
        self.n_rows = int(self.starts[-1])
        self.part_bytes = max((self._bytes_of([group]) for group in self._groups), default=0)

    def _bounds_of(self, group: int) -> tuple[int, int] | None:
        """The first and the last id of a row group; none where its ids do not ascend."""
        ids = column_array(self._read_group(group, ["example_id"], verify=True), "example_id")
        return (int(ids[0]), int(ids[-1])) if np.all(ids[1:] > ids[:-1]) else None

    def _sort(self, max_bytes: int) -> pa.Table:
        needed = 3 * self._bytes_of(self._groups)
        if needed > max_bytes:
            raise ArtifactError(
                f"{self.path}: rows were expected in ascending order of `example_id`, found them in another, "
                f"and sorting them takes about {needed / 2**20:,.0f} MB where {max_bytes / 2**20:,.0f} are "
                "allowed. Write the file in order of `example_id`."
            )
        table = read_table(self.path, self._artifact, self._only)
        return table.take(pa.array(np.argsort(column_array(table, "example_id")))).combine_chunks()

    def __len__(self) -> int:
        return len(self.bounds)

    def read(self, part: int) -> pa.Table:
        """The rows of one part.

        Raises:
            ArtifactError: the part is damaged, or holds values that it should not.
        """
        if self._sorted is not None:
            return self._sorted.slice(self.starts[part], self.starts[part + 1] - self.starts[part])
        group = self._groups[part]
        with damaged(self.path, self._artifact):
            # Once is enough: checksums take a fifth of the time.
            table = self._read_group(group, self._columns, verify=part not in self._verified)
        if part not in self._verified:
            check_columns(table, self._artifact, str(self.path))
            self._verified.add(part)
        return table

    def metadata(self, key: str) -> str | None:
        """What the file's writer said of it under `key`; see `write_table`."""
        value = (self._schema.metadata or {}).get(key.encode())
        return None if value is None else value.decode(errors="replace")

    def parts_with(self, low: int, high: int) -> npt.NDArray[np.intp]:
        """The parts that may hold ids from `low` to `high`."""
        return np.flatnonzero((self.bounds[:, 1] >= low) & (self.bounds[:, 0] <= high))

    @property
    def nothing(self) -> pa.Table:
        """A part without rows."""
        return self._schema.empty_table().select(self._columns)

    @property
    def names(self) -> list[str]:
        """All columns of the file, those that are not read included."""
        return list(self._schema.names)

    def shape_of(self, column: str) -> tuple[int, ...]:
        """The shape of one row of a tensor column."""
        return tuple(self._schema.field(column).type.shape)

    def read_only(self, part: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of one part, unchecked but for damage: those that are cheap to read again."""
        if self._sorted is not None:
            return self.read(part).select(columns)
        with damaged(self.path, self._artifact):
            return self._read_group(self._groups[part], columns, verify=False)

    def _read_group(self, group: int, columns: Sequence[str], verify: bool) -> pa.Table:
        # One file object does not serve several threads.
        files = self._files.__dict__
        kind = "verifying" if verify else "plain"
        if kind not in files:
            files[kind] = pq.ParquetFile(
                self.path, metadata=self._metadata, page_checksum_verification=verify, pre_buffer=False
            )
        return files[kind].read_row_group(group, columns=list(columns), use_threads=False)

    def _bytes_of(self, groups: Sequence[int]) -> int:
        total = 0
        for group in groups:
            chunks = self._metadata.row_group(group)
            for index in range(chunks.num_columns):
                chunk = chunks.column(index)
                if chunk.path_in_schema.split(".")[0] in self._columns:
                    total += chunk.total_uncompressed_size
        return total


class Scratch:
    """Rows of one array, (N, ...), in an unnamed file: written once, read back as often as wanted.

    What is costly to decode is then read at the speed of memory, for as long as the system has memory to
    spare for the file. The space is free again when the object is gone, or the process.
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

    def write(self, start: int, rows: npt.NDArray[Any]) -> None:
        """Keep rows from number `start` on."""
        content = np.ascontiguousarray(rows).data.cast("B")
        offset = start * self._row_bytes
        while content:
            written = os.pwrite(self._handle, content, offset)
            content, offset = content[written:], offset + written

    def read(self, start: int, n_rows: int) -> npt.NDArray[Any]:
        """Rows that were written."""
        rows = np.empty((n_rows, *self._row_shape), dtype=self._dtype)
        content = rows.data.cast("B")
        offset = start * self._row_bytes
        while content:
            filled = os.preadv(self._handle, [content], offset)
            if not filled:
                raise OSError(f"the scratch file ends at byte {offset}")
            content, offset = content[filled:], offset + filled
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


@contextmanager
def write_stream(
    path: Path, artifact: Artifact, facts: DatasetFacts, extra: Mapping[str, str] | None = None
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that appends rows, as `make_table` takes them, to an artifact; see `write_table`.

    Rows come in ascending order of `example_id`. The bytes are those that `write_table` writes for all rows
    at once, whatever the portions they came in. The file appears under its name when the block ends well.

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
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """`write_stream` to an `atomic_path` of `path`: for files that are to appear together."""
    stream = _Stream(temporary, str(path), extra)
    try:
        yield lambda columns: stream.append(make_table(artifact, facts, columns))
        stream.finish()
    finally:
        stream.close()


class _Stream:
    """Regroups portions of any length into row groups of `ROW_GROUP_ROWS`."""

    def __init__(self, path: Path, where: str, extra: Mapping[str, str] | None) -> None:
        self._path, self._where = path, where
        self._extra = {key.encode(): value.encode() for key, value in (extra or {}).items()}
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0
        self._last_id: int | None = None

    def append(self, table: pa.Table) -> None:
        ids = column_array(table, "example_id")
        if not len(ids):
            return
        if self._last_id is not None and ids[0] <= self._last_id:
            raise ArtifactError(
                f"{self._where}: rows were expected in ascending order of `example_id`, found {ids[0]} after "
                f"{self._last_id}."
            )
        self._last_id = int(ids[-1])
        self._waiting.append(table)
        self._n_waiting += len(ids)
        while self._n_waiting >= ROW_GROUP_ROWS:
            self._write(ROW_GROUP_ROWS)

    def finish(self) -> None:
        if self._n_waiting:
            self._write(self._n_waiting)
        if self._writer is None:
            raise ArtifactError(f"{self._where}: rows were expected, found none.")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _write(self, n_rows: int) -> None:
        table = pa.concat_tables(self._waiting)
        metadata = {**table.schema.metadata, **self._extra}
        rows = table.slice(0, n_rows).combine_chunks().replace_schema_metadata(metadata)
        if self._writer is None:
            plain = plain_columns(rows.schema)
            self._writer = pq.ParquetWriter(
                self._path, rows.schema, use_dictionary=plain, write_statistics=plain, **WRITE_OPTIONS
            )
        self._writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        self._waiting = [table.slice(n_rows)]
        self._n_waiting -= n_rows
