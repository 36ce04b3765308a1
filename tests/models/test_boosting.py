"""Boosted trees: the walk over a checkpoint's nodes is that of scikit-learn, to the bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from small_trainings import cluster_rows, facts_of, fitted, rows_of

from tasks import TrainingError, plugins
from tasks.contents import Features
from tasks.models.boosting import _trees_of, _walk, restore


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 4), st.integers(40, 80), st.integers(1, 6), st.integers(0, 2**31))
def test_scores_are_those_of_scikit_learn_to_the_bit(k: int, n: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, d), 2).astype(np.float32)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    theirs = HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=3).fit(values, labels)
    others = np.concatenate([values, rng.normal(size=(20, d)).astype(np.float32) * 100])
    expected = theirs.decision_function(others).reshape(len(others), -1)
    np.testing.assert_array_equal(_walk(others, _trees_of(theirs)), expected)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_is_that_of_scikit_learn(tmp_path: Path, n_classes: int) -> None:
    rows = cluster_rows(150, n_classes)
    options = {"max_iter": 20, "learning_rate": 0.1, "min_samples_leaf": 5}
    model: Any = fitted(tmp_path, rows, name="boosting", n_classes=n_classes, options=options)
    values = rows.content.held
    settings = model._options.model_dump()
    theirs = HistGradientBoostingClassifier(**settings, early_stopping=False, random_state=1).fit(
        values, rows.label
    )
    found = model.predict(rows.content)
    np.testing.assert_allclose(found.pred_probs, theirs.predict_proba(values), atol=1e-6)
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(found.embedding, standard, atol=1e-3)


def test_weights_and_soft_labels_count(tmp_path: Path) -> None:
    rows = cluster_rows(90)
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 90).astype(np.float32)
    weight = np.random.default_rng(1).uniform(0.5, 2, 90).astype(np.float32)
    softly = replace(rows, soft_label=soft, weight=weight)
    model: Any = fitted(tmp_path, softly, name="boosting", n_classes=3, options={"max_iter": 10})
    places, labels = np.nonzero(soft)
    theirs = HistGradientBoostingClassifier(
        **model._options.model_dump(), early_stopping=False, random_state=1
    )
    theirs.fit(rows.content.held[places], labels, soft[places, labels] * weight[places])
    found = model.predict(rows.content).pred_probs
    np.testing.assert_allclose(found, theirs.predict_proba(rows.content.held), atol=1e-6)


def test_a_class_without_rows_has_no_probability(tmp_path: Path) -> None:
    rows = cluster_rows(120, n_classes=2)
    shifted = rows_of(rows.content, np.where(rows.label == 0, 1, 3))
    probs = fitted(tmp_path, shifted, name="boosting", n_classes=5).predict(rows.content).pred_probs
    assert (probs[:, [0, 2, 4]] == 0).all()
    assert np.mean(probs.argmax(axis=1) == shifted.label) > 0.9


def test_one_class_is_refused(tmp_path: Path) -> None:
    rows = rows_of(Features(np.ones((5, 2), dtype=np.float32)), np.ones(5, dtype=np.int64))
    with pytest.raises(TrainingError, match="at least 2 classes, found 1"):
        fitted(tmp_path, rows, name="boosting")


@pytest.mark.parametrize(
    ("array", "value"),
    [("left", 0), ("right", 10**6), ("left", -1), ("feature", 5), ("roots", 10**6), ("classes", 3)],
)
def test_nodes_that_lead_nowhere_are_refused(tmp_path: Path, array: str, value: int) -> None:
    rows = cluster_rows(120)
    model: Any = fitted(tmp_path, rows, name="boosting", n_classes=3, options={"max_iter": 3})
    arrays = {name: np.array(values) for name, values in model.arrays.items()}
    arrays[array][-2 if array == "left" and value == 0 else 0] = value
    with pytest.raises(ValueError, match="lead to leaves"):
        restore(facts_of(rows.content, 3), plugins.read_options("models", "boosting", None), arrays)
