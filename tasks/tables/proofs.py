"""Digests that prove which rows a model learned from, and which predictions are out-of-fold."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

OUT_OF_FOLD = "out_of_fold"
"""Metadata of data/pred_probs.parquet: `folds_digest` of the rows that were proved to be out-of-fold."""


def folds_digest(ids: npt.NDArray[Any], folds: npt.NDArray[Any]) -> str:
    """sha256 of which row is in which fold, whatever the order of rows."""
    order = np.argsort(ids, kind="stable")
    digest = FoldsDigest()
    digest.add(ids[order], folds[order])
    return digest.hex()


class FoldsDigest:
    """`folds_digest` of a table in portions, in order of `example_id`."""

    def __init__(self) -> None:
        self._ids, self._folds = hashlib.sha256(), hashlib.sha256()

    def add(self, ids: npt.NDArray[Any], folds: npt.NDArray[Any]) -> None:
        """The next rows."""
        self._ids.update(ids.astype("<i8").tobytes())
        self._folds.update(folds.astype("<i2").tobytes())

    def hex(self) -> str:
        """The digest of all rows so far."""
        return hashlib.sha256(self._ids.digest() + self._folds.digest()).hexdigest()


def rows_digest(ids: npt.NDArray[Any]) -> str:
    """sha256 of a set of example ids, whatever their order."""
    return hashlib.sha256(np.sort(ids).astype("<i8").tobytes()).hexdigest()
