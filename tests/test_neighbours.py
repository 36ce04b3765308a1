"""The exact search against a table of all distances, and what blocks and order must not change."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from tasks import neighbours
from tasks.neighbours import describe_search, nearest


def all_distances(queries, rows, metric):
    """(Q, N) in float64, from the differences."""
    queries, rows = queries.astype(np.float64), rows.astype(np.float64)
    if metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    squared = ((queries[:, None] - rows[None]) ** 2).sum(axis=2)
    return squared / 2 if metric == "cosine" else np.sqrt(squared)


def by_sorting(queries, rows, k, metric, own):
    """Index and distance of the k nearest, ties in the order of the rows."""
    distance = all_distances(queries, rows, metric)
    if own:
        np.fill_diagonal(distance, np.inf)
    index = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return index, np.take_along_axis(distance, index, axis=1)


def draw_rows(seed, metric):
    """Rows of many kinds: on a grid with ties, with copies, in two far heaps, of unequal scale, tiny."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 60)), int(rng.integers(1, 12))
    rows = rng.normal(size=(n, d))
    kind = rng.integers(6)
    if kind == 1:
        rows = rng.integers(0, 3, size=(n, d)).astype(float)
    if kind == 2:
        rows = rows[rng.integers(max(n // 4, 1), size=n)]
    if kind == 3:
        rows = rows * 1e-3 + 1e3 * rng.integers(0, 2, size=(n, 1))
    if kind == 4:
        rows = rows * np.exp(rng.normal(scale=4, size=(n, 1)))
    if kind == 5:
        rows = rows * 1e-25
    if metric == "cosine":
        rows[~rows.any(axis=1)] = 1
    return rows.astype(np.float32), rng


@given(st.integers(0, 10**9), st.sampled_from(["euclidean", "cosine"]), st.integers(1, 70), st.booleans())
def test_neighbours_are_those_of_a_table_of_all_distances(seed, metric, block_rows, own):
    rows, rng = draw_rows(seed, metric)
    k = int(rng.integers(1, len(rows) + (not own)))
    queries = None if own else rows[rng.permutation(len(rows))[:7]] + np.float32(0.125)
    found = nearest(rows, k, metric=metric, queries=queries, block_rows=block_rows)
    index, distance = by_sorting(rows if own else queries, rows, k, metric, own)
    assert found.distance == pytest.approx(distance, abs=1e-12, rel=1e-9)
    if metric == "euclidean":  # of cosines, the two ways to divide may order what is equal up to rounding
        assert np.array_equal(found.index, index)
    else:
        all_of_them = all_distances(rows if own else queries, rows, metric)
        assert np.take_along_axis(all_of_them, found.index, 1) == pytest.approx(distance, abs=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_more_rows_than_a_tile(metric, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(700, 5)).astype(np.float32)
    whole = nearest(rows, 9, metric=metric)
    monkeypatch.setattr(neighbours, "_TILE_ROWS", 64)
    cut = nearest(rows, 9, metric=metric, block_rows=50)
    assert np.array_equal(whole.index, cut.index)
    assert np.array_equal(whole.distance, cut.distance)
    assert np.array_equal(whole.index, by_sorting(rows, rows, 9, metric, own=True)[0])


def test_what_float32_cannot_tell_apart_is_compared_in_float64():
    # Two heaps, 1,000 apart, each 0.01 wide: in float32, all keys inside a heap are equal.
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(200, 3)) * 1e-2 + 1e3 * (np.arange(200)[:, None] % 2)).astype(np.float32)
    index, distance = by_sorting(rows, rows, 5, "euclidean", own=True)
    found = nearest(rows, 5, block_rows=64)
    assert np.array_equal(found.index, index)
    assert found.distance == pytest.approx(distance, rel=1e-12)


def test_numbers_of_which_float32_has_no_squares_are_compared_in_float64():
    rows = (np.random.default_rng(0).normal(size=(200, 3)) * 1e-25).astype(np.float32)
    assert np.array_equal(nearest(rows, 5).index, by_sorting(rows, rows, 5, "euclidean", own=True)[0])


def test_one_huge_row_makes_no_search_slow_or_wrong(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    rows[17] = 1e6
    ranked = []
    rank = neighbours._rank
    monkeypatch.setattr(neighbours, "_rank", lambda *given: ranked.append(len(given[2])) or rank(*given))
    found = nearest(rows, 3, block_rows=100)
    assert np.array_equal(found.index, by_sorting(rows, rows, 3, "euclidean", own=True)[0])
    # Once a block; again where float32 could not tell, as for the huge row.
    assert len(ranked) - 3 <= 5


def test_threads_change_nothing():
    rows = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    alone = nearest(rows, 4, block_rows=64)
    with threadpool_limits(1), ThreadPoolExecutor(2) as pool:
        together = nearest(rows, 4, block_rows=64, each=pool.map)
    assert np.array_equal(alone.index, together.index)
    assert np.array_equal(alone.distance, together.distance)


def test_memory_follows_the_block():
    import tracemalloc

    rows = np.random.default_rng(0).normal(size=(6000, 8)).astype(np.float32)
    tracemalloc.start()
    with threadpool_limits(1):
        nearest(rows, 5, block_rows=256)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # all distances would take 144 MB in float32


@pytest.mark.parametrize(
    ("rows", "k", "metric", "said"),
    [
        (np.ones((3, 2)), 3, "euclidean", "from 1 to 2"),
        (np.ones((3, 2)), 0, "euclidean", "found 0"),
        (np.full((3, 2), np.nan), 1, "euclidean", "finite"),
        (np.array([[1, 0], [0, 0], [0, 1]]), 1, "cosine", "zeros"),
        (np.ones(3), 1, "euclidean", "shape"),
        (np.array([[0], [1], [1e30]]), 1, "euclidean", "apart"),
    ],
)
def test_rows_that_cannot_be_searched_are_refused(rows, k, metric, said):
    with pytest.raises(ValueError, match=said):
        nearest(rows.astype(np.float32), k, metric=metric)


def test_queries_of_another_width_are_refused():
    with pytest.raises(ValueError, match="wide"):
        nearest(np.ones((3, 2), np.float32), 1, queries=np.ones((1, 3), np.float32))


@pytest.fixture
def few_are_many(monkeypatch):
    """As if 300 rows were too many for an exact search; without faiss there is nothing to test."""
    pytest.importorskip("faiss", reason="the extra `ann` is not installed")
    monkeypatch.setattr(neighbours, "MOST_EXACT_ROWS", 300)


@pytest.mark.usefixtures("few_are_many")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_beyond_the_limit_most_neighbours_are_found_and_their_distances_are_exact(metric):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 24)) * 4
    rows = (centres[rng.integers(40, size=900)] + rng.normal(size=(900, 24))).astype(np.float32)
    # Copies with a little noise: what `split_rows` looks for.
    rows[1::100] = rows[::100] + rng.normal(size=(9, 24)).astype(np.float32) * 1e-3
    found = nearest(rows, 8, metric=metric)
    index, _ = by_sorting(rows, rows, 8, metric, own=True)
    assert np.mean([len(np.intersect1d(*pair)) / 8 for pair in zip(found.index, index, strict=True)]) > 0.95
    assert np.array_equal(found.index[::100, 0], np.arange(1, 900, 100))
    own = np.arange(len(rows))[:, None]
    assert not (found.index == own).any()
    every = all_distances(rows, rows, metric)
    np.testing.assert_allclose(found.distance, np.take_along_axis(every, found.index, 1), atol=1e-6)
    again = nearest(rows, 8, metric=metric, block_rows=700)
    assert np.array_equal(again.index, found.index)


@pytest.mark.usefixtures("few_are_many")
def test_rows_whose_cells_hold_too_few_are_searched_exactly(monkeypatch):
    monkeypatch.setattr(neighbours, "_CELLS_LOOKED_AT", 1)
    rows = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    found = nearest(rows, 100)
    np.testing.assert_allclose(found.distance, by_sorting(rows, rows, 100, "euclidean", own=True)[1])


@pytest.mark.parametrize("is_installed", [True, False])
def test_how_many_rows_are_searched_is_told(monkeypatch, is_installed):
    spec = object() if is_installed else None
    monkeypatch.setattr(neighbours.importlib.util, "find_spec", lambda name: spec)
    assert describe_search(200_000) is None
    assert neighbours.is_approximate(200_001) == is_installed
    assert ("by faiss" if is_installed else "pip install '.[ann]'") in describe_search(200_001)
