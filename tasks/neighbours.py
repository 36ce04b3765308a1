"""The nearest neighbours of rows: exact, by blocks, so that memory follows the block and not the square.

Beyond 200,000 rows the square takes hours: there `faiss`, where it is installed, looks only into the cells
that are near a row.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Metric = Literal["euclidean", "cosine"]
Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Each(Protocol):
    """What `map` does; the `map` of a thread pool does it side by side.

    Then a matrix product should take one thread (`threadpoolctl`), as the pool has work for the others.
    """

    def __call__(
        self, function: Callable[[Argument], Result], items: Iterable[Argument], /
    ) -> Iterable[Result]:
        """The results in the order of the items."""


MOST_EXACT_ROWS = 200_000
"""The neighbours of so many rows among themselves are exact, whatever is installed."""
# Of 4 sqrt(N) cells around centres of k-means, learned from so many rows of each.
_CELLS_LOOKED_AT, _LEARNED_FROM = 32, 40
# So many more candidates than neighbours are kept, as the rounding of float32 may have swapped them.
_SPARE = 8
# Small enough for a core's own cache, with the rows of a block.
_TILE_ROWS = 768
# So many candidates a query wait until they are sorted in, as a share of those that are kept.
_WAITING = 0.25
_TYPICAL_ROWS = 1000
_LONGEST = 1e18
_UNIT_ROUNDOFF = 2.0**-24
_LEAST_NORMAL = 2.0**-126


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of each query, the nearest first; of equally near ones, the first in the table.

    Attributes:
        index: (Q, k) positions in the rows that were searched.
        distance: (Q, k) at least 0: Euclidean, or 1 - cosine.
    """

    index: Ints
    distance: Floats


def nearest(
    rows: Singles,
    k: int,
    *,
    metric: Metric = "euclidean",
    queries: Singles | None = None,
    block_rows: int = 512,
    each: Each = map,
) -> Neighbours:
    """The `k` nearest `rows` of each query, exactly, for any size of block; but see `is_approximate`.

    Matrix products in float32 choose candidates; float64 differences rank them. A bound on the rounding error
    (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1) says whether a row that was
    not chosen may be as near; only then more rows are ranked.

    Args:
        rows: (N, d) finite.
        k: from 1 to N, or to N - 1 where the rows are the queries.
        metric: `cosine` needs rows other than zeros, which have no direction.
        queries: (Q, d) finite; the rows themselves where None, and then no row is its own neighbour.
        block_rows: so many queries at a time; each takes about 50 KB.
        each: how to go over the blocks.

    Raises:
        ValueError: `k` is out of range, the widths differ, a value is not finite or too large, or a row has
            no direction.
    """
    own = queries is None
    points = _Points.of(rows, metric)
    asked = points if queries is None else _Points.of(queries, metric, points.origin)
    most = len(points) - own
    if not 1 <= k <= most:
        raise ValueError(f"k must be from 1 to {most}, the rows there are to choose from; found {k}")
    index = np.empty((len(asked), k), dtype=np.int64)
    squared = np.empty((len(asked), k))
    blocks = [
        np.arange(start, min(start + block_rows, len(asked))) for start in range(0, len(asked), block_rows)
    ]

    cells = _learn_cells(points) if own and is_approximate(len(points)) else None

    def search(block: Ints) -> tuple[Ints, Floats]:
        if cells is not None:
            return _search_cells(cells, points, block, k)
        return _search(points, asked, block, k, own)

    for block, (found, squares) in zip(blocks, each(search, blocks), strict=True):
        index[block], squared[block] = found, squares
    # Of unit vectors, 1 - cosine is half the squared distance.
    return Neighbours(index, np.sqrt(squared) if metric == "euclidean" else squared / 2)


def is_approximate(n_rows: int) -> bool:
    """Whether neighbours of so many rows among themselves are searched by faiss (the extra `ann`).

    Then a near one may be missed, and a copy of the rows is held; distances are exact all the same.
    """
    return n_rows > MOST_EXACT_ROWS and importlib.util.find_spec("faiss") is not None


def describe_search(n_rows: int) -> str | None:
    """How neighbours of so many rows are searched, in a sentence; None where there is nothing to say."""
    if n_rows <= MOST_EXACT_ROWS:
        return None
    if is_approximate(n_rows):
        return f"neighbours of {n_rows:,} rows are searched by faiss, which may miss some"
    return (
        f"neighbours of {n_rows:,} rows are searched exactly, in a time that grows with the square of the "
        "rows; with `pip install '.[ann]'` it is shorter, and some may be missed"
    )


