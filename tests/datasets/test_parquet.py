"""Own examples from Parquet: what fits is read, and each fault is one DatasetError that names the file."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from own_forms import png

from tasks import DatasetError
from tasks.contents import Examples
from tasks.datasets import parquet
from tasks.own_files import columns
from tasks.own_files.pictures import pixels_of
from tasks.tables.catalog import SPLITS
from tasks.tables.io import tensor_column

NAMES = ("cat", "dog")


def write(inputs: Path, **columns: Any) -> Path:
    (inputs / "examples").mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), inputs / "examples" / "examples.parquet")
    return inputs


def load(inputs: Path, names: tuple[str, ...] = NAMES) -> Examples:
    return parquet.read(inputs, parquet.Options(class_names=names), None)


def good(**changes: Any) -> dict[str, Any]:
    columns = {"example_id": [1, 2], "features": [[1.0, 2.0], [3.0, 4.0]], **changes}
    return {name: values for name, values in columns.items() if values is not None}


def refused(inputs: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        load(inputs)
    assert str(inputs / "examples" / "examples.parquet") in str(caught.value)
    assert "expected" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("as_struct", [True, False])
def test_encoded_pictures_are_decoded(tmp_path: Path, as_struct: bool) -> None:
    pixels = np.arange(2 * 8 * 9 * 3, dtype=np.uint8).reshape(2, 8, 9, 3)
    cells: list[Any] = [png(each) for each in pixels]
    if as_struct:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        cells = pa.array([{"bytes": cell, "path": None} for cell in cells], kind)
    found = load(write(tmp_path, example_id=[1, 2], image=cells)).content.values()
    np.testing.assert_array_equal(found, pixels)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), as_tensor=st.booleans(), kind=st.sampled_from(["image", "features"]))
def test_rows_come_as_they_lie_in_the_file_from_tensors_and_lists(
    tmp_path: Path, data: Any, as_tensor: bool, kind: str
) -> None:
    n = data.draw(st.integers(1, 6))
    if kind == "image":
        shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=4))
        shape += data.draw(st.sampled_from([(), (1,), (3,)]))
        values = data.draw(hnp.arrays(np.uint8, (n, *shape)))
    else:
        finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
        values = data.draw(hnp.arrays(np.float32, (n, data.draw(st.integers(1, 4))), elements=finite))
    key = st.integers(-(2**63), 2**63 - 1) if data.draw(st.booleans()) else st.text(min_size=1, max_size=5)
    rows = {
        "example_id": data.draw(st.lists(key, min_size=n, max_size=n, unique=True)),
        "split": data.draw(st.lists(st.sampled_from(SPLITS), min_size=n, max_size=n)),
    }
    for name in ("given_label", "true_label"):
        labels = data.draw(st.lists(st.none() | st.sampled_from([0, 1]), min_size=n, max_size=n))
        as_names = data.draw(st.booleans())
        rows[name] = [None if k is None else NAMES[k] if as_names else k for k in labels]
    columns = {**rows, kind: tensor_column(values) if as_tensor else values.tolist()}
    examples = load(write(tmp_path, **columns))

    assert examples.key == [str(key) for key in rows["example_id"]]
    assert examples.split.tolist() == rows["split"]
    found = examples.content.values()
    assert found.dtype == (np.uint8 if kind == "image" else np.float32)
    np.testing.assert_array_equal(found, values)
    for name in ("given_label", "true_label"):
        labels = getattr(examples, name)
        if set(rows[name]) == {None}:
            assert labels is None
        else:
            assert labels.dtype == np.int16
            assert labels.tolist() == [
                -1 if one is None else NAMES.index(one) if one in NAMES else one for one in rows[name]
            ]
    assert (examples.facts.content, examples.facts.shape) == (kind, values.shape[1:])
    assert examples.facts.class_names == NAMES


def test_without_split_and_labels_all_rows_are_training_rows(tmp_path: Path) -> None:
    examples = load(write(tmp_path, **good()))
    assert examples.split.tolist() == ["train", "train"]
    assert examples.true_label is None
    assert examples.given_label is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "found no file" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"example_id,features\n", b"PAR1 no PAR1"])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (write(tmp_path, **good()) / "examples" / "examples.parquet").write_bytes(content)
    assert "readable Parquet" in refused(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, **good()) / "examples" / "examples.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert "readable Parquet" in refused(tmp_path)


def test_class_names_are_needed(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"`datasets\.parquet\.class_names`"):
        load(write(tmp_path, **good()), ())


@pytest.mark.parametrize("names", [["a", ""], ["a", " "], ["a", "b", "a"], ["\u00e9", "e\u0301"], [1, 2]])
def test_class_names_that_are_empty_or_the_same_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="class_names"):
        parquet.Options(class_names=names)


@pytest.mark.parametrize(
    "changes",
    [
        {"example_id": None, "id": [1, 2]},
        {"features": None},
        {"features": None, "pixels": [[1], [2]]},
        {"image": [[[1]], [[2]]]},
    ],
)
def test_missing_or_ambiguous_columns_are_named_beside_those_found(tmp_path: Path, changes) -> None:
    columns = good(**changes)
    found = refused(write(tmp_path, **columns))
    assert "the column example_id and one of image and features" in found
    assert f"found {', '.join(columns)}" in found


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    empty = {"example_id": pa.array([], pa.int64()), "image": tensor_column(np.zeros((0, 2, 2), np.uint8))}
    assert "found no rows" in refused(write(tmp_path, **empty))


@pytest.mark.parametrize(
    "ids",
    [
        [1.0, 2.5],
        [1, None],
        ["a", None],
        ["a", ""],
        [True, False],
        pa.array([b"a", b"\xff"]).view(pa.string()),
    ],
)
def test_ids_that_are_neither_whole_numbers_nor_texts_are_refused(tmp_path: Path, ids: Any) -> None:
    assert "column example_id: expected" in refused(write(tmp_path, **good(example_id=ids)))


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_texts_of_any_type_are_keys(tmp_path: Path, kind: pa.DataType) -> None:
    ids = pa.array(["a", "b"]).cast(kind)
    assert load(write(tmp_path, **good(example_id=ids))).key == ["a", "b"]


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ([[1.0, 2.0], [3.0]], "rows of one length"),
        ([[1.0, 2.0], None], "without nulls, found 1"),
        ([[1.0, None], [3.0, 4.0]], "numbers in every cell"),
        ([[1.0, float("nan")], [3.0, 4.0]], "finite"),
        ([[1.0, float("-inf")], [3.0, 4.0]], "finite"),
        ([[1.0, 1e300], [3.0, 4.0]], "finite"),
        ([1.0, 2.0], "one list of numbers"),
        ([[], []], "numbers"),
        ([[[1.0]], [[2.0]]], "one list of numbers"),
        (["a", "b"], "numbers"),
        ([["a"], ["b"]], "numbers"),
        ([[True], [False]], "numbers"),
        ([{"x": 1.0}, {"x": 2.0}], "numbers"),
    ],
)
def test_features_that_are_not_finite_vectors_are_refused(tmp_path: Path, features, says: str) -> None:
    found = refused(write(tmp_path, **good(features=features)))
    assert "`features`" in found
    assert says in found


def test_a_tensor_column_with_a_null_row_is_refused(tmp_path: Path) -> None:
    kind = tensor_column(np.zeros((1, 2), np.float32)).type
    storage = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    tensors = pa.ExtensionArray.from_storage(kind, storage)
    assert "without nulls, found 1" in refused(write(tmp_path, **good(features=tensors)))


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ([[[0, 256]], [[0, 0]]], "0..255"),
        ([[[0, -1]], [[0, 0]]], "0..255"),
        ([[[0.5, 0.0]], [[0.0, 0.0]]], "0..255"),
        ([[[float("nan")]], [[0.0]]], "0..255"),
        ([[1, 2], [3, 4]], "height x width"),
        ([1, 2], "height x width"),
        ([b"png", b"png"], "row 0"),
        ([[[1, 2]], [[1], [2]]], "rows of one length"),
        (np.zeros((2, 3, 5, 4), np.uint8).tolist(), "1 or 3 channels, found shape (3, 5, 4); the channels"),
        (np.zeros((2, 5, 5, 4), np.uint8).tolist(), "1 or 3 channels, found shape (5, 5, 4)."),
    ],
)
def test_images_that_are_not_bytes_of_two_dimensions_are_refused(tmp_path: Path, images, says: str) -> None:
    assert says in refused(write(tmp_path, **good(features=None, image=images)))


@pytest.mark.parametrize(
    ("values", "found"), [([0.25, 0.5], "from 0.25 to 0.5"), ([-1.0, 1.0], "from -1 to 1")]
)
def test_pixels_on_another_scale_are_refused_with_what_was_found(values: list[float], found: str) -> None:
    with pytest.raises(DatasetError, match=found):
        pixels_of(np.resize(values, (2, 8, 8)), "x.npy")


def test_images_of_whole_floats_are_taken(tmp_path: Path) -> None:
    pixels = load(write(tmp_path, **good(features=None, image=[[[0.0, 255.0]]] * 2))).content.values()
    assert pixels.tolist() == [[[0, 255]]] * 2
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("name", ["given_label", "true_label"])
@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 2], "found 2 in row 1"),
        (["cat", "fish"], "found fish in row 1"),
        ([0.0, 1.5], "found 1.5 in row 1"),
    ],
)
def test_labels_that_are_no_class_are_refused_by_their_column(
    tmp_path: Path, name: str, labels: Any, says: str
) -> None:
    found = refused(write(tmp_path, **good(**{name: labels})))
    assert f"column {name}: " in found
    assert says in found


@pytest.mark.parametrize(
    ("split", "says"), [(["train", "dev"], "'dev'"), (["train", None], "None"), ([0, 1], "0")]
)
def test_a_split_that_is_none_is_named(tmp_path: Path, split: Any, says: str) -> None:
    found = refused(write(tmp_path, **good(split=split)))
    assert f"`split` of train, valid, test, unlabeled, found {says}." in found


def test_a_pipe_in_place_of_the_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    os.mkfifo(tmp_path / "examples" / "examples.parquet")
    assert "pipe" in refused(tmp_path)


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    raw = pa.array([b"ok", b"\xff\xfe"])
    refused(write(tmp_path, **good(split=pa.Array.from_buffers(pa.string(), 2, raw.buffers()))))


def test_a_page_whose_checksum_differs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    path = tmp_path / "examples" / "examples.parquet"
    features = np.random.default_rng(0).normal(size=(500, 8))
    table = pa.table({"example_id": range(500), "features": list(features)})
    pq.write_table(table, path, compression="none", write_page_checksum=True, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(tmp_path)


def test_text_that_unpacks_to_much_more_than_the_file_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_TEXT_LEAST", 2**20)
    features = [[1.0, 2.0]] * 300
    inputs = write(tmp_path, example_id=range(300), features=features, split=["train" * 2000] * 300)
    assert "of text" in refused(inputs)
