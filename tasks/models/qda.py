"""Quadratic discriminant analysis: a normal distribution for each class, for vectors of numbers."""

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from threadpoolctl import threadpool_limits

from tasks import TrainingError
from tasks.contents import Content
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.checkpoints import arrays_of_shapes, write_checkpoint
from tasks.training.protocol import Arrays, Model, Predictions, Rows, Run, check_content, check_taught
from tasks.training.statistics import moments, portions, standardize

TAKES = ("features",)
USES_TORCH = False
OBJECTIVES = ("supervised",)

# A class takes d * d numbers: 2,048 features are 32 MB a class.
_MOST_FEATURES = 2_048


class Options(Section):
    """`reg_param` draws the covariance of each class towards that of independent features of variance 1,
    those that all classes together have: 0 leaves it, 1 is nearest mean.
    """

    reg_param: Annotated[float, Field(gt=0, le=1)] = 0.5


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A model to fit."""
    return QuadraticDiscriminant(facts, options, run.threads)


def restore(facts: DatasetFacts, options: Options, arrays: Arrays) -> Model:
    """The model with the arrays of a checkpoint."""
    (d,) = facts.shape
    shapes = {
        "mean": (d,),
        "deviation": (d,),
        "means": (facts.n_classes, d),
        "whiteners": (facts.n_classes, d, d),
        "offsets": (facts.n_classes,),
        "has_rows": (facts.n_classes,),
    }
    model = QuadraticDiscriminant(facts, options, threads=1)
    model.arrays = arrays_of_shapes(arrays, shapes)
    return model


class QuadraticDiscriminant:
    """Class k has the probability p_k N(x; m_k, S_k), divided by the sum over classes, of standardised x.

    (Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2009, equation 4.12, and 4.13
    for the regularisation.) With equal weights it is scikit-learn's `QuadraticDiscriminantAnalysis`, which
    takes no weights and no soft labels, and refuses a class with one row. A class without rows has
    probability 0.
    """

    def __init__(self, facts: DatasetFacts, options: Options, threads: int) -> None:
        self._facts, self._options, self._threads = facts, options, threads
        self.arrays: Arrays = {}

    def fit(self, rows: Rows, held_out: Rows | None, unlabeled: Content | None = None) -> None:
        """See `tasks.training.protocol.Model`; soft labels count a row for several classes."""
        content, n_classes, (d,) = (
            check_taught(rows, self._facts),
            self._facts.n_classes,
            self._facts.shape,
        )
        if d > _MOST_FEATURES:
            raise TrainingError(
                f"The model `qda` needs at most {_MOST_FEATURES:,} features, found {d:,}. Choose `logistic`."
            )
        mean, deviation = moments(content)
        values = standardize(content, mean, deviation).astype(np.float64)
        counts = rows.targets(n_classes).astype(np.float64) * rows.weight[:, None]
        totals = counts.sum(axis=0)
        means, whiteners = np.zeros((n_classes, d)), np.zeros((n_classes, d, d))
        offsets = np.full(n_classes, -np.inf)
        with threadpool_limits(self._threads):
            for k in np.flatnonzero(totals):
                used = counts[:, k] > 0
                means[k], whiteners[k], log_det = _fit_class(
                    values[used], counts[used, k], self._options.reg_param
                )
                offsets[k] = np.log(totals[k] / totals.sum()) - log_det / 2
        self.arrays = {
            "mean": mean,
            "deviation": deviation,
            "means": means,
            "whiteners": whiteners,
            "offsets": np.where(totals > 0, offsets, 0),
            "has_rows": totals > 0,
        }

    def predict(self, content: Content) -> Predictions:
        """See `tasks.training.protocol.Model`; the embedding is the standardised features."""
        content, arrays = check_content(content, self._facts), self.arrays
        probs = np.empty((len(content), self._facts.n_classes), dtype=np.float32)
        embedding = np.empty((len(content), *self._facts.shape), dtype=np.float32)
        with threadpool_limits(self._threads):
            for chosen in portions(content):
                embedding[chosen] = standardize(content.take(chosen), arrays["mean"], arrays["deviation"])
                logits = np.full((len(embedding[chosen]), self._facts.n_classes), -np.inf)
                for k in np.flatnonzero(arrays["has_rows"]):
                    white = (embedding[chosen] - arrays["means"][k]) @ arrays["whiteners"][k]
                    logits[:, k] = arrays["offsets"][k] - np.square(white).sum(axis=1) / 2
                odds = np.exp(logits - logits.max(axis=1, keepdims=True))
                probs[chosen] = odds / odds.sum(axis=1, keepdims=True)
        return Predictions(probs, embedding)

    def save(self, path: Path) -> None:
        """See `tasks.training.protocol.Model`."""
        write_checkpoint(path, "qda", self._options, self._facts, self.arrays)


def _fit_class(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], reg_param: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """The mean of a class, what makes its regularised covariance the identity, and its log determinant.

    Args:
        values: (n, d).
        counts: (n,) how much each row counts, above 0; times a constant they give the same.
        reg_param: see `Options`.
    """
    shares = counts / counts.sum()
    mean = shares @ values
    centred = values - mean
    covariance = (centred * shares[:, None]).T @ centred
    variances, axes = np.linalg.eigh((1 - reg_param) * covariance + reg_param * np.eye(len(mean)))
    # Regularised, none is below `reg_param`; rounding may say otherwise.
    variances = np.maximum(variances, reg_param)
    return mean, axes / np.sqrt(variances), float(np.log(variances).sum())
