"""Importance of every row, from the embeddings of the models that predicted it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks import ArtifactError
from tasks.label_quality.importance import Block, block_rows, percentile_in_class, score_stream
from tasks.prune.input_tables import REMEDY
from tasks.prune.labelled_rows import LabelledRows
from tasks.prune.memory_plan import importance_bytes
from tasks.tables.portions import TableReader, map_in_order
from tasks.tables.proofs import ONE_SPACE
from tasks.tables.schemas import column_array


@dataclass(frozen=True)
class Importance:
    """Of every row, in order of `example_id`: see `label_quality.importance`.

    Attributes:
        importance: (N,).
        percentile: (N,) of the importance in the class, in (0, 100].
        contrast: (N,), if it was asked for.
    """

    importance: npt.NDArray[np.float64]
    percentile: npt.NDArray[np.float64]
    contrast: npt.NDArray[np.float64] | None


def measure_importance(rows: LabelledRows, limit: int, contrast: bool) -> Importance:
    """Importance from the embeddings, those of each fold on their own.

    Folds are predicted by different models, whose embeddings have no axes in common, unless the embedding is
    the row itself.

    Raises:
        ArtifactError: an embedding is not finite.
    """
    # Imported here, where it is needed: the number of threads in a matrix product moves its last bits.
    from threadpoolctl import threadpool_limits

    predictions = rows.predictions
    n_features = predictions.shape_of("embedding")[0]
    n_spaces, space = 1, np.zeros(predictions.n_rows, dtype=np.int64)
    if not predictions.metadata(ONE_SPACE):
        folds, space = np.unique(predictions.column("fold"), return_inverse=True)
        n_spaces = len(folds)
    labels = rows.labels

    def read() -> Iterator[Block]:
        start = 0
        for features in in_blocks(predictions, block_rows(n_features)):
            part = slice(start, start + len(features))
            yield Block(features, labels[part], space[part])
            start += len(features)

    try:
        with threadpool_limits(1), ThreadPoolExecutor(rows.n_threads) as pool:
            importance, compared = score_stream(
                read,
                predictions.n_rows,
                rows.n_classes,
                n_spaces,
                n_features,
                contrast=contrast,
                memory_bytes=limit - importance_bytes(predictions),
                each=pool.map,
            )
    except ValueError as error:
        raise ArtifactError(f"{predictions.where}: column `embedding`: {error}. {REMEDY}") from error
    return Importance(importance, percentile_in_class(importance, labels), compared)


def in_blocks(predictions: TableReader, n_rows: int) -> Iterator[npt.NDArray[np.float32]]:
    """The embeddings `n_rows` at a time, whatever the row groups of the file: sums depend on it."""
    parts = map_in_order(
        lambda number: column_array(predictions.read(number, ["embedding"]), "embedding"),
        len(predictions),
        n_threads=2,
    )
    n_features, n_left, filled = predictions.shape_of("embedding")[0], predictions.n_rows, 0
    block = np.empty((min(n_rows, n_left), n_features), dtype=np.float32)
    for part in parts:
        while len(part):
            taken = part[: len(block) - filled]
            block[filled : filled + len(taken)] = taken
            part, filled = part[len(taken) :], filled + len(taken)
            if filled == len(block):
                yield block
                n_left, filled = n_left - len(block), 0
                block = np.empty((min(n_rows, n_left), n_features), dtype=np.float32)
