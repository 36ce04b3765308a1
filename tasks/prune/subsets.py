"""Two small training sets of the rows that are no issue: a coreset, and as many rows drawn at random.

Rows that the filter flags are left out of both: importance is high for wrong labels too, and a coreset of all
rows would be rich in them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.label_quality.coreset import draw_coreset
from tasks.params import Prune
from tasks.prune.labelled_rows import LabelledRows
from tasks.prune.row_importance import Importance
from tasks.tables.catalog import CORESET, RANDOM_SUBSET
from tasks.tables.io import make_table, write_table

Ints = npt.NDArray[np.int64]


def write_subsets(
    workspace: Path, rows: LabelledRows, flagged: Ints, importance: Importance | None, section: Prune
) -> None:
    """Write data/coreset.parquet and data/random_subset.parquet, which have no row unless they are asked for.

    Args:
        workspace: where to.
        rows: N rows, in order of `example_id`.
        flagged: (M,) positions of the issues.
        importance: of the rows; known where subsets are asked for.
        section: `coreset_share` is the number of draws as a share of the other rows.
    """
    nothing = np.zeros(0, dtype=np.int64)
    coreset, weight, at_random = nothing, np.zeros(0), nothing
    if section.coreset_share is not None and importance is not None:
        others = np.setdiff1d(np.arange(rows.n_rows), flagged)
        coreset, weight, at_random = draw_subsets(
            others, importance.importance[others], section.coreset_share, section.coreset_seed
        )
    ids, labels = rows.predictions.column("example_id"), rows.labels
    for artifact, chosen, weights in (
        (CORESET, coreset, weight),
        (RANDOM_SUBSET, at_random, np.ones(len(at_random))),
    ):
        columns: dict[str, Any] = {
            "example_id": ids[chosen],
            "label": labels[chosen],
            "weight": weights.astype(np.float32),
        }
        write_table(artifact.at(workspace), make_table(artifact, rows.given.facts, columns), artifact)


def draw_subsets(
    rows: Ints, importance: npt.NDArray[np.float64], share: float, seed: int
) -> tuple[Ints, npt.NDArray[np.float64], Ints]:
    """The (M,) rows of a coreset and their weights, whose mean is 1; and (M,) rows drawn at random.

    A row that is drawn twice is there once, with the weight of both draws.

    Args:
        rows: (N,) what to draw from, ascending.
        importance: (N,) of these rows, above 0.
        share: of the rows: so many draws are made, at least one.
        seed: of the draws.

    Returns:
        Three arrays, the rows ascending; empty where there is no row to draw from.
    """
    if not len(rows):
        return rows, np.zeros(0), rows
    rng = np.random.default_rng(seed)
    drawn, weights = draw_coreset(importance, max(round(share * len(rows)), 1), rng)
    places, inverse = np.unique(drawn, return_inverse=True)
    weight = np.bincount(inverse, weights=weights)
    at_random = np.sort(rng.choice(len(rows), len(places), replace=False))
    return rows[places], weight / weight.mean(), rows[at_random]
