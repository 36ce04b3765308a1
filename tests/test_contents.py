"""Contents: chosen rows are those that plain indexing gives, and choosing copies nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.contents import OF_KIND, Content

ROWS = {
    "image": np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2),
    "text": ["one", "two", "three", "four", "five"],
    "features": np.arange(15, dtype=np.float32).reshape(5, 3),
}


@st.composite
def choices(draw, n: int = 5):
    """Up to three ways to choose rows, one after the other: positions, a mask, a slice."""
    found = []
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["positions", "mask", "slice"]))
        if kind == "positions":
            found.append(np.array(draw(st.lists(st.integers(0, n - 1), max_size=7)) if n else [], dtype=int))
        elif kind == "mask":
            found.append(np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=bool))
        else:
            found.append(draw(st.slices(n)))
        n = len(np.arange(n)[found[-1]])
    return found


@pytest.mark.parametrize("kind", OF_KIND)
@given(choices=choices())
def test_rows_chosen_step_by_step_are_those_of_plain_indexing(kind: str, choices) -> None:
    content, expected = OF_KIND[kind](ROWS[kind]), np.array(ROWS[kind])
    for rows in choices:
        content, expected = content.take(rows), expected[rows]
    assert content.kind == kind
    assert len(content) == len(expected)
    values = content.values()
    assert type(values) is type(ROWS[kind])
    assert np.array(values, dtype=expected.dtype).tolist() == expected.tolist()


@pytest.mark.parametrize("kind", OF_KIND)
def test_folds_share_what_they_choose_from(kind: str) -> None:
    content: Content = OF_KIND[kind](ROWS[kind])
    assert content.values() is ROWS[kind] or kind == "text"
    assert content.take(np.array([4, 0, 0])).take(slice(1, None)).held is ROWS[kind]
