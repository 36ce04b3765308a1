"""Boosted trees on histograms of the features, by scikit-learn: for tables of numbers."""

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
from tasks.training.protocol import Arrays, Model, Predictions, Rows, Run, check_content
from tasks.training.statistics import moments, portions, standardize

TAKES = ("features",)
USES_TORCH = False
OBJECTIVES = ("supervised",)

# What is kept of each node of a tree; a leaf is its own child on both sides.
_NODE_TYPES: dict[str, type] = {
    "feature": np.int32,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "value": np.float64,
}


class Options(Section):
    """`max_iter` trees a class (one tree for two classes), each a step of `learning_rate` downhill.

    A leaf has at least `min_samples_leaf` training rows, a tree at most `max_leaf_nodes` leaves; each node
    looks at a share `max_features` of the features, drawn anew; `l2_regularization` holds the values of
    leaves near 0. The defaults are smaller trees and steps than scikit-learn's: those learn wrong labels.
    """

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    max_iter: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_leaf_nodes: Annotated[int, Field(ge=2, le=1024)] = 8
    min_samples_leaf: Annotated[int, Field(ge=1)] = 20
    max_features: Annotated[float, Field(gt=0, le=1)] = 0.3
    l2_regularization: Annotated[float, Field(ge=0)] = 0.0


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A model to fit."""
    return Boosting(facts, options, run.seed, run.threads)


def restore(facts: DatasetFacts, options: Options, arrays: Arrays) -> Model:
    """The model with the arrays of a checkpoint.

    Raises:
        ValueError: an array is missing or has another shape, or a node is not in order.
    """
    n_nodes, n_trees, n_columns = (len(arrays[name]) for name in ("feature", "roots", "baseline"))
    shapes: dict[str, tuple[int, ...]] = {
        "mean": facts.shape,
        "deviation": facts.shape,
        "classes": (max(n_columns, 2),),
        "baseline": (n_columns,),
        "roots": (n_trees,),
        **dict.fromkeys(_NODE_TYPES, (n_nodes,)),
    }
    model = Boosting(facts, options, seed=0, threads=1)
    model.arrays = arrays_of_shapes(arrays, shapes)
    _check_trees(model.arrays, facts)
    return model


class Boosting:
    """Gradient-boosted trees with the loss log(p) (Friedman, "Greedy Function Approximation: A Gradient
    Boosting Machine", 2001; on histograms as Ke et al., "LightGBM", NeurIPS 2017). A class without rows has
    probability 0.

    scikit-learn grows the trees; a checkpoint has their nodes as arrays, and `predict` walks these. Its sums
    are those of scikit-learn, in the same order.
    """

    def __init__(self, facts: DatasetFacts, options: Options, seed: int, threads: int) -> None:
        self._facts, self._options, self._seed, self._threads = facts, options, seed, threads
        self.arrays: Arrays = {}

    def fit(self, rows: Rows, held_out: Rows | None, unlabeled: Content | None = None) -> None:
        """See `tasks.training.protocol.Model`.

        A row with a soft label counts once for each class that it may have, weighted by the probability: the
        loss is cross-entropy with the soft label.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        content = check_content(rows.content, self._facts)
        targets = rows.targets(self._facts.n_classes)
        places, labels = np.nonzero(targets)
        classes = np.unique(labels)
        if len(classes) < 2:
            raise TrainingError(f"Boosting needs rows of at least 2 classes, found {len(classes)}.")
        mean, deviation = moments(content)
        # Early stopping would choose by labels that may be wrong.
        boosting = HistGradientBoostingClassifier(
            **self._options.model_dump(), early_stopping=False, random_state=self._seed
        )
        weight = targets[places, labels] * rows.weight[places]
        with threadpool_limits(self._threads):
            values = content.take(places).values() if len(places) != len(content) else content.values()
            # Weights of 1 are none; with weights scikit-learn takes many times as long to find the bins.
            boosting.fit(values, labels, None if (weight == 1).all() else weight)
        self.arrays = {"mean": mean, "deviation": deviation, "classes": classes, **_trees_of(boosting)}

    def predict(self, content: Content) -> Predictions:
        """See `tasks.training.protocol.Model`.

        The embedding is the standardised features: of two classes the scores of the trees would have one axis
        alone, on which rows that have nothing in common are neighbours.
        """
        content, arrays = check_content(content, self._facts), self.arrays
        probs = np.zeros((len(content), self._facts.n_classes), dtype=np.float32)
        embedding = np.empty((len(content), *self._facts.shape), dtype=np.float32)
        for chosen in portions(content):
            values = content.take(chosen)
            embedding[chosen] = standardize(values, arrays["mean"], arrays["deviation"])
            scores = _walk(values.values(), arrays)
            logits = np.column_stack([np.zeros(len(scores)), scores]) if scores.shape[1] == 1 else scores
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            probs[chosen][:, arrays["classes"]] = odds / odds.sum(axis=1, keepdims=True)
        return Predictions(probs, embedding)

    def save(self, path: Path) -> None:
        """See `tasks.training.protocol.Model`."""
        write_checkpoint(path, "boosting", self._options, self._facts, self.arrays)


def _trees_of(boosting: Any) -> Arrays:
    """The nodes of all trees one after another, the root of each tree, and the scores before the first."""
    trees = [tree.nodes for trees in boosting._predictors for tree in trees]
    roots = np.cumsum([0, *map(len, trees[:-1])])
    nodes, root = np.concatenate(trees), np.repeat(roots, [len(tree) for tree in trees])
    is_leaf, itself = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
    found = {
        "feature": np.where(is_leaf, 0, nodes["feature_idx"]),
        "threshold": np.where(is_leaf, 0, nodes["num_threshold"]),
        "left": np.where(is_leaf, itself, nodes["left"] + root),
        "right": np.where(is_leaf, itself, nodes["right"] + root),
        "value": nodes["value"],
    }
    arrays: Arrays = {name: values.astype(_NODE_TYPES[name]) for name, values in found.items()}
    baseline = np.asarray(boosting._baseline_prediction, dtype=np.float64).ravel()
    return {**arrays, "roots": roots, "baseline": baseline}


def _walk(values: npt.NDArray[np.number], arrays: Arrays) -> npt.NDArray[np.float64]:
    """(N, columns) sums of the leaves that N rows reach; the trees of the columns take turns."""
    feature, threshold, left, right = (arrays[name] for name in ("feature", "threshold", "left", "right"))
    n_columns = len(arrays["baseline"])
    scores = np.repeat(arrays["baseline"][None], len(values), axis=0)
    rows = np.arange(len(values))
    for number, root in enumerate(arrays["roots"]):
        node = np.full(len(values), root)
        while True:
            goes_left = values[rows, feature[node]] <= threshold[node]
            child = np.where(goes_left, left[node], right[node])
            if np.array_equal(child, node):
                break
            node = child
        scores[:, number % n_columns] += arrays["value"][node]
    return scores


def _check_trees(arrays: Arrays, facts: DatasetFacts) -> None:
    """Refuse nodes by which a walk would leave the trees or never end.

    Raises:
        ValueError: there are such.
    """
    for name, kind in _NODE_TYPES.items():
        if arrays[name].dtype != kind:
            raise ValueError(f"expected the array {name} of {np.dtype(kind)}, found {arrays[name].dtype}")
    left, right, itself = arrays["left"], arrays["right"], np.arange(len(arrays["left"]))
    is_leaf = (left == itself) & (right == itself)
    # A child comes after its parent, so that every step goes on.
    in_order = is_leaf | (np.minimum(left, right) > itself)
    bounds = {"feature": facts.shape[0], "left": len(left), "right": len(left), "roots": len(left)}
    bounds["classes"] = facts.n_classes
    inside = all(((arrays[name] >= 0) & (arrays[name] < most)).all() for name, most in bounds.items())
    if not in_order.all() or not inside or len(arrays["roots"]) % max(len(arrays["baseline"]), 1):
        raise ValueError("expected trees whose nodes lead to leaves, found others")