@dataclass(frozen=True)
class _Points:
    """Rows made ready: one matrix product gives half their squared distances, less what a query has alone.

    Attributes:
        rows: (N, d) as they came.
        scale: (N, 1) float64, by which a row is divided before it is compared.
        origin: (d,) float64, near all rows, so that little is lost when large squares are subtracted.
        augmented: (N, d + 1) the scaled rows less the origin, and half of their squared length.
        length: (N,) of these.
    """

    rows: Singles
    scale: Floats
    origin: Floats
    augmented: Singles
    length: Floats

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, rows: Singles, metric: Metric, origin: Floats | None = None) -> Self:
        """`rows` (N, d) made ready; the origin is among them where None is given.

        Raises:
            ValueError: the widths differ, a value is not finite or too large, or a row has no direction.
        """
        if rows.ndim != 2 or (origin is not None and rows.shape[1] != len(origin)):
            raise ValueError(f"rows must be a table as wide as the other, found the shape {rows.shape}")
        scale = np.ones((len(rows), 1))
        if metric == "cosine":
            scale = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))[:, None]
        if not (np.isfinite(scale).all() and np.isfinite(rows).all()):
            raise ValueError("rows must be finite numbers")
        if not scale.all():
            raise ValueError("a row of zeros has no direction, so no cosine with another row")
        if origin is None:
            # Of some rows, and not the mean: one huge row would move it far from all others.
            some = slice(None, None, max(len(rows) // _TYPICAL_ROWS, 1))
            origin = np.median(rows[some] / scale[some], axis=0) if len(rows) else np.zeros(rows.shape[1])
        augmented = np.empty((len(rows), rows.shape[1] + 1), dtype=np.float32)
        squared = np.empty(len(rows))
        for start in range(0, len(rows), _TILE_ROWS):
            part = slice(start, start + _TILE_ROWS)
            moved = rows[part] / scale[part] - origin
            augmented[part, :-1] = moved
            squared[part] = np.einsum("nd,nd->n", moved, moved)
        if squared.max(initial=0) > _LONGEST**2:
            raise ValueError(f"rows must be less than {_LONGEST:g} apart, or float32 cannot hold the square")
        augmented[:, -1] = squared / 2
        return cls(rows, scale, origin, augmented, np.sqrt(squared))

    def exact(self, index: Ints) -> Floats:
        """The scaled rows at `index`, in float64."""
        return self.rows[index] / self.scale[index]


def _search(points: _Points, asked: _Points, block: Ints, k: int, own: bool) -> tuple[Ints, Floats]:
    """Of the queries at `block` (b,), the (b, k) nearest points and their squared distances."""
    most = len(points) - own
    queries = -asked.augmented[block]
    queries[:, -1] = 1
    keys, chosen = _choose(points, queries, min(k + _SPARE, most), block if own else None)
    index, squared = _rank(points, asked, block, chosen, k)
    if chosen.shape[1] < most:
        length = asked.length[block]
        # A point as near as the k-th is at most so much longer than the query as the two are apart. The last
        # term is of numbers so small that float32 rounds them to 0.
        longest = length + np.sqrt(squared[:, -1])
        error = (queries.shape[1] + 16) * (_UNIT_ROUNDOFF * (length + longest) ** 2 + _LEAST_NORMAL)
        for row in np.flatnonzero(squared[:, -1] >= length**2 + 2 * (keys.max(axis=1) - error)):
            limit = (squared[row, -1] - length[row] ** 2) / 2 + error[row]
            near = np.flatnonzero(points.augmented @ queries[row] <= limit)
            near = near[near != block[row]] if own else near
            rank = _rank(points, asked, block[row : row + 1], near[None, :], k)
            index[row], squared[row] = rank[0][0], rank[1][0]
    return index, squared


def _learn_cells(points: _Points) -> Any:
    """An index of faiss: the points by the nearest of some centres (an inverted file, exact within cells)."""
    faiss = importlib.import_module("faiss")
    values = np.ascontiguousarray(points.augmented[:, :-1])
    n_cells = int(4 * math.sqrt(len(values)))
    width = values.shape[1]
    cells = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, n_cells)
    cells.train(values[:: max(len(values) // (_LEARNED_FROM * n_cells), 1)])
    cells.add(values)
    cells.nprobe = _CELLS_LOOKED_AT
    return cells


def _search_cells(cells: Any, points: _Points, block: Ints, k: int) -> tuple[Ints, Floats]:
    """Of the points at `block` (b,), the (b, k) nearest others in the nearest cells, ranked exactly."""
    queries = np.ascontiguousarray(points.augmented[block, :-1])
    _, chosen = cells.search(queries, min(k + _SPARE + 1, len(points)))
    # -1: no point is left in these cells.
    chosen[chosen == block[:, None]] = -1
    chosen = np.take_along_axis(chosen, np.argsort(chosen < 0, axis=1, kind="stable"), 1)
    n_found = (chosen >= 0).sum(axis=1)
    index, squared = np.empty((len(block), k), dtype=np.int64), np.empty((len(block), k))
    full = np.flatnonzero(n_found >= k)
    if len(full):
        some = chosen[full, : n_found[full].min()]
        index[full], squared[full] = _rank(points, points, block[full], some, k)
    if len(few := np.flatnonzero(n_found < k)):
        index[few], squared[few] = _search(points, points, block[few], k, own=True)
    return index, squared


def _choose(points: _Points, queries: Singles, kept: int, own: Ints | None) -> tuple[Singles, Ints]:
    """The (b, kept) least keys of each query, and the points that they are of; `own` (b,) are left out."""
    keys = np.empty((len(queries), 0), dtype=np.float32)
    index = np.empty((len(queries), 0), dtype=np.int64)
    room = np.empty((len(queries), _TILE_ROWS), dtype=np.float32)
    waiting: list[tuple[Ints, Ints, Singles]] = []
    n_waiting = 0
    for start, stop in pairwise([*range(0, len(points), _TILE_ROWS), len(points)]):
        tile = np.matmul(queries, points.augmented[start:stop].T, out=room[:, : stop - start])
        if own is not None:
            here = np.flatnonzero((own >= start) & (own < stop))
            tile[here, own[here] - start] = np.inf
        if keys.shape[1] < kept:
            # Of the first points, most are among the least so far: they are sorted as a whole.
            position = np.broadcast_to(np.arange(start, start + tile.shape[1]), tile.shape)
            keys, index = np.hstack([keys, tile]), np.hstack([index, position])
            if keys.shape[1] > kept:
                keys, index = _keep_least(keys, index, kept)
            worst = keys.max(axis=1, initial=-np.inf)
            continue
        row, column = np.divmod(np.flatnonzero(tile < worst[:, None]), tile.shape[1])
        waiting.append((row, column + start, tile[row, column]))
        n_waiting += len(row)
        if n_waiting and (n_waiting > _WAITING * keys.size or stop == len(points)):
            keys, index = _merge(keys, index, *(np.concatenate(part) for part in zip(*waiting, strict=True)))
            worst, waiting, n_waiting = keys.max(axis=1), [], 0
    return keys, index


def _merge(keys: Singles, index: Ints, row: Ints, found: Ints, key: Singles) -> tuple[Singles, Ints]:
    """The least keys of each row among those there are (b, kept) and those found (n,), of `row` (n,)."""
    n_rows, kept = keys.shape
    counts = np.bincount(row, minlength=n_rows)
    # The candidates of a query follow those it has in a table, of which the rest is farther than all.
    order = np.argsort(row, kind="stable")
    row = row[order]
    column = kept + np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
    every_key = np.full((n_rows, kept + counts.max()), np.inf, dtype=np.float32)
    every_index = np.zeros(every_key.shape, dtype=np.int64)
    every_key[:, :kept], every_index[:, :kept] = keys, index
    every_key[row, column], every_index[row, column] = key[order], found[order]
    return _keep_least(every_key, every_index, kept)


def _keep_least(keys: Singles, index: Ints, kept: int) -> tuple[Singles, Ints]:
    """The (b, kept) least of the keys (b, m) of each row, in any order, and what they are of."""
    least = np.argpartition(keys, kept - 1, axis=1)[:, :kept]
    return np.take_along_axis(keys, least, 1), np.take_along_axis(index, least, 1)


def _rank(points: _Points, asked: _Points, block: Ints, chosen: Ints, k: int) -> tuple[Ints, Floats]:
    """For each query of `block` (b,), the (b, k) nearest of `chosen` (b, m), and their squared distances."""
    squared = np.empty(chosen.shape)
    step = max(2**20 // (points.rows.shape[1] * chosen.shape[1]), 1)
    for start in range(0, len(block), step):
        part = slice(start, start + step)
        difference = asked.exact(block[part])[:, None, :] - points.exact(chosen[part])
        squared[part] = np.einsum("bmd,bmd->bm", difference, difference)
    order = np.lexsort((chosen, squared), axis=1)[:, :k]
    return np.take_along_axis(chosen, order, 1), np.take_along_axis(squared, order, 1)
