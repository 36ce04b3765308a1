"""Names of classes found in labels, by one rule whatever the type of the column."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import DatasetError
from tasks.own_files.labels import label_names, sort_names


def names_of(values: object, kind: pa.DataType | None = None) -> list[str | None]:
    return label_names(pa.chunked_array([pa.array(values, kind)]), "here").to_pylist()


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1, 0, None, 12], ["1", "0", None, "12"]),
        ([1.0, float("nan"), 3.0], ["1", None, "3"]),
        (["1.0", "", "3.0"], ["1", None, "3"]),
        (["1.0", "1.5"], ["1.0", "1.5"]),
        (["007", "7"], ["007", "7"]),
        ([True, False, None], ["True", "False", None]),
        ([" cat ", "NA", "none", "  "], ["cat", "NA", "none", None]),
    ],
)
def test_one_rule_for_numbers_truth_and_text(values: list, wanted: list) -> None:
    assert names_of(values) == wanted


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1))
def test_names_are_equal_however_accents_are_kept(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert names_of([composed]) == names_of([decomposed]) == [composed]


@pytest.mark.parametrize("values", [[3.0, 3.5], [float("inf"), 1.0]])
def test_a_number_that_is_not_whole_is_refused(values: list[float]) -> None:
    row = int(np.argmax([value != 3.0 for value in values]))
    with pytest.raises(DatasetError, match=f"row {row}"):
        names_of(values)


def test_lists_are_no_labels() -> None:
    with pytest.raises(DatasetError, match="labels"):
        names_of([[1], [2]])


def test_numbers_go_by_size_and_words_by_letters() -> None:
    assert sort_names(["10", "9", "1"]) == ("1", "9", "10")
    assert sort_names(["bee", "Ant", "cat", "ant"]) == ("Ant", "ant", "bee", "cat")
