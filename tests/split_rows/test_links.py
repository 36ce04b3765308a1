import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.split_rows.links import Links, pair_up, stand_out


def make_links(pairs):
    """Links of {(first, second): distance}."""
    ends = sorted(pairs)
    first = np.array([one for one, _ in ends], dtype=np.int64)
    second = np.array([other for _, other in ends], dtype=np.int64)
    return Links(first, second, np.array([pairs[pair] for pair in ends], dtype=float))


def slow_stand_out(pairs, n_rows, limit, ratio):
    """The same by looking at each row in turn."""
    reach = {}
    for row in range(n_rows):
        distances = sorted(distance for pair, distance in pairs.items() if row in pair)
        reach[row] = -1.0
        for at, distance in enumerate(distances):
            following = distances[at + 1 : at + 2]
            if distance <= limit and following and following[0] >= ratio * distance:
                reach[row] = distance
    return [distance <= min(reach[pair[0]], reach[pair[1]]) for pair, distance in sorted(pairs.items())]


@given(st.lists(st.lists(st.integers(0, 8), min_size=3, max_size=3), min_size=9, max_size=9))
def test_pairs_are_those_of_neighbours_each_once(index):
    first, second, place = pair_up(np.array(index))
    expected = {
        tuple(sorted((row, other))) for row, found in enumerate(index) for other in found if other != row
    }
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == sorted(expected)
    for one, other, at in zip(first, second, place, strict=True):
        assert {at // 3, index[at // 3][at % 3]} == {one, other}


pairs_of_rows = st.dictionaries(
    st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] < pair[1]),
    st.sampled_from([0.0, 0.01, 0.02, 0.05, 0.06, 0.1, 0.3, 0.9]),
)


@given(pairs_of_rows, st.sampled_from([0.05, 0.1]), st.sampled_from([2.0, 3.0]))
def test_what_stands_out_is_what_looking_at_each_row_says(pairs, limit, ratio):
    found = stand_out(make_links(pairs), 8, limit=limit, ratio=ratio)
    assert found.tolist() == slow_stand_out(pairs, 8, limit, ratio)


def test_any_number_of_copies_may_come_before_the_gap():
    copies = {(0, 1): 0.01, (0, 2): 0.02, (1, 2): 0.02}
    others = {(0, 3): 0.5, (1, 3): 0.5, (2, 3): 0.5}
    found = stand_out(make_links(copies | others), 4, limit=0.1, ratio=3)
    assert found.tolist() == [True, True, False, True, False, False]


def test_in_a_crowd_nothing_stands_out_however_close():
    rows = np.linspace(0, 0.1, 20)
    pairs = {(i, j): rows[j] - rows[i] for i in range(20) for j in range(i + 1, 20)}
    assert not stand_out(make_links(pairs), 20, limit=0.1, ratio=3).any()


def test_both_rows_must_see_the_link_before_a_gap():
    # To row 0, row 1 stands out; but row 1 is in a crowd with 2, 3 and 4.
    pairs = {(0, 1): 0.05, (1, 2): 0.06, (1, 3): 0.07, (1, 4): 0.12, (0, 2): 0.5}
    assert not stand_out(make_links(pairs), 5, limit=0.1, ratio=3)[0]


def test_a_row_that_knows_only_short_links_has_no_gap():
    links = make_links({(0, 1): 0.01})
    assert not stand_out(links, 2, limit=0.1, ratio=3).any()


def test_joined_links_are_all_of_them():
    parts = [make_links({(0, 1): 0.5}), make_links({}), make_links({(1, 3): 0.25, (2, 3): 0.75})]
    joined = Links.join(parts)
    assert len(joined) == 3
    assert joined.first.tolist() == [0, 1, 2]
    assert joined.distance == pytest.approx([0.5, 0.25, 0.75])
    assert len(Links.join()) == 0
