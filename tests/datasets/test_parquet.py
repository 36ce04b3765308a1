"""Own examples from Parquet: what fits is read, and each fault is one DatasetError that names the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks import DatasetError
from tasks.datasets import parquet
from tasks.tables.io import tensor_column

NAMES = ("cat", "dog")


def write(folder: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / "examples.parquet")
    return folder


def good(**changes: Any) -> dict[str, Any]:
    columns = {"example_id": [1, 2], "features": [[1.0, 2.0], [3.0, 4.0]], **changes}
    return {name: values for name, values in columns.items() if values is not None}


def refused(folder: Path, names: tuple[str, ...] = NAMES) -> str:
    with pytest.raises(DatasetError) as caught:
        parquet.load(folder, names)
    assert str(folder / "examples.parquet") in str(caught.value)
    assert "expected" in str(caught.value)
    return str(caught.value)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), as_tensor=st.booleans(), kind=st.sampled_from(["image", "features"]))
def test_rows_come_back_in_id_order_from_tensors_and_lists(
    tmp_path: Path, data: Any, as_tensor: bool, kind: str
) -> None:
    n = data.draw(st.integers(1, 6))
    if kind == "image":
        shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=4))
        values = data.draw(hnp.arrays(np.uint8, (n, *shape)))
    else:
        finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
        values = data.draw(hnp.arrays(np.float32, (n, data.draw(st.integers(1, 4))), elements=finite))
    ids = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=n, max_size=n, unique=True))
    labels = data.draw(st.lists(st.none() | st.sampled_from([0, 1]), min_size=n, max_size=n))
    splits = data.draw(st.lists(st.sampled_from(["train", "test", "unlabeled"]), min_size=n, max_size=n))
    columns = {
        "example_id": ids,
        kind: tensor_column(values) if as_tensor else values.tolist(),
        "true_label": pa.array(labels, pa.int64()),
        "split": splits,
    }
    examples = parquet.load(write(tmp_path, **columns), NAMES)

    order = np.argsort(ids)
    assert examples.example_id.tolist() == sorted(ids)
    assert examples.split.tolist() == [splits[row] for row in order]
    assert examples.content.dtype == (np.uint8 if kind == "image" else np.float32)
    np.testing.assert_array_equal(examples.content, values[order])
    if all(label is None for label in labels):
        assert examples.true_label is None
    else:
        assert examples.true_label is not None
        assert examples.true_label.tolist() == [labels[row] for row in order]
    assert (examples.facts.content, examples.facts.shape) == (kind, values.shape[1:])
    assert examples.facts.class_names == NAMES


def test_without_split_and_true_label_all_rows_are_unlabelled_training_rows(tmp_path: Path) -> None:
    examples = parquet.load(write(tmp_path, **good()), NAMES)
    assert examples.split.tolist() == ["train", "train"]
    assert examples.true_label is None


def test_true_labels_that_are_all_null_count_as_unknown(tmp_path: Path) -> None:
    assert parquet.load(write(tmp_path, **good(true_label=pa.nulls(2))), NAMES).true_label is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "found no file" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"example_id,features\n", b"PAR1 no PAR1"])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "examples.parquet").write_bytes(content)
    assert "readable Parquet" in refused(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, **good()) / "examples.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert "readable Parquet" in refused(tmp_path)


def test_class_names_are_needed(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"`download\.class_names`"):
        parquet.load(write(tmp_path, **good()), ())


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
        ["a", "b"],
        [1.0, 2.0],
        [1, None],
        pa.array([1, 2**63], pa.uint64()),
    ],
)
def test_ids_that_are_not_int64_are_refused(tmp_path: Path, ids: Any) -> None:
    assert "`example_id`" in refused(write(tmp_path, **good(example_id=ids)))


def test_repeated_ids_are_refused(tmp_path: Path) -> None:
    assert "unique example_id" in refused(write(tmp_path, **good(example_id=[5, 5])))


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
        ([[], []], "one list of numbers"),
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
        ([b"png", b"png"], "numbers"),
        ([[[1, 2]], [[1], [2]]], "rows of one length"),
    ],
)
def test_images_that_are_not_bytes_of_two_dimensions_are_refused(tmp_path: Path, images, says: str) -> None:
    found = refused(write(tmp_path, **good(features=None, image=images)))
    assert "`image`" in found
    assert says in found


def test_images_of_whole_floats_are_taken(tmp_path: Path) -> None:
    examples = parquet.load(write(tmp_path, **good(features=None, image=[[[0.0, 255.0]]] * 2)), NAMES)
    assert examples.content.tolist() == [[[0, 255]]] * 2
    assert examples.content.dtype == np.uint8


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 2], "true_label in 0..1, found 0..2"),
        ([-1, 1], "true_label in 0..1, found -1..1"),
        (pa.array([None, 2]), "found 2..2"),
        (pa.array([0, 2**64 - 1], pa.uint64()), f"found 0..{2**64 - 1}"),
        (["cat", "dog"], "integer true_label"),
        ([0.0, 1.0], "integer true_label"),
    ],
)
def test_true_labels_that_are_no_class_are_refused(tmp_path: Path, labels: Any, says: str) -> None:
    assert says in refused(write(tmp_path, **good(true_label=labels)))


@pytest.mark.parametrize(
    ("split", "says"), [(["train", "valid"], "'valid'"), (["train", None], "None"), ([0, 1], "0")]
)
def test_a_split_that_is_none_is_named(tmp_path: Path, split: Any, says: str) -> None:
    assert f"`split` of train, test, unlabeled, found {says}." in refused(
        write(tmp_path, **good(split=split))
    )
