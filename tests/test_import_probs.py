"""Probabilities and labels from elsewhere: three formats in, two checked tables out, or one sentence."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from tasks import import_probs as module
from tasks.command_line import main
from tasks.label_quality.importance import ClassMoments, importance_of, leverage_of_given, whiten
from tasks.own_files.labels import read_label_columns
from tasks.tables import portions as streams
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array

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
        ("l.csv", {"label": [0] * 200}, (), "expected the column given_label once, found label"),
        ("l.parquet", {"given_label": [0.5] * 200}, (), "indices (integers) or names (text), found double"),
        ("l.parquet", {"given_label": [None, *[0] * 199]}, (), "column given_label, found none in row 0"),
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


DIGITS = [str(k) for k in range(12)]


@pytest.mark.parametrize(
    ("names", "labels", "indices"),
    [
        (["1", "0", "2"], ["1", "0", "2"], [0, 1, 2]),
        (sorted(DIGITS), ["10", "2", "11", "9"], [2, 4, 3, 11]),
        (["001", "002", "003", "004"], ["001", "002", "003"], [0, 1, 2]),
        (["False", "True"], ["True", "False"], [1, 0]),
        (["2026-01-01", "2026-01-02"], ["2026-01-02", "2026-01-01"], [1, 0]),
        (["1", "NA", "2"], ["NA", "2", "1"], [1, 2, 0]),
        (["-1", "1"], ["1", "-1"], [1, 0]),
        (["0", "1", "2"], ["2", "1.0"], "found 1.0 in row 1"),
        (["ant", "bee", "cat"], ["2", "1.0", "0"], [2, 1, 0]),
        (["ant", "bee", "cat"], ["0", "ant", "bee"], "in every row, as in row 1, found 0 in row 0"),
        (["1", "2", "3"], ["1", "2", "0"], "in every row, as in row 0, found 0 in row 2"),
        (["001", "002", "003"], ["1", "2"], "found 1, which might mean either"),
        (["1", "2", "10"], ["x", "y"], "among the 3 classes 1, 2, 10 or their indices, found x in row 0"),
    ],
)
@pytest.mark.parametrize("column", ["given_label", "true_label"])
@pytest.mark.parametrize("named_by", ["heading", "option"])
def test_labels_of_a_csv_are_text_and_matched_with_names_first(
    workspace, names, labels, indices, column, named_by, capsys
):
    probs = np.full((len(labels), len(names)), 1 / len(names))
    more = ()
    if named_by == "heading":
        pacsv.write_csv(pa.table(dict(zip(names, probs.T, strict=True))), workspace / "p.csv")
    else:
        pq.write_table(pa.table({"pred_probs": list(probs)}), workspace / "p.parquet")
        more = (f"--class-names={','.join(names)}",)
    (path,) = workspace.glob("p.*")
    (workspace / "l.csv").write_text(f"{column}\n" + "\n".join(labels) + "\n")
    if column == "true_label":
        np.save(workspace / "given.npy", np.array([names[0]] * len(labels)))
        status = run(path, workspace / "given.npy", "--true-labels", str(workspace / "l.csv"), *more)
    else:
        status = run(path, workspace / "l.csv", *more)
    if isinstance(indices, str):
        assert status == 1
        assert indices in capsys.readouterr().err
    else:
        assert status == 0
        given = read_table(workspace / "data" / "given_labels.parquet", GIVEN_LABELS)
        assert column_array(given, column).tolist() == indices


@pytest.mark.parametrize("kind", ["npy", "parquet"])
@pytest.mark.parametrize(
    ("names", "is_clear"), [("ant,bee,cat", True), ("0,1,2", True), ("1,0,2", False), ("001,002,003", False)]
)
def test_integers_are_indices_unless_the_names_are_other_numbers(
    rows, workspace, kind, names, is_clear, capsys
):
    _, labels, probs = rows
    path = write_probs(workspace, "npy", probs)

    def given(values):
        file = workspace / f"l.{kind}"
        np.save(file, values) if kind == "npy" else write(file, {"given_label": values})
        return file

    for kinds in (labels, labels.astype(">i2" if kind == "npy" else np.int16)):
        assert run(path, given(kinds), "--class-names", names) == (0 if is_clear else 1)
    error = capsys.readouterr().err
    assert is_clear or "might mean either; give the names as they are, as text" in error
    assert run(path, given(np.array(names.split(","))[labels]), "--class-names", names) == 0
    table = read_table(workspace / "data" / "given_labels.parquet", GIVEN_LABELS)
    assert np.array_equal(column_array(table, "given_label"), labels)


def test_ids_without_label_or_out_of_order_are_named(rows, workspace, capsys):
    ids, labels, probs = rows
    write(workspace / "l.csv", {"example_id": ids + 1, "given_label": labels})
    assert run(write_probs(workspace, "lists", probs, ids), workspace / "l.csv") == 1
    assert f"a label for every example_id, found none for {ids[0]}" in capsys.readouterr().err
    write(workspace / "l.csv", {"example_id": ids, "given_label": labels})
    assert run(write_probs(workspace, "lists", probs[::-1], ids[::-1]), workspace / "l.csv") == 1
    found = f"in ascending order, found {ids[-2]} after {ids[-1]} in row 1; sort the rows"
    assert found in capsys.readouterr().err
    assert not list((workspace / "data").iterdir())


def test_a_full_disk_leaves_the_tables_of_before(rows, workspace, monkeypatch, capsys):
    _, labels, probs = rows
    write(workspace / "l.csv", {"given_label": labels})
    assert run(write_probs(workspace, "lists", probs), workspace / "l.csv") == 0
    before = {path: path.read_bytes() for path in (workspace / "data").iterdir()}
    finish = streams._Stream.finish

    def fail_for_probabilities(stream):
        if stream._where.endswith("pred_probs.parquet"):
            raise OSError("No space left on device")
        finish(stream)

    monkeypatch.setattr(streams._Stream, "finish", fail_for_probabilities)
    write(workspace / "l.csv", {"given_label": labels[::-1]})
    assert run(workspace / "p.parquet", workspace / "l.csv") == 1
    error = capsys.readouterr().err
    assert "(No space left on device). Nothing there has changed.\n" in error
    assert {path: path.read_bytes() for path in (workspace / "data").iterdir()} == before


def save_vectors(path, form, vectors, named=None):
    """As `write_probs`, for vectors of any kind."""
    named = named or {}
    if form == "npy":
        np.save(path.with_suffix(".npy"), vectors)
        return path.with_suffix(".npy")
    path = path.with_suffix(".csv" if form == "csv" else ".parquet")
    if form in ("csv", "wide"):
        write(path, named | {f"e{k}": vectors[:, k] for k in range(vectors.shape[1])})
    else:
        named = named | {"note": [None] * len(vectors)}
        write(path, named | {form: pa.array(list(vectors), pa.list_(pa.from_numpy_dtype(vectors.dtype)))})
    return path


@pytest.fixture
def labels_file(rows, workspace):
    path = workspace / "labels.npy"
    np.save(path, rows[1])
    return path


@pytest.mark.parametrize("form", ["npy", "csv", "wide", "embedding", "features"])
@pytest.mark.parametrize(("kind", "width"), [(np.float64, 40), (np.float32, 2), (np.int64, 1)])
def test_embeddings_of_every_format_are_written_beside_the_probabilities(
    rows, workspace, labels_file, form, kind, width, capsys
):
    vectors = np.random.default_rng(2).normal(scale=9, size=(200, width)).astype(kind)
    path = save_vectors(workspace / "e", form, vectors)
    assert run(write_probs(workspace, "csv", rows[2]), labels_file, "--embeddings", str(path)) == 0
    table = read_table(workspace / "data" / "pred_probs.parquet", PRED_PROBS)
    assert np.array_equal(column_array(table, "embedding"), vectors.astype(np.float32))
    assert np.array_equal(column_array(table, "pred_probs"), rows[2].astype(np.float32))
    assert f"3 classes, with embeddings of {width} numbers" in capsys.readouterr().out


def test_one_file_may_hold_everything(rows, workspace):
    ids, labels, probs = rows
    path = workspace / "all.parquet"
    vectors = np.random.default_rng(2).normal(size=(200, 5))
    columns = {"example_id": ids, "given_label": labels, "true_label": labels, "embedding": list(vectors)}
    pq.write_table(pa.table(columns | {"pred_probs": list(probs)}), path, row_group_size=7)
    assert run(path, path, "--embeddings", str(path), "--true-labels", str(path)) == 0
    table = read_table(workspace / "data" / "pred_probs.parquet", PRED_PROBS)
    assert np.array_equal(column_array(table, "example_id"), ids)
    assert np.array_equal(column_array(table, "embedding"), vectors.astype(np.float32))
    wide = workspace / "all.csv"
    write(wide, {"example_id": ids, "given_label": labels} | dict(zip(NAMES, probs.T, strict=True)))
    assert run(wide, wide) == 0
    assert read_facts(read_table(workspace / "data" / "pred_probs.parquet", PRED_PROBS)).class_names == NAMES


def test_prune_measures_with_what_was_brought(rows, workspace, pytestconfig):
    ids, true, _ = rows
    rng = np.random.default_rng(3)
    given = np.where(rng.random(200) < 0.15, (true + 1) % 3, true)
    vectors = (np.eye(3)[true] + rng.normal(scale=0.3, size=(200, 3))).astype(np.float32)
    probs = np.where(np.eye(3)[true] > 0, 0.8, 0.1)
    order = rng.permutation(200)
    write(workspace / "l.csv", {"example_id": ids, "given_label": given})
    write(workspace / "t.parquet", {"example_id": ids[order], "true_label": np.array(NAMES)[true[order]]})
    embeddings = save_vectors(workspace / "e", "csv", vectors, {"example_id": ids})
    more = ("--embeddings", str(embeddings), "--true-labels", str(workspace / "t.parquet"))
    assert run(write_probs(workspace, "wide", probs, ids), workspace / "l.csv", *more) == 0
    (workspace / "params.yaml").write_text((pytestconfig.rootpath / "params.yaml").read_text())
    assert main(["prune"]) == 0

    issues = read_table(workspace / "data" / "label_issues.parquet", LABEL_ISSUES)
    moments = ClassMoments(3, 3)
    moments.add(vectors, given)
    whitening = whiten(moments)
    expected = importance_of(leverage_of_given(whitening, vectors, given), given, whitening.class_weights)
    assert column_array(issues, "importance") == pytest.approx(expected)
    assert issues.column("contrast").null_count == 0

    found = json.loads((workspace / "metrics" / "label_issues.json").read_text())
    wrong, flagged = given != true, column_array(issues, "is_issue")
    assert found["n_errors"] == wrong.sum()
    assert found["precision"] == (wrong & flagged).sum() / flagged.sum()
    assert found["recall"] == (wrong & flagged).sum() / wrong.sum()
    health = json.loads((workspace / "metrics" / "health.json").read_text())
    assert health["noise_matrix_l1_error"]["confident_joint"] < 0.1


@pytest.mark.parametrize(
    ("form", "change", "message"),
    [
        ("npy", lambda e: spoiled(e, 150, np.nan), "expected numbers that are finite in float32, found nan"),
        ("wide", lambda e: spoiled(e, 150, np.inf), "found inf in row 150, column 0"),
        ("embedding", lambda e: spoiled(e, 150, 1e39), "found 1e+39 in row 150, column 0"),
        ("csv", lambda e: spoiled(e, 150, np.nan), "a value in every row of column e0"),
        ("csv", lambda e: np.full(e.shape, "x"), "expected only columns of numbers, found e0: string"),
        ("wide", lambda e: e.astype(str), "expected only columns of numbers, found e0: string"),
        ("embedding", lambda e: e.astype(str), "column embedding to hold lists of numbers"),
        ("npy", lambda e: e > 0, "expected numbers of shape (N, d), found bool"),
        ("npy", lambda e: e[:, 0], "found float64 of shape (200,)"),
        ("npy", lambda e: e[:, :0], "found float64 of shape (200, 0)"),
        ("embedding", lambda e: e[:, :0], "found 0 in a row"),
        ("npy", lambda e: e[:199], "e.npy: expected as many rows as"),
        ("features", lambda e: e[:199], "found 199 for 200"),
        ("csv", lambda e: e[:190], "found 190 for 198 or more"),
        ("csv", lambda e: e[:100], "found 100 for 132 or more"),
        ("csv", lambda e: np.vstack([e, e[:1]]), "found 201 for 200"),
        ("csv", lambda e: np.vstack([e, e]), "found 231 or more for 200"),
    ],
)
def test_embeddings_that_are_none_are_one_sentence_and_nothing_is_written(
    rows, workspace, labels_file, form, change, message, capsys
):
    vectors = change(np.random.default_rng(2).normal(size=(200, 3)))
    path = save_vectors(workspace / "e", form, vectors)
    probs = write_probs(workspace, "npy", rows[2])
    assert run(probs, labels_file, "--embeddings", str(path)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list((workspace / "data").iterdir()) if (workspace / "data").exists() else True


def test_embeddings_of_other_rows_are_refused(rows, workspace, capsys):
    ids, labels, probs = rows
    write(workspace / "l.csv", {"example_id": ids, "given_label": labels})
    path = write_probs(workspace, "csv", probs, ids)
    swapped = ids.copy()
    swapped[[150, 151]] = ids[[151, 150]]
    vectors = save_vectors(workspace / "e", "embedding", probs, {"example_id": swapped})
    assert run(path, workspace / "l.csv", "--embeddings", str(vectors)) == 1
    assert f"in its order, found {ids[151]} in row 150 instead of {ids[150]}" in capsys.readouterr().err
    vectors = save_vectors(workspace / "e", "npy", probs)
    assert run(path, workspace / "l.csv", "--embeddings", str(vectors)) == 1
    assert f"e.npy: expected the column example_id, since {path} has it" in capsys.readouterr().err
    assert not list((workspace / "data").iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"given_label": [0] * 200}, "expected the column true_label"),
        ({"true_label": [3] * 200}, "found 3 in row 0"),
        ({"true_label": [0] * 199}, "found 199 for 200"),
        ({"true_label": [0] * 200, "example_id": range(200)}, "expected the column example_id"),
    ],
)
def test_true_labels_that_do_not_fit_are_one_sentence(rows, workspace, labels_file, content, message, capsys):
    write(workspace / "t.csv", content)
    probs = write_probs(workspace, "csv", rows[2])
    assert run(probs, labels_file, "--true-labels", str(workspace / "t.csv")) == 1
    assert message in capsys.readouterr().err
    assert not (workspace / "data").exists()


def test_numbers_in_csv_that_begin_like_integers_are_read(rows, workspace, labels_file, monkeypatch):
    # pyarrow infers types from the first megabyte.
    probs = np.repeat([[1.0, 0, 0], [0.25, 0.5, 0.25]], 100, axis=0)
    open_csv = pacsv.open_csv
    small = pacsv.ReadOptions(block_size=100)
    monkeypatch.setattr(pacsv, "open_csv", lambda path, **more: open_csv(path, read_options=small, **more))
    path = workspace / "p.csv"
    path.write_text("ant,bee,cat\n" + "\n".join(",".join(f"{p:g}" for p in row) for row in probs))
    assert run(path, labels_file) == 0
    table = read_table(workspace / "data" / "pred_probs.parquet", PRED_PROBS)
    assert np.array_equal(column_array(table, "pred_probs"), probs)


def test_lists_of_other_lengths_are_refused_though_their_numbers_add_up(rows, workspace, labels_file, capsys):
    lists = [[0.5, 0.25, 0.25], [0.5, 0.5], [0.25] * 4, *[[1.0, 0.0, 0.0]] * 197]
    write(workspace / "p.parquet", {"pred_probs": lists})
    assert run(workspace / "p.parquet", labels_file) == 1
    assert "expected 3 numbers in every row of column pred_probs, found 2 in one" in capsys.readouterr().err


def test_a_csv_without_headings_is_refused_where_its_first_row_repeats_a_number(
    workspace, labels_file, capsys
):
    (workspace / "p.csv").write_text("1,0,0\n" * 201)
    assert run(workspace / "p.csv", labels_file) == 1
    assert "a name of its own for each column" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("head", "lines", "message"),
    [
        (
            "\xfcnd,bee,cat",
            [],
            "p.csv: expected headings in UTF-8, found other bytes; save the file as UTF-8",
        ),
        (",ant,bee,cat", ["{k},0.5,0.25,0.25"], "found '' in place 0; if it is the index of a pandas table"),
        ("Unnamed: 0,ant,bee,cat", ["{k},0.5,0.25,0.25"], "found 'Unnamed: 0' in place 0"),
        ("ant,,cat", ["0.5,0.25,0.25"], "found '' in place 1"),
        ("row,ant,bee,cat", ["{k},0.5,0.25,0.25"], "found 2.0 in row 2, column row; logits"),
        (
            "0.5,0.25,0.2501",
            ["0.5,0.25,0.25"],
            "a first line of names, found probabilities (0.5, 0.25, 0.2501)",
        ),
        ("ant,ant ,cat", ["0.5,0.25,0.25"], "found 'ant' again; the first line of a CSV holds the names"),
        ("1,0,0", ["1,0,0"], "found '0' again; the first line of a CSV holds the names"),
        (
            "ant,bee,cat",
            ["0.5,0.25,0.25"] * 40 + ["0.5,0.5,"],
            "every row of column cat, found none in row 40",
        ),
        (
            "ant,bee,cat",
            ["0.5,0.25,0.25"] * 40 + ["nan,0.5,0.5"],
            "every row of column ant, found none in row 40",
        ),
        ("ant,bee,cat,fold", ["0.5,0.25,0.25,one"], "whole numbers in column fold, found string"),
        ("ant,bee,cat,fold", ["0.5,0.25,0.25,1.5"], "whole numbers in column fold, found double"),
        (
            "ant,bee,cat,fold",
            ["0.5,0.25,0.25,0"] * 40 + ["1,0,0,70000"],
            "-1, not known), found 70000 in row 40",
        ),
        ("ant,bee,cat,fold", ["0.5,0.25,0.25,-2"], "found -2 in row 0"),
        ("ant,bee,cat", [], "p.csv: expected "),
    ],
)
def test_a_csv_that_is_not_what_it_should_be_is_one_sentence(
    workspace, labels_file, head, lines, message, capsys
):
    body = [lines[min(k, len(lines) - 1)].format(k=k) for k in range(200)] if lines else []
    (workspace / "p.csv").write_text("\n".join([head, *body]) + "\n", encoding="latin-1")
    assert run(workspace / "p.csv", labels_file) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "dvc repro" not in error
    assert not list((workspace / "data").iterdir()) if (workspace / "data").exists() else True


def test_labels_in_a_csv_that_is_not_utf8_are_one_sentence(rows, workspace, capsys):
    path = write_probs(workspace, "npy", rows[2])
    for content in ("given_label\n\xfcnd\n", "given_label,\xfc\n0,1\n"):
        (workspace / "l.csv").write_text(content, encoding="latin-1")
        assert run(path, workspace / "l.csv") == 1
        assert "save the file as UTF-8." in capsys.readouterr().err


def test_blanks_around_headings_and_a_byte_order_mark_are_no_part_of_names(rows, workspace):
    ids, labels, probs = rows
    body = [f"{i},{','.join(map(repr, p))},0" for i, p in zip(ids.tolist(), probs.tolist(), strict=True)]
    (workspace / "p.csv").write_text("\n".join(["example_id, ant, bee ,cat, fold", *body]))
    lines = [f"{i}, {NAMES[k]}" for i, k in zip(ids, labels, strict=True)]
    (workspace / "l.csv").write_text("\n".join(["example_id, given_label", *lines]), encoding="utf-8-sig")
    assert run(workspace / "p.csv", workspace / "l.csv") == 0
    given = read_table(workspace / "data" / "given_labels.parquet", GIVEN_LABELS)
    assert read_facts(given).class_names == NAMES
    assert np.array_equal(column_array(given, "given_label"), labels)
    table = read_table(workspace / "data" / "pred_probs.parquet", PRED_PROBS)
    assert np.array_equal(column_array(table, "pred_probs"), probs.astype(np.float32))
    assert set(column_array(table, "fold")) == {0}
    (workspace / "names.txt").write_text("ant\nbee\ncat\n", encoding="utf-8-sig")
    more = ("--class-names", str(workspace / "names.txt"))
    assert run(workspace / "p.csv", workspace / "l.csv", *more) == 0


def test_two_classes_may_be_called_0_and_1(rows, workspace):
    probs = np.full((200, 2), 0.5)
    write(workspace / "p.csv", {"0": probs[:, 0], "1": probs[:, 1]})
    np.save(workspace / "labels.npy", rows[1] % 2)
    assert run(workspace / "p.csv", workspace / "labels.npy") == 0


@pytest.mark.parametrize("distance", [1, 150])
@pytest.mark.parametrize("change", ["repeated", "lower"])
def test_ids_that_do_not_ascend_are_refused_wherever_they_are(rows, workspace, distance, change, capsys):
    ids, labels, probs = rows
    other = ids.copy()
    other[distance] = ids[distance - 1] - (change == "lower")
    write(workspace / "l.csv", {"example_id": ids, "given_label": labels})
    assert run(write_probs(workspace, "csv", probs, other), workspace / "l.csv") == 1
    error = capsys.readouterr().err
    assert f"found {other[distance]} after {ids[distance - 1]} in row {distance}; sort" in error
    assert "dvc repro" not in error


def test_ids_beyond_int64_are_refused(rows, workspace, capsys):
    ids = np.arange(200, dtype=np.uint64) + 2**63
    write(workspace / "l.parquet", {"example_id": ids, "given_label": rows[1]})
    assert run(write_probs(workspace, "lists", rows[2], ids), workspace / "l.parquet") == 1
    assert "expected example_id of int64" in capsys.readouterr().err


def test_folds_are_checked_in_parquet_too(rows, workspace, labels_file, capsys):
    for folds, message in (
        (["a"] * 200, "found string"),
        ([0] * 150 + [70000] * 50, "found 70000 in row 150"),
    ):
        write(workspace / "p.parquet", {"fold": folds, "pred_probs": list(rows[2])})
        assert run(workspace / "p.parquet", labels_file) == 1
        assert message in capsys.readouterr().err


def test_more_classes_than_fit_into_a_label_are_refused(workspace, capsys):
    np.save(workspace / "p.npy", np.eye(2, 32_768))
    np.save(workspace / "l.npy", np.arange(2))
    assert run(workspace / "p.npy", workspace / "l.npy") == 1
    assert "at most 32,767 float probabilities in a row, found 32,768" in capsys.readouterr().err


@pytest.mark.parametrize("names", ["a,,b", "a,b,"])
def test_empty_class_names_are_refused(rows, workspace, labels_file, names, capsys):
    assert run(write_probs(workspace, "npy", rows[2]), labels_file, "--class-names", names) == 1
    assert "3 different names, found 3, one of them empty" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_of_a_file_that_holds_everything_only_labels_and_ids_are_kept(workspace, kind):
    path = workspace / f"all.{kind}"
    write(path, {"example_id": range(9), "given_label": [1] * 9, "true_label": [2] * 9, "ant": [0.5] * 9})
    table = read_label_columns(path, kind == "csv", "given_label", ["given_label"], "")
    assert table.column_names == ["example_id", "given_label"]


def test_a_column_that_is_empty_at_first_is_no_obstacle(workspace, monkeypatch):
    # pyarrow infers types from the first megabyte, and took what it saw there for all.
    monkeypatch.setattr(module, "_PORTION_ENTRIES", 2**22)
    n = 100_000
    lines = ["ant,bee,given_label,true_label", *["0.5,0.5,ant,"] * n, "0.5,0.5,bee,ant"]
    (workspace / "all.csv").write_text("\n".join(lines))
    module._PORTION_ENTRIES = 2**22
    assert run(workspace / "all.csv", workspace / "all.csv") == 0
    given = read_table(workspace / "data" / "given_labels.parquet", GIVEN_LABELS)
    assert column_array(given, "given_label").sum() == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_true_labels_may_be_unknown_and_given_labels_not(rows, workspace, labels_file, kind, capsys):
    _, labels, probs = rows
    is_known = np.arange(200) % 3 > 0
    true = pa.array(np.array(NAMES)[labels], mask=~is_known)
    path = workspace / f"t.{kind}"
    write(path, {"true_label": true, "given_label": true, "note": ["x"] * 200})
    probs = write_probs(workspace, "wide", probs)
    assert run(probs, labels_file, "--true-labels", str(path)) == 0
    given = read_table(workspace / "data" / "given_labels.parquet", GIVEN_LABELS)
    assert np.array_equal(given.column("true_label").is_valid(), is_known)
    assert given.column("true_label").drop_null().to_pylist() == labels[is_known].tolist()
    assert given.column("is_noisy").to_pylist() == [False if known else None for known in is_known]
    assert run(probs, path) == 1
    assert "every row of column given_label, found none in row 0" in capsys.readouterr().err


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("failure", [OSError("Read-only file system"), KeyboardInterrupt()])
def test_where_the_second_table_cannot_be_put_in_place_the_first_is_taken_back(
    rows, workspace, labels_file, monkeypatch, capsys, failure, is_first, has_links
):
    path = write_probs(workspace, "lists", rows[2])
    if not is_first:
        assert run(path, labels_file) == 0
    before = {path: path.read_bytes() for path in (workspace / "data").glob("*")}
    np.save(labels_file, rows[1][::-1])
    replace = Path.replace

    def fail_for_probabilities(temporary, target):
        if target.name == "pred_probs.parquet":
            assert (
                is_first or (workspace / "data" / "given_labels.parquet").read_bytes() not in before.values()
            )
            raise failure
        return replace(temporary, target)

    def no_links(*_):
        raise OSError("Operation not supported")

    monkeypatch.setattr(Path, "replace", fail_for_probabilities)
    if not has_links:
        monkeypatch.setattr(module.os, "link", no_links)
    if isinstance(failure, OSError):
        assert run(path, labels_file) == 1
        assert "(Read-only file system). Nothing there has changed." in capsys.readouterr().err
    else:
        with pytest.raises(KeyboardInterrupt):
            run(path, labels_file)
    assert {path: path.read_bytes() for path in (workspace / "data").iterdir()} == before


def test_a_file_where_the_folder_should_be_is_one_sentence(rows, workspace, labels_file, capsys):
    (workspace / "data").write_text("mine")
    assert run(write_probs(workspace, "npy", rows[2]), labels_file) == 1
    error = capsys.readouterr().err
    assert "expected to write pred_probs.parquet and given_labels.parquet here" in error
    assert error.count("\n") == 1
    assert (workspace / "data").read_text() == "mine"
