"""Matrices by pair of classes, and the classes that a page has room for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.reporting.measured import not_a_plot, read_plot

Matrix = npt.NDArray[np.int64 | np.float64]

MOST_CLASSES = 20
"""Classes above which a table by class would be longer than anyone reads; the files have them all."""


def read_entries(path: Path, class_names: Sequence[str]) -> dict[str, Matrix]:
    """The matrices of a plots file by name, each (K, K) [given, true]; entries that it leaves out are 0.

    Raises:
        ArtifactError: it is missing, not readable, or of other classes.
    """
    index = {name: k for k, name in enumerate(class_names)}
    rows = read_plot(path, ["given", "true"], ["confident_joint"])
    if not rows:
        raise not_a_plot(path, "no line")
    names = [name for name in rows[0] if name not in ("given", "true")]
    matrices: dict[str, Matrix] = {name: np.zeros((len(index), len(index))) for name in names}
    for row in rows:
        if unknown := {row["given"], row["true"]} - index.keys():
            raise not_a_plot(path, f"a class called {min(unknown)!r}")
        for name, matrix in matrices.items():
            if row[name] is None:
                raise not_a_plot(path, f"no number in column {name}")
            matrix[index[row["given"]], index[row["true"]]] = row[name]
    return matrices


def worst_classes(counts: Matrix) -> npt.NDArray[np.intp]:
    """The classes with most rows off the diagonal of `counts` (K, K), at most 20, in order of index."""
    off = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return np.sort(np.argsort(-off, kind="stable")[:MOST_CLASSES])


@dataclass(frozen=True)
class HeatMap:
    """One matrix as the page shows it: its rows as lists, and the number that gets the full tint."""

    title: str
    rows: list[list[float]]
    most: float


def heat_maps(matrices: dict[str, Matrix], classes: npt.NDArray[np.intp]) -> list[HeatMap]:
    """The matrices, of some classes alone, with one scale for all: the largest number off the diagonals."""
    parts = {name: matrix[np.ix_(classes, classes)] for name, matrix in matrices.items()}
    most = max(
        (float((part - np.diag(part.diagonal())).max(initial=0)) for part in parts.values()), default=0.0
    )
    return [HeatMap(name.replace("_", " "), part.tolist(), most) for name, part in parts.items()]


@dataclass(frozen=True)
class Pair:
    """Label issues of one given and one suggested class.

    Attributes:
        given: the class's name.
        suggested: the class's name.
        n_issues: how many.
        n_wrong: how many of them are truly wrong; None where the truth is not known.
    """

    given: str
    suggested: str
    n_issues: int
    n_wrong: int | None


def issue_pairs(
    given: npt.NDArray[np.integer],
    suggested: npt.NDArray[np.integer],
    wrong: npt.NDArray[np.bool_] | None,
    class_names: Sequence[str],
    n: int,
) -> list[Pair]:
    """The `n` pairs of classes with most issues, the most first; ties go by class index.

    Args:
        given: (M,) class indices of the issues.
        suggested: (M,) likewise.
        wrong: (M,) whether the given label is wrong, where that is known of all.
        class_names: (K,).
        n: how many pairs at most.
    """
    flat = given.astype(np.int64) * len(class_names) + suggested
    pairs, place, counts = np.unique(flat, return_inverse=True, return_counts=True)
    n_wrong = None if wrong is None else np.bincount(place, weights=wrong, minlength=len(pairs))
    return [
        Pair(
            class_names[pairs[i] // len(class_names)],
            class_names[pairs[i] % len(class_names)],
            int(counts[i]),
            None if n_wrong is None else int(n_wrong[i]),
        )
        for i in np.argsort(-counts, kind="stable")[:n]
    ]
