"""Ids of a person's rows: any text or number, wherever the file keeps them, or a sentence."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import some_of
from forms import CSV_FORMS, write_form
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import DatasetError
from tasks.own_files.columns import open_file
from tasks.own_files.ids import Ids, check_same_rows, read_ids
from tasks.tables.keys import example_id_of, example_ids_of

TEXT = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=6).filter(
    lambda text: text.strip() == text
)
KEYS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1).map(str), min_size=1, max_size=9, unique=True),
    st.lists(
        TEXT
        | st.sampled_from(
            ["007", "7", "7.0", "7.00", "-0", "+7", "1e3", str(2**63), "a/b.png", "NA", "true"]
        ),
        min_size=1,
        max_size=9,
        unique_by=example_id_of,
    ),
    st.lists(st.uuids().map(str), min_size=1, max_size=9, unique=True),
)
PER_EXAMPLE = settings(max_examples=some_of(60), suppress_health_check=[HealthCheck.function_scoped_fixture])


def ids_of(path: Path) -> Ids:
    ids = read_ids(open_file(path))
    assert ids is not None
    return ids


def keys_of(ids: Ids) -> list[str]:
    return ids.keys(np.arange(len(ids.example_id))).to_pylist()


@PER_EXAMPLE
@given(keys=KEYS)
@pytest.mark.parametrize("form", [*CSV_FORMS, "parquet"])
def test_keys_come_back_as_they_were_and_give_the_same_ids(
    tmp_path: Path, form: str, keys: list[str]
) -> None:
    if all(key.endswith(".0") for key in keys):  # whole floats are whole numbers
        keys = ["x", *keys]
    path = write_form(tmp_path, "t", form, {"key": keys, "note": ["x"] * len(keys)})
    ids = ids_of(path)
    assert keys_of(ids) == keys
    np.testing.assert_array_equal(ids.example_id, example_ids_of(keys, ""))
    assert ids.example_id[ids.order].tolist() == sorted(ids.example_id)


@PER_EXAMPLE
@given(numbers=st.lists(st.integers(-(2**50), 2**50), min_size=1, max_size=9, unique=True))
@pytest.mark.parametrize("form", [*CSV_FORMS, "parquet"])
@pytest.mark.parametrize("kind", [int, float, str])
def test_whole_numbers_are_the_same_ids_however_they_are_kept(
    tmp_path: Path, form: str, kind: type, numbers: list[int]
) -> None:
    columns = {"id": [kind(number) for number in numbers], "note": ["x"] * len(numbers)}
    ids = ids_of(write_form(tmp_path, "t", form, columns))
    assert ids.example_id.tolist() == numbers
    assert keys_of(ids) == list(map(str, numbers))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"a", b"c", b"b"]),
        pa.array(["a", "c", "b"]).dictionary_encode(),
        pa.array(["a", "c", "b"], pa.string_view()),
        pa.array(["a ", " c", "b"], pa.large_string()),
        pa.array([2**64 - 1, 7, 8], pa.uint64()),
        pa.array([3, 7, 8], pa.int8()).dictionary_encode(),
        pa.array([3, 7, 8], pa.float16()),
    ],
)
def test_types_of_ids(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"example_id": column}), tmp_path / "t.parquet")
    found = keys_of(ids_of(tmp_path / "t.parquet"))
    plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    as_text = [value.decode() if isinstance(value, bytes) else str(value) for value in plain.to_pylist()]
    assert found == [text.removesuffix(".0") for text in as_text]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", None, "b"], "none in row 1"),
        (["a", "", "b"], "none in row 1"),
        ([1.0, np.nan, 2.0], "none in row 1"),
        ([1.0, 0.5, 2.0], "0.5 in row 1"),
        ([1.0, 2.0, 1e30], "1e+30 in row 2"),
        ([7, 8, 7], "found 7 in 2 rows"),
        (["a", "b", "a"], "'a' twice"),
        (["Käfer", "Käfer", "b"], "twice"),
        ([True, False, True], "bool"),
        ([datetime(2026, 1, 1)] * 3, "found timestamp"),
        (["x" * 10_000] * 2, "x…"),
    ],
)
def test_ids_that_are_none_are_one_sentence(tmp_path: Path, values: list, words: str) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"example_id": values}), path)
    with pytest.raises(DatasetError) as error:
        read_ids(open_file(path))
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 400 + len(str(path))


def test_the_first_of_several_columns_of_ids_counts(tmp_path: Path) -> None:
    columns = {"key": ["a", "b"], "id": [4, 5], "example_id": ["x", "y"], "note": ["", ""]}
    for form in ("parquet", "csv"):
        ids = ids_of(write_form(tmp_path, "t", form, columns))
        assert (ids.column, ids.unused, keys_of(ids)) == ("example_id", ("id", "key"), ["x", "y"])
    assert read_ids(open_file(write_form(tmp_path, "u", "csv", {"note": ["a"], "label": ["b"]}))) is None
    assert read_ids(open_file(write_form(tmp_path, "u", "npy", {"label": ["b"]}))) is None


FRAME = pd.DataFrame({"label": list("abcde")})
SHUFFLED = [3, 1, 4, 0, 2]


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (FRAME, None),
        (FRAME.iloc[SHUFFLED], SHUFFLED),
        (FRAME.rename_axis("row"), [0, 1, 2, 3, 4]),
        (FRAME.iloc[::-1].rename_axis("row"), [4, 3, 2, 1, 0]),
        (FRAME[2:], [2, 3, 4]),
        (FRAME.set_axis(list("vwxyz")), list("vwxyz")),
        (FRAME.set_axis(list("vwxyz")).rename_axis("file"), list("vwxyz")),
        (FRAME.assign(id=[9, 8, 7, 6, 5]).iloc[SHUFFLED], [6, 8, 5, 9, 7]),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_index_of_a_pandas_table_names_its_rows(
    tmp_path: Path, frame: pd.DataFrame, found: list | None, kind: str
) -> None:
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    elif frame.index.name is None:
        frame.to_csv(path)
    else:
        pytest.skip("in CSV an index with a name is a column like others")
    ids = read_ids(open_file(path))
    assert (ids if ids is None else keys_of(ids)) == (found if found is None else list(map(str, found)))


def test_an_index_of_several_levels_is_refused_and_an_outdated_one_left_aside(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    FRAME.set_index(pd.MultiIndex.from_product([["a"], range(5)])).to_parquet(path)
    with pytest.raises(DatasetError, match="2 levels"):
        read_ids(open_file(path))
    table = pa.Table.from_pandas(FRAME.rename_axis("row"))
    pq.write_table(table.slice(0, 3), path)  # as pandas itself, which reads no index from it
    assert pd.read_parquet(path).index.name is None
    assert read_ids(open_file(path)) is None


@pytest.mark.parametrize(
    "metadata",
    [b"", b"{", b"[" * 100_000, b"null", b'{"index_columns": 3}', b'{"index_columns": [{"kind": "range"}]}']
    + [
        b'{"index_columns": [{"start": %s, "stop": %s, "step": %s, "name": "x"}]}' % numbers
        for numbers in ((b"0", b"2", b"0"), (b'"a"', b"2", b"1"), (b"9e99", b"1", b"1"))
    ]
    + [b'{"index_columns": [{"start": 1%s, "stop": 1%s2, "step": 1, "name": "x"}]}' % (b"0" * 30, b"0" * 29)]
    + [b'{"index_columns": ["gone", {"start": 0, "stop": 9223372036854775807, "step": 1, "name": "x"}]}'],
)
def test_metadata_that_is_none_of_pandas_is_left_aside(tmp_path: Path, metadata: bytes) -> None:
    table = pa.table({"label": ["a", "b"]}).replace_schema_metadata({b"pandas": metadata})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_ids(open_file(tmp_path / "t.parquet")) is None


def test_files_of_other_rows_are_told_apart(tmp_path: Path) -> None:
    class Rows:
        def __init__(self, name: str, ids: list | None, n_rows: int | None = None) -> None:
            self.path, self.n_rows, self.ids = tmp_path / name, n_rows, None
            if ids is not None:
                columns = {"id": ids, "note": ["x"] * len(ids)}
                self.ids = read_ids(open_file(write_form(tmp_path, name, "csv", columns)))

    check_same_rows(Rows("a", ["x", "y"]), Rows("b", ["y", "x"]))
    check_same_rows(Rows("a", None, 5), Rows("b", None))
    for one, other, words in (
        (Rows("a", ["x", "y"]), Rows("b", ["y", "z"]), "no row for x (1 of 2"),
        (Rows("a", ["x", "y"]), Rows("b", ["x", "y", "z"]), "no row for z (1 of 3"),
        (Rows("a", ["x", "y"]), Rows("b", None, 2), "b: expected ids"),
        (Rows("a", ["x", "y"]), Rows("b", []), "no row for x (2 of 2"),
        (Rows("a", None, 2), Rows("b", ["x", "y"]), "a: expected ids"),
        (Rows("a", None, 1200), Rows("b", None, 1201), "found 1,201 for 1,200"),
    ):
        with pytest.raises(DatasetError) as error:
            check_same_rows(one, other)
        assert words in str(error.value)


def test_blanks_around_an_id_are_no_part_of_it_in_a_csv_and_are_in_parquet(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("note, id\nx, 7\ny, a/b c.png \n")
    assert keys_of(ids_of(tmp_path / "t.csv")) == ["7", "a/b c.png"]
    pq.write_table(pa.table({"id": ["7 ", " "]}), tmp_path / "t.parquet")
    assert keys_of(ids_of(tmp_path / "t.parquet")) == ["7 ", " "]
