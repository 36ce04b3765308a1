import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.split_rows.groups import Groups, group_rows, join, put_together
from tasks.split_rows.links import Links


def links_of(pairs):
    ends = np.array(sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}), dtype=np.int64)
    ends = ends.reshape(-1, 2)
    return Links(ends[:, 0], ends[:, 1], np.zeros(len(ends)))


def steps_between(pairs, n_rows):
    """(N, N) the least number of links from row to row; infinite where there is no way."""
    steps = np.full((n_rows, n_rows), np.inf)
    np.fill_diagonal(steps, 0)
    for one, other in pairs:
        if one != other:
            steps[one, other] = steps[other, one] = 1
    for middle in range(n_rows):
        steps = np.minimum(steps, steps[:, middle, None] + steps[None, middle])
    return steps


pairs_of_rows = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=25)


@given(pairs_of_rows)
def test_groups_are_what_links_connect_where_there_are_no_chains(pairs):
    steps = steps_between(pairs, 15)
    group = join(links_of(pairs), 15)
    for row in range(15):
        connected = np.flatnonzero(np.isfinite(steps[row]))
        if steps[np.ix_(connected, connected)].max() <= 2:
            assert (group[connected] == connected.min()).all()
        assert set(np.flatnonzero(group == group[row])) <= set(connected)


def test_a_chain_of_five_has_a_centre_and_one_of_six_has_not():
    assert join(links_of([(0, 4), (4, 1), (1, 3), (3, 2)]), 5).tolist() == [0] * 5
    assert len(set(join(links_of([(0, 4), (4, 1), (1, 3), (3, 2), (2, 5)]), 6))) == 2


@given(pairs_of_rows)
def test_every_group_has_a_centre_within_two_links_and_the_lowest_position_as_its_name(pairs):
    steps = steps_between(pairs, 15)
    group = join(links_of(pairs), 15)
    for name in np.unique(group):
        mates = np.flatnonzero(group == name)
        assert mates.min() == name
        assert (steps[:, mates] <= 2).all(axis=1).any()


def test_a_long_chain_is_cut():
    group = join(links_of([(row, row + 1) for row in range(999)]), 1000)
    sizes = np.unique(group, return_counts=True)[1]
    assert sizes.max() == 5
    assert sizes.min() >= 2


def test_a_group_of_many_copies_stays_whole():
    pairs = [(0, row) for row in range(1, 50_000)]
    assert (join(links_of(pairs), 50_000) == 0).all()


def test_no_links_leave_every_row_alone():
    assert join(Links.join(), 4).tolist() == [0, 1, 2, 3]


def test_groups_are_named_by_the_lowest_id_and_say_how_their_rows_are_alike():
    ids = np.array([10, 20, 30, 40, 50, 60])
    first = np.array([0, 0, 2, 3, 4, 4])  # 20 has the content of 10, and 60 that of 50
    form = np.array([0, 0, 2, 3, 3, 3])  # 50 and 60 have the form of 40
    found = group_rows(ids, first, form, links_of([(0, 3)]))
    assert found.group.tolist() == [10, 10, 30, 10, 10, 10]
    assert found.kind.tolist() == ["exact", "exact", "single", "near", "exact", "exact"]
    assert found.sizes.tolist() == [5, 5, 1, 5, 5, 5]


def test_an_empty_table_has_no_groups():
    found = group_rows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), Links.join())
    assert isinstance(found, Groups)
    assert len(found.group) == len(found.kind) == len(found.sizes) == 0


@given(
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["", "", "a", "b", "c"])), min_size=1, max_size=25)
)
def test_chains_of_groups_and_names_are_together(rows: list[tuple[int, str]]) -> None:
    group = np.array([each for each, _ in rows], dtype=np.int64)
    named = np.array([name for _, name in rows], dtype=object)
    found = put_together(group, named)
    # By hand: merge until nothing changes.
    expected = group.copy()
    for _ in range(len(rows)):
        for row in range(len(rows)):
            same = (group == group[row]) | ((named == named[row]) & (named[row] != ""))
            expected[same] = expected[same].min()
    np.testing.assert_array_equal(found, expected)
