"""Embeddings put into a plane."""

import numpy as np
import pytest

from tasks.training.embedding_map import MOST_ROWS, choose_rows, place_in_plane


@pytest.mark.parametrize("n_rows", [1, 7, MOST_ROWS, MOST_ROWS + 1, 5 * MOST_ROWS + 3])
def test_rows_are_chosen_from_the_first_to_the_last_each_once(n_rows: int) -> None:
    rows = choose_rows(n_rows)
    assert len(rows) == min(n_rows, MOST_ROWS)
    assert (
        (np.diff(rows) >= 1).all() and np.ptp(np.diff(rows)) <= 1 if len(rows) > 1 else rows.tolist() == [0]
    )
    assert rows[-1] == n_rows - 1


@pytest.mark.parametrize("shape", [(3, 8), (20, 1), (0, 8)])
def test_there_is_no_map_of_too_few_rows_or_of_one_axis(shape: tuple[int, int]) -> None:
    assert place_in_plane(np.random.default_rng(0).normal(size=shape).astype(np.float32)) is None


def test_there_is_no_map_of_rows_that_are_all_alike() -> None:
    assert place_in_plane(np.ones((20, 8), dtype=np.float32)) is None


@pytest.mark.parametrize("n_rows", [4, 5, 60])
def test_a_map_has_a_finite_point_for_each_row_and_is_the_same_again(n_rows: int) -> None:
    embedding = np.random.default_rng(n_rows).normal(size=(n_rows, 2)).astype(np.float32)
    first, second = (place_in_plane(embedding) for _ in range(2))
    assert first is not None
    assert first.shape == (n_rows, 2)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


def test_groups_that_lie_apart_stay_apart() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(3), 40)
    embedding = (20 * np.eye(5)[group] + rng.normal(size=(120, 5))).astype(np.float32)
    places = place_in_plane(embedding)
    assert places is not None
    centres = np.stack([places[group == k].mean(axis=0) for k in range(3)])
    nearest = np.square(places[:, None] - centres[None]).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, group)
