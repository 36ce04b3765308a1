"""Making labels wrong on purpose, so that finding them can be measured.

All functions take `labels` (N,) of class indices below `n_classes`, draw from the generator they are given,
and return a new array. `rate` is the share of rows concerned. Where nothing else is said, exactly
round(rate * N) rows are drawn, uniformly and without replacement.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer]


def uniform_noise(labels: Labels, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Redraw the drawn rows uniformly over all classes: one in K keeps its label by chance.

    >>> labels = np.zeros(1000, dtype=np.int64)
    >>> noisy = uniform_noise(labels, 1.0, 2, np.random.default_rng(0))
    >>> round(float((noisy != labels).mean()), 1)
    0.5
    """
    rows = _draw_rows(labels, rate, rng)
    noisy = labels.copy()
    noisy[rows] = rng.integers(n_classes, size=len(rows))
    return noisy


def symmetric_noise(labels: Labels, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Move each drawn row to another class, uniformly: exactly round(rate * N) labels change.

    >>> noisy = symmetric_noise(np.arange(10), 0.3, 10, np.random.default_rng(0))
    >>> int((noisy != np.arange(10)).sum())
    3
    """
    if n_classes < 2:
        raise ValueError(f"symmetric noise needs at least 2 classes, found {n_classes}")
    rows = _draw_rows(labels, rate, rng)
    noisy = labels.copy()
    noisy[rows] = (labels[rows] + rng.integers(1, n_classes, size=len(rows))) % n_classes
    return noisy


def pair_noise(labels: Labels, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Move each drawn row to the next class (the last to the first): exactly round(rate * N) change.

    >>> pair_noise(np.array([0, 1, 2]), 1.0, 3, np.random.default_rng(0)).tolist()
    [1, 2, 0]
    """
    if n_classes < 2:
        raise ValueError(f"pair noise needs at least 2 classes, found {n_classes}")
    rows = _draw_rows(labels, rate, rng)
    noisy = labels.copy()
    noisy[rows] = (labels[rows] + 1) % n_classes
    return noisy


def matrix_noise(
    labels: Labels, transition_matrix: npt.NDArray[np.float64], rng: np.random.Generator
) -> Labels:
    """Draw each given label from the row of its true class.

    >>> matrix_noise(np.array([0, 1, 1]), np.array([[0, 1], [0, 1]]), np.random.default_rng(0)).tolist()
    [1, 1, 1]

    Args:
        labels: (N,) true classes.
        transition_matrix: (K, K), `transition_matrix[true, given]`, rows sum to 1.
        rng: source of the draws.

    Raises:
        ValueError: the matrix is not square, has an entry outside [0, 1], or a row that does not sum to 1.
    """
    matrix = np.asarray(transition_matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a transition matrix must be square, found shape {matrix.shape}")
    if matrix.min() < 0 or np.abs(matrix.sum(axis=1) - 1).max() > 1e-6:
        raise ValueError("a transition matrix must hold probabilities with rows that sum to 1")
    if labels.size and labels.max() >= len(matrix):
        raise ValueError(f"label {labels.max()} has no row in a {len(matrix)}-class transition matrix")
    return _draw_classes(matrix[labels], rng.random(len(labels))).astype(labels.dtype)


def instance_noise(
    labels: Labels,
    values: Iterable[npt.NDArray[np.floating]],
    rate: float,
    n_classes: int,
    rng: np.random.Generator,
) -> Labels:
    """Redraw each label by what the row holds: rows that look alike are given the same wrong class.

    Instance-dependent noise of Xia et al., "Part-dependent Label Noise: Towards Instance-dependent Label
    Noise" (2020), algorithm 2: a row x of class y has a flip rate q, drawn from a normal distribution around
    `rate` that is cut at 0 and 1, and is given another class k with probability q softmax(x W_y)_k, the
    softmax being over the classes other than y. W_y is a matrix of standard normal draws for each class.
    With two classes the other class is the only one, so what a row holds decides nothing.

    Their deviation of the flip rates is 0.1. It is no more than half of the way to 0 or 1 here, so that few
    are cut and their mean stays near `rate`. The number of changed labels is random.

    Args:
        labels: (N,).
        values: (n, D) arrays of standardised content, which together have N rows, in the order of `labels`.
        rate: in [0, 1].
        n_classes: at least 2.
        rng: source of the draws.

    >>> values = np.repeat(np.eye(3), 4, axis=0)  # rows of three looks
    >>> labels = np.zeros(12, dtype=np.int64)
    >>> instance_noise(labels, [values], 0.5, n_classes=4, rng=np.random.default_rng(0)).tolist()
    [2, 0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1]
    """
    _check(rate, n_classes)
    q, draws = _flip_rates(len(labels), rate, rng), rng.random(len(labels))
    noisy, weights, start = labels.copy(), None, 0
    for portion in values:
        if weights is None:
            size = (n_classes, portion.shape[1], n_classes)
            weights = rng.standard_normal(size, dtype=np.float32)
        rows = slice(start, start + len(portion))
        true, flip = labels[rows], q[rows, None]
        scores = np.empty((len(portion), n_classes))
        for k in np.unique(true):
            scores[true == k] = portion[true == k] @ weights[k]
        own = np.arange(n_classes) == true[:, None]
        scores[own] = -np.inf
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        probs = np.where(own, 1 - flip, flip * odds / odds.sum(axis=1, keepdims=True))
        noisy[rows] = _draw_classes(probs, draws[rows])
        start += len(portion)
    return noisy


def doubt_noise(
    labels: Labels,
    pred_probs: npt.NDArray[np.floating],
    rate: float,
    rng: np.random.Generator,
    deviation: float = 1.5,
) -> Labels:
    """Give the rows of which a model is least sure the class that it takes for most likely beside the truth.

    Rows are ranked by the logarithm of the margin between the two most probable classes, plus normal noise:
    people too are wrong most often, and not only, where classes are hard to tell apart. Exactly
    round(rate * N) labels change.

    Args:
        labels: (N,) true classes.
        pred_probs: (N, K) of a model that learned the truth, each row predicted by one that did not see it.
        rate: in [0, 1].
        rng: source of the draws.
        deviation: of the noise. The larger, the less the margin decides.

    >>> pred_probs = np.array([[0.9, 0.1, 0.0], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])
    >>> labels = np.array([0, 0, 1, 2])
    >>> doubt_noise(labels, pred_probs, 0.25, np.random.default_rng(0), deviation=0.0).tolist()
    [0, 1, 1, 2]
    """
    _check(rate, pred_probs.shape[1])
    probs = pred_probs.astype(np.float64)
    highest = np.sort(probs, axis=1)
    margin = np.maximum(highest[:, -1] - highest[:, -2], np.finfo(np.float64).tiny)
    sureness = np.log(margin) + rng.normal(0, deviation, len(labels))
    rows = np.argsort(sureness, kind="stable")[: round(rate * len(labels))]
    probs[np.arange(len(labels)), labels] = -1
    noisy = labels.copy()
    noisy[rows] = probs[rows].argmax(axis=1)
    return noisy


def _flip_rates(n_rows: int, rate: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(N,) draws from a normal distribution around `rate`, those outside [0, 1] drawn again."""
    deviation = min(0.1, rate / 2, (1 - rate) / 2)
    rates = rng.normal(rate, deviation, n_rows)
    while len(outside := np.flatnonzero((rates < 0) | (rates > 1))):
        rates[outside] = rng.normal(rate, deviation, len(outside))
    return rates


def _draw_classes(probs: npt.NDArray[np.float64], draws: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """(N,) the class of each row that `draws` (N,) in [0, 1) fall on, by its probabilities (N, K)."""
    cumulative = probs.cumsum(axis=1)
    # The last reachable class takes what rounding leaves of the unit interval.
    return np.asarray(((draws * cumulative[:, -1])[:, None] >= cumulative).sum(axis=1))


def _check(rate: float, n_classes: int) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"a noise rate must be in [0, 1], found {rate}")
    if n_classes < 2:
        raise ValueError(f"noise needs at least 2 classes, found {n_classes}")


def _draw_rows(labels: Labels, rate: float, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    if not 0 <= rate <= 1:
        raise ValueError(f"a noise rate must be in [0, 1], found {rate}")
    return rng.choice(len(labels), size=round(rate * len(labels)), replace=False)
