"""What the benchmark of duplicates counts."""

import numpy as np

from benchmarks.duplicates import Part, plant, renumbered, with_digits


def test_planted_copies_are_counted_by_their_change_and_strange_groups_too():
    rows = list(np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32))
    rows += [rows[0], rows[0], rows[1]]
    changes = {
        "a little": lambda row, _: row + np.float32(1e-3),
        "much": lambda row, _: -row,
        "impossible for many": lambda row, _: row + np.float32(1e-3) if row[0] > 0 else None,
        "another row": lambda row, _: rows[0].copy(),
    }
    planted, members = plant(Part("rows", rows, np.asarray, changes, 5), np.random.default_rng(1))
    assert planted.n_groups == len(members) == 2
    assert planted.largest == 3
    assert planted.found["a little"] == (5, 5)
    assert planted.found["much"] == (0, 5)
    assert planted.found["impossible for many"] == (5, 5)
    assert planted.found["another row"][0] <= 2  # its row may be one of the three copies of row 0
    assert planted.n_strange == 5 - planted.found["another row"][0]


def test_a_renumbered_text_has_another_number_and_a_text_without_one_has_none():
    rng = np.random.default_rng(0)
    assert renumbered("no numbers, but covid-19", rng) is None
    assert all(renumbered("12 new cases", rng) != "12 new cases" for _ in range(20))
    assert renumbered("12 new cases", rng).endswith(" new cases")


def test_digits_are_those_that_count():
    assert with_digits(np.array([0.012345, 98765.0], np.float32), 2).tolist() == [np.float32(0.012), 99000]
