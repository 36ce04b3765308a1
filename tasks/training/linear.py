"""Logistic regression by scikit-learn, as models use it: a class without rows has probability 0."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tasks import TrainingError
from tasks.training.protocol import Arrays, Rows


def fit_linear(values: Any, rows: Rows, n_classes: int, C: float, max_iter: int) -> Arrays:  # noqa: N803
    """`weights` (K, D) and `biases` (K,), float32, and `has_rows` (K,): which classes have rows at all.

    A row with a soft label counts once for each class that it may have, weighted by the probability: the loss
    is cross-entropy with the soft label.

    Args:
        values: (N, D), an array or a sparse matrix: what `rows` are seen as.
        rows: their labels and weights.
        n_classes: K.
        C: the inverse strength of the L2 penalty.
        max_iter: bounds the iterations of L-BFGS.

    Raises:
        TrainingError: there are rows of one class alone.
    """
    from sklearn.linear_model import LogisticRegression

    targets = rows.targets(n_classes)
    places, labels = np.nonzero(targets)
    classes = np.unique(labels)
    if len(classes) < 2:
        raise TrainingError(f"Logistic regression needs rows of at least 2 classes, found {len(classes)}.")
    regression = LogisticRegression(C=C, max_iter=max_iter)
    regression.fit(
        values if len(places) == len(targets) else values[places],
        labels,
        targets[places, labels] * rows.weight[places],
    )
    # Of two classes scikit-learn gives the weights of the second; those of the first are 0.
    found = classes[1:] if len(classes) == 2 else classes
    weights = np.zeros((n_classes, values.shape[1]), dtype=np.float32)
    weights[found] = regression.coef_
    biases = np.zeros(n_classes, dtype=np.float32)
    biases[found] = regression.intercept_
    return {"weights": weights, "biases": biases, "has_rows": np.isin(np.arange(n_classes), classes)}


def shapes_of_linear(n_classes: int, n_features: int) -> dict[str, tuple[int, ...]]:
    """The shapes of what `fit_linear` gives."""
    return {"weights": (n_classes, n_features), "biases": (n_classes,), "has_rows": (n_classes,)}


def predict_linear(values: Any, arrays: Arrays) -> npt.NDArray[np.float64]:
    """(N, K) probabilities of (N, D) rows."""
    logits = (values @ arrays["weights"].T + arrays["biases"]).astype(np.float64)
    logits[:, ~arrays["has_rows"]] = -np.inf
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
