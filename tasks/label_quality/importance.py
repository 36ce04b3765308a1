"""Importance: how much one row can matter to a model trained on its class, a bound on coreset sensitivity.

For a row x of class c with n_c rows, a = [x, 1], D = d + 1 and G_c = sum of a a^T over the class:

    leverage    h = a^T (G_c + rho I)^-1 a,   rho = 1e-6 tr(G_c) / D
    importance  s = (32 / lambda) (2 / n_c + h) n_c,   lambda = 1

s bounds the sensitivity of the row for logistic regression with an L2 penalty (Tukan, Maalouf, Feldman,
"Coresets for Near-Convex Functions", NeurIPS 2020): the largest share of the loss that it can make up
under any weights of the model. It is high for a row unlike its class, whatever the reason. `contrast` asks
the other classes too: h under the given class minus the smallest h under any.

G_c is a sum, so one pass over batches builds it (`ClassMoments`), parts of a data set merge, rows are
appended and removed; a second pass scores. Memory is O(K D^2), never O(N D). All computation is in float64.

Where a row has many more features than there are rows, those of one space lie in a plane of few dimensions.
X^T = Q R gives it axes, z = Q^T x. Products of rows, and so tr(G_c) and h, are the same for [z, 1] as for
[x, 1], if rho keeps its D: the work falls from O(K D^3) to O(n^2 D + K n^3).

Sums of floats depend on the order and the size of what is added, here by about 1e-15 of tr(G_c) a step:
equal batches give equal bits, other batches almost equal ones. Who needs equal bits feeds `block_rows` rows
at a time in one order, and holds NumPy's matrix products to one thread.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from tasks.label_quality.class_moments import ClassMoments, Floats, Ints, check_rows, extend, rows_by_class
from tasks.neighbours import Each

_RIDGE = 1e-6
_SENSITIVITY = 32.0
# 16 MiB of float64: enough rows for the matrix products to run at full speed.
_BLOCK_VALUES = 2**21
# Features for each row of a space from which on its rows are turned into fewer dimensions.
_LEAST_FEATURES_A_ROW = 2
# Rows that one thread scores at a time.
_PIECE_ROWS = 1024


def block_rows(n_features: int) -> int:
    """Rows to take at a time: a function of the width alone, so that sums never depend on memory at hand."""
    return max(_BLOCK_VALUES // (n_features + 1), 256)


@dataclass(frozen=True)
class Whitening:
    """What is needed to score rows: made from `ClassMoments` by `whiten`.

    Attributes:
        factors: (K, D, D) F_c with F_c^T F_c = (G_c + rho I)^-1, so that h = |F_c a|^2; 0 for a class
            without rows.
        n_rows: (K,) n_c.
    """

    factors: Floats
    n_rows: Ints

    def part(self, first: int, last: int) -> "Whitening":
        """The classes from `first` up to `last`."""
        return Whitening(self.factors[first:last], self.n_rows[first:last])


def whiten(moments: ClassMoments, each: Each = map, n_features: int | None = None) -> Whitening:
    """Factor the inverse of each class's second moments.

    `n_features` is what a row had before it was turned into fewer dimensions; None where it was not.
    """
    factors = np.zeros_like(moments.gram)
    there = np.flatnonzero(moments.n_rows)
    width = (moments.n_features if n_features is None else n_features) + 1
    inverse_root = partial(_inverse_root, width=width)
    for k, factor in zip(there, each(inverse_root, (moments.gram[k] for k in there)), strict=True):
        factors[k] = factor
    return Whitening(factors, moments.n_rows.copy())


def _inverse_root(gram: Floats, width: int) -> Floats:
    """F of the shape of `gram` with F^T F = (gram + rho I)^-1, rho = 1e-6 tr(gram) / width."""
    identity = np.eye(len(gram))
    ridge = _RIDGE * np.trace(gram) / width
    try:
        return np.asarray(np.linalg.inv(np.linalg.cholesky(gram + ridge * identity)))
    except np.linalg.LinAlgError:
        # Rows that outweighed the rest by far were removed, and rounding left a direction negative.
        values, vectors = np.linalg.eigh(gram)
        return np.asarray((vectors / np.sqrt(np.maximum(values, 0) + ridge)).T)


def leverage_of_given(
    whitening: Whitening, features: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> Floats:
    """(N,) h of each row under its given class: in [0, 1] where the row is part of the moments.

    Rounding that removals left moves it by at most about 1e-3 (see `ClassMoments.remove`).

    Raises:
        ValueError: as `ClassMoments.add`, and for a row whose class has none.

    >>> features, labels = np.array([[0.0], [1.0], [2.0], [9.0]]), np.zeros(4, dtype=np.int64)
    >>> moments = ClassMoments(n_classes=1, n_features=1)
    >>> moments.add(features, labels)
    >>> leverage_of_given(whiten(moments), features, labels).round(2).tolist()  # the row apart stands out
    [0.43, 0.33, 0.27, 0.97]
    """
    n_classes, width = whitening.factors.shape[:2]
    check_rows(features, labels, n_classes, width - 1)
    rows = extend(features)
    leverage = np.zeros(len(rows))
    for k, members in rows_by_class(labels):
        if not whitening.n_rows[k]:
            raise ValueError(f"class {k} has no row in the moments, found rows of it to be scored")
        leverage[members] = _squared_lengths(rows[members], whitening.factors[k])
    return leverage


def lowest_leverage(whitening: Whitening, features: npt.NDArray[np.floating]) -> Floats:
    """(N,) the smallest h over all classes that have rows; K times the work of `leverage_of_given`.

    Infinite where no class has any.
    """
    rows = extend(features)
    lowest = np.full(len(rows), np.inf)
    for k in np.flatnonzero(whitening.n_rows):
        np.minimum(lowest, _squared_lengths(rows, whitening.factors[k]), out=lowest)
    return lowest


def importance_of(leverage: Floats, labels: npt.NDArray[np.integer], n_rows: Ints) -> Floats:
    """(N,) importance s, above 0, from the leverage under the given class (N,) and the rows of each (K,).

    >>> importance_of(np.array([0.5, 0.25]), np.array([0, 1]), n_rows=np.array([10, 20])).tolist()
    [224.0, 224.0]
    """
    # (2 / n + h) n, without the division.
    return np.asarray(_SENSITIVITY * (2 + leverage * n_rows[labels]))


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a stream.

    Attributes:
        features: (n, d).
        labels: (n,) given class indices.
        space: (n,) which model made the features, from 0: those of different models have no common axes.
    """

    features: npt.NDArray[np.floating]
    labels: npt.NDArray[np.integer]
    space: npt.NDArray[np.integer]


