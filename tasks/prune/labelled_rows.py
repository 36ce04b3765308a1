"""The rows that `prune` passes over, part by part: probabilities with their labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.label_quality.rows import Batch
from tasks.tables.portions import Scratch, TableReader, map_in_order
from tasks.tables.schemas import column_array

Result = TypeVar("Result")

# Rows are read from the scratch file so many probabilities at a time: the allocator uses buffers of this size
# again, and must clear larger ones.
_BATCH_ENTRIES = 2**20
# Scores are computed in pieces that stay in the processor's cache.
PIECE_ENTRIES = 2**18


@dataclass(frozen=True)
class Part:
    """Consecutive rows with their ids (n,) and keys (n,).

    Where the truth is known of each, their true labels (n,) and whether they are noisy (n,).
    """

    batch: Batch
    ids: npt.NDArray[np.int64]
    keys: pa.ChunkedArray
    true: npt.NDArray[np.int64] | None
    is_noisy: npt.NDArray[np.bool_] | None


class LabelledRows:
    """The rows of data/pred_probs.parquet joined with their given labels; see `label_quality.rows.Rows`.

    Parquet is decoded once: the first pass leaves the probabilities in a scratch file, where the disk has the
    room, and the labels in memory, two bytes a row.
    """

    def __init__(
        self,
        predictions: TableReader,
        given: TableReader,
        n_threads: int = 1,
        done: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Args: the two tables, threads to work in, and what to tell which share of a pass has been done."""
        self.predictions, self.given = predictions, given
        self.n_threads, self._done = n_threads, done
        self.n_rows, (self.n_classes,) = predictions.n_rows, predictions.shape_of("pred_probs")
        folder = predictions.path.parent
        self._scratch = (
            Scratch(folder, (self.n_classes,), np.float32)
            if Scratch.fits(folder, 4 * self.n_rows * self.n_classes)
            else None
        )
        self._labels = np.empty(self.n_rows, dtype=np.int16)
        self._kept: set[int] = set()
        self._batch_rows = max(_BATCH_ENTRIES // self.n_classes, 1)

    def map(self, function: Callable[[Batch], Result]) -> Iterator[Result]:
        """See `Rows`."""
        scratch, step = self._scratch, self._batch_rows
        if scratch and len(self._kept) == len(self.predictions):
            starts = range(0, self.n_rows, step)
            return self._map(
                lambda place: function(self._read_back(scratch, starts[place], step)), len(starts)
            )
        return self._map(lambda number: function(self.batch(number)), len(self.predictions))

    def map_parts(self, function: Callable[[Part], Result]) -> Iterator[Result]:
        """One pass over the parts, in order of rows, `function` being called by several threads."""
        return self._map(lambda number: function(self.part(number)), len(self.predictions))

    def _map(self, function: Callable[[int], Result], n_items: int) -> Iterator[Result]:
        for result in map_in_order(function, n_items, self.n_threads):
            self._done(1 / n_items)
            yield result
        # What decoding took is not kept for the next pass, or the fit, which may decode nothing.
        pa.default_memory_pool().release_unused()

    def _read_back(self, scratch: Scratch, start: int, n_rows: int) -> Batch:
        """Rows that an earlier pass kept, as many as there are."""
        stop = min(start + n_rows, self.n_rows)
        return Batch(start, self._labels[start:stop].astype(np.int64), scratch.read(start, stop - start))

    def batch(self, number: int) -> Batch:
        """The labels and probabilities of one part of the predictions, which are kept on the way.

        Raises:
            ArtifactError: a row has no given label.
        """
        start, stop = (int(end) for end in self.predictions.starts[number : number + 2])
        if number in self._kept and self._scratch:
            return self._read_back(self._scratch, start, stop - start)
        table = self.predictions.read(number, ["pred_probs"])
        pred_probs = column_array(table, "pred_probs")
        if number not in self._kept:
            given = self.given.rows(column_array(table, "example_id"), ["given_label"])
            self._labels[start:stop] = column_array(given, "given_label")
            self._keep(start, pred_probs)
            self._kept.add(number)
        return Batch(start, self._labels[start:stop].astype(np.int64), pred_probs)

    def _keep(self, start: int, pred_probs: npt.NDArray[np.float32]) -> None:
        if self._scratch:
            try:
                self._scratch.write(start, pred_probs)
            except OSError:
                # A disk that fills up costs time, not the run.
                self._scratch = None

    def part(self, number: int) -> Part:
        """The same with the ids, the keys and the truth."""
        ids = column_array(self.predictions.read(number, []), "example_id")
        given = self.given.rows(ids, ["key", "true_label", "is_noisy"])
        true, is_noisy = (
            None if given.column(name).null_count else column_array(given, name)
            for name in ("true_label", "is_noisy")
        )
        true = None if true is None else true.astype(np.int64)
        return Part(self.batch(number), ids, given.column("key"), true, is_noisy)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) all given labels, once a pass has been made."""
        return self._labels.astype(np.int64)
