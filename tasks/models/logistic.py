"""Logistic regression by scikit-learn: an honest baseline for vectors of numbers and small pictures."""

import math
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits

from tasks.contents import Content
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.checkpoints import arrays_of_shapes, write_checkpoint
from tasks.training.linear import fit_linear, predict_linear, shapes_of_linear
from tasks.training.protocol import Arrays, Model, Predictions, Rows, Run, check_content, check_taught
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


def restore(facts: DatasetFacts, options: Options, arrays: Arrays) -> Model:
    """The model with the arrays of a checkpoint."""
    shapes = {
        "mean": (n_statistics(facts),),
        "deviation": (n_statistics(facts),),
        **shapes_of_linear(facts.n_classes, math.prod(facts.shape)),
    }
    model = Logistic(facts, options, threads=1)
    model.arrays = arrays_of_shapes(arrays, shapes)
    return model


class Logistic:
    """Multinomial logistic regression on standardised content. A class without rows has probability 0."""

    def __init__(self, facts: DatasetFacts, options: Options, threads: int) -> None:
        self._facts, self._options, self._threads = facts, options, threads
        self.arrays: Arrays = {}

    def fit(self, rows: Rows, held_out: Rows | None, unlabeled: Content | None = None) -> None:
        """See `tasks.training.protocol.Model` and `fit_linear`."""
        content, options = check_taught(rows, self._facts), self._options
        mean, deviation = moments(content)
        with threadpool_limits(self._threads):
            fitted = fit_linear(
                standardize(content, mean, deviation),
                rows,
                self._facts.n_classes,
                options.C,
                options.max_iter,
            )
        self.arrays = {"mean": mean, "deviation": deviation, **fitted}

    def predict(self, content: Content) -> Predictions:
        """See `tasks.training.protocol.Model`; the embedding is the standardised content."""
        content, arrays = check_content(content, self._facts), self.arrays
        probs = np.zeros((len(content), self._facts.n_classes), dtype=np.float32)
        embedding = np.empty((len(content), arrays["weights"].shape[1]), dtype=np.float32)
        with threadpool_limits(self._threads):
            for chosen in portions(content):
                embedding[chosen] = standardize(content.take(chosen), arrays["mean"], arrays["deviation"])
                probs[chosen] = predict_linear(embedding[chosen], arrays)
        return Predictions(probs, embedding)

    def save(self, path: Path) -> None:
        """See `tasks.training.protocol.Model`."""
        write_checkpoint(path, "logistic", self._options, self._facts, self.arrays)
