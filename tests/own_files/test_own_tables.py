"""Tables in all forms are read whole, their splits and class names with them."""

import contextlib
import csv
import gzip
import io
import json
import os
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
from tasks.own_files import columns, json_tables
from tasks.own_files.columns import is_text
from tasks.own_files.own_tables import read_own_table, split_in_name, texts_of

_ZSTD = pa.ipc.IpcWriteOptions(compression="zstd")
ROWS = {
    "text": ["a b", "c, d", 'e "f"', "über;x"],
    "n": [1.5, 2.25, -3.0, 4.0],
    "label": ["x", "y", "x", "y"],
}


@pytest.mark.parametrize("form", [*CSV_FORMS, "parquet", "arrow", "feather"])
def test_a_table_comes_back_whatever_its_form(tmp_path: Path, form: str) -> None:
    own = read_own_table(write_form(tmp_path, "t", form, ROWS))
    assert own.names == list(ROWS)
    assert list(texts_of(own.column("text", "text"))) == ROWS["text"]
    assert own.decimal == ("," if form == "european" else ".")
    assert own.split_of_parts() is None


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.json", "t.jsonl.gz"])
def test_json_lines_and_lists(tmp_path: Path, name: str) -> None:
    rows = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
    text = json.dumps(rows) if name.endswith(".json") else "\n\n".join(map(json.dumps, rows))
    content = text.encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_own_table(tmp_path / name).table.to_pydict() == ROWS


def test_json_of_several_types_is_text_and_absent_is_null(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1, "b": [1, 2]}\n{"a": "x", "b": ["y"]}\n{"c": true, "a": 99999999999999999999}\n')
    assert read_own_table(path).table.to_pydict() == {
        "a": ["1", "x", "99999999999999999999"],
        "b": ["[1, 2]", '["y"]', None],
        "c": [None, None, True],
    }


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"a": 1}\n{"a": \n', "line 2"),
        ("[1]\n", "object in line 1"),
        ('{"a": 1}\n3\n', "line 2"),
        ("[" * 100_000, "nested|none"),
        ("", "rows"),
        ("\ufeff", "rows"),
    ],
)
def test_broken_json_names_the_line(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(DatasetError, match=word):
        read_own_table(path)


def test_a_gzip_bomb_ends_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_tables, "_MOST_BYTES", 1000)
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000))
    with pytest.raises(DatasetError, match="2 GB"):
        read_own_table(path)


def test_quotation_marks_in_text_between_tabs_swallow_no_rows(tmp_path: Path) -> None:
    texts = ['"Half of it', "two", 'three" said', "four", '"five"'] * 20
    path = tmp_path / "t.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{text}\tx\n" for text in texts) + "\n")
    assert list(texts_of(read_own_table(path).column("text", "text"))) == texts


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # Each line has as many cells as the heading, with quotes around cells and without.
        (['"\t"\t"a', 'b"\t"\t"'], [["\t", "a\nb", "\t"]]),
        (['"x\ty"\t"p', 'q"\t"r\ts"'], [["x\ty", "p\nq", "r\ts"]]),
        (['"a text\tx\ty', 'that ends"\tx\ty'], [['"a text', "x", "y"], ['that ends"', "x", "y"]]),
    ],
)
def test_quotes_between_tabs_that_can_be_read_in_two_ways(
    tmp_path: Path, lines: list[str], expected: list[list[str]]
) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("\n".join(["name\tnote\tlabel", *lines]) + "\n")
    table = read_own_table(path).table
    assert [list(row.values()) for row in table.to_pylist()] == expected


