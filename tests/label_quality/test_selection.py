import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality import selection
from tasks.label_quality.selection import LowestOfGroups


def candidates(groups, keys, rows):
    return {
        "group": np.array(groups, np.int64),
        "key": np.array(keys, float),
        "row": np.array(rows, np.int64),
    }


@pytest.mark.parametrize("large_group", [0, 10**9])
@given(
    sizes=st.lists(st.integers(-1, 4), min_size=1, max_size=5),
    drawn=st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.25, 0.5, 1.0])), max_size=80),
    step=st.integers(1, 30),
)
def test_the_lowest_of_each_group_are_kept_and_ties_go_to_the_earlier_row(large_group, sizes, drawn, step):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_SPARE", 3)
        patch.setattr(selection, "_LARGE_GROUP", large_group)
        lowest = LowestOfGroups(np.array(sizes))
        groups = [group % len(sizes) for group, _ in drawn]
        keys = [key for _, key in drawn]
        for start in range(0, len(drawn), step):
            stop = min(start + step, len(drawn))
            lowest.add(candidates(groups[start:stop], keys[start:stop], range(start, stop)))
        kept = lowest.keep()
    expected = set()
    for group, size in enumerate(sizes):
        rows = sorted((keys[row], row) for row in range(len(drawn)) if groups[row] == group)
        expected |= {(group, row) for _, row in rows[: max(size, 0)]}
    found = [] if kept is None else list(zip(kept["group"].tolist(), kept["row"].tolist(), strict=True))
    assert set(found) == expected
    assert len(found) == len(expected)
    assert kept is None or (np.diff(kept["row"]) >= 0).all()


def test_memory_follows_the_rows_to_be_kept_not_those_seen():
    lowest = LowestOfGroups(np.array([10, 0]))
    rng = np.random.default_rng(0)
    for start in range(0, 2_000_000, 100_000):
        rows = np.arange(start, start + 100_000)
        lowest.add(candidates(rows % 2, rng.random(len(rows)), rows))
        assert lowest._held < 2 * selection._SPARE
    assert lowest.cutoffs[0] < 1e-3
    assert lowest.cutoffs[1] == -np.inf
    kept = lowest.keep()
    assert kept is not None
    assert len(kept["row"]) == 10
