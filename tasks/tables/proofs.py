"""Digests that prove which predictions are out-of-fold, and which tables belong together."""

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tasks import ArtifactError

OUT_OF_FOLD = "out_of_fold"
"""Metadata of data/pred_probs.parquet: `folds_digest` of the rows that were proved to be out-of-fold."""

ONE_SPACE = "embeddings_in_one_space"
"""Metadata of predictions whose embedding is the row itself, so that those of all folds can be compared."""

MARK = "import"
"""Metadata of the tables that `import-probs` wrote together: one digest of all that it read."""


def folds_digest(ids: npt.NDArray[np.integer], folds: npt.NDArray[np.integer]) -> str:
    """sha256 of which row is in which fold, whatever the order of rows."""
    order = np.argsort(ids, kind="stable")
    digest = FoldsDigest()
    digest.add(ids[order], folds[order])
    return digest.hex()


class FoldsDigest:
    """`folds_digest` of a table in portions, in order of `example_id`."""

    def __init__(self) -> None:
        self._ids, self._folds = hashlib.sha256(), hashlib.sha256()

    def add(self, ids: npt.NDArray[np.integer], folds: npt.NDArray[np.integer]) -> None:
        """The next rows."""
        self._ids.update(ids.astype("<i8").tobytes())
        self._folds.update(folds.astype("<i2").tobytes())

    def hex(self) -> str:
        """The digest of all rows so far."""
        return hashlib.sha256(self._ids.digest() + self._folds.digest()).hexdigest()


def rows_digest(ids: npt.NDArray[np.integer]) -> str:
    """sha256 of a set of example ids, whatever their order."""
    return hashlib.sha256(np.sort(ids).astype("<i8").tobytes()).hexdigest()


def check_same_import(marks: Mapping[str, str | None]) -> None:
    """Check that tables were written by one run of `import-probs`, or none of them was.

    Args:
        marks: what the metadata of each file says under `MARK`, by the file's path.

    Raises:
        ArtifactError: they were not, as where a run was killed before all its tables were in place.
    """
    first_of: dict[str | None, str] = {}
    for path, mark in marks.items():
        first_of.setdefault(mark, path)
    if len(first_of) > 1:
        one, other, *_ = first_of.values()
        raise ArtifactError(
            f"{other}: expected a table that `import-probs` wrote together with {one}, found one of another "
            "run; its rows may be others. Run `import-probs` again, as before (`dvc repro import_probs`, "
            "where it is a stage)."
        )