def score_stream(
    read: Callable[[], Iterable[Block]],
    n_rows: int,
    n_classes: int,
    n_spaces: int,
    n_features: int,
    *,
    contrast: bool,
    memory_bytes: int,
    each: Each = map,
) -> tuple[Floats, Floats | None]:
    """Importance and contrast of rows that need not fit in memory, each space on its own.

    The result depends on the blocks (see above), but neither on `memory_bytes` nor on `each`.

    Args:
        read: one pass over the rows; called twice, or more often where memory does not take the moments of
            every class in every space at once.
        n_rows: N.
        n_classes: K.
        n_spaces: how many models made the features.
        n_features: d.
        contrast: whether to compute it: K times the work of importance.
        memory_bytes: what moments may take, at least those of one class.
        each: how to go over classes, and over pieces of blocks.

    Returns:
        (N,) importance and (N,) contrast, or None where it was not asked for.

    Raises:
        ValueError: see `ClassMoments.add`; rows are counted within their block.
    """
    counts = _rows_of_spaces(read, n_rows, n_spaces, n_features)
    if counts is None:
        return _score_spaces(read, n_rows, n_classes, n_spaces, n_features, contrast, memory_bytes, each)
    importance, compared = np.zeros(n_rows), np.zeros(n_rows) if contrast else None
    for space in np.flatnonzero(counts):
        turned, places = _turn(read, int(space), int(counts[space]), n_classes, n_features)
        n = len(places)

        def read_turned(block: Block = turned) -> list[Block]:
            return [block]

        found, lowest = _score_spaces(
            read_turned, n, n_classes, 1, n, contrast, memory_bytes, each, n_before=n_features
        )
        importance[places] = found
        if compared is not None and lowest is not None:
            compared[places] = lowest
    return importance, compared


def _rows_of_spaces(
    read: Callable[[], Iterable[Block]], n_rows: int, n_spaces: int, n_features: int
) -> Ints | None:
    """The rows of each space, where all have so few that turning them pays; else None.

    The rows of such a space and what turns them take less memory than the moments of one class.
    """
    if _LEAST_FEATURES_A_ROW * n_rows > n_spaces * n_features:
        return None
    counts = np.zeros(n_spaces, dtype=np.int64)
    for block in read():
        counts += np.bincount(block.space, minlength=n_spaces)
    return counts if _LEAST_FEATURES_A_ROW * counts.max(initial=0) <= n_features else None


def _turn(
    read: Callable[[], Iterable[Block]], space: int, n_rows: int, n_classes: int, n_features: int
) -> tuple[Block, Ints]:
    """The n rows of a space as rows of n numbers with the same products, and their places among all rows.

    Raises:
        ValueError: see `check_rows`.
    """
    rows, labels = np.empty((n_rows, n_features)), np.empty(n_rows, dtype=np.int64)
    places = np.empty(n_rows, dtype=np.int64)
    start = filled = 0
    for block in read():
        check_rows(block.features, block.labels, n_classes, n_features)
        members = np.flatnonzero(block.space == space)
        part = slice(filled, filled + len(members))
        rows[part], labels[part], places[part] = (
            block.features[members],
            block.labels[members],
            start + members,
        )
        start, filled = start + len(block.labels), part.stop
    # Not R^T, which is the same: there rows that are equal would differ in the last bits.
    axes, _ = np.linalg.qr(rows.T)
    return Block(rows @ axes, labels, np.zeros(n_rows, dtype=np.int64)), places


