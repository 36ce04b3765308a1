import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tasks.label_quality.self_tests.intervals import Share


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_that_of_wilson(counts: tuple[int, int]) -> None:
    share, expected = Share(*counts), binomtest(*counts).proportion_ci(method="wilson")
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert share.low <= share.value <= share.high


def test_of_no_rows_nothing_is_known() -> None:
    share = Share(0, 0)
    assert math.isnan(share.value)
    assert (share.low, share.high) == (0, 1)
