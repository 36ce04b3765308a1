"""Nearest mean, against its equation and against likelihoods computed slowly."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_trainings import bars, cluster_rows, fitted, rows_of

from tasks.contents import Features, Images
from tasks.models.nearest_mean import _choose_sharpness, _probs
from tasks.training.protocol import Rows


def arrays_of(tmp_path: Path, rows: Rows, n_classes: int = 3) -> dict[str, Any]:
    model: Any = fitted(tmp_path, rows, name="nearest_mean", n_classes=n_classes)
    return dict(model.arrays)


def test_probabilities_follow_the_equation(tmp_path: Path) -> None:
    rows = cluster_rows(90)
    model: Any = fitted(tmp_path, rows, name="nearest_mean", n_classes=3)
    found, arrays = model.predict(rows.content), model.arrays
    values = (rows.content.held - arrays["mean"]) / arrays["deviation"]
    np.testing.assert_allclose(found.embedding, values, atol=1e-5)
    for row in range(0, 90, 10):
        odds = []
        for k in range(3):
            of_class = values[rows.label == k].astype(np.float64)
            distance = ((values[row] - of_class.mean(axis=0)) ** 2).sum()
            odds.append(len(of_class) / 90 * np.exp(-arrays["sharpness"] * distance))
        np.testing.assert_allclose(found.pred_probs[row], odds / np.sum(odds), atol=1e-4)


def log_likelihood(sharpness: float, values: Any, label: Any, n_classes: int) -> float:
    """Each row with the means of the others, slowly."""
    shares = np.bincount(label, minlength=n_classes) / len(label)
    total = 0.0
    for row in range(len(values)):
        others = np.arange(len(values)) != row
        means = [values[(label == k) & others].mean(axis=0) for k in range(n_classes)]
        distances = np.array([[((values[row] - mean) ** 2).sum() for mean in means]])
        total += np.log(_probs(distances, shares, sharpness)[0, label[row]])
    return total


def test_the_sharpness_is_the_likeliest_for_rows_that_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 60)
    # One thing measured ten times: to take it for ten would be far too sure.
    values = np.repeat(label[:, None] + rng.normal(size=(60, 1)), 10, axis=1).astype(np.float32)
    arrays = arrays_of(tmp_path, rows_of(Features(values), label))
    scaled = (values.astype(np.float64) - arrays["mean"]) / arrays["deviation"]
    best = float(arrays["sharpness"])
    here = log_likelihood(best, scaled, label, 3)
    assert here > log_likelihood(best * 1.1, scaled, label, 3)
    assert here > log_likelihood(best * 0.9, scaled, label, 3)


def test_it_is_about_as_sure_as_it_is_right(tmp_path: Path) -> None:
    images, label = bars(3000, seed=3)
    noisy = np.clip(images * 0.3 + np.random.default_rng(0).normal(128, 90, images.shape), 0, 255)
    rows = rows_of(Images(noisy.astype(np.uint8)), label)
    model = fitted(tmp_path, rows.take(slice(0, 1500)), name="nearest_mean")
    probs = model.predict(rows.content.take(slice(1500, None))).pred_probs
    right = np.mean(probs.argmax(axis=1) == label[1500:])
    assert 0.6 < right < 0.95, "a task that is neither hopeless nor done"
    assert abs(probs.max(axis=1).mean() - right) < 0.05


def test_a_weight_counts_a_row_so_many_times(tmp_path: Path) -> None:
    rows = cluster_rows(60)
    twice = np.concatenate([np.arange(60), np.arange(20)])
    weight = np.where(np.arange(60) < 20, 2, 1).astype(np.float32)
    # The mean and deviation of the content do not know weights: the same rows give the same ones.
    weighted = arrays_of(tmp_path, replace(rows, weight=weight))
    repeated = arrays_of(tmp_path, rows.take(twice))
    scale = repeated["deviation"] / weighted["deviation"]
    shift = (repeated["mean"] - weighted["mean"]) / weighted["deviation"]
    np.testing.assert_allclose(weighted["means"], repeated["means"] * scale + shift, atol=1e-4)
    np.testing.assert_allclose(weighted["shares"], repeated["shares"])


def test_a_soft_label_counts_a_row_for_each_class(tmp_path: Path) -> None:
    rows = cluster_rows(60)
    hard = np.eye(3, dtype=np.float32)[rows.label]
    same = arrays_of(tmp_path, replace(rows, soft_label=hard))
    np.testing.assert_array_equal(same["means"], arrays_of(tmp_path, rows)["means"])
    even = arrays_of(tmp_path, replace(rows, soft_label=np.full((60, 3), 1 / 3, dtype=np.float32)))
    np.testing.assert_allclose(even["means"], 0, atol=1e-4)
    np.testing.assert_allclose(even["shares"], 1 / 3)


@pytest.mark.parametrize("name", ["nearest_mean", "qda"])
@pytest.mark.parametrize("label", [[0, 0, 2, 2], [1, 1, 1, 1], [0, 1, 2, 2], [0, 1]])
def test_classes_without_rows_or_with_one_are_no_fault(tmp_path: Path, label: list[int], name: str) -> None:
    values = np.random.default_rng(0).normal(size=(len(label), 4)).astype(np.float32)
    model = fitted(tmp_path, rows_of(Features(values), np.array(label)), name=name, n_classes=4)
    probs = model.predict(Features(values)).pred_probs
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)
    assert (probs[:, 3] == 0).all()


def test_equal_rows_are_no_fault(tmp_path: Path) -> None:
    rows = rows_of(Features(np.ones((6, 2), dtype=np.float32)), np.array([0, 0, 0, 0, 1, 1]))
    model = fitted(tmp_path, rows, name="nearest_mean")
    np.testing.assert_allclose(model.predict(rows.content).pred_probs, [[2 / 3, 1 / 3]] * 6, atol=1e-6)


@given(st.integers(2, 40), st.integers(2, 5), st.integers(0, 2**31))
def test_the_sharpness_is_between_none_and_that_of_independent_directions(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.dirichlet(np.ones(k), n) if seed % 2 else np.eye(k)[rng.integers(0, k, n)]
    distances = rng.exponential(size=(n, k)) * 10.0 ** rng.integers(-3, 4)
    shares = counts.sum(axis=0) / n
    found = _choose_sharpness(distances, counts, shares, n_dimensions=7)
    assert np.isfinite(found)
    assert found > 0
    assert np.isfinite(_probs(distances, shares, found)).all()
