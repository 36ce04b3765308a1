"""Strong changes: what they do to pictures and vectors, exactly where that is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.training.changes import change_strongly, cut_out, move_pictures, swap_values
from tasks.training.strong_changes import StrongChanges

NOTHING = dict.fromkeys(StrongChanges.model_fields, 0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 256, (n, 1, height, width), dtype=torch.uint8, generator=generator(seed))


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**31))
def test_no_change_leaves_pictures_as_they_are(height: int, width: int, seed: int) -> None:
    images = pictures(3, height, width, seed)
    found = change_strongly(images, generator(seed), StrongChanges(**NOTHING))
    torch.testing.assert_close(found, images.float(), atol=1e-2, rtol=1e-4)


def test_a_turn_keeps_lengths_in_pictures_that_are_not_square() -> None:
    """A dot turned about the middle stays as far from it, and as large."""
    image = torch.zeros(200, 1, 41, 61)
    image[:, :, 19:22, 42:45] = 100.0
    found = move_pictures(image, generator(), StrongChanges(**{**NOTHING, "degrees": 60.0}))
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(61.0) - 30, indexing="ij")
    mass = found.sum(dim=(1, 2, 3))
    away_y, away_x = ((found[:, 0] * at).sum(dim=(1, 2)) / mass for at in (y, x))
    assert mass.numpy() == pytest.approx(np.full(200, 900), rel=0.05)
    assert torch.hypot(away_y, away_x).numpy() == pytest.approx(np.full(200, 13), abs=0.1)
    angle = torch.rad2deg(torch.atan2(away_y, away_x))
    assert -60 < angle.min() < -50
    assert 50 < angle.max() < 60


def test_shifts_and_scales_stay_in_their_reach() -> None:
    image = torch.zeros(300, 1, 31, 31)
    image[:, :, 13:18, 13:18] = 1.0  # 5 x 5 pixels
    moved = move_pictures(image, generator(), StrongChanges(**{**NOTHING, "shift": 4.0}))
    at = (moved[:, 0].sum(dim=1) * (torch.arange(31.0) - 15)).sum(dim=1) / 25
    assert 3.5 < at.abs().max() <= 4.01
    image[:, :, 8:23, 8:23] = 1.0  # 15 x 15
    scaled = move_pictures(image, generator(), StrongChanges(**{**NOTHING, "scale": 0.5}))
    sides = scaled.sum(dim=(1, 2, 3)).sqrt() / 15
    assert sides.min() == pytest.approx(0.5, abs=0.06)
    assert sides.max() == pytest.approx(1.5, abs=0.06)


def test_a_slant_moves_rows_sideways_in_proportion_to_their_height() -> None:
    image = torch.zeros(300, 1, 41, 61)
    image[:, :, :, 29:32] = 1.0  # an upright bar in the middle
    found = move_pictures(image, generator(), StrongChanges(**{**NOTHING, "shear": 0.5}))[:, 0]
    place = (found * (torch.arange(61.0) - 30)).sum(dim=2) / found.sum(dim=2)
    slope = place[:, 40] / 20
    assert 0.45 < slope.abs().max() <= 0.51
    torch.testing.assert_close(place, slope[:, None] * (torch.arange(41.0) - 20), atol=0.05, rtol=0.05)


@given(st.integers(3, 40), st.integers(3, 40), st.floats(0.5, 3), st.integers(0, 2**31))
def test_bent_pictures_move_by_at_most_so_many_pixels_and_each_in_its_own_way(
    height: int, width: int, reach: float, seed: int
) -> None:
    """Of a picture whose values are places, the difference is how far each pixel was moved."""
    for axis, side in ((2, height), (3, width)):
        places = torch.arange(1.0, side + 1).view([side if each == axis else 1 for each in range(4)])
        image = places.expand(8, 1, height, width)
        found = move_pictures(image, generator(seed), StrongChanges(**{**NOTHING, "elastic": reach}))
        edge = int(2 * reach) + 1
        inside = (slice(None), slice(None), slice(edge, height - edge), slice(edge, width - edge))
        moved = (found - image)[inside]
        # Cubic curves pass their points by a little.
        assert moved.numel() == 0 or moved.abs().max() < 1.6 * reach
        if moved.numel():
            assert moved.std(dim=0).min() > 0


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 12), st.integers(0, 2**31))
def test_a_square_is_cut_out_of_each_picture(height: int, width: int, size: int, seed: int) -> None:
    images = pictures(4, height, width).float()
    found = cut_out(images, generator(seed), size)
    cut = (found == 0).sum(dim=(1, 2, 3)).tolist()
    assert cut == [min(size, height) * min(size, width)] * 4
    assert torch.equal(found[found != 0], images[found != 0])


def test_values_are_swapped_within_their_column() -> None:
    vectors = torch.arange(4000.0).view(1000, 4) % 4 + 10 * torch.arange(1000.0)[:, None]
    found = swap_values(vectors, generator(), 0.3)
    assert torch.equal(found % 10, vectors % 10)
    assert float((found != vectors).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert torch.equal(swap_values(vectors, generator(), 0.0), vectors)
