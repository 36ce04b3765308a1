"""Making labels wrong on purpose, so that finding them can be measured.

All functions take `labels` (N,) of class indices below `n_classes`, draw from the generator they are given,
and return a new array. `rate` is the share of rows concerned; exactly round(rate * N) rows are drawn,
uniformly and without replacement.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[Any]


def uniform_noise(labels: Labels, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Redraw the drawn rows uniformly over all classes: one in K keeps its label by chance."""
    rows = _draw_rows(labels, rate, rng)
    noisy = labels.copy()
    noisy[rows] = rng.integers(n_classes, size=len(rows))
    return noisy


def symmetric_noise(labels: Labels, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Move each drawn row to another class, uniformly: exactly round(rate * N) labels change."""
    if n_classes < 2:
        raise ValueError(f"symmetric noise needs at least 2 classes, found {n_classes}")
    rows = _draw_rows(labels, rate, rng)
    noisy = labels.copy()
    noisy[rows] = (labels[rows] + rng.integers(1, n_classes, size=len(rows))) % n_classes
    return noisy


def pair_noise(labels: Labels, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Move each drawn row to the next class (the last to the first): exactly round(rate * N) change."""
    if n_classes < 2:
        raise ValueError(f"pair noise needs at least 2 classes, found {n_classes}")
    rows = _draw_rows(labels, rate, rng)
    noisy = labels.copy()
    noisy[rows] = (labels[rows] + 1) % n_classes
    return noisy


def matrix_noise(
    labels: Labels, transition_matrix: npt.NDArray[np.float64], rng: np.random.Generator
) -> Labels:
    """Draw each given label from the row of its true class.

    Args:
        labels: (N,) true classes.
        transition_matrix: (K, K), `transition_matrix[true, given]`, rows sum to 1.
        rng: source of the draws.

    Raises:
        ValueError: the matrix is not square, has an entry outside [0, 1], or a row that does not sum to 1.
    """
    matrix = np.asarray(transition_matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a transition matrix must be square, found shape {matrix.shape}")
    if matrix.min() < 0 or np.abs(matrix.sum(axis=1) - 1).max() > 1e-6:
        raise ValueError("a transition matrix must hold probabilities with rows that sum to 1")
    if labels.size and labels.max() >= len(matrix):
        raise ValueError(f"label {labels.max()} has no row in a {len(matrix)}-class transition matrix")
    cumulative = matrix.cumsum(axis=1)
    # The last reachable class takes what rounding leaves of the unit interval.
    draws = rng.random(len(labels)) * cumulative[labels, -1]
    return np.asarray((draws[:, None] >= cumulative[labels]).sum(axis=1), dtype=labels.dtype)


def _draw_rows(labels: Labels, rate: float, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    if not 0 <= rate <= 1:
        raise ValueError(f"a noise rate must be in [0, 1], found {rate}")
    return rng.choice(len(labels), size=round(rate * len(labels)), replace=False)
