"""Charts: axes are round and hold their values, and shapes lie where the numbers are."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tasks.page.charts import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Line,
    axis,
    count_axis,
    histogram,
    line_chart,
    log_axis,
)

numbers = st.floats(-1e9, 1e9)


@given(numbers, numbers)
def test_an_axis_holds_its_values_between_a_few_round_ticks(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    found = axis("x", low, high)
    slack = 1e-6 * (found.high - found.low)
    assert found.low <= low + slack
    assert high <= found.high + slack
    assert 2 <= len(found.values) <= 8
    assert 0 <= found.share(low) <= found.share(high) <= 1


@given(numbers, st.floats(0, 1e-3))
def test_no_two_values_on_an_axis_read_the_same(low: float, width: float) -> None:
    found = axis("x", low, low + width)
    assert len({format(value, found.shown) for value in found.values}) == len(found.values)


def test_digits_come_only_where_they_tell_apart() -> None:
    assert axis("x", 1791.998, 1792.001).shown == ",.7g"
    assert axis("x", 1700, 1800).shown == ",.6g"


@given(st.floats(1e-9, 1e9), st.floats(1, 1e9))
def test_a_logarithmic_axis_has_powers_of_ten(low: float, factor: float) -> None:
    found = log_axis("x", low, low * factor)
    assert 0 <= found.share(low) <= found.share(low * factor) <= 1
    assert 2 <= len(found.values) <= 8
    assert found.share(-1) == 0


def test_a_line_runs_from_corner_to_corner_and_leaves_out_what_is_missing() -> None:
    lines = [Line("a", [0, 5, 10], [0, float("nan"), 1])]
    chart = line_chart(axis("x", 0, 10), axis("y", 0, 1), lines)
    assert chart.shapes[0].points == f"{LEFT:.1f},{BOTTOM:.1f} {RIGHT:.1f},{TOP:.1f}"
    assert [tick.text for tick in chart.y.ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_layers_stand_on_the_axis_and_a_bin_without_rows_is_not_drawn() -> None:
    layers = [("all", "line", [1, 4]), ("some", "bad", [0, 2])]
    chart = histogram(axis("x", 0, 1), axis("rows", 0, 4), [0, 0.5, 1], layers, [(0.5, "half")])
    assert chart.marks[0].at == pytest.approx((LEFT + RIGHT) / 2)
    heights = [[float(y) for y in re.findall(r"V([\d.]+)", shape.path)] for shape in chart.shapes]
    assert heights == [[BOTTOM - (BOTTOM - TOP) / 4, TOP], [BOTTOM - (BOTTOM - TOP) / 2]]
    assert chart.legend == (("all", "line"), ("some", "bad"))


@given(st.integers(1, 10**9))
def test_on_an_axis_of_counts_one_row_is_seen(most: int) -> None:
    found = count_axis("rows", most)
    assert 0 < found.share(1) <= found.share(most) <= 1
    assert found.values[0] == 1
    assert len(found.values) <= 7
