"""Labels from outside become class indices: the right ones, or a sentence."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import DatasetError
from tasks.own_files.labels import MOST_CLASSES, UNKNOWN, class_indices, read_label_columns

# Names that are easily taken for something else: numbers, dates, truth values, words for nothing.
NAME = st.one_of(
    st.sampled_from(
        ["0", "1", "2", "10", "01", "-1", "1.0", "NA", "nan", "null", "True", "2026-01-01", "a,b"]
    ),
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=3),
)
CASE = st.lists(NAME, min_size=1, max_size=12, unique=True).flatmap(
    lambda names: st.tuples(st.just(names), st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=20))
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=CASE)
def test_a_csv_of_names_gives_back_their_indices_whatever_the_names(
    tmp_path: Path, case: tuple[list[str], list[int]]
) -> None:
    names, indices = case
    text = io.StringIO()
    csv.writer(text).writerows([["id", "given_label"], *([k, names[i]] for k, i in enumerate(indices))])
    path = tmp_path / "labels.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    table = read_label_columns(path, True, "given_label", ["given_label"], "labels.csv")
    assert class_indices(table.column("given_label"), names, "labels.csv").tolist() == indices


@given(case=CASE)
def test_integers_are_indices_or_refused(case: tuple[list[str], list[int]]) -> None:
    names, indices = case
    labels = pa.chunked_array([indices])
    are_numbers = all(re.fullmatch(r"[+-]?[0-9]+(\.0*)?", name) for name in names)
    if are_numbers and [float(name) for name in names] != list(range(len(names))):
        with pytest.raises(DatasetError, match="might mean either"):
            class_indices(labels, names, "")
    else:
        assert class_indices(labels, names, "").tolist() == indices


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (pa.chunked_array([["b", None], ["a"]]), [1, UNKNOWN, 0]),
        (pa.chunked_array([pa.array(["b", None, "a"]).dictionary_encode()]), [1, UNKNOWN, 0]),
        (
            pa.chunked_array([pa.array(["b"], pa.large_string()), pa.array([" a "], pa.large_string())]),
            [1, 0],
        ),
        (pa.chunked_array([pa.array([None, 1], pa.uint64())]), [UNKNOWN, 1]),
        (pa.chunked_array([["1", None, "0.0"]]), [1, UNKNOWN, 0]),
        (pa.chunked_array([], pa.string()), []),
        (pa.chunked_array([[None]], pa.string()), [UNKNOWN]),
    ],
)
def test_nulls_chunks_and_categories(labels: pa.ChunkedArray, found: list[int]) -> None:
    indices = class_indices(labels, ["a", "b"], "")
    assert indices.dtype == np.int16
    assert indices.tolist() == found


def test_so_many_classes_that_an_index_does_not_fit_are_refused() -> None:
    names = list(map(str, range(MOST_CLASSES + 1)))
    with pytest.raises(DatasetError, match="at most 32,767 classes, found 32,768"):
        class_indices(pa.chunked_array([[0]]), names, "labels.csv")
    assert class_indices(pa.chunked_array([["32766"]]), names[:-1], "").tolist() == [32_766]
