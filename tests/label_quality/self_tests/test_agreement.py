import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.self_tests.agreement import compare_views


def see(true, right, n_classes, rng):
    """A view that is right on a share of the rows and elsewhere names any other class."""
    wrong = rng.random(len(true)) >= right
    return np.where(wrong, (true + rng.integers(1, n_classes, size=len(true))) % n_classes, true)


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("given_right", [1.0, 0.95, 0.8, 0.6])
@pytest.mark.parametrize(("model_right", "second_right"), [(0.98, 0.9), (0.85, 0.95)])
def test_views_that_err_independently_tell_how_many_labels_are_right(
    n_classes: int, given_right: float, model_right: float, second_right: float
) -> None:
    rng = np.random.default_rng(1)
    true = rng.integers(n_classes, size=50_000)
    views = [see(true, right, n_classes, rng) for right in (given_right, model_right, second_right)]
    found = compare_views(*views, n_classes)
    assert found.is_known
    assert found.low - 0.005 <= given_right <= found.high + 0.02
    assert found.right_labels <= given_right + 0.01
    assert found.high - found.low < 0.03
    scale = (n_classes * model_right - 1) / (n_classes - 1)
    assert found.model_skill == pytest.approx(scale, abs=0.03)


def test_views_that_always_agree_on_few_rows_are_no_proof() -> None:
    found = compare_views(*[np.arange(200) % 2] * 3, 2)
    assert found.right_labels == found.high == 1
    # Of 200 rows that were drawn none is wrong, also where 1.5 % of all are, in 1 draw of 20.
    assert 0.97 < found.low < 0.985


def test_coin_flips_say_nothing() -> None:
    rng = np.random.default_rng(0)
    views = rng.integers(2, size=(3, 4_000))
    found = compare_views(*views, 2)
    assert found.model_given.value == pytest.approx(0.5, abs=0.03)
    assert not found.is_known


def test_a_model_that_always_says_the_same_is_no_view() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=500)
    found = compare_views(labels, np.zeros(500, dtype=np.int64), labels, 3)
    assert not found.is_known
    assert math.isnan(found.right_labels)
    assert (found.low, found.high) == (0, 1)


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=40))
def test_whatever_the_views_the_estimate_is_a_share_within_its_interval(rows) -> None:
    views = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    found = compare_views(*views, 3)
    assert 0 <= found.low <= found.high <= 1
    if found.is_known:
        assert found.low <= found.right_labels <= found.high


def test_the_lower_end_is_above_the_truth_as_seldom_as_it_says() -> None:
    rng = np.random.default_rng(2)
    n_above = 0
    for _ in range(200):
        true = rng.integers(10, size=1_000)
        labels, model, second = (see(true, right, 10, rng) for right in (0.7, 0.95, 0.9))
        n_above += compare_views(labels, model, second, 10).low > (labels == true).mean()
    assert n_above <= 5
