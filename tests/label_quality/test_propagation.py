"""Label propagation, against the dense solution of its equation and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.semi_supervised import LabelSpreading

from tasks.label_quality.propagation import (
    UNLABELED,
    certainty,
    class_balance,
    propagate,
    similarity_graph,
)


def neighbours_of(points, k):
    """(N, k) the nearest by cosine and their cosines, the plain way."""
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    cosine = unit @ unit.T
    order = np.argsort(np.where(np.eye(len(points), dtype=bool), np.inf, -cosine), axis=1, kind="stable")
    index = order[:, :k]
    return index, np.take_along_axis(cosine, index, 1)


def dense_weights(points, k, gamma):
    """The affinity A + A' before it is normalised."""
    index, cosine = neighbours_of(points, k)
    one_way = np.zeros((len(points), len(points)))
    np.put_along_axis(one_way, index, np.maximum(cosine, 0) ** gamma, 1)
    return one_way + one_way.T


def normalised(weights):
    degree = weights.sum(axis=1)
    scale = np.divide(1, np.sqrt(degree), out=np.zeros(len(weights)), where=degree > 0)
    return weights * scale[:, None] * scale[None, :]


@st.composite
def cases(draw):
    """Points, neighbours, classes and labels of which most are hidden."""
    n, n_classes = draw(st.integers(4, 60)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    points = rng.normal(size=(n, 3)) + draw(st.sampled_from([0.0, 1.0]))
    labels = np.where(rng.random(n) < 0.4, rng.integers(n_classes, size=n), UNLABELED)
    labels[0] = 0
    return points, draw(st.integers(1, n - 1)), n_classes, labels


@given(cases(), st.sampled_from([0.0, 0.5, 0.99]), st.sampled_from([1.0, 3.0]))
def test_it_is_the_dense_solution_of_the_equation(case, alpha, gamma):
    points, k, n_classes, labels = case
    graph = similarity_graph(*neighbours_of(points, k), gamma)
    wanted = normalised(dense_weights(points, k, gamma))
    np.testing.assert_allclose(graph.toarray(), wanted, atol=1e-5)
    given = (labels[:, None] == np.arange(n_classes)).astype(float)
    given /= np.maximum(given.sum(axis=0), 1)
    solved = np.maximum(np.linalg.solve(np.eye(len(points)) - alpha * graph.toarray(), given), 0)
    total = solved.sum(axis=1, keepdims=True)
    found = propagate(graph, labels, n_classes, alpha)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(points)))
    # Where next to nothing arrives, its shares are those of rounding.
    clear = total[:, 0] > 1e-3
    np.testing.assert_allclose(found[clear], solved[clear] / total[clear], atol=2e-3)


def test_it_agrees_with_label_spreading_of_scikit_learn():
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(size=(60, 4)) + shift for shift in (2, -2)])
    labels = np.full(120, UNLABELED)
    labels[[1, 5, 61, 70]] = [0, 0, 1, 1]  # as many of each class: theirs does not balance
    theirs = LabelSpreading(
        kernel=lambda rows, _: dense_weights(rows, 8, 3.0), alpha=0.9, max_iter=3000, tol=1e-10
    ).fit(points, labels)
    found = propagate(similarity_graph(*neighbours_of(points, 8)), labels, 2, alpha=0.9)
    np.testing.assert_allclose(found, theirs.label_distributions_, atol=1e-4)


def test_few_labels_reach_all_rows_of_a_bent_class_and_straight_lines_do_not():
    """Two half moons on a sphere: the nearest labelled row is often of the other class."""
    rng = np.random.default_rng(0)
    angle = np.concatenate([rng.uniform(0, np.pi, 200), rng.uniform(np.pi, 2 * np.pi, 200)])
    centre = np.repeat([0.0, 1.0], 200)
    flat = np.stack([np.cos(angle) + centre, np.sin(angle) + 0.3 * centre], axis=1)
    points = np.column_stack([flat + 0.05 * rng.normal(size=flat.shape), np.full(400, 4.0)])
    points -= np.array([0.5, 0.15, 0])
    truth = np.repeat([0, 1], 200)
    labels = np.full(400, UNLABELED)
    labels[[np.argmin(np.abs(angle - 1.5)), 200 + np.argmin(np.abs(angle[200:] - 4.7))]] = [0, 1]
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    seeds = np.flatnonzero(labels != UNLABELED)
    straight = labels[seeds][(unit @ unit[seeds].T).argmax(axis=1)]
    found = propagate(similarity_graph(*neighbours_of(points, 10)), labels, 2).argmax(axis=1)
    assert np.mean(found == truth) > 0.97
    assert np.mean(straight == truth) < 0.9


def test_rows_that_no_label_reaches_are_uncertain():
    points = np.array([[1, 0.1, 0], [1, 0, 0.1], [1, 0.1, 0.1], [-1, 0.1, 0], [-1, 0, 0.1]], dtype=float)
    labels = np.array([1, UNLABELED, UNLABELED, UNLABELED, UNLABELED])
    found = propagate(similarity_graph(*neighbours_of(points, 1)), labels, 3)
    np.testing.assert_allclose(found[:3], [[0, 1, 0]] * 3, atol=1e-9)
    np.testing.assert_allclose(found[3:], 1 / 3)
    np.testing.assert_allclose(certainty(found), [1, 1, 1, 0, 0], atol=1e-9)


def test_without_a_label_there_is_nothing_to_propagate():
    graph = similarity_graph(np.array([[1], [0]]), np.ones((2, 1)))
    with pytest.raises(ValueError, match="at least one row with a label"):
        propagate(graph, np.array([UNLABELED, UNLABELED]), 2)


@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 2**31))
def test_certainty_is_one_less_the_entropy_in_units_of_its_maximum(n_classes, n, seed):
    probs = np.random.default_rng(seed).dirichlet(np.ones(n_classes), n)
    probs[0] = np.eye(n_classes)[0]
    found = certainty(probs)
    assert found[0] == 1
    assert ((found >= 0) & (found <= 1)).all()
    for row, value in zip(probs, found, strict=True):
        entropy = -sum(p * np.log(p) for p in row if p > 0)
        assert value == pytest.approx(1 - entropy / np.log(n_classes) if n_classes > 1 else 1, abs=1e-9)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_balanced_classes_count_alike(labels):
    labels = np.array(labels)
    weight = class_balance(labels, 6)
    sums = np.array([weight[labels == label].sum() for label in np.unique(labels)])
    np.testing.assert_allclose(sums, len(labels) / len(sums))
    assert weight.mean() == pytest.approx(1)
