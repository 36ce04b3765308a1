"""Coresets: a small weighted sample of a training set whose weighted loss stands in for the whole's.

Rows are drawn in proportion to their importance and weighted by its inverse, so that every weighted sum over
the sample is, on average over draws, that sum over all rows; importance keeps the spread of the loss of a
logistic regression small (Tukan, Maalouf, Feldman, "Coresets for Near-Convex Functions", NeurIPS 2020).
Importance is high for wrong labels too: repair them first, or the sample is rich in them.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def draw_coreset(importance: Floats, n_draws: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Draw rows with probability p_i = s_i / sum(s), with replacement.

    Args:
        importance: (N,) s, at least 0; a row of 0 is never drawn.
        n_draws: m, at least 1.
        rng: source of the draws.

    Returns:
        (m,) positions of the drawn rows in ascending order, and (m,) their weights 1 / (m p_i).

    Raises:
        ValueError: no draw is asked for, or an importance is negative, not finite, or nowhere positive.

    >>> rows, weights = draw_coreset(np.array([1.0, 0.0, 3.0]), n_draws=4, rng=np.random.default_rng(0))
    >>> rows.tolist(), weights.round(3).tolist()
    ([0, 0, 2, 2], [1.0, 1.0, 0.333, 0.333])
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
    return rows, cumulative[-1] / (n_draws * importance[rows])
