"""The difference of two classifiers on the same rows, against drawing it again and against its own limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.paired import paired_difference


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_the_interval_holds_the_middle_and_turns_with_the_sides(better: int, worse: int, same: int) -> None:
    n_rows = max(better + worse + same, 1)
    found, turned = paired_difference(better, worse, n_rows), paired_difference(worse, better, n_rows)
    assert found.value == pytest.approx((better - worse) / n_rows)
    assert -1 <= found.low <= found.high <= 1
    assert found.low - 0.02 <= found.value * n_rows / (n_rows + 2) <= found.high + 0.02
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize(
    ("p_better", "p_worse", "n_rows"), [(0.05, 0.05, 60), (0.1, 0.02, 200), (0.0, 0.0, 57)]
)
def test_the_interval_holds_the_truth_in_95_of_100_draws_or_more(
    p_better: float, p_worse: float, n_rows: int
) -> None:
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n_rows, [p_better, p_worse, 1 - p_better - p_worse], size=2_000)
    found = [paired_difference(int(better), int(worse), n_rows) for better, worse, _ in draws]
    held = np.mean([one.low <= p_better - p_worse <= one.high for one in found])
    assert held > 0.94


def test_rows_on_which_both_agree_claim_no_certainty() -> None:
    few, many = paired_difference(0, 0, 10), paired_difference(0, 0, 10_000)
    assert few.value == many.value == 0
    assert few.high > 0.1 > 0.001 > many.high > 0


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_counts_that_do_not_fit_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected counts"):
        paired_difference(*counts)