@settings(max_examples=some_of(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1, max_size=8))
def test_quotes_written_by_a_program_are_taken_off(tmp_path: Path, texts: list[str]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([["text", "note"], *([value, 'with a\t tab and "marks"'] for value in texts)])
    path = tmp_path / "t.tsv"
    path.write_text(text.getvalue(), encoding="utf-8")
    assert list(texts_of(read_own_table(path).column("text", "text"))) == texts


def test_files_of_splits_make_one_table(tmp_path: Path) -> None:
    for name, value in (
        ("train-00000-of-00002", 0),
        ("train-00001-of-00002", 1),
        ("validation", 2),
        ("test", 3),
    ):
        pq.write_table(pa.table({"n": [value] * 2}), tmp_path / f"{name}.parquet")
    own = read_own_table(tmp_path)
    splits = own.split_of_parts()
    by_value = dict(zip(own.table.column("n").to_pylist(), splits or [], strict=True))
    assert by_value == {0: "train", 1: "train", 2: "valid", 3: "test"}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("pets_TRAIN.csv", "train"),
        ("dev.tsv", "valid"),
        ("trained.csv", None),
        ("train_test.csv", None),
        ("test-00000-of-00001.parquet", "test"),
    ],
)
def test_a_name_tells_a_split_by_a_whole_word(name: str, split: str | None) -> None:
    assert split_in_name(name) == split


def test_what_datasets_saves_to_disk_is_read_with_its_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / split
        folder.mkdir()
        for part in range(2):
            write_form(folder, f"data-0000{part}-of-00002", "arrow", {"split_is": [split], "part": [part]})
        write_form(folder, "cache-1a2b3c", "arrow", {"other": [1]})
        (folder / "dataset_info.json").write_text('{"features": {}}')
        (folder / "state.json").write_text('{"_data_files": []}')
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    own = read_own_table(tmp_path)
    assert own.split_of_parts() == own.table.column("split_is").to_pylist() == ["test"] * 2 + ["train"] * 2
    assert own.parts[-1] == ("train/data-00001-of-00002.arrow", 1)


def test_a_persons_own_tables_may_be_called_as_records_of_datasets_are(tmp_path: Path) -> None:
    rows = [{"n": number} for number in range(3)]
    (tmp_path / "state.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_form(tmp_path, "cache-of-mine", "arrow", {"n": [7, 8]})
    own = read_own_table(tmp_path)
    assert dict(own.parts) == {"cache-of-mine.arrow": 2, "dataset_info.json": 3, "state.json": 3}


def test_nan_in_json_is_no_value(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"a": "x", "b": 1.5}, {"a": NaN, "b": NaN}]')
    assert read_own_table(tmp_path / "t.json").table.to_pydict() == {"a": ["x", None], "b": [1.5, None]}


@pytest.mark.parametrize("orient", ["columns", "split", "index"])
def test_json_that_is_one_object_of_columns_is_refused(tmp_path: Path, orient: str) -> None:
    pd.DataFrame({"text": ["x", "y"], "label": ["a", "b"]}).to_json(tmp_path / "t.json", orient=orient)
    with pytest.raises(DatasetError, match="records"):
        read_own_table(tmp_path / "t.json")


@pytest.mark.parametrize("record", ["state.json", "dataset_info.json"])
@pytest.mark.parametrize("content", ['{"_fingerprint": "1a"}', '{\n "_fingerprint": "1', ""])
def test_records_of_datasets_are_left_aside_also_where_they_are_damaged(
    tmp_path: Path, record: str, content: str
) -> None:
    (tmp_path / record).write_text(content)
    for name in ("cache-1a2b3c", "data-00000-of-00001"):
        write_form(tmp_path, name, "arrow", {"n": [1]})
    assert read_own_table(tmp_path).parts == (("data-00000-of-00001.arrow", 1),)


@settings(max_examples=some_of(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["arrow", "feather"]), st.data())
def test_damaged_arrow_is_refused_or_read(tmp_path: Path, form: str, data: st.DataObject) -> None:
    path = write_form(tmp_path, "t", form, ROWS)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(DatasetError):
        assert read_own_table(path).table.num_rows


@pytest.mark.parametrize("form", ["parquet", "arrow", "feather"])
def test_a_name_with_a_zero_byte_is_refused(tmp_path: Path, form: str) -> None:
    path = write_form(tmp_path, "t", form, {"text\0": ["a"], "n": [1.5]})
    with pytest.raises(DatasetError, match="zero byte"):
        read_own_table(path)


