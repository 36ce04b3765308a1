"""Tables larger than memory: the same files as `read_table` and `write_table`, part by part."""

import math
import os
import shutil
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks import ArtifactError
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.files import atomic_path
from tasks.tables.io import (
    ROW_GROUP_ROWS,
    WRITE_OPTIONS,
    damaged,
    existing,
    make_table,
    plain_columns,
    read_table,
)
from tasks.tables.schemas import Artifact, check_columns, check_schema, column_array

Result = TypeVar("Result")

BUFFER_BYTES = 2**18
"""What is read ahead of a column where a row group is decoded run by run; without it, all of the column."""
# So many ids are looked at, and at most so many rows make a run.
_RUN_ROWS = 2**18


@dataclass(frozen=True)
class _Part:
    """Consecutive rows, with ids from `low` to `high`: a row group, or one of the runs that one is cut in."""

    group: int
    run: int | None
    n_rows: int
    low: int
    high: int
    ascends: bool = True

    @classmethod
    def of(cls, group: int, run: int | None, ids: npt.NDArray[np.int64]) -> Self:
        """The part of rows with these ids, of which there are some."""
        return cls(group, run, len(ids), int(ids[0]), int(ids[-1]), bool(np.all(ids[1:] > ids[:-1])))


def _ascend(parts: Sequence[_Part]) -> bool:
    inside = all(part.ascends for part in parts)
    return inside and all(after.low > before.high for before, after in pairwise(parts))


