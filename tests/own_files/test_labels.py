"""Labels from outside become class indices, by one rule for every form of file, or a sentence."""

import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from examples import some_of
from forms import CSV_FORMS, FORMS, write_form
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import DatasetError
from tasks.own_files import columns as columns_module
from tasks.own_files import dialects
from tasks.own_files.labels import GIVEN, MOST_CLASSES, TRUE, UNKNOWN, class_indices, read_labels

# Names that are easily taken for something else: numbers, dates, truth values, words for nothing.
NAME = st.one_of(
    st.sampled_from(
        ["0", "1", "2", "10", "01", "-1", "1.0", "NA", "nan", "null", "True", "2026-01-01", "a,b", "a;b"]
    ),
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=3).map(
        lambda text: unicodedata.normalize("NFC", text)
    ),
)
CASE = st.lists(NAME, min_size=1, max_size=12, unique=True).flatmap(
    lambda names: st.tuples(st.just(names), st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=20))
)
PER_EXAMPLE = settings(max_examples=some_of(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
ANIMALS = ["ant", "bee", "cat"]


def read(folder: Path, form: str, labels: Any, names: list[str], column: str = GIVEN) -> list[int]:
    columns = {column: labels}
    if form in CSV_FORMS:  # of one column, no separator is known
        columns["note"] = ["x"] * len(labels)
    path = write_form(folder, "labels", form, columns)
    return read_labels(path, names, column, may_lack=column == TRUE).indices.tolist()


@PER_EXAMPLE
@given(case=CASE, composition=st.sampled_from(["NFC", "NFD"]))
@pytest.mark.parametrize("form", FORMS)
def test_names_give_back_their_indices_whatever_the_names(
    tmp_path: Path, form: str, case: tuple[list[str], list[int]], composition: Any
) -> None:
    names, indices = case
    labels = [unicodedata.normalize(composition, names[index]) for index in indices]
    assert read(tmp_path, form, labels, names) == indices


@PER_EXAMPLE
@given(case=CASE)
@pytest.mark.parametrize("kind", [int, float])
def test_whole_numbers_are_indices_or_refused(
    tmp_path: Path, kind: type, case: tuple[list[str], list[int]]
) -> None:
    names, indices = case
    labels = list(map(kind, indices))
    are_numbers = all(re.fullmatch(r"[+-]?[0-9]+(\.0*)?", name) for name in names)
    for form in ("parquet", "npy"):
        if are_numbers and [float(name) for name in names] != list(range(len(names))):
            with pytest.raises(DatasetError, match="might mean either"):
                read(tmp_path, form, labels, names)
        else:
            assert read(tmp_path, form, labels, names) == indices
    if not {str(label) for label in labels} & set(names):
        # What is text cannot be told from the names; else it is the same.
        assert are_numbers or read(tmp_path, "csv", labels, names) == indices


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("labels", "names", "found"),
    [
        ([1.0, 2.0, 0.0], ANIMALS, [1, 2, 0]),
        ([1.0, 2.0, 0.0], ["0", "1", "2"], [1, 2, 0]),
        ([False, True, True], ["False", "True"], [0, 1, 1]),
        ([False, True, True], ["true", "false"], [1, 0, 0]),
        ([False, True, True], ["0", "1"], [0, 1, 1]),
        ([False, True, True], ["cat", "dog"], "alse in row 0"),
        ([1.0, 3.5, 0.0], ANIMALS, "3.5 in row 1"),
        ([1.0, 3.0, 0.0], ANIMALS, "3.0 in row 1"),
        ([1.0, -1.0, 0.0], ANIMALS, "-1.0 in row 1"),
        ([1.0, float("inf"), 0.0], ANIMALS, "inf in row 1"),
        ([1, 3, 0], ANIMALS, "3 in row 1"),
        ([1, 2**62, 0], ANIMALS, f"{2**62} in row 1"),
        (["ant", "dog", "bee"], ANIMALS, "dog in row 1"),
        (["ant", "1", "bee"], ANIMALS, "as in row 0, found 1 in row 1"),
        (["1", "1.0", "+2"], ANIMALS, [1, 1, 2]),
        (["x" * 10_000, "ant", "bee"], ANIMALS, "x…"),
    ],
)
def test_one_rule_for_every_form(
    tmp_path: Path, form: str, labels: list, names: list[str], found: list[int] | str
) -> None:
    if isinstance(found, list):
        assert read(tmp_path, form, labels, names) == found
        assert read(tmp_path, form, labels, names, TRUE) == found
        return
    with pytest.raises(DatasetError) as error:
        read(tmp_path, form, labels, names)
    said = str(error.value)
    assert (found.replace(".", ",") if form == "european" else found) in said
    assert len(said) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("form", FORMS)
def test_unknown_labels_are_for_the_truth_alone(tmp_path: Path, form: str) -> None:
    labels: list = [1.0, float("nan"), 0.0] if form in ("npy", "parquet") else ["bee", None, "ant"]
    assert read(tmp_path, form, labels, ANIMALS, TRUE) == [1, UNKNOWN, 0]
    with pytest.raises(DatasetError, match="none in row 1"):
        read(tmp_path, form, labels, ANIMALS)


@pytest.mark.parametrize(
    ("names", "labels", "found"),
    [
        (["1", "0", "2"], ["1", "0", "2"], [0, 1, 2]),
        (["001", "002", "003", "004"], ["001", "002", "003"], [0, 1, 2]),
        (["-1", "1"], ["1", "-1"], [1, 0]),
        (["1", "NA", "2"], ["NA", "2", "1"], [1, 2, 0]),
        (["0", "1", "2"], ["2", "1.0"], "found 1.0 in row 1"),
        (["1", "2", "3"], ["1", "2", "0"], "as in row 0, found 0 in row 2"),
        (["001", "002", "003"], ["1", "2"], "found 1 in row 0, which might mean either"),
        (["1", "2", "10"], ["x", "y"], "classes 1, 2, 10 or their indices, found x in row 0"),
    ],
)
def test_text_is_a_name_first(names: list[str], labels: list[str], found: list[int] | str) -> None:
    if isinstance(found, list):
        assert class_indices([pa.chunked_array([labels])], names, "").tolist() == found
    else:
        with pytest.raises(DatasetError, match=re.escape(found)):
            class_indices([pa.chunked_array([labels])], names, "")


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (pa.chunked_array([["b", None], ["a"]]), [1, UNKNOWN, 0]),
        (pa.chunked_array([pa.array(["b", None, "a"]).dictionary_encode()]), [1, UNKNOWN, 0]),
        (
            pa.chunked_array([pa.array(["b"], pa.large_string()), pa.array([" a "], pa.large_string())]),
            [1, 0],
        ),
        (pa.chunked_array([pa.array([b"b"])]), [1]),
        (pa.chunked_array([pa.array([None, 1], pa.uint64())]), [UNKNOWN, 1]),
        (pa.chunked_array([pa.array([float("nan"), 1], pa.float16())]), [UNKNOWN, 1]),
        (pa.chunked_array([["1", None, "0.0"]]), [1, UNKNOWN, 0]),
        (pa.chunked_array([], pa.string()), []),
        (pa.chunked_array([[None]], pa.string()), [UNKNOWN]),
        (pa.chunked_array([[None]], pa.null()), [UNKNOWN]),
    ],
)
def test_nulls_chunks_and_types(labels: pa.ChunkedArray, found: list[int]) -> None:
    indices = class_indices([labels], ["a", "b"], "")
    assert indices.dtype == np.int16
    assert indices.tolist() == found


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (pa.chunked_array([pa.array([0], pa.timestamp("s"))]), "found timestamp"),
        (pa.chunked_array([[[1]]]), "found list"),
        (pa.chunked_array([pa.array([b"\xff"])]), "readable column of labels"),
    ],
)
def test_what_is_no_label_is_one_sentence(labels: pa.ChunkedArray, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        class_indices([labels], ["a", "b"], "t.parquet")


def test_so_many_classes_that_an_index_does_not_fit_are_refused() -> None:
    names = list(map(str, range(MOST_CLASSES + 1)))
    with pytest.raises(DatasetError, match="at most 32,767 classes, found 32,768"):
        class_indices([pa.chunked_array([[0]])], names, "labels.csv")
    assert class_indices([pa.chunked_array([["32766"]])], names[:-1], "").tolist() == [32_766]


def test_rows_are_counted_over_all_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (columns_module, dialects):
        monkeypatch.setattr(module, "SAMPLE_BYTES", 100)
    for form in ("csv", "parquet"):
        with pytest.raises(DatasetError, match="as in row 0, found 1 in row 180"):
            read(tmp_path, form, ["ant"] * 180 + ["1"] * 20, ANIMALS)


def test_a_column_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="column given_label, found label"):
        read_labels(write_form(tmp_path, "t", "csv", {"label": [1]}), ANIMALS, GIVEN)
