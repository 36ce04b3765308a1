"""Quadratic discriminant analysis, against scikit-learn's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler
from small_trainings import cluster_rows, fitted, rows_of

from tasks import TrainingError
from tasks.contents import Features


@pytest.mark.parametrize("reg_param", [0.01, 0.3])
def test_it_is_that_of_scikit_learn(tmp_path: Path, reg_param: float) -> None:
    rows = cluster_rows(120)
    model = fitted(tmp_path, rows, name="qda", n_classes=3, options={"reg_param": reg_param})
    found = model.predict(rows.content)
    values = StandardScaler().fit_transform(rows.content.held.astype(np.float64))
    theirs = QuadraticDiscriminantAnalysis(reg_param=reg_param).fit(values, rows.label)
    np.testing.assert_allclose(found.pred_probs, theirs.predict_proba(values), atol=1e-4)
    np.testing.assert_allclose(found.embedding, values, atol=1e-4)


def test_clouds_that_share_a_mean_are_told_apart_by_their_spread(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = np.tile([0, 1], 300)
    values = rng.normal(size=(600, 2)) * np.where(label == 0, 0.2, 3)[:, None]
    rows = rows_of(Features(values.astype(np.float32)), label)
    probs = fitted(tmp_path, rows, name="qda", options={"reg_param": 0.01}).predict(rows.content).pred_probs
    assert np.mean(probs.argmax(axis=1) == label) > 0.9


def test_weights_do_not_depend_on_their_unit_and_draw_the_mean(tmp_path: Path) -> None:
    rows = cluster_rows(90)
    weight = np.random.default_rng(1).uniform(0.5, 2, 90).astype(np.float32)
    once, thrice = (
        fitted(tmp_path, replace(rows, weight=weight * factor), name="qda", n_classes=3) for factor in (1, 3)
    )
    found = once.predict(rows.content).pred_probs
    np.testing.assert_allclose(found, thrice.predict(rows.content).pred_probs, atol=1e-5)
    model: Any = once
    values = (rows.content.held - model.arrays["mean"]) / model.arrays["deviation"]
    expected = np.average(values[rows.label == 1], axis=0, weights=weight[rows.label == 1])
    np.testing.assert_allclose(model.arrays["means"][1], expected, atol=1e-5)


def test_a_soft_label_counts_a_row_for_each_class(tmp_path: Path) -> None:
    rows = cluster_rows(60)
    hard = np.eye(3, dtype=np.float32)[rows.label]
    same = fitted(tmp_path, replace(rows, soft_label=hard), name="qda", n_classes=3).predict(rows.content)
    expected = fitted(tmp_path, rows, name="qda", n_classes=3).predict(rows.content)
    np.testing.assert_array_equal(same.pred_probs, expected.pred_probs)
    thirds = replace(rows, soft_label=np.full((60, 3), 1 / 3, dtype=np.float32))
    even = fitted(tmp_path, thirds, name="qda", n_classes=3).predict(rows.content)
    np.testing.assert_allclose(even.pred_probs, 1 / 3, atol=1e-5)


def test_equal_rows_and_features_that_repeat_are_no_fault(tmp_path: Path) -> None:
    rows = rows_of(Features(np.ones((6, 2), dtype=np.float32)), np.array([0, 0, 0, 0, 1, 1]))
    probs = fitted(tmp_path, rows, name="qda").predict(rows.content).pred_probs
    np.testing.assert_allclose(probs, [[2 / 3, 1 / 3]] * 6, atol=1e-6)
    twice = cluster_rows(60)
    twice = rows_of(Features(np.repeat(twice.content.held, 4, axis=1)), twice.label)
    found = fitted(tmp_path, twice, name="qda", n_classes=3).predict(twice.content).pred_probs
    assert np.mean(found.argmax(axis=1) == twice.label) > 0.85


def test_too_many_features_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    rows = rows_of(Features(np.ones((4, 3000), dtype=np.float32)), np.tile([0, 1], 2))
    with pytest.raises(TrainingError, match="at most 2,048 features, found 3,000"):
        fitted(tmp_path, rows, name="qda")
