import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tasks.split_rows.alignment import align, correlate, detail


def draw_scenes(n, side, rng, channels=3):
    """(n, C, side, side) float32: smooth colours with some sharp rectangles."""
    scenes = np.empty((n, channels, side, side), dtype=np.float32)
    for scene in scenes:
        for channel in scene:
            coarse = Image.fromarray(rng.uniform(0, 255, (7, 7)).astype(np.float32))
            channel[:] = coarse.resize((side, side), Image.Resampling.BICUBIC)
        for _ in range(8):
            top, left = rng.integers(0, side - side // 4, 2)
            height, width = rng.integers(side // 16, side // 4, 2)
            scene[:, top : top + height, left : left + width] = rng.uniform(0, 255, (channels, 1, 1))
    return scenes.clip(0, 255)


def shrink(scenes, side=32):
    n, channels, height, width = scenes.shape
    return scenes.reshape(n, channels, side, height // side, side, width // side).mean(axis=(3, 5))


def window(scenes, top, left, size, side):
    """A window of each scene, at the size `side`."""
    cut = scenes[:, :, top : top + size, left : left + size]
    return np.stack(
        [
            [
                np.asarray(Image.fromarray(channel).resize((side, side), Image.Resampling.BICUBIC))
                for channel in scene
            ]
            for scene in cut
        ]
    )


@given(st.integers(0, 10**9), st.floats(0.1, 5), st.floats(-100, 100))
def test_neither_brightness_nor_contrast_changes_the_correlation(seed, contrast, brightness):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 4, 3, 6, 5)).astype(np.float32)
    changed = (contrast * second + brightness).astype(np.float32)
    assert correlate(first, changed) == pytest.approx(correlate(first, second), abs=1e-3)
    assert correlate(second, changed) == pytest.approx(1, abs=1e-3)


def test_the_correlation_is_that_of_numpy():
    first, second = np.random.default_rng(0).normal(size=(2, 5, 1, 6, 7)).astype(np.float32)
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first, second, strict=True)]
    assert correlate(first, second) == pytest.approx(expected, abs=1e-5)


def test_only_pixels_inside_are_compared():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(1, 2, 6, 6)).astype(np.float32)
    second = first.copy()
    second[:, :, 3:] = rng.normal(size=(1, 2, 3, 6))
    inside = np.zeros((1, 6, 6), dtype=bool)
    inside[:, :3] = True
    assert correlate(first, second, inside) == pytest.approx(1, abs=1e-5)
    assert correlate(first, second)[0] < 0.9


def test_an_even_picture_correlates_with_nothing():
    even, other = np.full((1, 1, 4, 4), 7, np.float32), np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert correlate(even, other)[0] == 0


def test_detail_is_nothing_of_an_even_slope_and_all_of_a_point():
    slope = np.tile(np.arange(20, dtype=np.float32), (1, 1, 20, 1))
    assert detail(slope)[:, :, :, 2:-2] == pytest.approx(0, abs=1e-5)
    point = np.zeros((1, 1, 9, 9), np.float32)
    point[..., 4, 4] = 25
    assert detail(point)[0, 0, 4, 4] == pytest.approx(24)
    assert detail(point)[0, 0, 2, 6] == pytest.approx(-1)
    assert detail(point)[0, 0, 1, 4] == pytest.approx(0)


def test_windows_of_a_scene_come_to_overlap_and_those_of_another_do_not():
    scenes = draw_scenes(30, 128, np.random.default_rng(0))
    whole = shrink(scenes)
    cut = shrink(window(scenes, 6, 10, 116, 128))  # 9 % of the width and of the height are gone
    plain = np.minimum(correlate(whole, cut), correlate(detail(whole), detail(cut)))
    assert np.median(plain) < 0.6
    assert (align(cut, whole) > 0.9).mean() > 0.9
    assert (align(whole, cut) > 0.9).mean() > 0.9
    assert align(cut, np.roll(whole, 1, axis=0)).max() < 0.7


def test_pictures_that_share_only_a_part_are_not_aligned():
    scenes = draw_scenes(20, 128, np.random.default_rng(1))
    left, right = shrink(window(scenes, 32, 0, 64, 128)), shrink(window(scenes, 32, 40, 64, 128))
    assert align(left, right).max() < 0.9
