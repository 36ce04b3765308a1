"""The second opinion of rows: the labels of their nearest neighbours.

A row's neighbours are looked for among the rows of its own fold, in the embedding of the network that
predicted that fold. That network learned from none of these labels, and the row's own label has no vote
(leave-one-out): so the vote is a view of the row that neither its label nor the network's last layer made.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from tasks.neighbours import Each, nearest

Ints = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]

N_VOTERS = 10
"""So many neighbours vote."""
UNASKED = -1
"""The opinion of a row that has no neighbour, or was not asked for."""

# Of equally many votes, those of the nearer neighbours win.
_NEARER = 1e-3
# Embeddings of queries that are in memory at a time, and of rows that wait to be searched, in bytes.
_QUERY_BYTES = 2**26
_CHUNK_BYTES = 2**25


def ask_neighbours(
    read: Callable[[], Iterator[Singles]], labels: Ints, fold: Ints, queries: Ints, *, each: Each = map
) -> npt.NDArray[np.int64]:
    """(Q,) the class that most of the nearest neighbours of each query are given, or `UNASKED`.

    The result depends neither on the blocks that `read` gives nor on `each`. Memory: about 64 MB of queries,
    32 MB of rows for each fold, and some copies of these.

    Args:
        read: gives all embeddings in order of rows, block by block; it is called several times.
        labels: (N,) given class indices.
        fold: (N,) the fold of each row.
        queries: (Q,) row numbers, ascending.
        each: see `neighbours.nearest`.
    """
    opinion = np.full(len(queries), UNASKED, dtype=np.int64)
    width = next(iter(islice(read(), 1))).shape[1]
    most = max(_QUERY_BYTES // (4 * width), 1)
    for first in range(0, len(queries), most):
        # Queries of one fold stand together, so that a portion of them concerns few folds.
        portion = np.argsort(fold[queries], kind="stable")[first : first + most]
        portion = portion[np.argsort(queries[portion])]
        opinion[portion] = _ask(read, labels, fold, queries[portion], each)
    return opinion


@dataclass
class _Search:
    """The neighbours of the queries in one fold, among the rows of it that were seen so far."""

    queries: Ints
    embedding: Singles
    index: Ints
    distance: npt.NDArray[np.float64]
    waiting: list[tuple[Ints, Singles]] = field(default_factory=list)

    @classmethod
    def of(cls, queries: Ints, embedding: Singles) -> "_Search":
        return cls(
            queries,
            embedding,
            np.zeros((len(queries), 0), dtype=np.int64),
            np.zeros((len(queries), 0), dtype=np.float64),
        )

    def add(self, rows: Ints, embedding: Singles, each: Each) -> None:
        """Consider more rows, some at a time."""
        self.waiting.append((rows, embedding))
        if sum(values.nbytes for _, values in self.waiting) >= _CHUNK_BYTES:
            self.search(each)

    def search(self, each: Each) -> None:
        """Compare the queries with the rows that wait."""
        if not self.waiting:
            return
        rows = np.concatenate([held for held, _ in self.waiting])
        embedding = np.concatenate([values for _, values in self.waiting])
        self.waiting = []
        # One more than vote: the query itself may be among them.
        found = nearest(embedding, min(N_VOTERS + 1, len(rows)), queries=self.embedding, each=each)
        index = np.hstack([self.index, rows[found.index]])
        distance = np.hstack([self.distance, found.distance])
        distance[index == self.queries[:, None]] = np.inf
        order = np.lexsort((index, distance), axis=1)[:, :N_VOTERS]
        self.index = np.take_along_axis(index, order, 1)
        self.distance = np.take_along_axis(distance, order, 1)

    def vote(self, labels: Ints) -> Ints:
        """(Q,) the class with most votes."""
        cast, is_other = labels[self.index], np.isfinite(self.distance)
        weight = is_other * (1 + _NEARER * np.arange(N_VOTERS, N_VOTERS - cast.shape[1], -1) / N_VOTERS)
        votes = ((cast[:, :, None] == cast[:, None, :]) * weight[:, None, :]).sum(axis=2) * is_other
        winner = np.take_along_axis(cast, votes.argmax(axis=1)[:, None], 1)[:, 0]
        return np.where(is_other.any(axis=1), winner, UNASKED)


def _ask(read: Callable[[], Iterator[Singles]], labels: Ints, fold: Ints, queries: Ints, each: Each) -> Ints:
    """The opinions on some queries, which ascend: one pass to find them, one to compare rows with them."""
    embedding = np.concatenate([block[rows] for _, block, rows in _blocks(read, queries)])
    asked = fold[queries]
    searches = {
        int(number): _Search.of(queries[asked == number], embedding[asked == number])
        for number in np.unique(asked)
    }
    del embedding
    concerned = np.flatnonzero(np.isin(fold, list(searches)))
    for start, block, rows in _blocks(read, concerned):
        for number in np.unique(fold[start + rows]):
            here = rows[fold[start + rows] == number]
            searches[int(number)].add(start + here, block[here], each)
    opinion = np.full(len(queries), UNASKED, dtype=np.int64)
    for number, search in searches.items():
        search.search(each)
        opinion[asked == number] = search.vote(labels)
    return opinion


def _blocks(read: Callable[[], Iterator[Singles]], rows: Ints) -> Iterator[tuple[int, Singles, Ints]]:
    """The blocks with any of `rows` (M,), which ascend: number of the first row, block, places in it."""
    start = 0
    for block in read():
        first, last = np.searchsorted(rows, (start, start + len(block)))
        if last > first:
            yield start, block, rows[first:last] - start
        start += len(block)
