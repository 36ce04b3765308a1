"""A person's file as columns: whatever program wrote it, the same cells, or a sentence."""

import gzip
import os
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import some_of
from forms import CSV_FORMS, write_form
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import DatasetError
from tasks.own_files import columns as module
from tasks.own_files import dialects
from tasks.own_files.columns import load_array, open_file

CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5) | st.sampled_from(
    [",", ";", "\t", '"', "a\nb", "a\r\nb", "0,5", "1.5", "NA", "sep=;"]
)
TABLE = st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8)
PER_EXAMPLE = settings(max_examples=some_of(60), suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path, names: list[str], as_text: bool = True) -> list[list]:
    portions = list(open_file(path).portions(names, as_text, n_rows=3))
    return [pa.concat_tables(portions).column(name).to_pylist() for name in names]


def refusal(path: Path, names: tuple[str, ...] = (), as_text: bool = True) -> str:
    with pytest.raises(DatasetError) as error:
        for _ in open_file(path).portions(names, as_text):
            pass
    sentence = str(error.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert len(sentence) < len(str(path)) + 500
    return sentence


@PER_EXAMPLE
@given(rows=TABLE)
@pytest.mark.parametrize("form", [*CSV_FORMS, "parquet"])
def test_text_comes_back_as_it_was_whatever_the_form(tmp_path: Path, form: str, rows: list[tuple]) -> None:
    columns = dict(zip(["name", "note", "label"], map(list, zip(*rows, strict=True)), strict=True))
    path = write_form(tmp_path, "t", form, columns)
    assert read(path, ["label", "name"]) == [columns["label"], columns["name"]]


@PER_EXAMPLE
@given(values=st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=8))
@pytest.mark.parametrize("form", [*CSV_FORMS, "parquet"])
def test_numbers_come_back_as_they_were_whatever_the_form(
    tmp_path: Path, form: str, values: list[tuple]
) -> None:
    matrix = np.array(values)
    path = write_form(tmp_path, "t", form, {"a": matrix[:, 0], "b": matrix[:, 1], "c": matrix[:, 2]})
    np.testing.assert_array_equal(read(path, ["a", "b", "c"], as_text=False), matrix.T)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a;b\n0,5;1\n", [0.5, 1]),
        ("a;b\n1,234;0,5\n", [1.234, 0.5]),
        ("a;b\n0.5;1\n", [0.5, 1]),
        ("a\tb\n0,5\t1\n", [0.5, 1]),
        ("a|b\n0.5|1\n", [0.5, 1]),
        ('a,b\n"0,5",1\n', [0.5, 1]),
        ("sep=;\r\na;b\r\n0,5;1\r\n", [0.5, 1]),
        ("a,b\r0.5,1\r", [0.5, 1]),
        ('"a","b"\n"0.5","1"\n', [0.5, 1]),
        (" a , b\n0.5, 1\n", [0.5, 1]),
        ("a,b;c\n0.5,1\n", [0.5, 1]),
    ],
)
def test_a_csv_is_read_where_its_separator_and_decimals_are_certain(
    tmp_path: Path, text: str, found: list[float]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, newline="")
    names = open_file(path).names
    assert [column[0] for column in read(path, names, as_text=False)] == found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b;c\n1,2;3\n", "comma or semicolon"),
        (b"a;b\n1,234;5,678\n", "semicolon between cells"),
        (b"a;b\n1,5;2.5\n", "semicolon between cells"),
        (b"a,b\n0,5,1\n", "comma between cells"),
        (b"a,b\n1,x\n", "comma between cells"),
        ("a,b\n1,ü\n".encode("latin-1"), "UTF-8"),
        ("ü,b\n1,2\n".encode("latin-1"), "UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "CSV UTF-8"),
        (b"PK\3\4\0\0spreadsheet", "CSV UTF-8"),
        (b"", "readable csv"),
        (b"a,a\n1,2\n", "'a' again"),
        (b"a,b\n1," + b"x" * 100_000 + b"\n", "comma between cells"),
        (gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)[:-20], "readable csv"),
        (b'a,b\n1,"' + b"x" * 3_000_000, "a quote that is not closed"),
    ],
)
def test_a_csv_that_is_not_certain_is_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as error:
        for _ in open_file(path).portions(open_file(path).names):
            pass
    assert words in str(error.value)
    assert len(str(error.value)) < 500 + len(str(path))


def test_a_gzip_file_is_known_by_its_content_and_a_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1_000_000, mtime=0))
    assert len(read(path, ["a"])[0]) == 1_000_000
    monkeypatch.setattr(dialects, "_GZIP_LEAST", 2**20)
    assert "gunzip" in refusal(path, ("a",))


def test_what_is_no_file_is_said_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name, words in (
        ("pipe.csv", "found a folder, pipe or device"),
        ("folder.csv", "found a folder, pipe or device"),
        ("none.csv", "found none"),
    ):
        assert words in refusal(tmp_path / name)
    for name in ("t.xlsx", "t", "t.parquet.gz", "t.csv.zip"):
        (tmp_path / name).write_text("a,b\n")
        assert ".npy or .npz" in refusal(tmp_path / name)


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"


