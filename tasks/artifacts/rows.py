"""Joining tables by `example_id`, never by row order."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks import ArtifactError


def locate(ids: npt.NDArray[Any], wanted: npt.NDArray[Any], where: str = "table") -> npt.NDArray[np.intp]:
    """Positions in `ids` (N,), which are unique, of each of `wanted` (M,).

    Raises:
        ArtifactError: an id is not there; says how many and which first.
    """
    order = np.argsort(ids, kind="stable")
    places = np.searchsorted(ids, wanted, sorter=order)
    found = order[np.minimum(places, len(ids) - 1)] if len(ids) else np.zeros(len(wanted), dtype=np.intp)
    missing = np.ones(len(wanted), dtype=bool) if not len(ids) else ids[found] != wanted
    if missing.any():
        raise ArtifactError(
            f"{where}: expected a row for every example_id asked for, found {int(missing.sum())} missing, "
            f"the first {int(wanted[missing][0])}. Rebuild the tables with `dvc repro`."
        )
    return found


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
