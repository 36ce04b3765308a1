"""Second moments of the rows of each class, as sums: rows are added and removed, and parts merge.

`label_quality.importance` scores rows by them.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tasks.neighbours import Each

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# What a removal leaves of the sums of a class, as a share of the largest that they were: further below 0 than
# the one is no rounding, and above 0 less than the other is nothing else.
_NEGATIVE = 1e-9
_LEAST_LEFT = 1e-12


class ClassMoments:
    """The sums over each class from which importance is computed.

    Attributes:
        gram: (K, D, D) sum of a a^T over each class, a = [x, 1] and D = d + 1.
        n_rows: (K,) rows in each class.
    """

    gram: Floats
    n_rows: Ints

    def __init__(self, n_classes: int, n_features: int) -> None:
        self.gram = np.zeros((n_classes, n_features + 1, n_features + 1))
        self.n_rows = np.zeros(n_classes, dtype=np.int64)
        # (K, D) the largest diagonals that rows were removed from: what is left is wrong by their rounding.
        self._largest = np.zeros((n_classes, n_features + 1))

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.gram)

    @property
    def n_features(self) -> int:
        """The length d of a row."""
        return int(self.gram.shape[1]) - 1

    def add(
        self, features: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], each: Each = map
    ) -> None:
        """Add rows.

        Args:
            features: (N, d), finite.
            labels: (N,) class indices.
            each: how to go over the classes.

        Raises:
            ValueError: a shape, feature or label that does not fit; names the row. Nothing is added.
        """
        check_rows(features, labels, self.n_classes, self.n_features)

        def add_class(item: tuple[int, Floats]) -> None:
            k, rows = item
            self.gram[k] += rows.T @ rows
            self.n_rows[k] += len(rows)

        for _ in each(add_class, _by_class(features, labels)):
            pass

    def remove(self, features: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> None:
        """Take rows away that were added.

        A class that loses its last row is exactly as it was before its first. Otherwise the rounding of the
        sums stays: about 1e-15 of the trace before the removal.

        Raises:
            ValueError: as `add`; for rows that a class has not, as far as counts and sums tell; and where the
                trace of what would be left is below 1e-12 of what it was, so that rounding would decide the
                scores. Nothing is removed.
        """
        check_rows(features, labels, self.n_classes, self.n_features)
        counts = np.bincount(labels, minlength=self.n_classes)
        short = np.flatnonzero(counts > self.n_rows)
        if len(short):
            k = int(short[0])
            raise ValueError(f"class {k} has {self.n_rows[k]} rows, found {counts[k]} to be removed from it")
        removed = list(_by_class(features, labels))
        largest = np.maximum(self._largest, self.gram.diagonal(axis1=1, axis2=2))
        for k, rows in removed:
            self._check_left(k, rows, largest[k])
        self._largest = largest
        for k, rows in removed:
            self.gram[k] -= rows.T @ rows
            self.n_rows[k] -= len(rows)
            if not self.n_rows[k]:
                self.gram[k], self._largest[k] = 0, 0

    def _check_left(self, k: int, rows: Floats, largest: Floats) -> None:
        left = self.gram[k].diagonal() - np.square(rows).sum(axis=0)
        emptied = len(rows) == self.n_rows[k]
        if (left < -_NEGATIVE * largest).any() or (emptied and (left > _NEGATIVE * largest).any()):
            raise ValueError(f"class {k} has other rows than those to be removed from it")
        if not emptied and left.sum() < _LEAST_LEFT * largest.sum():
            raise ValueError(
                f"what would be left of class {k} is lost in the rounding of what was removed; add the rows "
                "that are left to new moments instead"
            )

    def merge(self, other: "ClassMoments") -> None:
        """Add all rows of `other`, whose classes and features must be the same.

        Raises:
            ValueError: they are not.
        """
        if other.gram.shape != self.gram.shape:
            raise ValueError(
                f"expected moments of {self.n_classes} classes and {self.n_features} features, found "
                f"{other.n_classes} and {other.n_features}"
            )
        self.gram += other.gram
        self.n_rows += other.n_rows
        self._largest = np.maximum(self._largest, other._largest)


def _by_class(
    features: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> Iterator[tuple[int, Floats]]:
    """Each class in the batch with its rows a: the product with its transpose is symmetric."""
    rows = extend(features)
    return ((k, rows[members]) for k, members in rows_by_class(labels))


def extend(features: npt.NDArray[np.floating]) -> Floats:
    """(N, D) rows a = [x, 1] from (N, d).

    >>> extend(np.array([[2.0, 3.0]])).tolist()
    [[2.0, 3.0, 1.0]]
    """
    rows: Floats = np.ones((len(features), features.shape[1] + 1))
    rows[:, :-1] = features
    return rows


def check_rows(
    features: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    n_classes: int,
    n_features: int,
) -> None:
    """Check shapes and values.

    Raises:
        ValueError: says what was expected and found, and in which row.
    """
    n = len(features)
    if features.ndim != 2 or features.shape[1] != n_features:
        raise ValueError(f"features must be (N, {n_features}), found shape {features.shape}")
    if labels.shape != (n,):
        raise ValueError(f"labels must be ({n},) like features, found {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, found an array of {labels.dtype}")
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        raise ValueError(f"labels must be in 0..{n_classes - 1}, found {labels[wrong[0]]} in row {wrong[0]}")
    finite = np.isfinite(features)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"features must be finite, found {features[row, column]} in row {row}, column {column}"
        )


def rows_by_class(labels: npt.NDArray[np.integer]) -> list[tuple[int, npt.NDArray[np.intp]]]:
    """Each class that occurs, with the positions of its rows in their order.

    >>> [(k, rows.tolist()) for k, rows in rows_by_class(np.array([2, 0, 2]))]
    [(0, [1]), (2, [0, 2])]
    """
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    return [(int(k), order[a:b]) for k, a, b in zip(classes, starts, ends[: len(starts)], strict=True)]
