"""What the probabilities of a table are to be."""

from typing import Any

import numpy as np
import numpy.typing as npt

SUM_TOLERANCE = 1e-3
"""How far from 1 the probabilities of a row may sum: float16 and printed decimals stay within."""


def rows_off_1(pred_probs: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Which rows of (N, K) do not sum to 1 within `SUM_TOLERANCE`, ascending, and their sums, (M,) each."""
    sums = pred_probs.sum(axis=1, dtype=np.float64)
    rows = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    return rows, sums[rows]
