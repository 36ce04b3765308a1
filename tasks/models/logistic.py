"""Logistic regression by scikit-learn: an honest baseline for vectors of numbers and small pictures."""

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from threadpoolctl import threadpool_limits

from tasks import TrainingError
from tasks.contents import Content
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.checkpoints import arrays_of_shapes, write_checkpoint
from tasks.training.protocol import Model, Predictions, Rows, Run, check_content
from tasks.training.statistics import moments, n_statistics, portions, standardize

TAKES = ("image", "features")
USES_TORCH = False
OBJECTIVES = ("supervised",)


class Options(Section):
    """`C` is the inverse strength of the L2 penalty; `max_iter` bounds the iterations of L-BFGS."""

    C: Annotated[float, Field(gt=0)] = 0.1
    max_iter: Annotated[int, Field(ge=1, le=100_000)] = 1_000


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A model to fit."""
    return Logistic(facts, options, run.threads)


def restore(facts: DatasetFacts, options: Options, arrays: dict[str, npt.NDArray[Any]]) -> Model:
    """The model with the arrays of a checkpoint."""
    shapes = {
        "mean": (n_statistics(facts),),
        "deviation": (n_statistics(facts),),
        "weights": (facts.n_classes, math.prod(facts.shape)),
        "biases": (facts.n_classes,),
        "has_rows": (facts.n_classes,),
    }
    model = Logistic(facts, options, threads=1)
    model.arrays = arrays_of_shapes(arrays, shapes)
    return model


class Logistic:
    """Multinomial logistic regression on standardised content. A class without rows has probability 0."""

    def __init__(self, facts: DatasetFacts, options: Options, threads: int) -> None:
        self._facts, self._options, self._threads = facts, options, threads
        self.arrays: dict[str, npt.NDArray[Any]] = {}

    def fit(self, rows: Rows, held_out: Rows | None, unlabeled: Content | None = None) -> None:
        """See `tasks.training.protocol.Model`.

        A row with a soft label counts once for each class that it may have, weighted by the probability: the
        loss is cross-entropy with the soft label.
        """
        from sklearn.linear_model import LogisticRegression

        content = check_content(rows.content, self._facts)
        targets = rows.targets(self._facts.n_classes)
        places, labels = np.nonzero(targets)
        classes = np.unique(labels)
        if len(classes) < 2:
            raise TrainingError(
                f"Logistic regression needs rows of at least 2 classes, found {len(classes)}."
            )
        mean, deviation = moments(content)
        values = standardize(content, mean, deviation)
        regression = LogisticRegression(C=self._options.C, max_iter=self._options.max_iter)
        with threadpool_limits(self._threads):
            regression.fit(
                values if len(places) == len(values) else values[places],
                labels,
                targets[places, labels] * rows.weight[places],
            )
        # Of two classes scikit-learn gives the weights of the second; those of the first are 0.
        found = classes[1:] if len(classes) == 2 else classes
        weights = np.zeros((self._facts.n_classes, values.shape[1]), dtype=np.float32)
        weights[found] = regression.coef_
        biases = np.zeros(self._facts.n_classes, dtype=np.float32)
        biases[found] = regression.intercept_
        self.arrays = {
            "mean": mean,
            "deviation": deviation,
            "weights": weights,
            "biases": biases,
            "has_rows": np.isin(np.arange(self._facts.n_classes), classes),
        }

    def predict(self, content: Content) -> Predictions:
        """See `tasks.training.protocol.Model`; the embedding is the standardised content."""
        content, arrays = check_content(content, self._facts), self.arrays
        probs = np.zeros((len(content), self._facts.n_classes), dtype=np.float32)
        embedding = np.empty((len(content), arrays["weights"].shape[1]), dtype=np.float32)
        with threadpool_limits(self._threads):
            for chosen in portions(content):
                embedding[chosen] = standardize(content.take(chosen), arrays["mean"], arrays["deviation"])
                logits = (embedding[chosen] @ arrays["weights"].T + arrays["biases"]).astype(np.float64)
                logits[:, ~arrays["has_rows"]] = -np.inf
                odds = np.exp(logits - logits.max(axis=1, keepdims=True))
                probs[chosen] = odds / odds.sum(axis=1, keepdims=True)
        return Predictions(probs, embedding)

    def save(self, path: Path) -> None:
        """See `tasks.training.protocol.Model`."""
        write_checkpoint(path, "logistic", self._options, self._facts, self.arrays)