class TableReader:
    """An artifact in parts of consecutive rows, in order of `example_id`; each is checked as it is read.

    The parts are the file's row groups, or runs of rows where `cut` found these too large. A file whose rows
    are in another order is sorted in memory, if it fits. Parts may be read in any order, as often as wanted,
    by several threads at a time; the runs of a row group come fast in ascending order alone.

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
            self._row_bytes = self._measure_row()
            parts = self._find_parts(most_rows=2**62)
        self._sorted = None if _ascend(parts) else self._sort(max_bytes)
        self._set_parts(parts if self._sorted is None else self._slices(ROW_GROUP_ROWS), 0)

    def cut(self, max_bytes: int) -> None:
        """Make parts of at most `max_bytes`, or of one row, of those that are larger.

        A row group that is cut is never in memory whole: it is decoded in runs, each after the one before it.

        Raises:
            ArtifactError: the file is damaged.
        """
        if self.part_bytes > max_bytes:
            most_rows = max(max_bytes // self._row_bytes, 1)
            # Decoders double their buffers: what is just below a power of two leaves none of it empty.
            numbers = max(_numbers(self._schema.field(name).type) for name in self._columns)
            most_rows = max(2 ** int(math.log2(most_rows * numbers)) // numbers, 1)
            with damaged(self.path, self._artifact):
                parts = self._find_parts(most_rows) if self._sorted is None else self._slices(most_rows)
            self._set_parts(parts, most_rows)

    def _find_parts(self, most_rows: int) -> list[_Part]:
        """The row groups, those of more than `most_rows` rows in runs of so many."""
        found = map_in_order(
            lambda place: self._parts_of(self._groups[place], most_rows), len(self._groups), available_cores()
        )
        return [part for parts in found for part in parts]

    def _parts_of(self, group: int, most_rows: int) -> list[_Part]:
        n_rows, run_rows = self._rows_of(group), min(most_rows, _RUN_ROWS)
        if n_rows <= run_rows:
            table = self._read_group(group, ["example_id"], verify=True)
            return [_Part.of(group, None, column_array(table, "example_id"))]
        runs = [
            _Part.of(group, run, column_array(table, "example_id"))
            for run, table in enumerate(self._decode(group, ["example_id"], run_rows))
        ]
        if n_rows > most_rows:
            return runs
        return [_Part(group, None, n_rows, runs[0].low, runs[-1].high, _ascend(runs))]

    def _slices(self, most_rows: int) -> list[_Part]:
        """The sorted rows in parts."""
        ids = column_array(self._sorted, "example_id")
        return [_Part.of(0, None, ids[first : first + most_rows]) for first in range(0, len(ids), most_rows)]

    def _set_parts(self, parts: list[_Part], most_rows: int) -> None:
        self._parts, self._run_rows = parts, min(most_rows, _RUN_ROWS)
        self._verified: set[int] = set()
        self._runs: dict[tuple[int, tuple[str, ...]], _Runs] = {}
        self.bounds = np.array([(part.low, part.high) for part in parts], dtype=np.int64).reshape(-1, 2)
        self.starts = np.cumsum([0, *(part.n_rows for part in parts)])
        self.n_rows = int(self.starts[-1])
        self.part_bytes = self._row_bytes * max((part.n_rows for part in parts), default=0)

    def _sort(self, max_bytes: int) -> pa.Table:
        needed = 3 * self._row_bytes * self._metadata.num_rows
        if needed > max_bytes:
            raise ArtifactError(
                f"{self.path}: rows were expected in ascending order of `example_id`, found them in another, "
                f"and sorting them takes about {needed / 2**20:,.0f} MB where {max_bytes / 2**20:,.0f} are "
                "allowed. Write the file in order of `example_id`."
            )
        table = read_table(self.path, self._artifact, self._only)
        return table.take(pa.array(np.argsort(column_array(table, "example_id")))).combine_chunks()

    def __len__(self) -> int:
        return len(self._parts)

    def read(self, part: int) -> pa.Table:
        """The rows of one part.

        Raises:
            ArtifactError: the part is damaged, or holds values that it should not.
        """
        if self._sorted is not None:
            return self._sorted.slice(self.starts[part], self.starts[part + 1] - self.starts[part])
        with damaged(self.path, self._artifact):
            # Once is enough: checksums take a fifth of the time.
            table = self._read_part(part, self._columns, verify=part not in self._verified)
        if part not in self._verified:
            check_columns(table, self._artifact, str(self.path))
            self._verified.add(part)
        return table

    def read_runs(self, part: int, n_rows: int) -> Iterator[pa.Table]:
        """The rows of one part, `n_rows` at a time, decoded as they are asked for; all at once if it was cut.

        Raises:
            ArtifactError: see `read`.
        """
        place = self._parts[part]
        if self._sorted is not None or place.run is not None:
            yield self.read(part)
            return
        is_new = part not in self._verified
        with damaged(self.path, self._artifact):
            batches = self._file(verify=is_new).iter_batches(
                n_rows, row_groups=[place.group], columns=self._columns, use_threads=False
            )
            for table in regrouped(batches, n_rows):
                if is_new:
                    check_columns(table, self._artifact, str(self.path))
                yield table
        self._verified.add(part)

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
            return self._read_part(part, columns, verify=False)

    def _read_part(self, number: int, columns: Sequence[str], verify: bool) -> pa.Table:
        part = self._parts[number]
        if part.run is None:
            return self._read_group(part.group, columns, verify)
        key = part.group, tuple(columns)
        n_runs = -(-self._rows_of(part.group) // self._run_rows)
        runs = _Runs(partial(self._decode, *key, self._run_rows), n_runs)
        return self._runs.setdefault(key, runs).read(part.run)

    def _read_group(self, group: int, columns: Sequence[str], verify: bool) -> pa.Table:
        return self._file(verify).read_row_group(group, columns=list(columns), use_threads=False)

    def _file(self, verify: bool) -> pq.ParquetFile:
        # One file object does not serve several threads.
        files = self._files.__dict__
        kind = "verifying" if verify else "plain"
        if kind not in files:
            files[kind] = pq.ParquetFile(
                self.path, metadata=self._metadata, page_checksum_verification=verify, pre_buffer=False
            )
        return files[kind]

    def _decode(self, group: int, columns: Sequence[str], n_rows: int) -> Generator[pa.Table, None, None]:
        """A row group, `n_rows` rows at a time."""
        with pq.ParquetFile(
            self.path,
            metadata=self._metadata,
            page_checksum_verification=True,
            pre_buffer=False,
            buffer_size=BUFFER_BYTES,
        ) as file:
            batches = file.iter_batches(n_rows, row_groups=[group], columns=list(columns), use_threads=False)
            yield from regrouped(batches, n_rows)

    def _rows_of(self, group: int) -> int:
        return int(self._metadata.row_group(group).num_rows)

    def _measure_row(self) -> int:
        """Bytes of a row in memory, about: encoded it may take less, but texts are only known as encoded."""
        chunks = (
            group.column(index)
            for group in map(self._metadata.row_group, self._groups)
            for index in range(group.num_columns)
        )
        encoded: int = sum(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema.split(".")[0] in self._columns
        )
        decoded = sum(_width(self._schema.field(name).type) for name in self._columns)
        return math.ceil(max(encoded / max(int(self._metadata.num_rows), 1), decoded))


def _numbers(found: pa.DataType) -> int:
    """How many numbers a value of a type is made of."""
    return math.prod(found.shape) if isinstance(found, pa.FixedShapeTensorType) else 1


def _width(found: pa.DataType) -> float:
    """Bytes of a value of a type, 0 where they vary."""
    of_number = found.value_type if isinstance(found, pa.FixedShapeTensorType) else found
    return _numbers(found) * of_number.bit_width / 8 if pa.types.is_primitive(of_number) else 0.0


class _Runs:
    """A row group in `n_runs` runs of consecutive rows, each decoded after the one before it.

    Threads that work side by side ask for them a little out of order, so the last few that nobody has asked
    for yet are kept. To go back further is to begin again.
    """

    def __init__(self, decode: Callable[[], Generator[pa.Table, None, None]], n_runs: int) -> None:
        self._decode, self._n_runs = decode, n_runs
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._left, self._next = self._decode(), 0
        self._early: dict[int, pa.Table] = {}

    def read(self, run: int) -> pa.Table:
        with self._lock:
            if run in self._early:
                return self._early.pop(run)
            if run < self._next:
                self._begin()
            for table in self._left:
                number, self._next = self._next, self._next + 1
                if number == run:
                    if self._next == self._n_runs:
                        # Nothing is held of a row group that is through.
                        self._left.close()
                    return table
                self._early[number] = table
                if len(self._early) > available_cores():
                    del self._early[min(self._early)]
            raise OSError(f"row group: rows up to run {run} were expected, found {self._next} runs")


def regrouped(batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[pa.Table]:
    """The rows of batches of any length, `n_rows` at a time; fewer in the last table alone."""
    waiting: list[pa.Table] = []
    for batch in batches:
        waiting.append(pa.table(batch))
        # Nothing here keeps what is handed on: it may be freed while the next is decoded.
        del batch
        while (n_waiting := sum(table.num_rows for table in waiting)) >= n_rows:
            whole = pa.concat_tables(waiting)
            waiting = [whole.slice(n_rows)] if n_waiting > n_rows else []
            ready = [whole.slice(0, n_rows)]
            del whole
            yield ready.pop()
    if waiting:
        yield pa.concat_tables(waiting)


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
