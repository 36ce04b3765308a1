"""Rows that nothing speaks against and that are nearest to one in question: what a model compares it with."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from review.suspect_rows import Suspects
from tasks.tables.catalog import PRED_PROBS
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array


def nearest_trusted(
    path: Path, suspects: Suspects, row: int, classes: list[int], n: int
) -> list[npt.NDArray[np.int64]]:
    """Of each of some classes, (n,) ids of the nearest rows by the angle between embeddings, nearest first.

    Rows of other folds have embeddings of other networks, which cannot be compared. Issues are left out.
    Memory holds a portion of the table at a time.

    Args:
        path: data/pred_probs.parquet.
        suspects: all rows.
        row: the position of the row in question.
        classes: class indices.
        n: rows of each class; fewer where there are fewer.

    Returns:
        nothing for each class where the table has no embeddings.

    Raises:
        ArtifactError: the file is missing, damaged or not what it should be.
    """
    reader = TableReader(path, PRED_PROBS, ["fold"], optional=["embedding"])
    none = [np.zeros(0, dtype=np.int64) for _ in classes]
    if "embedding" not in reader.schema.names:
        return none
    wanted = suspects.example_id[row]
    own = reader.rows(np.array([wanted]))
    fold, direction = column_array(own, "fold")[0], _directions(column_array(own, "embedding"))[0]
    found_ids = [np.zeros(0, dtype=np.int64) for _ in classes]
    found_likeness = [np.zeros(0) for _ in classes]
    for table in reader.portions():
        ids = column_array(table, "example_id")
        at = suspects.positions(ids)
        is_candidate = (column_array(table, "fold") == fold) & (ids != wanted) & ~suspects.is_issue[at]
        embedding = column_array(table, "embedding")
        for place, k in enumerate(classes):
            chosen = np.flatnonzero(is_candidate & (suspects.given[at] == k))
            likeness = np.concatenate([found_likeness[place], _directions(embedding[chosen]) @ direction])
            of = np.concatenate([found_ids[place], ids[chosen]])
            best = np.lexsort((of, -likeness))[:n]
            found_ids[place], found_likeness[place] = of[best], likeness[best]
    return found_ids


def _directions(embedding: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(N, D) of length 1; 0 where a row is 0."""
    values = embedding.astype(np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1))
