from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, make_moons

from tasks.neighbours import nearest
from tasks.split_rows.exact import first_alike
from tasks.split_rows.vectors import VectorFingerprints, fingerprint_vectors, least_ratio, near_vectors

TABLES = {
    "breast cancer": load_breast_cancer().data,
    "digits": load_digits().data,
    "iris": load_iris().data,
    "moons": make_moons(3000, noise=0.05, random_state=0)[0],
    "square": np.random.default_rng(0).random((4000, 2)),
    "one of five, four times": np.eye(5)[np.random.default_rng(0).integers(5, size=(2000, 4))].reshape(
        2000, -1
    ),
}


def linked(rows):
    """The pairs of positions that are linked."""
    prints = fingerprint_vectors(rows.astype(np.float32))
    kept = np.unique(first_alike(prints.digests))
    links = near_vectors(prints, kept)
    return set(zip(kept[links.first].tolist(), kept[links.second].tolist(), strict=True))


def slowly_linked(rows, k=16, longest=0.1, chance=0.05):
    """The same from a table of all distances, row by row."""
    scaled = rows / rows.std(axis=0) / np.sqrt(rows.shape[1])
    distance = np.sqrt(((scaled[:, None] - scaled[None]) ** 2).sum(axis=2))
    np.fill_diagonal(distance, np.inf)
    near = [np.argsort(own, kind="stable")[:k] for own in distance]
    inverse = [
        np.mean([j * np.log(own[found[j]] / own[found[j - 1]]) for j in range(k // 2, k)])
        for own, found in zip(distance, near, strict=True)
    ]
    ratio = max(2, (len(rows) / chance) ** np.median(inverse))
    pairs = {tuple(sorted((row, int(other)))) for row, found in enumerate(near) for other in found}
    reach = np.full(len(rows), -1.0)
    for row in range(len(rows)):
        lengths = sorted(distance[pair] for pair in pairs if row in pair)
        for length, following in pairwise(lengths):
            if length <= longest and following >= ratio * length:
                reach[row] = length
    return {pair for pair in pairs if distance[pair] <= min(longest, reach[pair[0]], reach[pair[1]])}


@settings(max_examples=30)
@given(st.integers(0, 10**9), st.integers(3, 12), st.sampled_from([1e-4, 1e-2, 0.03, 0.1]))
def test_links_are_those_that_a_table_of_all_distances_gives(seed, n_columns, noise):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(40, n_columns)) * np.exp(rng.normal(size=n_columns))
    copied = rows[rng.integers(40, size=12)]
    everything = np.concatenate([rows, copied + noise * rows.std(axis=0) * rng.normal(size=copied.shape)])
    everything = everything.astype(np.float32)
    assert linked(everything) == slowly_linked(everything.astype(np.float64))


@pytest.mark.parametrize("table", TABLES)
def test_rows_of_real_tables_are_alike_but_no_duplicates(table):
    assert not linked(TABLES[table])


@pytest.mark.parametrize("table", ["breast cancer", "digits"])
def test_rows_with_noise_are_found_and_nothing_else(table):
    rows, rng = TABLES[table], np.random.default_rng(0)
    drawn = rng.choice(len(rows), 100, replace=False)
    copies = rows[drawn] + 0.02 * rows.std(axis=0) * rng.normal(size=(100, rows.shape[1]))
    found = linked(np.concatenate([rows, copies]))
    planted = {(int(row), len(rows) + number) for number, row in enumerate(drawn)}
    assert found <= planted
    assert len(found) >= 98


def test_units_of_a_column_change_nothing():
    rows = TABLES["breast cancer"]
    copies = rows[:50] * (1 + 1e-4 * np.random.default_rng(0).normal(size=(50, 30)))
    both = np.concatenate([rows, copies])
    units = 2.0 ** np.arange(-15, 15)
    assert linked(both) == linked(both * units)
    assert len(linked(both)) == 50


def test_a_column_that_never_changes_says_nothing():
    rows = TABLES["breast cancer"]
    both = np.concatenate([rows, rows[:50] + 1e-4 * rows.std(axis=0)])
    assert linked(both) == linked(np.hstack([both, np.full((len(both), 40), 1e6)]))
    assert not linked(np.ones((30, 3)))


@pytest.mark.parametrize("n_dimensions", [2, 4, 8])
def test_the_ratio_follows_the_dimensions_of_the_rows_not_of_the_columns(n_dimensions):
    rng = np.random.default_rng(0)
    rows = rng.random((4000, n_dimensions)) @ rng.normal(size=(n_dimensions, 40))
    distance = nearest(rows.astype(np.float32), 16).distance
    dimensions = np.log(4000 / 0.05) / np.log(least_ratio(distance, 4000))
    assert dimensions == pytest.approx(n_dimensions, rel=0.25)


def test_copies_do_not_change_the_ratio_much():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 10))
    copied = np.concatenate([rows, rows + 1e-3 * rng.normal(size=rows.shape), rows[:700] + 1e-3])
    alone, together = (
        np.log(least_ratio(nearest(each.astype(np.float32), 16).distance, 1000)) for each in (rows, copied)
    )
    assert together == pytest.approx(alone, rel=0.3)


@pytest.mark.parametrize("n_neighbours", [1, 2, 3])
def test_from_few_neighbours_nothing_stands_out(n_neighbours):
    assert least_ratio(np.sort(np.random.default_rng(0).random((50, n_neighbours)), axis=1), 50) == np.inf
    assert not linked(np.random.default_rng(0).normal(size=(n_neighbours + 1, 3)))


@settings(max_examples=20)
@given(st.integers(1, 9))
def test_portions_change_nothing(portion_rows):
    rows = np.random.default_rng(0).normal(size=(13, 4)).astype(np.float32)
    whole = fingerprint_vectors(rows)
    parts = [fingerprint_vectors(rows[start : start + portion_rows]) for start in range(0, 13, portion_rows)]
    joined = VectorFingerprints.join(parts)
    assert np.array_equal(joined.digests, whole.digests)
    assert np.array_equal(joined.vectors, whole.vectors)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_number_that_is_none_is_refused_with_its_row(value):
    rows = np.zeros((5, 2))
    rows[3, 1] = value
    with pytest.raises(ValueError, match="row 3"), np.errstate(over="ignore"):
        fingerprint_vectors(rows)