@pytest.mark.parametrize(
    "header",
    [
        HEADER.format("|O", "(3,)"),
        HEADER.format("<f8", "(3, 2, 2)"),
        HEADER.format("<f8", "(3, 0)"),
        HEADER.format("<f8", "()"),
        HEADER.format("<f8", "(-3,)"),
        HEADER.format("<f8", "(1e9,)"),
        HEADER.format("<f8", "(10**30,)"),
        HEADER.format("<f8", "(4611686018427387904, 4)"),
        HEADER.format("<f8", "(1000000,)"),
        HEADER.format("<c16", "(3,)"),
        HEADER.format("<M8[s]", "(3,)"),
        HEADER.format("<f16", "(3,)"),
        HEADER.format("V8", "(3,)"),
        HEADER.format("<f8", "(" * 3000),
        HEADER.format("<f8", "__import__('os')"),
        "[" * 9000,
        "{'descr': [('a', '<f8'), ('b', '<f8')], 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<f8'}",
        "{",
        "\0" * 50,
        "x" * 60_000,
    ],
)
def test_headers_of_npy_that_are_none_are_one_sentence(tmp_path: Path, header: str) -> None:
    path = tmp_path / "t.npy"
    text = header.encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64))
    assert "array" in (sentence := refusal(path, ("values",))) or "npy file" in sentence


def test_texts_as_objects_say_how_to_save_them(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array(["ant", "bee"], dtype=object), allow_pickle=True)
    assert "dtype=str" in refusal(tmp_path / "t.npy")


def test_a_zip_of_arrays_is_not_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "t", a=np.zeros(10))
    (tmp_path / "t.npz").rename(tmp_path / "t.npy")
    assert ".npy file" in refusal(tmp_path / "t.npy")


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3), np.arange(6, dtype=">i4"), np.array(["a", "bc"]), np.array([b"a"])],
)
def test_arrays_of_any_order_of_bytes_and_axes_are_read(tmp_path: Path, array: np.ndarray) -> None:
    for kept in (array, np.asfortranarray(array)):
        np.save(tmp_path / "t.npy", kept)
        assert read(tmp_path / "t.npy", ["values"]) == [array.tolist()]


def test_checksums_of_pages_are_looked_at_where_there_are_some(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"a": np.arange(1000) * 1.5})
    for has_checksums in (True, False):
        pq.write_table(
            table, path, compression="none", use_dictionary=False, write_page_checksum=has_checksums
        )
        content = bytearray(path.read_bytes())
        content[content.index(np.float64(750.0).tobytes())] ^= 1
        path.write_bytes(content)
        if has_checksums:
            assert "readable parquet" in refusal(path, ("a",))
        else:
            assert len(read(path, ["a"])[0]) == 1000


@pytest.mark.parametrize("column", ["a", "b"])
def test_text_of_parquet_that_is_not_utf8_and_deep_columns_are_no_crash(tmp_path: Path, column: str) -> None:
    deep = pa.int8()
    for _ in range(200):
        deep = pa.list_(deep)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.array([], deep)}), path, store_schema=False)
    assert "readable parquet" in refusal(path)
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], "<i4")), pa.py_buffer(b"\xff")]
    )
    pq.write_table(pa.table({"a": bad}), path)
    assert open_file(path).n_rows == 1


def test_more_rows_than_any_data_set_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 5)
    for form in ("parquet", "csv", "npy"):
        path = write_form(tmp_path, "t", form, {"a": np.arange(6.0)})
        assert "at most 5 rows" in refusal(path, (module.ARRAY if form == "npy" else "a",))


def test_a_file_that_may_not_be_read_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_form(tmp_path, "t", "csv", {"a": [1]})

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "permission" in refusal(path)


def test_composed_and_decomposed_headings_are_kept_as_they_are(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "Käfer")
    for form in ("csv", "parquet"):
        assert open_file(write_form(tmp_path, "t", form, {name: ["x"]})).names == [name]


@pytest.mark.parametrize("use_dictionary", [True, False])
def test_a_parquet_file_whose_text_unpacks_to_much_more_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_dictionary: bool
) -> None:
    monkeypatch.setattr(module, "_TEXT_LEAST", 2**20)
    path = tmp_path / "bomb.parquet"
    table = pa.table({"id": range(300), "text": ["x" * 10_000] * 300})
    pq.write_table(table, path, compression="zstd", use_dictionary=use_dictionary)
    assert "of text" in refusal(path)
    # Of a file as large as its texts let expect, and of one with few texts, nothing is refused.
    pq.write_table(table, path, compression="none", use_dictionary=False)
    assert read(path, ["id"])[0] == [*range(300)]
    pq.write_table(table.slice(0, 10), path)
    assert read(path, ["text"])[0] == ["x" * 10_000] * 10


def test_a_pipe_that_is_called_like_an_array_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(DatasetError, match="a folder, pipe or device"):
        load_array(tmp_path / "a.npy")
