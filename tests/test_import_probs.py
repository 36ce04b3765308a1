"""Probabilities and labels from elsewhere: three formats in, two checked tables out, or one sentence."""

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from tasks import import_probs as module
from tasks.artifacts import GIVEN_LABELS, PRED_PROBS, column_array, read_facts, read_table
from tasks.command_line import main

NAMES = ("ant", "bee", "cat")


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([1, 1, 1], size=200)
    return np.sort(rng.choice(1000, 200, replace=False)), rng.integers(3, size=200), probs


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_PORTION_ENTRIES", 100)
    return tmp_path


def write(path, columns):
    table = pa.table(columns)
    pacsv.write_csv(table, path) if path.suffix == ".csv" else pq.write_table(table, path)


def write_probs(folder, form, probs, ids=None):
    named = {} if ids is None else {"example_id": ids}
    wide = {name: probs[:, k] for k, name in enumerate(NAMES)}
    if form == "npy":
        np.save(folder / "p.npy", probs)
    elif form == "npy32":
        np.save(folder / "p.npy", probs.astype(np.float32))
    elif form == "csv":
        write(folder / "p.csv", named | wide)
    elif form == "wide":
        write(folder / "p.parquet", named | wide)
    elif form == "lists":
        write(folder / "p.parquet", named | {"pred_probs": pa.array(list(probs))})
    else:
        write(
            folder / "p.parquet", named | {"pred_probs": pa.FixedShapeTensorArray.from_numpy_ndarray(probs)}
        )
    (path,) = folder.glob("p.*")
    return path


def run(pred_probs, labels, *more):
    return main(["import-probs", "--pred-probs", str(pred_probs), "--labels", str(labels), *more])


@pytest.mark.parametrize("form", ["npy", "npy32", "csv", "wide", "lists", "tensor"])
@pytest.mark.parametrize("kind", ["npy", "csv", "parquet"])
def test_every_format_gives_the_same_tables(rows, workspace, form, kind, capsys):
    _, labels, probs = rows
    path = workspace / f"labels.{kind}"
    np.save(path, labels) if kind == "npy" else write(path, {"given_label": labels})
    assert run(write_probs(workspace, form, probs), path) == 0
    table = read_table(workspace / "data" / "pred_probs.parquet", PRED_PROBS)
    given = read_table(workspace / "data" / "given_labels.parquet", GIVEN_LABELS)
    assert np.array_equal(column_array(table, "pred_probs"), probs.astype(np.float32))
    assert np.array_equal(column_array(table, "example_id"), np.arange(200))
    assert set(column_array(table, "fold")) == {module.NO_FOLD}
    assert np.array_equal(column_array(given, "given_label"), labels)
    assert set(column_array(given, "split")) == {"train"}
    assert given.column("is_noisy").null_count == 200
    named = form in ("csv", "wide")
    assert read_facts(table).class_names == (NAMES if named else ("0", "1", "2"))
    assert "dvc repro --single-item prune" in capsys.readouterr().out


def test_rows_with_ids_are_joined_and_names_are_labels(rows, workspace):
    ids, labels, probs = rows
    order = np.random.default_rng(1).permutation(200)
    write(workspace / "l.csv", {"example_id": ids[order], "given_label": np.array(NAMES)[labels[order]]})
    (workspace / "names.txt").write_text("ant\nbee\ncat\n")
    path = write_probs(workspace, "lists", probs, ids)
    assert run(path, workspace / "l.csv", "--class-names", str(workspace / "names.txt")) == 0
    given = read_table(workspace / "data" / "given_labels.parquet", GIVEN_LABELS)
    assert np.array_equal(column_array(given, "example_id"), ids)
    assert np.array_equal(column_array(given, "given_label"), labels)
    assert read_facts(given).class_names == NAMES


def spoiled(probs, row, values):
    probs = probs.copy()
    probs[row] = values
    return probs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: spoiled(p, 150, [np.nan, 0.5, 0.5]), "found nan in row 150, column 0"),
        (lambda p: spoiled(p, 150, [1.5, -0.5, 0]), "found 1.5 in row 150, column 0; logits"),
        (lambda p: spoiled(p, 150, [0.5, 0.3, 0.1]), r"sum to 1 (within 0.001), found 0.9 in row 150"),
        (lambda p: p[:150], "found 200 for 150"),
        (lambda p: np.vstack([p, p]), "found 200 for 400"),
        (lambda p: p[:, :1], "K >= 2"),
        (lambda p: p[:, 0], "shape (N, K)"),
        (lambda p: p.argmax(axis=1)[:, None] * np.ones((1, 3), int), "expected float"),
        (lambda p: p.astype(object), "without pickled objects"),
    ],
)
def test_probabilities_that_are_none_are_one_sentence_and_nothing_is_written(
    rows, workspace, change, message, capsys
):
    _, labels, probs = rows
    np.save(workspace / "labels.npy", labels)
    np.save(workspace / "p.npy", change(probs), allow_pickle=True)
    assert run(workspace / "p.npy", workspace / "labels.npy") == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list((workspace / "data").iterdir()) if (workspace / "data").exists() else True


@pytest.mark.parametrize(
    ("name", "content", "more", "message"),
    [
        (
            "l.csv",
            {"given_label": [3] * 200},
            (),
            "among the 3 classes 0, 1, 2 or their indices, found 3 in row 0",
        ),
        ("l.csv", {"given_label": ["dog"] * 200}, (), "found dog in row 0"),
        ("l.csv", {"label": [0] * 200}, (), "expected the column given_label, found only label"),
        ("l.parquet", {"given_label": [0.5] * 200}, (), "class index or name"),
        ("l.parquet", {"given_label": [None, *[0] * 199]}, (), "with 1 empty"),
        ("l.csv", {"given_label": [0] * 200, "example_id": [1] * 200}, (), "unique example_id"),
        ("l.csv", {"given_label": [0] * 200, "example_id": range(200)}, (), "expected the column example_id"),
        (
            "l.csv",
            {"given_label": [0] * 200},
            ("--class-names", "a,b"),
            "expected 3 different names, found 2",
        ),
        ("l.csv", {"given_label": [0] * 200}, ("--class-names", "a,b,a"), "different names"),
        ("l.xlsx", None, (), "expected a .parquet, .csv or .npy file, found .xlsx"),
        ("none.csv", None, (), "expected a file here, found none"),
        ("bad.parquet", None, (), "expected a readable parquet file"),
    ],
)
def test_labels_that_do_not_fit_are_one_sentence(rows, workspace, name, content, more, message, capsys):
    path = workspace / name
    if content is not None:
        write(path, content)
    elif name != "none.csv":
        path.write_text("nothing")
    assert run(write_probs(workspace, "npy", rows[2]), path, *more) == 1
    error = capsys.readouterr().err
    assert message in error
    assert not (workspace / "data").exists()


def test_ids_without_label_or_out_of_order_are_named(rows, workspace, capsys):
    ids, labels, probs = rows
    write(workspace / "l.csv", {"example_id": ids + 1, "given_label": labels})
    assert run(write_probs(workspace, "lists", probs, ids), workspace / "l.csv") == 1
    assert f"a label for every example_id, found none for {ids[0]}" in capsys.readouterr().err
    write(workspace / "l.csv", {"example_id": ids, "given_label": labels})
    assert run(write_probs(workspace, "lists", probs[::-1], ids[::-1]), workspace / "l.csv") == 1
    assert "ascending order of `example_id`" in capsys.readouterr().err
    assert not list((workspace / "data").iterdir())
