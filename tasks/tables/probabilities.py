"""What the probabilities of a table are to be."""

import numpy as np
import numpy.typing as npt

from tasks import ArtifactError
from tasks.tables.facts import DatasetFacts

SUM_TOLERANCE = 1e-3
"""How far from 1 the probabilities of a row may sum: float16 and printed decimals stay within."""


def rows_off_1(pred_probs: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Which rows of (N, K) do not sum to 1 within `SUM_TOLERANCE`, ascending, and their sums, (M,) each."""
    sums = pred_probs.sum(axis=1, dtype=np.float64)
    rows = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    return rows, sums[rows]


def check_same_classes(facts: DatasetFacts, n_classes: int, where: str, remedy: str) -> None:
    """Check that a table has as many classes as its neighbours.

    Args:
        facts: of the neighbours.
        n_classes: probabilities of a row of the table, or the classes that its facts name.
        where: what messages call the table.
        remedy: what to do where they differ.

    Raises:
        ArtifactError: it has more classes, or fewer.
    """
    if n_classes != facts.n_classes:
        raise ArtifactError(
            f"{where}: {facts.n_classes} classes were expected, as the tables beside it have, found "
            f"{n_classes}. {remedy}"
        )
