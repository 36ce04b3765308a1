"""Label propagation: labels flow along a graph of similar rows to the rows that have none.

Iscen, Tolias, Avrithis, Chum, "Label Propagation for Deep Semi-Supervised Learning", CVPR 2019. The graph is
sparse, so memory follows the rows times their neighbours: 8 n k bytes, and twice that once it is symmetric.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse  # type: ignore[import-untyped]
from scipy.sparse.linalg import LinearOperator, cg  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

UNLABELED = -1
"""In the place of a class index: this row gives no label."""
GAMMA, ALPHA = 3.0, 0.99
"""The paper's exponent of similarity (equation 9), and how far labels flow (equation 10)."""
_TOLERANCE = 1e-6
# So many classes are solved for at a time: one reading of the graph serves them all.
_CLASSES = 16


def similarity_graph(
    index: npt.NDArray[np.int64], cosine: npt.NDArray[np.floating], gamma: float = GAMMA
) -> sparse.csr_array:
    """(N, N) symmetric, normalised weights D^(-1/2) (A + A') D^(-1/2), A_ij = max(cos, 0)^gamma (equation 9).

    Args:
        index: (N, k) the nearest rows of each row, itself left out; no row stands twice in a line.
        cosine: (N, k) their cosine with the row, in [-1, 1].
        gamma: above 0; the larger, the more the nearest count.

    >>> graph = similarity_graph(np.array([[1], [0], [1]]), np.array([[1.0], [1.0], [0.5]]))
    >>> (4 * graph.toarray()).round().astype(int).tolist()  # in quarters
    [[0, 4, 0], [4, 0, 1], [0, 1, 0]]
    """
    n_rows, k = index.shape
    weights = np.maximum(cosine, 0).astype(np.float32) ** np.float32(gamma)
    starts = np.arange(0, n_rows * k + 1, k, dtype=np.int32 if n_rows * k < 2**31 else np.int64)
    one_way = sparse.csr_array(
        (weights.ravel(), index.astype(np.int32).ravel(), starts), shape=(n_rows, n_rows)
    )
    both_ways = (one_way + one_way.T).tocsr()
    degree = np.asarray(both_ways.sum(axis=1), dtype=np.float64)
    scale = np.divide(1, np.sqrt(degree), out=np.zeros(n_rows), where=degree > 0)
    both_ways.data *= scale[both_ways.indices]
    both_ways.data *= np.repeat(scale, np.diff(both_ways.indptr))
    return both_ways


def propagate(graph: sparse.csr_array, labels: Labels, n_classes: int, alpha: float = ALPHA) -> Floats:
    """(N, K) class probabilities of every row: Z of (I - alpha W) Z = Y, by conjugate gradients, to sum 1.

    Each class of Y sums to 1, however many rows give it, so that a class with many labels does not drown the
    others (as the authors' code does). A row that no label reaches has equal probabilities.

    Args:
        graph: (N, N) W of `similarity_graph`; its eigenvalues lie in [-1, 1], so that I - alpha W can be
            solved for.
        labels: (N,) class indices, `UNLABELED` where a row gives none.
        n_classes: K.
        alpha: in [0, 1): 0 keeps labels where they are.

    Raises:
        ValueError: no row gives a label.

    >>> graph = similarity_graph(np.array([[1], [0], [3], [2]]), np.ones((4, 1)))
    >>> propagate(graph, np.array([0, UNLABELED, 1, UNLABELED]), n_classes=2).round(3).tolist()
    [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    if not (labels != UNLABELED).any():
        raise ValueError("expected at least one row with a label to propagate, found none")
    system = sparse.eye_array(graph.shape[0], format="csr") - alpha * graph
    reached = np.zeros((graph.shape[0], n_classes))
    given = np.unique(labels[labels != UNLABELED])
    for start in range(0, len(given), _CLASSES):
        part = given[start : start + _CLASSES]
        gives = labels[:, None] == part
        # The exact solution has no negative value; what rounding left is none either.
        reached[:, part] = np.maximum(_solve(system, gives / gives.sum(axis=0)), 0)
    total = reached.sum(axis=1, keepdims=True)
    found: Floats = np.divide(reached, total, out=np.full_like(reached, 1 / n_classes), where=total > 0)
    return found


def _solve(system: sparse.csr_array, right: Floats) -> Floats:
    """(N, M) X of `system` (N, N) X = `right` (N, M): one system in the M N unknowns, solved at once."""
    size = right.size
    operator = LinearOperator(
        (size, size), matvec=lambda values: (system @ values.reshape(right.shape)).ravel(), dtype=np.float64
    )
    solution, _ = cg(operator, right.ravel(), rtol=_TOLERANCE)
    return np.asarray(solution).reshape(right.shape)


def certainty(probs: npt.NDArray[np.floating]) -> Floats:
    """(N,) 1 - H(p) / log K of probabilities (N, K): 1 for one sure class, 0 for equal ones (equation 11).

    >>> certainty(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [1.0, 0.0]
    """
    if probs.shape[1] == 1:
        return np.ones(len(probs))
    values = probs.astype(np.float64)
    logs = np.log(values, out=np.zeros_like(values), where=values > 0)
    found: Floats = 1 + (values * logs).sum(axis=1) / np.log(probs.shape[1])
    return np.clip(found, 0, 1)


def class_balance(labels: Labels, n_classes: int) -> Floats:
    """(N,) weight of each row by its class, so that classes count alike, with mean 1 (equation 12).

    >>> class_balance(np.array([0, 0, 0, 1]), n_classes=2).round(2).tolist()
    [0.67, 0.67, 0.67, 2.0]
    """
    counts = np.bincount(labels, minlength=n_classes)
    found: Floats = len(labels) / (np.count_nonzero(counts) * counts[labels])
    return found
