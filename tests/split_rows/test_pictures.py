import io

import numpy as np
import pytest
from examples import some_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits
from split_rows.test_alignment import draw_scenes

from tasks.split_rows import pictures as of_pictures
from tasks.split_rows.alignment import correlate
from tasks.split_rows.exact import first_alike
from tasks.split_rows.pictures import LIKENESS, PictureFingerprints, fingerprint_pictures, near_pictures


def draw_pictures(n, seed, side=96):
    """(n, side, side, 3) uint8."""
    return np.moveaxis(draw_scenes(n, side, np.random.default_rng(seed)), 1, 3).astype(np.uint8)


def by_pillow(change):
    return lambda pictures: np.stack([np.asarray(change(Image.fromarray(picture))) for picture in pictures])


def recode(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=60)
    return Image.open(file)


def crop(picture, share):
    lost = picture.width * share
    box = (lost * 0.3, lost * 0.8, picture.width - lost * 0.7, picture.height - lost * 0.2)
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


def linked(pictures, features=None):
    """The pairs of positions that are linked."""
    prints = fingerprint_pictures(pictures)
    rows = np.unique(first_alike(prints.digests))
    links = near_pictures(prints, rows, features)
    return set(zip(rows[links.first].tolist(), rows[links.second].tolist(), strict=True))


CHANGES = {
    "recoded": recode,
    "halved": lambda picture: picture.resize((48, 48)).resize(picture.size),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "cropped": lambda picture: crop(picture, 0.04),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_nothing_else(change):
    pictures = draw_pictures(60, seed=0)
    copies = by_pillow(CHANGES[change])(pictures[:20])
    found = linked(np.concatenate([pictures, copies]))
    planted = {(row, 60 + row) for row in range(20)}
    assert found <= planted
    assert len(found) >= 19


def test_handwritten_digits_are_alike_but_no_duplicates():
    digits = (load_digits().images * 15).astype(np.uint8)
    assert not linked(digits)
    copies = np.clip(digits[:100].astype(int) + np.random.default_rng(0).integers(-4, 5, (100, 8, 8)), 0, 255)
    found = linked(np.concatenate([digits, copies.astype(np.uint8)]))
    planted = {(row, len(digits) + row) for row in range(100)}
    assert found <= planted
    assert len(found) >= 95


@pytest.mark.parametrize("kind", ["digits", "scenes"])
def test_details_that_are_not_looked_at_change_nothing(kind, monkeypatch):
    if kind == "digits":
        pictures = (load_digits().images[:600] * 15).astype(np.uint8)
    else:
        pictures = draw_pictures(120, seed=3, side=28)
    strength = np.linspace(1, 60, len(pictures)).reshape(-1, *[1] * (pictures.ndim - 1))
    noise = np.random.default_rng(0).normal(size=pictures.shape) * strength
    copies = np.clip(pictures + noise, 0, 255).astype(np.uint8)
    found = linked(np.concatenate([pictures, copies]))
    compare = of_pictures._compare
    monkeypatch.setattr(of_pictures, "_compare", lambda *given: compare(*given[:4], np.inf, given[5]))
    assert linked(np.concatenate([pictures, copies])) == found
    assert 10 < len(found) < len(pictures)


def test_fifteen_copies_and_their_picture_are_linked():
    pictures = draw_pictures(40, seed=1)
    noise = np.random.default_rng(0).integers(-3, 4, (15, *pictures.shape[1:]))
    copies = np.clip(pictures[7] + noise, 0, 255).astype(np.uint8)
    found = linked(np.concatenate([pictures, copies]))
    rows = {row for pair in found for row in pair}
    assert rows == {7, *range(40, 55)}


def test_a_mirrored_picture_is_another():
    pictures = draw_pictures(30, seed=2)
    assert not linked(np.concatenate([pictures, pictures[:, :, ::-1]]))


def test_pictures_of_other_colours_are_others():
    pictures = draw_pictures(30, seed=3)
    assert not linked(np.concatenate([pictures, pictures[..., ::-1]]))


def test_two_landscapes_with_one_sky_are_others():
    # Sky above ground, and a few small things: these alone are different.
    rng = np.random.default_rng(0)
    pictures = draw_pictures(30, seed=8)
    landscapes = np.zeros((2, *pictures.shape[1:]), dtype=np.uint8)
    landscapes[:, :48] = 220
    for landscape in landscapes:
        for top, left in rng.integers(0, 90, (14, 2)):
            landscape[top : top + 6, left : left + 6] = rng.integers(0, 256, 3)
    thumbnails = fingerprint_pictures(landscapes).thumbnails.astype(np.float32)
    assert correlate(thumbnails[:1], thumbnails[1:])[0] > LIKENESS
    assert not linked(np.concatenate([pictures, landscapes]))


def test_nearly_even_pictures_are_no_duplicates_of_each_other():
    rng = np.random.default_rng(0)
    pictures = draw_pictures(20, seed=4)
    even = np.full((10, *pictures.shape[1:]), 250) + rng.integers(0, 2, (10, *pictures.shape[1:]))
    assert not linked(np.concatenate([pictures, even.astype(np.uint8), np.zeros_like(pictures[:2])]))


def test_features_lead_to_crops_that_the_hash_does_not():
    pictures = draw_pictures(80, seed=5)
    copies = by_pillow(lambda picture: crop(picture, 0.2))(pictures[:20])
    everything = np.concatenate([pictures, copies])
    features = np.random.default_rng(0).normal(size=(80, 16))
    features = np.concatenate([features, features[:20]]).astype(np.float32)
    features[79] = 0
    planted = {(row, 80 + row) for row in range(20)}
    without, found = linked(everything), linked(everything, features)
    assert found <= planted
    assert len(found) > len(without) + 5


def test_features_alone_make_no_duplicates():
    pictures = draw_pictures(40, seed=6)
    assert not linked(pictures, np.ones((40, 4), dtype=np.float32))


@settings(max_examples=some_of(25))
@given(
    st.integers(1, 7),
    st.sampled_from([(40, 50, 3), (40, 50, 1), (40, 50), (20, 50, 3), (9, 11), (5, 3)]),
)
def test_portions_change_nothing(portion_rows, shape):
    pictures = np.random.default_rng(0).integers(0, 256, (13, *shape), dtype=np.uint8)
    whole = fingerprint_pictures(pictures)
    parts = [
        fingerprint_pictures(pictures[start : start + portion_rows]) for start in range(0, 13, portion_rows)
    ]
    joined = PictureFingerprints.join(parts)
    assert np.array_equal(joined.digests, whole.digests)
    assert np.array_equal(joined.thumbnails, whole.thumbnails)
    assert joined.shrunk == whole.shrunk == (min(shape[:2]) > 32)


def test_a_small_picture_is_its_own_thumbnail_and_a_large_one_is_averaged():
    small = np.arange(2 * 5 * 6, dtype=np.uint8).reshape(2, 5, 6)
    assert np.array_equal(fingerprint_pictures(small).thumbnails[:, 0], small)
    large = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    means = large.reshape(2, 32, 2, 32, 3, 3).mean(axis=(2, 4))
    thumbnails = np.moveaxis(fingerprint_pictures(large).thumbnails, 1, 3)
    assert np.abs(thumbnails - means).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_few_pictures_have_no_links(n):
    assert not linked(draw_pictures(n, seed=7))
