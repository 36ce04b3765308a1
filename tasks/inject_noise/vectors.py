"""The content of training rows as vectors of numbers, read in portions: for noise that looks at it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.contents import Images, Texts
from tasks.tables.catalog import EXAMPLES
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array

# Pictures are averaged over squares until no side is longer.
_MOST_SIDE = 16
# Texts are counted in so many dimensions, by words and pairs of words.
_HASHED = 256
_LEAST_DEVIATION = 1e-6

Vectors = npt.NDArray[np.float32]


class ContentReader:
    """Vectors (n, D) of the rows `ids` (N,), ascending, portion by portion; as often as wanted."""

    def __init__(self, workspace: Path, ids: npt.NDArray[np.int64]) -> None:
        """Open data/examples.parquet.

        Raises:
            ArtifactError: the table is missing or not what it should be.
        """
        self._reader = TableReader(EXAMPLES.at(workspace), EXAMPLES, [])
        self._ids = ids
        self.kind = self._reader.facts.content

    def contents(self) -> Iterator[Any]:
        """The content itself: arrays (n, ...), or lists of texts."""
        for table in self._reader.portions([self.kind]):
            rows = table.filter(np.isin(column_array(table, "example_id"), self._ids))
            if rows.num_rows:
                is_text = self.kind == Texts.kind
                yield rows.column(self.kind).to_pylist() if is_text else column_array(rows, self.kind)

    def vectors(self) -> Iterator[Vectors]:
        """Numbers a row: of small pictures, of hashed texts, or the features as they are."""
        make = self._vectorizer()
        return (make(content) for content in self.contents())

    def standardised(self) -> Iterator[Vectors]:
        """`vectors`, each dimension less its mean, over its deviation; both over all rows."""
        n_rows, total, squares = 0, np.zeros(0), np.zeros(0)
        for values in self.vectors():
            if not n_rows:
                first = values[:1].astype(np.float64)
                total = squares = np.zeros(values.shape[1])
            # Less the first row, so that squares of large numbers leave digits for the deviation.
            shifted = values - first
            n_rows += len(values)
            total, squares = total + shifted.sum(axis=0), squares + np.square(shifted).sum(axis=0)
        if not n_rows:
            return
        mean = total / n_rows
        deviation = np.sqrt(np.maximum(squares / n_rows - mean**2, 0))
        mean, deviation = first[0] + mean, np.maximum(deviation, _LEAST_DEVIATION)
        for values in self.vectors():
            yield ((values - mean) / deviation).astype(np.float32)

    def _vectorizer(self) -> Callable[[Any], Vectors]:
        if self.kind == Images.kind:
            return shrink
        if self.kind == Texts.kind:
            from sklearn.feature_extraction.text import HashingVectorizer

            hashing = HashingVectorizer(n_features=_HASHED, ngram_range=(1, 2), dtype=np.float32)
            return lambda texts: hashing.transform(texts).toarray()
        return lambda features: np.asarray(features, dtype=np.float32)


def shrink(pictures: npt.NDArray[np.uint8]) -> Vectors:
    """(N, D) means over equal squares of pictures (N, H, W) or (N, H, W, C), no more than 16 a side."""
    values: npt.NDArray[np.floating] = pictures.astype(np.float32)
    for axis in (1, 2):
        side = values.shape[axis]
        starts = np.arange(0, side, -(-side // _MOST_SIDE))
        lengths = np.diff([*starts, side])
        sums = np.add.reduceat(values, starts, axis=axis)
        values = sums / lengths.reshape(-1, *[1] * (values.ndim - axis - 1))
    return values.reshape(len(values), -1).astype(np.float32)
