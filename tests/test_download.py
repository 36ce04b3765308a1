"""Stage download: whatever the source, the same checked examples table."""

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import DatasetError, plugins
from tasks.datasets import _idx, _idx_sets, digits, fashion_mnist
from tasks.download import download
from tasks.params import load_params
from tasks.sections import Section
from tasks.tables.catalog import EXAMPLES
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.keys import example_id_of
from tasks.tables.schemas import column_array

SHIPPED = load_params(Path(__file__).parent.parent / "params.yaml")


def downloaded(workspace: Path, dataset: str, sources: tuple[str, ...] = (), **options: Any) -> pa.Table:
    section = SHIPPED.download.model_copy(update={"dataset": dataset, "sources": sources})
    own = {dataset: plugins.read_options("datasets", dataset, options)}
    download(SHIPPED.model_copy(update={"download": section, "datasets": own}), workspace)
    return read_table(EXAMPLES.at(workspace), EXAMPLES)


def own_examples(workspace: Path, **columns: Any) -> None:
    folder = workspace / "inputs" / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "examples.parquet")


def test_digits_are_written_whole_and_with_equal_bytes_each_time(tmp_path: Path, capsys) -> None:
    table, source = downloaded(tmp_path, "digits"), digits.read(Path(), Section(), None)
    assert read_facts(table) == source.facts
    assert column_array(table, "example_id").tolist() == list(range(1797))
    assert table.column("key").to_pylist() == source.key
    np.testing.assert_array_equal(column_array(table, "image"), source.content.values())
    np.testing.assert_array_equal(column_array(table, "true_label"), source.true_label)
    np.testing.assert_array_equal(column_array(table, "split"), source.split)
    assert table.column("given_label").null_count == 1797
    said = "download: digits, 359 test, 1,438 train rows, data/examples.parquet\n"
    assert capsys.readouterr().out == said
    before = EXAMPLES.at(tmp_path).read_bytes()
    downloaded(tmp_path, "digits")
    assert EXAMPLES.at(tmp_path).read_bytes() == before


def hidden(
    workspace: Path, per_class: int, seed: int = 0, dataset: str = "digits", **options: Any
) -> pa.Table:
    changes = {"dataset": dataset, "labels_per_class": per_class, "labels_seed": seed}
    own = {dataset: plugins.read_options("datasets", dataset, options)}
    section = SHIPPED.download.model_copy(update=changes)
    download(SHIPPED.model_copy(update={"download": section, "datasets": own}), workspace)
    return read_table(EXAMPLES.at(workspace), EXAMPLES)


def test_labels_are_hidden_but_for_some_of_each_class_and_the_truth_is_kept(tmp_path: Path) -> None:
    whole, table = downloaded(tmp_path, "digits"), hidden(tmp_path, 3)
    was, split = column_array(whole, "split"), column_array(table, "split")
    labels = column_array(table, "true_label")
    assert np.bincount(labels[split == "train"]).tolist() == [3] * 10
    assert ((split == "unlabeled") == ((was == "train") & (split != "train"))).all()
    assert ((split == "test") == (was == "test")).all()
    np.testing.assert_array_equal(labels, column_array(whole, "true_label"))
    assert hidden(tmp_path, 3).equals(table)
    others = column_array(hidden(tmp_path, 3, seed=1), "split")
    assert ((others == "train") != (split == "train")).any()


def test_hidden_labels_that_people_brought_are_in_no_table(tmp_path: Path) -> None:
    own_examples(
        tmp_path,
        example_id=[str(row) for row in range(12)],
        features=[[float(row), 1.0] for row in range(12)],
        given_label=["ant", "bee"] * 6,
        split=["train"] * 10 + ["test"] * 2,
    )
    table = hidden(tmp_path, 2, dataset="parquet", class_names=("ant", "bee"))
    given, split = table.column("given_label").to_pylist(), column_array(table, "split").tolist()
    assert [label is None for label in given] == [each == "unlabeled" for each in split]
    assert split.count("unlabeled") == 6


