"""Logistic regression, against scikit-learn's own predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from small_trainings import bar_rows, cluster_rows, fitted, rows_of

from tasks import TrainingError
from tasks.contents import Features


@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_is_that_of_scikit_learn(tmp_path: Path, n_classes: int) -> None:
    rows = cluster_rows(120, n_classes)
    model = fitted(tmp_path, rows, name="logistic", n_classes=n_classes, options={"C": 0.3})
    found = model.predict(rows.content)
    values = StandardScaler().fit_transform(rows.content.held.astype(np.float64))
    theirs = LogisticRegression(C=0.3, max_iter=1000, tol=1e-8).fit(values, rows.label)
    np.testing.assert_allclose(found.pred_probs, theirs.predict_proba(values), atol=2e-3)
    np.testing.assert_allclose(found.embedding, values, atol=1e-4)


def test_pictures_are_flattened(tmp_path: Path) -> None:
    rows = bar_rows(100, channels=3)
    found = fitted(tmp_path, rows, name="logistic").predict(rows.content)
    assert found.embedding.shape == (100, 8 * 8 * 3)


def test_weights_and_soft_labels_count(tmp_path: Path) -> None:
    """A row with a soft label is as good as several rows with hard ones and these weights."""
    rows = cluster_rows(90)
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 90).astype(np.float32)
    soft[:30] = np.eye(3)[rows.label[:30]]
    weight = np.random.default_rng(1).uniform(0.5, 2, 90).astype(np.float32)
    softly = fitted(
        tmp_path, replace(rows, soft_label=soft, weight=weight), name="logistic", n_classes=3
    ).predict(rows.content)
    places, labels = np.nonzero(soft)
    values = softly.embedding[places].astype(np.float64)
    theirs = LogisticRegression(C=0.1, max_iter=1000, tol=1e-8)
    theirs.fit(values, labels, soft[places, labels] * weight[places])
    expected = theirs.predict_proba(softly.embedding.astype(np.float64))
    np.testing.assert_allclose(softly.pred_probs, expected, atol=2e-3)


def test_a_class_without_rows_has_no_probability(tmp_path: Path) -> None:
    rows = cluster_rows(60, n_classes=2)
    shifted = rows_of(rows.content, np.where(rows.label == 0, 1, 3))
    model = fitted(tmp_path, shifted, name="logistic", n_classes=5)
    probs = model.predict(rows.content).pred_probs
    assert (probs[:, [0, 2, 4]] == 0).all()
    assert np.mean(probs.argmax(axis=1) == shifted.label) > 0.9


def test_one_class_is_refused(tmp_path: Path) -> None:
    rows = rows_of(Features(np.ones((5, 2), dtype=np.float32)), np.ones(5, dtype=np.int64))
    with pytest.raises(TrainingError, match="at least 2 classes, found 1"):
        fitted(tmp_path, rows, name="logistic")


@pytest.mark.parametrize("n_rows", [0, 1])
def test_no_rows_are_refused(tmp_path: Path, n_rows: int) -> None:
    rows = rows_of(Features(np.ones((n_rows, 2), dtype=np.float32)), np.ones(n_rows, dtype=np.int64))
    with pytest.raises(TrainingError, match=f"found {n_rows}"):
        fitted(tmp_path, rows, name="logistic")
