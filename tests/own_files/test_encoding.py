"""Numbers and categories become vectors by the rule that the manual states."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import DatasetError
from tasks.own_files.encoding import MOST_CATEGORIES, Encoded, as_numbers, encode_columns


def encode(columns: dict[str, list], is_train: list[bool] | None = None, decimal: str = ".") -> Encoded:
    table = pa.table(columns)
    train = np.array(is_train or [True] * table.num_rows)
    return encode_columns(table, list(columns), train, decimal, "t.csv")


def test_a_missing_number_is_the_median_of_training_rows_and_a_column_says_so() -> None:
    found = encode({"a": ["1", "NA", "3", "9", "100"], "b": ["5", "6", "7", "9", ""]}, [True] * 4 + [False])
    # `b` lacks a value in a test row alone.
    assert found.names == ("a", "a is missing", "b")
    np.testing.assert_array_equal(found.values[:, 0], [1, 3, 3, 9, 100])
    np.testing.assert_array_equal(found.values[:, 1], [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(found.values[:, 2], [5, 6, 7, 9, 6.5])


def test_decimal_commas_and_points_between_thousands() -> None:
    assert as_numbers(pa.array(["1.234,5", "0,25"]), ",").tolist() == [1234.5, 0.25]


def test_categories_are_zeros_and_ones_and_one_of_two_is_enough() -> None:
    found = encode({"colour": ["red", "blue", "green", None], "sex": ["f", "m", "m", "f"]})
    assert found.names == ("colour = (missing)", "colour = blue", "colour = green", "colour = red", "sex = m")
    np.testing.assert_array_equal(found.values[:, 4], [0, 1, 1, 0])
    np.testing.assert_array_equal(found.values[:, :4].argmax(axis=1), [3, 1, 2, 0])


def test_rare_categories_are_one_and_new_ones_count_to_them() -> None:
    values = [f"c{k % 30}" for k in range(300)] + ["never seen"]
    found = encode({"c": values}, [True] * 300 + [False])
    assert len(found.names) == MOST_CATEGORIES
    assert found.names[-1] == "c = rare"
    assert found.values[-1].tolist() == [0] * (MOST_CATEGORIES - 1) + [1]
    np.testing.assert_array_equal(found.values.sum(axis=1), 1)


def test_what_tells_nothing_is_left_out_and_said() -> None:
    n = 60
    found = encode(
        {
            "": [str(row) for row in range(n)],
            "same": ["x"] * n,
            "zero": [0] * n,
            "name": [f"name {row}" for row in range(n)],
            "list": [[row] for row in range(n)],
            "kept": [row % 7 for row in range(n)],
        }
    )
    assert found.names == ("kept",)
    assert len(found.left_out) == 5
    assert "60 different" in found.left_out[3]


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"a": ["x"] * 3}, "columns of numbers"),
        ({}, "columns of numbers"),
        ({"a": [1.0, 1e300, 2.0]}, "row 1 of column a"),
        ({"a": ["1", "2", "inf"]}, "row 2 of column a"),
    ],
)
def test_what_cannot_be_a_vector_is_one_sentence(columns: dict[str, list], word: str) -> None:
    with pytest.raises(DatasetError, match=word):
        encode_columns(pa.table(columns), list(columns), np.ones(3, dtype=bool), ".", "t.csv")


NUMBER = st.floats(-1e6, 1e6, width=32)


@given(st.lists(st.one_of(st.none(), NUMBER), min_size=4, max_size=30))
def test_known_numbers_come_back(values: list[float | None]) -> None:
    known = [value for value in values if value is not None]
    # Without a row count among them, which is left out.
    if len(set(known)) < 2 or np.all(np.diff(known) == 1):
        return
    found = encode({"a": values})
    is_known = np.array([value is not None for value in values])
    np.testing.assert_array_equal(found.values[is_known, 0], np.array(known, dtype=np.float32))
    assert np.isfinite(found.values).all()
    assert (len(found.names) == 2) == (not is_known.all())