def test_arrow_that_unpacks_to_far_more_than_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_TEXT_LEAST", 2**20)
    table = pa.table({"n": pa.array(np.zeros(2**20))})
    with pa.ipc.new_file(tmp_path / "t.feather", table.schema, options=_ZSTD) as writer:
        writer.write_table(table)
    with pytest.raises(DatasetError, match="in a file of this size"):
        read_own_table(tmp_path / "t.feather")


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_codes_that_pandas_writes_of_a_categorical_are_values(tmp_path: Path, suffix: str) -> None:
    texts = [f"note {n} of some length" for n in range(4)]
    frame = pd.DataFrame({"text": texts, "n": [2, 1, 2, 1]})
    for name, written in (("train", frame.astype("category")), ("test", frame)):
        getattr(written, f"to_{suffix}")(tmp_path / f"{name}.{suffix}")
    own = read_own_table(tmp_path)
    assert own.table.to_pydict() == {"text": texts * 2, "n": [2, 1, 2, 1] * 2}
    assert is_text(own.table.schema.field("text").type)


def test_files_of_which_one_tells_no_split_are_refused(tmp_path: Path) -> None:
    for name in ("train", "more"):
        (tmp_path / f"{name}.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match=r"found more\.csv"):
        read_own_table(tmp_path).split_of_parts()


def test_files_of_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    (tmp_path / "test.csv").write_text("a,c\n1,2\n")
    with pytest.raises(DatasetError, match="found b, c"):
        read_own_table(tmp_path)


def test_class_names_are_those_that_hugging_face_wrote(tmp_path: Path) -> None:
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "t": {"_type": "Value"}}
    schema = pa.schema([("label", pa.int64()), ("t", pa.string())])
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(pa.table({"label": [1, 0], "t": ["a", "b"]}, schema=schema), tmp_path / "t.parquet")
    assert read_own_table(tmp_path / "t.parquet").class_names == {"label": ("cat", "dog")}


@pytest.mark.parametrize(
    "content",
    [
        *(b"[]", b"{", b'{"info": {"features": {"a": 3}}}', b"\xff"),
        b'{"info": {"features": {"a": {"_type": "ClassLabel", "names": [null, "cat"]}}}}',
    ],
)
def test_metadata_that_hugging_face_did_not_write_is_left_aside(tmp_path: Path, content: bytes) -> None:
    schema = pa.schema([("a", pa.int64())]).with_metadata({b"huggingface": content})
    pq.write_table(pa.table({"a": [1]}, schema=schema), tmp_path / "t.parquet")
    assert read_own_table(tmp_path / "t.parquet").class_names == {}


def test_the_index_of_a_pandas_table_names_its_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"]}, index=["k3", "k1", "k2"])
    frame.to_parquet(tmp_path / "t.parquet")
    own = read_own_table(tmp_path / "t.parquet")
    assert own.ids is not None
    assert own.ids.text.to_pylist() == ["k3", "k1", "k2"]


def test_a_column_that_is_not_there_is_said_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Id,Text,Label\n1,2,3\n")
    own = read_own_table(tmp_path / "t.csv")
    with pytest.raises(DatasetError, match="Did you mean Label"):
        own.column("label", "label")
    with pytest.raises(DatasetError, match="Did you mean Text"):
        own.column("Txt", "text")


def test_a_cell_that_goes_on_after_its_closing_quote_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text,label\nfine,x\n"a "word" here",y\n"a ""word""",x\n')
    with pytest.raises(DatasetError, match="closing quote, found more of it in line 3"):
        read_own_table(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.csv"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(DatasetError, match="a folder, pipe or device"):
        read_own_table(path)


def test_parquet_text_that_is_no_utf_8_is_one_sentence(tmp_path: Path) -> None:
    raw = pa.array([b"ok", b"\xff\xfe"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    pq.write_table(pa.table({"text": text, "label": ["x", "y"]}), tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="UTF-8"):
        read_own_table(tmp_path / "t.parquet")
