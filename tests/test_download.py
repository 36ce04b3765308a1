"""Stage download: whatever the source, the same checked examples table."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import DatasetError
from tasks.datasets import digits, idx, mnist
from tasks.download import download, pool_test
from tasks.params import Params, load_params
from tasks.tables.catalog import EXAMPLES
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array

SHIPPED = load_params(Path(__file__).parent.parent / "params.yaml")


def with_download(**changes: Any) -> Params:
    return SHIPPED.model_copy(update={"download": SHIPPED.download.model_copy(update=changes)})


def downloaded(workspace: Path, **changes: Any) -> pa.Table:
    download(with_download(**changes), workspace)
    return read_table(workspace / "data" / "examples.parquet", EXAMPLES)


def own_examples(workspace: Path, **columns: Any) -> None:
    folder = workspace / "inputs" / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "examples.parquet")


def test_digits_are_written_whole(tmp_path: Path, capsys) -> None:
    table, source = downloaded(tmp_path, dataset="digits"), digits.load()
    assert read_facts(table) == source.facts
    np.testing.assert_array_equal(column_array(table, "example_id"), source.example_id)
    np.testing.assert_array_equal(column_array(table, "image"), source.content)
    np.testing.assert_array_equal(column_array(table, "true_label"), source.true_label)
    np.testing.assert_array_equal(column_array(table, "split"), source.split)
    said = "download: digits, 359 test, 1,438 train rows, data/examples.parquet\n"
    assert capsys.readouterr().out == said


def test_two_downloads_have_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        downloaded(tmp_path / name, dataset="digits")
    first, second = (tmp_path / name / "data" / "examples.parquet" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_mnist_is_read_from_inputs_examples(tmp_path: Path, monkeypatch) -> None:
    shapes = ((3, 28, 28), (3,), (1, 28, 28), (1,))
    monkeypatch.setattr(mnist, "_SHAPES", dict(zip(mnist.FILES, shapes, strict=True)))
    folder = tmp_path / "inputs" / "examples"
    folder.mkdir(parents=True)
    for value, (name, shape) in enumerate(zip(mnist.FILES, shapes, strict=True)):
        (folder / name).write_bytes(idx.encode(np.full(shape, value)))
    table = downloaded(tmp_path, dataset="fashion_mnist", sources=("local",))
    assert column_array(table, "image")[:, 0, 0].tolist() == [0, 0, 0, 2]
    assert column_array(table, "true_label").tolist() == [1, 1, 1, 3]
    assert column_array(table, "split").tolist() == ["train"] * 3 + ["test"]


def test_own_examples_keep_ids_splits_and_unknown_labels(tmp_path: Path) -> None:
    own_examples(
        tmp_path,
        example_id=[30, 10, 20],
        features=[[3.0], [1.0], [2.0]],
        true_label=[None, 1, 0],
        split=["unlabeled", "train", "test"],
    )
    table = downloaded(tmp_path, dataset="parquet", class_names=("a", "b"))
    assert table.select(["example_id", "split", "true_label"]).to_pylist() == [
        {"example_id": 10, "split": "train", "true_label": 1},
        {"example_id": 20, "split": "test", "true_label": 0},
        {"example_id": 30, "split": "unlabeled", "true_label": None},
    ]
    assert column_array(table, "features").tolist() == [[1.0], [2.0], [3.0]]
    assert read_facts(table).class_names == ("a", "b")


def test_own_examples_without_labels_have_null_labels(tmp_path: Path) -> None:
    own_examples(tmp_path, example_id=[1, 2], features=[[3.0], [1.0]])
    table = downloaded(tmp_path, dataset="parquet", class_names=("a", "b"))
    assert table.column("true_label").to_pylist() == [None, None]


def test_a_failed_download_leaves_the_old_file(tmp_path: Path) -> None:
    own_examples(tmp_path, example_id=[1, 2], features=[[3.0], [1.0]])
    downloaded(tmp_path, dataset="parquet", class_names=("a", "b"))
    before = (tmp_path / "data" / "examples.parquet").read_bytes()
    own_examples(tmp_path, example_id=[1, 1], features=[[3.0], [1.0]])
    with pytest.raises(DatasetError, match="unique"):
        downloaded(tmp_path, dataset="parquet", class_names=("a", "b"))
    assert (tmp_path / "data" / "examples.parquet").read_bytes() == before
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["examples.parquet"]


def test_no_source_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Place the files by hand"):
        downloaded(tmp_path, dataset="mnist", sources=("local",))
    assert not (tmp_path / "data").exists()


def test_pooling_makes_test_rows_training_rows_and_keeps_where_they_came_from(tmp_path: Path) -> None:
    plain = downloaded(tmp_path / "a", dataset="digits", pool_test=False)
    pooled = downloaded(tmp_path / "b", dataset="digits", pool_test=True)
    assert set(column_array(plain, "split")) == {"train", "test"}
    assert set(column_array(pooled, "split")) == {"train"}
    assert pooled.column("original_split").equals(plain.column("split"))
    others = plain.drop_columns("split")
    assert pooled.select(others.column_names).equals(others, check_metadata=True)
    again = downloaded(tmp_path / "c", dataset="digits", pool_test=True)
    assert again.equals(pooled, check_metadata=True)
    files = [tmp_path / name / "data" / "examples.parquet" for name in "bc"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_own_examples_of_all_splits_are_pooled(tmp_path: Path) -> None:
    splits = ["train", "test", "unlabeled"]
    own_examples(tmp_path, example_id=[1, 2, 3], features=[[3.0], [1.0], [2.0]], split=splits)
    table = downloaded(tmp_path, dataset="parquet", class_names=("a", "b"), pool_test=True)
    assert table.column("split").to_pylist() == ["train", "train", "unlabeled"]
    assert table.column("original_split").to_pylist() == splits


def test_a_file_without_test_rows_is_the_same_pooled_or_not(tmp_path: Path) -> None:
    for name, pooled in ("a", False), ("b", True):
        own_examples(tmp_path / name, example_id=[1, 2], features=[[3.0], [1.0]])
        downloaded(tmp_path / name, dataset="parquet", class_names=("a", "b"), pool_test=pooled)
    files = [tmp_path / name / "data" / "examples.parquet" for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "original_split" not in pq.read_schema(files[0]).names


def test_pooling_leaves_unlabeled_rows_unlabeled() -> None:
    from dataclasses import replace

    examples = digits.load()
    split = np.resize(["train", "unlabeled", "test"], 1797)
    pooled = pool_test(replace(examples, split=split))
    assert pooled.original_split is not None
    assert pooled.original_split.tolist() == split.tolist()
    assert pooled.split.tolist() == ["unlabeled" if one == "unlabeled" else "train" for one in split]
