"""Coresets: a small weighted sample of a training set whose weighted loss stands in for the whole's.

Rows are drawn in proportion to their importance and weighted by its inverse, so that every weighted sum over
the sample is, on average over draws, that sum over all rows; importance keeps the spread of the loss of a
logistic regression small (Tukan, Maalouf, Feldman, "Coresets for Near-Convex Functions", NeurIPS 2020).
Importance is high for wrong labels too: repair them first, or the sample is rich in them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.label_quality.class_moments import ClassMoments
from tasks.label_quality.importance import importance_of, leverage_of_given, whiten

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_HELD_PER_DRAW = 4


@dataclass(frozen=True)
class WeightedRows:
    """Rows to train on.

    Attributes:
        example_id: (M,) which rows; one that was drawn twice is there twice.
        features: (M, d).
        labels: (M,) class indices.
        weights: (M,) sample weights.
    """

    example_id: Ints
    features: npt.NDArray[np.floating]
    labels: npt.NDArray[np.integer]
    weights: Floats

    def __len__(self) -> int:
        return len(self.example_id)


def draw_coreset(
    importance: Floats, n_draws: int, rng: np.random.Generator, weights: Floats | None = None
) -> tuple[Ints, Floats]:
    """Draw rows with probability p_i = s_i / sum(s), with replacement.

    Args:
        importance: (N,) s, at least 0; 0 only for rows of weight 0.
        n_draws: m, at least 1.
        rng: source of the draws.
        weights: (N,) sample weights; 1 where None.

    Returns:
        (m,) positions of the drawn rows in ascending order, and (m,) their weights w_i / (m p_i).

    Raises:
        ValueError: no draw is asked for, or an importance is negative, not finite, or nowhere positive.
    """
    if n_draws < 1:
        raise ValueError(f"a coreset needs at least 1 draw, found {n_draws}")
    if not np.isfinite(importance).all() or (importance < 0).any() or not (importance > 0).any():
        raise ValueError("importance must be finite, at least 0, and somewhere positive")
    cumulative = np.cumsum(importance)
    # A draw may round up to the whole sum; the last row that can be drawn takes it.
    last = int(np.flatnonzero(importance)[-1])
    drawn = np.searchsorted(cumulative, rng.random(n_draws) * cumulative[-1], side="right")
    rows = np.sort(np.minimum(drawn, last)).astype(np.int64)
    own = np.ones(n_draws) if weights is None else weights[rows]
    return rows, own * cumulative[-1] / (n_draws * importance[rows])


def reduce_rows(rows: WeightedRows, n_draws: int, n_classes: int, rng: np.random.Generator) -> WeightedRows:
    """A coreset of `n_draws` rows, by their importance among themselves; `rows` itself if it has no more."""
    if len(rows) <= n_draws:
        return rows
    moments = ClassMoments(n_classes, rows.features.shape[1])
    moments.add(rows.features, rows.labels, rows.weights)
    whitening = whiten(moments)
    leverage = leverage_of_given(whitening, rows.features, rows.labels, rows.weights)
    importance = importance_of(leverage, rows.labels, whitening.class_weights, rows.weights)
    drawn, weights = draw_coreset(importance, n_draws, rng, rows.weights)
    return WeightedRows(rows.example_id[drawn], rows.features[drawn], rows.labels[drawn], weights)


def merge_and_reduce(
    chunks: Iterable[WeightedRows], n_draws: int, n_classes: int, rng: np.random.Generator
) -> WeightedRows:
    """A coreset of at most `n_draws` rows of a stream that is seen once.

    Each chunk is reduced; two coresets that stand for equally many chunks are joined and reduced again, as in
    binary counting (Bentley and Saxe, "Decomposable Searching Problems", J. Algorithms 1 (1980)). Every
    reduction adds spread but no bias; all but the last keep four times `n_draws` rows, so that they add
    little. So many are held for each binary digit of the number of chunks. Rows of weight 0 are left out.

    Raises:
        ValueError: there is no row with a weight, or see `ClassMoments.add`.
    """
    n_held = _HELD_PER_DRAW * n_draws
    levels: list[WeightedRows | None] = []
    for chunk in map(_weighted, chunks):
        if not len(chunk):
            continue
        carried = reduce_rows(chunk, n_held, n_classes, rng)
        for level, waiting in enumerate(levels):
            if waiting is None:
                levels[level] = carried
                break
            levels[level] = None
            carried = reduce_rows(_join(waiting, carried), n_held, n_classes, rng)
        else:
            levels.append(carried)
    held = [rows for rows in levels if rows is not None]
    if not held:
        raise ValueError("expected at least one row with a weight, found none")
    merged = held[0]
    for rows in held[1:]:
        merged = _join(merged, rows)
    return reduce_rows(merged, n_draws, n_classes, rng)


def _weighted(rows: WeightedRows) -> WeightedRows:
    """The rows whose weight is not 0."""
    if rows.weights.all():
        return rows
    kept = rows.weights != 0
    return WeightedRows(rows.example_id[kept], rows.features[kept], rows.labels[kept], rows.weights[kept])


def _join(first: WeightedRows, second: WeightedRows) -> WeightedRows:
    return WeightedRows(
        np.concatenate([first.example_id, second.example_id]),
        np.concatenate([first.features, second.features]),
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.weights, second.weights]),
    )
