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
        gram: (K, D, D) sum of w a a^T over each class, a = [x, 1] and D = d + 1.
        n_rows: (K,) rows in each class, those of weight 0 included.
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

    @property
    def class_weights(self) -> Floats:
        """(K,) the weight W_c of each class: the last entry of a is 1."""
        return self.gram[:, -1, -1].copy()

    def add(
        self,
        features: npt.NDArray[np.floating],
        labels: npt.NDArray[np.integer],
        weights: Floats | None = None,
        each: Each = map,
    ) -> None:
        """Add rows.

        Args:
            features: (N, d), finite.
            labels: (N,) class indices.
            weights: (N,) sample weights, at least 0; 1 where None.
            each: how to go over the classes.

        Raises:
            ValueError: a shape, feature, label or weight that does not fit; names the row. Nothing is added.
        """
        self._check(features, labels, weights)

        def add_class(item: tuple[int, Floats]) -> None:
            k, scaled = item
            self.gram[k] += scaled.T @ scaled
            self.n_rows[k] += len(scaled)

        for _ in each(add_class, self._by_class(features, labels, weights)):
            pass

    def remove(
        self,
        features: npt.NDArray[np.floating],
        labels: npt.NDArray[np.integer],
        weights: Floats | None = None,
    ) -> None:
        """Take rows away that were added, with the weights that they were added with.

        A class that loses its last row is exactly as it was before its first. Otherwise the rounding of the
        sums stays: about 1e-15 of the trace before the removal.

        Raises:
            ValueError: as `add`; for rows that a class has not, as far as counts and sums tell; and where the
                trace of what would be left is below 1e-12 of what it was, so that rounding would decide the
                scores. Nothing is removed.
        """
        self._check(features, labels, weights)
        counts = np.bincount(labels, minlength=self.n_classes)
        short = np.flatnonzero(counts > self.n_rows)
        if len(short):
            k = int(short[0])
            raise ValueError(f"class {k} has {self.n_rows[k]} rows, found {counts[k]} to be removed from it")
        removed = list(self._by_class(features, labels, weights))
        largest = np.maximum(self._largest, self.gram.diagonal(axis1=1, axis2=2))
        weighty = [self._check_left(k, scaled, largest[k]) for k, scaled in removed]
        self._largest = largest
        for (k, scaled), has_weight in zip(removed, weighty, strict=True):
            self.gram[k] -= scaled.T @ scaled
            self.n_rows[k] -= len(scaled)
            if not has_weight:
                self.gram[k], self._largest[k] = 0, 0

    def _check_left(self, k: int, scaled: Floats, largest: Floats) -> bool:
        """Whether class k has weight left without the rows `scaled`; refuses as `remove` does."""
        left = self.gram[k].diagonal() - np.square(scaled).sum(axis=0)
        emptied = len(scaled) == self.n_rows[k]
        if (left < -_NEGATIVE * largest).any() or (emptied and (left > _NEGATIVE * largest).any()):
            raise ValueError(f"class {k} has other rows than those to be removed from it, or other weights")
        if emptied or left[-1] <= _LEAST_LEFT * largest[-1]:
            return False
        if left.sum() < _LEAST_LEFT * largest.sum():
            raise ValueError(
                f"what would be left of class {k} is lost in the rounding of what was removed; add the rows "
                "that are left to new moments instead"
            )
        return True

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
        self, features: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], weights: Floats | None
    ) -> Iterator[tuple[int, Floats]]:
        """Each class in the batch with its rows sqrt(w) a: the product with its transpose is symmetric."""
        rows = extend(features)
        if weights is not None:
            rows *= np.sqrt(weights)[:, None]
        return ((k, rows[members]) for k, members in rows_by_class(labels))

    def _check(
        self,
        features: npt.NDArray[np.floating],
        labels: npt.NDArray[np.integer],
        weights: npt.NDArray[np.floating] | None,
    ) -> None:
        check_rows(features, labels, weights, self.n_classes, self.n_features)


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
    weights: npt.NDArray[np.floating] | None,
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
    if weights is not None:
        if weights.shape != (n,):
            raise ValueError(f"weights must be ({n},) like features, found {weights.shape}")
        wrong = np.flatnonzero(~((weights >= 0) & (weights < np.inf)))
        if len(wrong):
            raise ValueError(
                f"weights must be finite and at least 0, found {weights[wrong[0]]} in row {wrong[0]}"
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
