import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.sure_rows import choose_sure, even_limits, expected_counts


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.2, 0.5, 0.8, 0.9, 1.0])), max_size=40),
    st.lists(st.integers(0, 8), min_size=4, max_size=4),
    st.floats(0, 1),
    st.integers(0, 50),
)
def test_of_each_class_the_surest_join_up_to_its_limit(rows, limits, least, most):
    labels = np.array([label for label, _ in rows], dtype=np.int64)
    sureness = np.array([sure for _, sure in rows])
    found = choose_sure(labels, sureness, least, np.array(limits), most)
    of_classes = []
    for label in range(4):
        of_class = [row for row in range(len(rows)) if labels[row] == label and sureness[row] >= least]
        of_classes += sorted(of_class, key=lambda row: (-sureness[row], row))[: limits[label]]
    wanted = sorted(of_classes, key=lambda row: (-sureness[row], row))[:most]
    assert np.flatnonzero(found).tolist() == sorted(wanted)


@pytest.mark.parametrize(
    ("share", "limits"), [(1.0, [60, 20, 0]), (0.5, [30, 10, 0]), (0.0, [0, 0, 0]), (0.01, [1, 1, 0])]
)
def test_classes_join_as_often_as_the_labelled_rows_let_expect(share, limits):
    labels = np.repeat([0, 1], [30, 10])
    assert expected_counts(labels, 80, 3, share).tolist() == limits


@pytest.mark.parametrize(
    ("sure", "limits"),
    [
        # Of all classes many rows are sure: as before.
        ([90, 70, 60, 50], [100, 100, 100, 100]),
        # No class takes more than twice what the class has of which fewest are sure.
        ([100, 90, 60, 3], [6, 6, 6, 6]),
        ([100, 90, 60, 0], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_no_class_takes_much_more_of_its_rows_than_another(sure, limits):
    assert even_limits(np.full(4, 100), np.array(sure)).tolist() == limits


def test_a_limit_in_whole_rows_is_not_rounded_to_one_more():
    # 2 * (7 / 25) * 25 is 14.000000000000002 in floating point.
    assert even_limits(np.array([25, 100]), np.array([7, 100])).tolist() == [14, 56]


def test_of_many_classes_a_tenth_may_have_no_sure_row():
    limits, sure = np.full(100, 50), np.full(100, 40)
    sure[:9] = 0
    assert even_limits(limits, sure).tolist() == limits.tolist()
    sure[:10] = 0
    assert even_limits(limits, sure).sum() == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 80)), min_size=1, max_size=8))
def test_even_limits_only_lower_limits_and_make_parts_alike(pairs):
    limits, sure = (np.array(values) for values in zip(*pairs, strict=True))
    found = even_limits(limits, sure)
    assert (found <= limits).all()
    there = limits > 0
    if there.any():
        joined = np.minimum(found, sure)[there]
        least = (np.minimum(sure, limits)[there] / limits[there]).min()
        # Rounded up, a class may have a row more.
        assert (joined <= 2 * least * limits[there] + 1).all()
