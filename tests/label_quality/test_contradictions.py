"""Copies with different labels, beside a count by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.contradictions import find_contradictions


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 4), st.integers(0, 3))))
def test_a_row_contradicts_where_another_of_its_group_has_another_label(rows: list[tuple[int, int]]) -> None:
    groups = np.array([group for group, _ in rows], dtype=np.int64)
    labels = np.array([label for _, label in rows], dtype=np.int16)
    expected = [any(group == g and label != k for g, k in rows) for group, label in rows]
    assert find_contradictions(groups, labels).tolist() == expected