def _score_spaces(
    read: Callable[[], Iterable[Block]],
    n_rows: int,
    n_classes: int,
    n_spaces: int,
    n_features: int,
    contrast: bool,
    memory_bytes: int,
    each: Each,
    n_before: int | None = None,
) -> tuple[Floats, Floats | None]:
    """As `score_stream`, of rows as they are; `n_before` is the `n_features` of `whiten`."""
    # A cell is a class in a space. Moments and factors take a matrix each.
    n_cells, cell_bytes = n_spaces * n_classes, 2 * 8 * (n_features + 1) ** 2
    at_once = min(max(memory_bytes // cell_bytes, 1), n_cells)
    importance, own, lowest = np.zeros(n_rows), np.zeros(n_rows), np.full(n_rows, np.inf)

    def score(cells: range) -> None:
        moments = ClassMoments(len(cells), n_features)
        for block in read():
            cell, inside = _cells_of(block, n_classes, cells)
            moments.add(block.features[inside], cell[inside], each=each)
        whitening = whiten(moments, each, n_before)
        del moments
        start = 0
        for block in read():
            cell, inside = _cells_of(block, n_classes, cells)
            rows = start + np.flatnonzero(inside)
            leverage = partial(_leverage_of_piece, whitening, block.features, cell)
            own[rows] = np.concatenate([np.zeros(0), *each(leverage, _pieces(inside))])
            importance[rows] = importance_of(own[rows], cell[inside], whitening.n_rows)
            if contrast:
                for space in range(cells.start // n_classes, (cells.stop - 1) // n_classes + 1):
                    members = block.space == space
                    rows = start + np.flatnonzero(members)
                    low = max(space * n_classes - cells.start, 0)
                    part = whitening.part(low, (space + 1) * n_classes - cells.start)
                    found = each(partial(_lowest_of_piece, part, block.features), _pieces(members))
                    lowest[rows] = np.minimum(lowest[rows], np.concatenate([np.zeros(0), *found]))
            start += len(block.labels)

    for first in range(0, n_cells, at_once):
        # Moments and factors are gone with the call, before the next ones are made.
        score(range(first, min(first + at_once, n_cells)))
    # Own and lowest may come from products of other shapes, which differ in the last bit.
    return importance, np.maximum(own - lowest, 0) if contrast else None


def _cells_of(block: Block, n_classes: int, cells: range) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """(n,) the cell of each row, counted from the first of `cells`, and (n,) whether it is one of `cells`."""
    cell = block.space.astype(np.int64) * n_classes + block.labels - cells.start
    return cell, (cell >= 0) & (cell < len(cells))


def _pieces(chosen: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.intp]]:
    """The chosen rows, in pieces.

    Cut before choosing: a product of other rows may differ in the last bit, and what is chosen depends on
    memory.
    """
    starts = range(0, len(chosen), _PIECE_ROWS)
    return [first + np.flatnonzero(chosen[first : first + _PIECE_ROWS]) for first in starts]


def _leverage_of_piece(
    whitening: Whitening, features: npt.NDArray[np.floating], cell: Ints, rows: npt.NDArray[np.intp]
) -> Floats:
    return leverage_of_given(whitening, features[rows], cell[rows])


def _lowest_of_piece(
    whitening: Whitening, features: npt.NDArray[np.floating], rows: npt.NDArray[np.intp]
) -> Floats:
    return lowest_leverage(whitening, features[rows])


def percentile_in_class(importance: Floats, labels: npt.NDArray[np.integer]) -> Floats:
    """(N,) percentile of each row among those of its given class, in (0, 100]; 100 is the most important.

    The share of the class at or below the row; rows that tie share the mean of their places.

    >>> percentile_in_class(np.array([3.0, 1.0, 8.0, 2.0]), np.array([0, 0, 1, 0])).round(1).tolist()
    [100.0, 33.3, 100.0, 66.7]
    """
    percentile = np.zeros(len(importance))
    for _, members in rows_by_class(labels):
        values = np.sort(importance[members])
        below = np.searchsorted(values, importance[members], side="left")
        up_to = np.searchsorted(values, importance[members], side="right")
        percentile[members] = 100 * (below + up_to + 1) / (2 * len(members))
    return percentile


def _squared_lengths(rows: Floats, factor: Floats) -> Floats:
    """(N,) |F a|^2."""
    whitened = rows @ factor.T
    return np.asarray(np.einsum("nd,nd->n", whitened, whitened))
