"""Moments by portions, against the whole array at once."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_trainings import facts_of

from tasks.contents import Features, Images
from tasks.training import statistics
from tasks.training.statistics import moments, n_statistics, portions, standardize

SHAPES = st.sampled_from([(3, 5), (4, 2, 1), (2, 3, 3)])


@given(st.integers(1, 40), SHAPES, st.integers(1, 200), st.integers(0, 2**31))
def test_moments_of_pictures_are_those_of_each_channel(
    n: int, shape: tuple[int, ...], portion: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "portions", partial(portions, most_bytes=portion))
        found = moments(Images(pixels))
    channels = pixels.reshape(-1, shape[2] if len(shape) == 3 else 1).astype(np.float64)
    assert found[0].shape == found[1].shape == (n_statistics(facts_of(Images(pixels))),)
    np.testing.assert_allclose(found[0], channels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found[1], np.maximum(channels.std(axis=0), 1e-6), rtol=1e-6)
    whole = moments(Images(pixels))
    assert np.array_equal(found, whole), "portions of another size give the same bits"


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 200), st.integers(0, 2**31))
def test_moments_of_features_are_those_of_each(n: int, d: int, portion: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 6, d) + 5).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "portions", partial(portions, most_bytes=portion))
        mean, deviation = moments(Features(values))
    np.testing.assert_allclose(mean, values.astype(np.float64).mean(axis=0), rtol=1e-6)
    expected = np.maximum(values.astype(np.float64).std(axis=0), 1e-6)
    np.testing.assert_allclose(deviation, expected, rtol=1e-6)


def test_moments_see_the_chosen_rows_alone() -> None:
    pixels = np.repeat(np.arange(10, dtype=np.uint8), 4).reshape(10, 2, 2)
    mean, deviation = moments(Images(pixels).take(np.array([2, 4])))
    assert (mean.item(), deviation.item()) == (3, 1)


@given(st.integers(0, 100), st.integers(1, 400), st.none() | st.integers(1, 9))
def test_portions_are_all_rows_in_order(n: int, n_bytes: int, n_rows: int | None) -> None:
    content = Images(np.zeros((n, 4, 5), dtype=np.uint8))
    found = list(portions(content, n_bytes, n_rows))
    assert [row for chosen in found for row in range(n)[chosen]] == list(range(n))
    most = min(max(n_bytes // 20, 1), n_rows or n)
    assert all(chosen.stop - chosen.start == most for chosen in found[:-1])
    assert all(0 < chosen.stop - chosen.start <= most for chosen in found)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_standardized_rows_have_mean_0_and_deviation_1(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, *shape), dtype=np.uint8)
    content = Images(pixels)
    values = standardize(content, *moments(content))
    assert values.dtype == np.float32
    assert values.shape == (30, math.prod(shape))
    channels = values.reshape(-1, shape[2] if len(shape) == 3 else 1)
    np.testing.assert_allclose(channels.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(channels.std(axis=0), 1, atol=1e-5)
