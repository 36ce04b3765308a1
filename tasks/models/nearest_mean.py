"""The class whose mean is nearest: a baseline that takes a second and needs NumPy alone."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from tasks.contents import Content
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.checkpoints import arrays_of_shapes, write_checkpoint
from tasks.training.protocol import Arrays, Model, Predictions, Rows, Run, check_content, check_taught
from tasks.training.statistics import moments, n_statistics, portions, standardize

TAKES = ("image", "features")
USES_TORCH = False
OBJECTIVES = ("supervised",)

_HALVINGS = 40


class Options(Section):
    """It has none."""


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A model to fit."""
    return NearestMean(facts, options, run.threads)


def restore(facts: DatasetFacts, options: Options, arrays: Arrays) -> Model:
    """The model with the arrays of a checkpoint."""
    shapes = {
        "mean": (n_statistics(facts),),
        "deviation": (n_statistics(facts),),
        "means": (facts.n_classes, math.prod(facts.shape)),
        "shares": (facts.n_classes,),
        "sharpness": (),
    }
    model = NearestMean(facts, options, threads=1)
    model.arrays = arrays_of_shapes(arrays, shapes)
    return model


class NearestMean:
    """Class k has the probability p_k exp(-s |x - m_k|^2), divided by the sum over classes.

    m_k is the mean of the class's rows, p_k its share of them; this is linear discriminant analysis with one
    variance in all directions. The sharpness s is chosen by the likelihood of the training rows, each with
    the means of the other rows. It is at most that of a normal distribution whose directions are independent,
    which they are not.
    """

    def __init__(self, facts: DatasetFacts, options: Options, threads: int) -> None:
        self._facts, self._options, self._threads = facts, options, threads
        self.arrays: Arrays = {}

    def fit(self, rows: Rows, held_out: Rows | None, unlabeled: Content | None = None) -> None:
        """See `tasks.training.protocol.Model`; soft labels count a row for several classes."""
        content = check_taught(rows, self._facts)
        mean, deviation = moments(content)
        counts = rows.targets(self._facts.n_classes).astype(np.float64) * rows.weight[:, None]
        class_counts = counts.sum(axis=0)
        shares = class_counts / class_counts.sum()

        def values(chosen: slice) -> npt.NDArray[np.float32]:
            return standardize(content.take(chosen), mean, deviation)

        with threadpool_limits(self._threads):
            sums = sum(counts[chosen].T @ values(chosen) for chosen in portions(content))
            means = np.asarray(sums) / np.maximum(class_counts, np.finfo(float).tiny)[:, None]
            distances = np.concatenate(
                [_squared_distances(values(chosen), means) for chosen in portions(content)]
            )
        self.arrays = {
            "mean": mean,
            "deviation": deviation,
            "means": means,
            "shares": shares,
            "sharpness": np.array(_choose_sharpness(distances, counts, shares, n_dimensions=means.shape[1])),
        }

    def predict(self, content: Content) -> Predictions:
        """See `tasks.training.protocol.Model`; the embedding is the standardised content."""
        content, arrays = check_content(content, self._facts), self.arrays
        probs = np.empty((len(content), self._facts.n_classes), dtype=np.float32)
        embedding = np.empty((len(content), arrays["means"].shape[1]), dtype=np.float32)
        with threadpool_limits(self._threads):
            for chosen in portions(content):
                embedding[chosen] = standardize(content.take(chosen), arrays["mean"], arrays["deviation"])
                distances = _squared_distances(embedding[chosen], arrays["means"])
                probs[chosen] = _probs(distances, arrays["shares"], arrays["sharpness"])
        return Predictions(probs, embedding)

    def save(self, path: Path) -> None:
        """See `tasks.training.protocol.Model`."""
        write_checkpoint(path, "nearest_mean", self._options, self._facts, self.arrays)


def _squared_distances(
    values: npt.NDArray[np.float32], means: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(N, K) from N rows of D standardised values to K class means (K, D)."""
    lengths = np.square(values, dtype=np.float64).sum(axis=1)
    distances = lengths[:, None] - 2 * values @ means.T + np.square(means).sum(axis=1)
    return np.asarray(np.maximum(distances, 0))


def _probs(
    distances: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], sharpness: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):  # a class without rows has probability 0
        logits = np.log(shares) - np.asarray(sharpness) * distances
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _choose_sharpness(
    distances: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
    shares: npt.NDArray[np.float64],
    n_dimensions: int,
) -> float:
    """The sharpness of the highest likelihood, in which a row's own share of a class's mean is taken out.

    Args:
        distances: (N, K) squared, to the class means.
        counts: (N, K) how much each row counts for each class.
        shares: (K,) of all counts.
        n_dimensions: in which the distances are.
    """
    class_counts = counts.sum(axis=0)
    rest = class_counts - counts
    # A row that alone makes a class's mean says nothing of how far other rows are.
    told = ((rest > 1e-9 * class_counts) | (counts == 0)).all(axis=1)
    # Without row i the mean of class k is n / (n - c) times as far from it.
    ratio = np.divide(class_counts, rest, out=np.ones_like(rest), where=rest > 0)
    distances, counts = (distances * ratio**2)[told], counts[told]
    own = float((counts * distances).sum())
    most = counts.sum() * n_dimensions / (2 * own) if own > 0 else 1.0

    def slope(sharpness: float) -> float:
        """The derivative of the log likelihood, which falls as the sharpness grows."""
        expected = (_probs(distances, shares, sharpness) * distances).sum(axis=1)
        return float((counts.sum(axis=1) * expected).sum()) - own

    if slope(most) >= 0:
        return float(most)
    low, high = 0.0, float(most)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return high