def test_a_class_with_fewer_labels_than_are_to_stay_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"labels_per_class: 500 .* of class `0` were expected, found 1"):
        hidden(tmp_path, 500)
    assert not EXAMPLES.at(tmp_path).exists()


def test_fashion_mnist_is_read_from_inputs_examples(tmp_path: Path, monkeypatch) -> None:
    shapes = ((3, 28, 28), (3,), (1, 28, 28), (1,))
    folder = tmp_path / "inputs" / "examples"
    folder.mkdir(parents=True)
    published = {}
    by_name = dict(zip(_idx_sets.FILES, shapes, strict=True))
    for value, (name, shape) in enumerate(by_name.items()):
        content = gzip.compress(_idx.encode(np.full(shape, value)))
        (folder / f"{name}.gz").write_bytes(content)
        published[name] = hashlib.sha256(content).hexdigest()
    small = replace(fashion_mnist.FASHION_MNIST, gz_sha256=published, shapes=by_name)
    monkeypatch.setattr(fashion_mnist, "FASHION_MNIST", small)
    table = downloaded(tmp_path, "fashion_mnist", ("local",))
    assert column_array(table, "image")[:, 0, 0].tolist() == [0, 0, 0, 2]
    assert column_array(table, "true_label").tolist() == [1, 1, 1, 3]
    assert column_array(table, "split").tolist() == ["train"] * 3 + ["test"]


def test_own_examples_keep_keys_splits_and_unknown_labels(tmp_path: Path) -> None:
    rows = {
        "example_id": ["30", "a.png", "007"],
        "split": ["unlabeled", "train", "test"],
        "given_label": [None, "b", "a"],
        "true_label": [None, "a", None],
    }
    own_examples(tmp_path, features=[[3.0], [1.0], [2.0]], **rows)
    table = downloaded(tmp_path, "parquet", class_names=("a", "b"))
    expected = [
        {"example_id": 30, "key": "30", "split": "unlabeled", "given_label": None, "true_label": None,
         "features": [3.0]},
        {"example_id": example_id_of("a.png"), "key": "a.png", "split": "train", "given_label": 1,
         "true_label": 0, "features": [1.0]},
        {"example_id": example_id_of("007"), "key": "007", "split": "test", "given_label": 0,
         "true_label": None, "features": [2.0]},
    ]  # fmt: skip
    found = [{**row, "features": list(row["features"])} for row in table.to_pylist()]
    assert found == sorted(expected, key=lambda row: row["example_id"])
    assert read_facts(table).class_names == ("a", "b")


def test_rows_keep_their_ids_when_others_come_and_go_and_the_order_changes(tmp_path: Path) -> None:
    keys = [f"{k}.png" for k in range(9)]
    ids = {}
    for name, chosen in (("a", keys), ("b", keys[:1:-1]), ("c", keys[::2])):
        own_examples(tmp_path / name, example_id=chosen, features=[[float(key[0])] for key in chosen])
        table = downloaded(tmp_path / name, "parquet", class_names=("a", "b"))
        ids[name] = dict(
            zip(column_array(table, "example_id").tolist(), table.column("key").to_pylist(), strict=True)
        )
        assert [float(key[0]) for key in ids[name].values()] == column_array(table, "features")[:, 0].tolist()
    assert ids["b"].items() < ids["a"].items()
    assert ids["c"].items() < ids["a"].items()


def test_a_failed_download_leaves_the_old_file(tmp_path: Path) -> None:
    own_examples(tmp_path, example_id=[1, 2], features=[[3.0], [1.0]])
    downloaded(tmp_path, "parquet", class_names=("a", "b"))
    before = EXAMPLES.at(tmp_path).read_bytes()
    own_examples(tmp_path, example_id=["a", "a"], features=[[3.0], [1.0]])
    with pytest.raises(DatasetError, match="found 'a' twice"):
        downloaded(tmp_path, "parquet", class_names=("a", "b"))
    assert EXAMPLES.at(tmp_path).read_bytes() == before
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["examples.parquet"]


def test_no_source_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Place the files by hand"):
        downloaded(tmp_path, "mnist", ("local",))
    assert not (tmp_path / "data").exists()
