"""Probabilities and labels from elsewhere: many forms in, three checked tables out, or one sentence."""

import json
import shutil
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forms import FORMS, write_form
from small_runs import ROOT

from tasks import ArtifactError
from tasks import import_probs as module
from tasks.command_line import main
from tasks.label_quality.class_moments import ClassMoments
from tasks.label_quality.importance import importance_of, leverage_of_given, whiten
from tasks.own_files.vectors import NO_FOLD
from tasks.params import load_params
from tasks.prune import prune
from tasks.tables.catalog import (
    EXAMPLES,
    FEATURES,
    GIVEN_LABELS,
    LABEL_ISSUES,
    PRED_PROBS,
    SPLIT_ROWS,
    UNLABELED_PROBS,
)
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.keys import example_ids_of
from tasks.tables.proofs import MARK, check_same_import
from tasks.tables.schemas import column_array

NAMES = ("ant", "bee", "cat")
TABLES = (SPLIT_ROWS, GIVEN_LABELS, PRED_PROBS)
OTHERS = (EXAMPLES, FEATURES, UNLABELED_PROBS)
N = 200


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_PORTION_ENTRIES", 100)
    return tmp_path


@pytest.fixture
def probs():
    return np.random.default_rng(0).dirichlet([1, 1, 1], size=N)


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(3, size=N)


@pytest.fixture
def keys():
    return [f"site-b/scan_{k:04}.png" for k in range(N)]


def wide(probs):
    return {name: probs[:, k] for k, name in enumerate(NAMES)}


def run(pred_probs, labels, *more):
    return main(["import-probs", "--pred-probs", str(pred_probs), "--labels", str(labels), *map(str, more)])


def tables(folder):
    return [read_table(table.at(folder), table) for table in TABLES]


def marks(folder):
    paths = [table.at(folder) for table in TABLES]
    return {str(path): (pq.read_schema(path).metadata or {}).get(MARK.encode()) for path in paths}


def refused(capsys, *words):
    """What was said, in one line."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "dvc repro " not in error
    assert not [path for path in Path("data").rglob("*") if path.is_file()]
    for word in words:
        assert str(word) in error


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labels_form", FORMS)
def test_every_form_gives_the_same_tables(workspace, probs, labels, form, labels_form, capsys):
    columns = {"given_label": np.array(NAMES)[labels]}
    path = write_form(
        workspace, "l", labels_form, columns if labels_form == "npy" else columns | {"x": labels}
    )
    more = ("--class-names", ",".join(NAMES)) if form == "npy" else ()
    assert run(write_form(workspace, "p", form, wide(probs)), path, *more) == 0
    splits, given, table = tables(workspace)
    assert np.array_equal(column_array(table, "pred_probs"), probs.astype(np.float32))
    assert set(column_array(table, "fold")) == {NO_FOLD}
    assert np.array_equal(column_array(given, "given_label"), labels)
    assert given.column("key").to_pylist() == list(map(str, range(N)))
    assert given.column("is_noisy").null_count == given.column("true_label").null_count == N
    for each in (splits, given, table):
        assert np.array_equal(column_array(each, "example_id"), np.arange(N))
        assert read_facts(each).class_names == NAMES
    assert np.array_equal(column_array(splits, "group"), np.arange(N))
    assert {*splits.column("split").to_pylist(), *splits.column("original_split").to_pylist()} == {"train"}
    examples, features, unlabeled = (read_table(table.at(workspace), table) for table in OTHERS)
    assert examples.column("key").to_pylist() == list(map(str, range(N)))
    assert examples.column("text").to_pylist() == [""] * N
    assert features.column_names == ["example_id"]
    assert unlabeled.num_rows == 0
    assert len(set(marks(workspace).values())) == 1
    assert None not in marks(workspace).values()
    assert "dvc repro --single-item prune" in capsys.readouterr().out


def test_rows_are_joined_by_id_whatever_their_order(workspace, probs, labels, keys):
    # Composed in one file and decomposed in another; keys as the labels spell them.
    rng = np.random.default_rng(2)
    names = np.array(NAMES)
    keys = [f"Käfer/{key}" for key in keys]
    vectors, true = rng.normal(size=(N, 4)), rng.integers(3, size=N)

    def brought(name, form, column, values, composition="NFC"):
        order = rng.permutation(N)
        ids = [unicodedata.normalize(composition, keys[row]) for row in order]
        return write_form(
            workspace, name, form, {column: ids} | {k: np.asarray(v)[order] for k, v in values.items()}
        )

    files = [
        brought("p", "parquet", "id", wide(probs) | {"fold": np.arange(N) % 5}, "NFD"),
        brought("l", "european", "example_id", {"given_label": names[labels]}),
    ]
    more = ("--true-labels", brought("t", "tsv", "key", {"true_label": names[true]}))
    more += ("--embeddings", brought("e", "excel", "id", {f"e{k}": vectors[:, k] for k in range(4)}))
    assert run(*files, *more) == 0
    _, given, table = tables(workspace)
    ids = example_ids_of(keys, "")
    order = np.argsort(ids)
    assert np.array_equal(column_array(given, "example_id"), ids[order])
    assert given.column("key").to_pylist() == [keys[row] for row in order]
    assert np.array_equal(column_array(given, "given_label"), labels[order])
    assert np.array_equal(column_array(given, "true_label"), true[order])
    assert np.array_equal(column_array(given, "is_noisy"), (true != labels)[order])
    assert np.array_equal(column_array(table, "pred_probs"), probs.astype(np.float32)[order])
    assert np.array_equal(column_array(table, "embedding"), vectors.astype(np.float32)[order])
    assert np.array_equal(column_array(table, "fold"), (np.arange(N) % 5)[order])


def test_one_file_may_hold_everything(workspace, probs, labels, capsys):
    ids = np.arange(N) * 3
    vectors = np.random.default_rng(2).normal(size=(N, 5))
    columns = {"example_id": ids, "id": ids + 1, "given_label": labels, "true_label": labels}
    path = write_form(
        workspace, "all", "parquet", columns | {"embedding": list(vectors), "pred_probs": list(probs)}
    )
    assert run(path, path, "--embeddings", path, "--true-labels", path) == 0
    said = capsys.readouterr().out
    assert said.count("rows go by the column example_id, not by id") == 1
    assert f"{N} rows of 3 classes, with embeddings of 5 numbers" in said
    _, given, table = tables(workspace)
    assert np.array_equal(column_array(table, "example_id"), ids)
    assert np.array_equal(column_array(table, "embedding"), vectors.astype(np.float32))
    assert read_facts(given).class_names == ("0", "1", "2")
    path = write_form(workspace, "all", "csv", columns | wide(probs))
    assert run(path, path) == 0
    assert read_facts(tables(workspace)[1]).class_names == NAMES


def test_a_second_table_of_probabilities_is_kept_beside_the_first(workspace, probs, labels, capsys):
    files = [workspace / f"{name}.npy" for name in ("probs", "labels", "second", "wide")]
    for path, values in zip(files, (probs, labels, probs[::-1], np.full((N, 4), 0.25)), strict=True):
        np.save(path, values)
    assert run(*files[:2], "--second-pred-probs", files[3]) == 1
    refused(capsys, "wide.npy", "expected 3 probabilities a row", "found 4")
    assert run(*files[:2], "--second-pred-probs", files[2]) == 0
    table = read_table(PRED_PROBS.at(workspace), PRED_PROBS)
    np.testing.assert_allclose(column_array(table, "second_probs"), probs[::-1], atol=1e-6)
    np.testing.assert_allclose(column_array(table, "pred_probs"), probs, atol=1e-6)


def test_true_labels_may_be_unknown_of_some_rows(workspace, probs, labels):
    is_known = np.arange(N) % 3 > 0
    true = [NAMES[label] if known else None for label, known in zip(labels, is_known, strict=True)]
    path = write_form(workspace, "t", "parquet", {"true_label": true, "given_label": labels})
    assert run(write_form(workspace, "p", "parquet", wide(probs)), path, "--true-labels", path) == 0
    given = tables(workspace)[1]
    assert np.array_equal(given.column("true_label").is_valid(), is_known)
    assert given.column("true_label").drop_null().to_pylist() == labels[is_known].tolist()
    assert given.column("is_noisy").to_pylist() == [False if known else None for known in is_known]


def test_prune_measures_with_what_was_brought(workspace, labels):
    ids, true, rng = np.arange(N) * 3, labels, np.random.default_rng(3)
    given = np.where(rng.random(N) < 0.15, (true + 1) % 3, true)
    vectors = (np.eye(3)[true] + rng.normal(scale=0.3, size=(N, 3))).astype(np.float32)
    probs = np.where(np.eye(3)[true] > 0, 0.8, 0.1)
    order = rng.permutation(N)
    files = [
        write_form(workspace, "p", "parquet", {"id": ids} | wide(probs)),
        write_form(workspace, "l", "csv", {"id": ids, "given_label": given}),
        write_form(workspace, "e", "csv", {"id": ids} | wide(vectors)),
        write_form(workspace, "t", "parquet", {"id": ids[order], "true_label": np.array(NAMES)[true[order]]}),
    ]
    assert run(*files[:2], "--embeddings", files[2], "--true-labels", files[3]) == 0
    (workspace / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    assert main(["prune"]) == 0

    issues = read_table(LABEL_ISSUES.at(workspace), LABEL_ISSUES)
    moments = ClassMoments(3, 3)
    moments.add(vectors, given)
    whitening = whiten(moments)
    expected = importance_of(leverage_of_given(whitening, vectors, given), given, whitening.n_rows)
    assert column_array(issues, "importance") == pytest.approx(expected)
    assert issues.column("contrast").null_count == 0

    found = json.loads((workspace / "metrics" / "label_issues.json").read_text())
    wrong, flagged = given != true, column_array(issues, "is_issue")
    assert found["n_errors"] == wrong.sum()
    assert found["precision"] == (wrong & flagged).sum() / flagged.sum()
    assert found["recall"] == (wrong & flagged).sum() / wrong.sum()
    health = json.loads((workspace / "metrics" / "health.json").read_text())
    assert health["noise_matrix_l1_error"]["confident_joint"] < 0.1


# -- Inputs of people that once failed or were taken wrong.


def animals(n=60):
    """Rows of three classes, of which the first four have wrong labels: probabilities, given labels."""
    true = np.arange(n) % 3
    given = true.copy()
    given[:4] = (given[:4] + 1) % 3
    return np.where(np.eye(3)[true] > 0, 0.8, 0.1), given


def wrong_keys(workspace):
    """The keys of rows whose given label is not the most probable one."""
    _, given, table = tables(workspace)
    is_wrong = column_array(table, "pred_probs").argmax(axis=1) != column_array(given, "given_label")
    return sorted(given.column("key").filter(pa.array(is_wrong)).to_pylist())


def test_ids_that_are_paths_are_joined_and_named_by_prune(workspace, keys):
    probs, given = animals()
    files = [
        write_form(workspace, "p", "parquet", {"example_id": keys[:60]} | wide(probs)),
        write_form(
            workspace, "l", "csv", {"example_id": keys[59::-1], "given_label": np.array(NAMES)[given[::-1]]}
        ),
    ]
    assert run(*files) == 0
    assert wrong_keys(workspace) == keys[:4]
    (workspace / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    assert main(["prune"]) == 0
    issues = read_table(LABEL_ISSUES.at(workspace), LABEL_ISSUES)
    assert sorted(issues.column("key").filter(issues.column("is_issue")).to_pylist()) == keys[:4]


def test_decimal_commas_and_semicolons_as_a_spreadsheet_writes_them(workspace):
    probs, given = animals()
    files = [
        write_form(workspace, "p", "european", wide(probs)),
        write_form(workspace, "l", "european", {"example": range(60), "given_label": given.astype(float)}),
    ]
    assert ";" in files[0].read_text()
    assert "0,8" in files[0].read_text()
    assert run(*files) == 0
    assert wrong_keys(workspace) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("kept_in", ["metadata", "column"])
def test_the_index_of_a_pandas_table_is_joined_by(workspace, kept_in, capsys):
    probs, given = animals()
    frame = pd.DataFrame(wide(probs))
    labels = pd.DataFrame({"given_label": given}).iloc[::-1]
    if kept_in == "metadata":
        frame, labels = (each.rename_axis("example_id") for each in (frame, labels))
    else:
        frame, labels = (each.sample(frac=1, random_state=seed) for seed, each in enumerate((frame, labels)))
    frame.to_parquet("p.parquet")
    labels.to_parquet("l.parquet")
    assert run("p.parquet", "l.parquet") == 0
    assert wrong_keys(workspace) == ["0", "1", "2", "3"]
    # Of a table without an index, nobody knows in which order it is.
    shutil.rmtree("data")
    capsys.readouterr()
    frame.reset_index(drop=True).to_parquet("p.parquet")
    assert run("p.parquet", "l.parquet") == 1
    refused(capsys, "p.parquet: expected ids", "l.parquet has them")


def test_names_that_look_the_same_are_the_same(workspace):
    probs, given = animals()
    names = ["Käfer", "Biene", "Ameise"]
    np.save("p.npy", probs)
    labels = np.array([unicodedata.normalize("NFD", name) for name in names])[given]
    path = write_form(workspace, "l", "csv", {"given_label": labels, "x": given})
    Path("names.txt").write_text(unicodedata.normalize("NFC", "\n".join(names)), encoding="utf-8-sig")
    assert run("p.npy", path, "--class-names", "names.txt") == 0
    assert wrong_keys(workspace) == ["0", "1", "2", "3"]
    assert read_facts(tables(workspace)[1]).class_names == tuple(
        unicodedata.normalize("NFC", n) for n in names
    )


# -- What does not fit.


@pytest.mark.parametrize(
    ("n_probs", "n_labels", "words"),
    [(N, 150, "found 150 for 200"), (150, N, "found 200 for 150"), (2 * N, N, ""), (0, N, ""), (N, 0, "")],
)
@pytest.mark.parametrize("form", ["csv", "npy"])
def test_files_of_other_lengths_are_refused(workspace, probs, labels, form, n_probs, n_labels, words, capsys):
    path = write_form(workspace, "p", form, wide(np.vstack([probs, probs])[:n_probs]))
    assert run(path, write_form(workspace, "l", "npy", {"given_label": labels[:n_labels]})) == 1
    # How many rows a CSV has is known once it is read, but for one without any.
    is_empty = form == "csv" and n_probs == 0
    refused(capsys, "found none" if is_empty else "expected as many rows as", words if form == "npy" else "")


@pytest.mark.parametrize("n_rows", [0, 100, 190, 201, 400])
@pytest.mark.parametrize("form", ["csv", "npy"])
def test_embeddings_of_other_lengths_are_refused(workspace, probs, labels, form, n_rows, capsys):
    vectors = np.zeros((n_rows, 2))
    path = write_form(workspace, "e", form, {"a": vectors[:, 0], "b": vectors[:, 1]})
    files = [
        write_form(workspace, name, "npy", {"x": values} if values.ndim == 1 else wide(values))
        for name, values in (("p", probs), ("l", labels))
    ]
    assert run(*files, "--embeddings", path) == 1
    is_empty = form == "csv" and n_rows == 0
    refused(capsys, f"{path.name}: expected {'rows of numbers' if is_empty else 'as many rows as'}")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("a,b", "expected 3 names, one a class, found 2: a, b"),
        ("nowhere.txt", "found 1: nowhere.txt"),
        ("a,b,a", "a in places 0 and 2"),
        ("a,,b", "an empty one in place 1"),
        ("Käfer,Käfer,b", "different name for every class"),
    ],
)
def test_class_names_that_do_not_fit_are_refused(workspace, probs, labels, names, words, capsys):
    files = [
        write_form(workspace, name, "npy", columns)
        for name, columns in (("p", wide(probs)), ("l", {"x": labels}))
    ]
    assert run(*files, "--class-names", names) == 1
    refused(capsys, words)


def test_headings_are_names_of_classes_too(workspace, probs, labels, capsys):
    path = write_form(workspace, "l", "npy", {"x": labels})
    names = [unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD")]
    columns = dict(zip([*names, "b"], probs.T, strict=True))
    assert run(write_form(workspace, "p", "parquet", columns), path) == 1
    refused(capsys, "different name for every class")
    columns = dict(zip(["T-shirt", "t-shirt", "b"], probs.T, strict=True))
    assert run(write_form(workspace, "p", "csv", columns), path) == 0
    assert "warning: class names: the classes T-shirt, t-shirt differ only" in capsys.readouterr().err


def test_other_faults_of_files_are_one_sentence(workspace, probs, labels, keys, capsys):
    good = write_form(workspace, "p", "parquet", {"id": keys} | wide(probs))
    path = write_form(workspace, "l", "csv", {"id": [*keys[:-1], "other"], "given_label": labels})
    assert run(good, path) == 1
    refused(capsys, "l.csv: expected every row", f"no row for {keys[-1]} (1 of 200")
    path = write_form(workspace, "l", "csv", {"id": keys, "given_label": labels})
    bad = probs.copy()
    bad[150] = [2, 0, 0]
    assert run(write_form(workspace, "q", "csv", {"id": keys[::-1]} | wide(bad)), path) == 1
    refused(capsys, "2.0 in row 150, column ant")
    assert run(good, path, "--true-labels", path) == 1
    refused(capsys, "expected the column true_label")
    assert run(good, "none.csv") == 1
    refused(capsys, "expected a file here, found none")


# -- All tables or none.


@pytest.fixture
def two_imports(workspace, probs, labels):
    """The arguments of two imports that have nothing in common."""
    found = []
    for k in range(2):
        columns = (("p", wide(np.roll(probs, k, axis=0))), ("l", {"x": np.roll(labels, k)}))
        found.append([write_form(workspace, f"{name}{k}", "npy", values) for name, values in columns])
    return found


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "data").iterdir() if path.is_file()}


@pytest.mark.parametrize("which", range(3))
def test_a_full_disk_leaves_the_tables_of_before(workspace, two_imports, monkeypatch, capsys, which):
    assert run(*two_imports[0]) == 0
    before = contents(workspace)
    writer, write = pq.ParquetWriter, pq.ParquetWriter.write_table
    name = f".{Path(TABLES[which].path).name}."

    def fail(self, *arguments, **options):
        if name in str(self.where):
            raise OSError("No space left on device")
        write(self, *arguments, **options)

    monkeypatch.setattr(writer, "write_table", fail)
    assert run(*two_imports[1]) == 1
    assert "(No space left on device). Nothing there has changed.\n" in capsys.readouterr().err
    assert contents(workspace) == before


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("failing", range(3))
@pytest.mark.parametrize("failure", [OSError("Read-only file system"), KeyboardInterrupt()])
def test_where_one_table_cannot_be_put_in_place_the_others_are_taken_back(
    workspace, two_imports, monkeypatch, capsys, failure, failing, is_first, has_links
):
    if not is_first:
        assert run(*two_imports[0]) == 0
    before = {} if is_first else contents(workspace)
    replace = Path.replace

    def fail_once(temporary, target):
        if target.name == Path(TABLES[failing].path).name and not temporary.name.startswith(".before"):
            raise failure
        return replace(temporary, target)

    def no_links(*_):
        raise OSError("Operation not supported")

    monkeypatch.setattr(Path, "replace", fail_once)
    if not has_links:
        monkeypatch.setattr("os.link", no_links)
    if isinstance(failure, OSError):
        assert run(*two_imports[1]) == 1
        assert "(Read-only file system). Nothing there has changed." in capsys.readouterr().err
    else:
        with pytest.raises(KeyboardInterrupt):
            run(*two_imports[1])
    assert contents(workspace) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.command_line import main
replace, done = Path.replace, []
def kill_after(path, target):
    replace(path, target)
    done.extend([target] * (target.parent.name == "data"))
    if len(done) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
Path.replace = kill_after
main(sys.argv[2:])
"""


@pytest.mark.parametrize("n_renamed", [1, 2])
@pytest.mark.parametrize("before", ["import", "pipeline"])
def test_a_kill_between_two_renames_is_recognised_and_repaired(workspace, two_imports, n_renamed, before):
    old, new = two_imports
    assert run(*new) == 0
    expected = contents(workspace)
    assert run(*old) == 0
    if before == "pipeline":  # tables of other stages have no mark
        for table in TABLES:
            path = table.at(workspace)
            rows = pq.read_table(path)
            metadata = {key: value for key, value in rows.schema.metadata.items() if key != MARK.encode()}
            pq.write_table(rows.replace_schema_metadata(metadata), path)
    check_same_import(marks(workspace))
    arguments = ["import-probs", "--pred-probs", str(new[0]), "--labels", str(new[1])]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(n_renamed), *arguments],
        cwd=workspace,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(ArtifactError, match="import-probs` again"):
        check_same_import(marks(workspace))
    assert run(*new) == 0
    check_same_import(marks(workspace))
    assert contents(workspace) == expected


def test_equal_inputs_give_equal_bytes_and_others_other_marks(workspace, two_imports):
    assert run(*two_imports[0]) == 0
    first, first_marks = contents(workspace), set(marks(workspace).values())
    assert run(*two_imports[0]) == 0
    assert contents(workspace) == first
    for files in (two_imports[0][:1] + two_imports[1][1:], two_imports[1][:1] + two_imports[0][1:]):
        assert run(*files) == 0
        first_marks |= set(marks(workspace).values())
    assert run(*two_imports[0], "--class-names", "a,b,c") == 0
    assert len(first_marks | set(marks(workspace).values())) == 4


def test_a_file_where_the_folder_should_be_is_one_sentence(workspace, two_imports, capsys):
    (workspace / "data").write_text("mine")
    assert run(*two_imports[0]) == 1
    error = capsys.readouterr().err
    assert "splits.parquet, given_labels.parquet, pred_probs.parquet here" in error
    assert error.count("\n") == 1
    assert (workspace / "data").read_text() == "mine"


@pytest.mark.parametrize("left_behind", TABLES)
def test_prune_refuses_a_table_of_another_import(workspace, probs, labels, left_behind):
    np.save("probs.npy", probs)
    for shift in (0, 1):
        np.save("labels.npy", np.roll(labels, shift))
        assert run("probs.npy", "labels.npy") == 0
        if shift == 0:
            other = left_behind.at(workspace).read_bytes()
    left_behind.at(workspace).write_bytes(other)
    with pytest.raises(ArtifactError, match="Run `import-probs` again"):
        prune(load_params(ROOT / "params.yaml"), workspace)


# -- .npz


@pytest.mark.parametrize("names", [("pred_probs", "given_label"), ("p", "y"), ("arr_0", None)])
def test_arrays_of_one_archive_are_probabilities_labels_and_ids(workspace, probs, labels, keys, names):
    """Those of the usual names, or the only one of their dimensions."""
    of_probs, of_labels = names
    arrays = {of_probs: probs} | ({of_labels: labels} if of_labels else {})
    if names == ("p", "y"):
        arrays["id"] = np.array(keys)
    np.savez_compressed("a.npz", **arrays)
    np.savez("l.npz", labels)
    assert run("a.npz", "a.npz" if of_labels else "l.npz", "--class-names", ",".join(NAMES)) == 0
    _, given, table = tables(workspace)
    order = np.argsort(example_ids_of(keys, "")) if "id" in arrays else np.arange(N)
    assert np.array_equal(column_array(table, "pred_probs"), probs.astype(np.float32)[order])
    assert np.array_equal(column_array(given, "given_label"), labels[order])


def test_an_archive_never_runs_code_and_never_unpacks_to_much_more(
    workspace, probs, labels, capsys, monkeypatch
):
    np.savez("l.npz", given_label=labels)

    class Attack:
        def __reduce__(self):
            return Path.touch, (workspace / "touched",)

    np.savez("a.npz", pred_probs=np.array([Attack()] * N, dtype=object))
    assert run("a.npz", "l.npz") == 1
    refused(capsys, "a.npz: expected a .npz file of numbers or texts, without pickled objects")
    assert not (workspace / "touched").exists()
    np.savez("a.npz", pred_probs=probs, other=probs[1:])
    assert run("a.npz", "l.npz") == 1
    refused(capsys, "as many rows each")
    np.savez("a.npz", p=probs, q=probs)
    assert run("a.npz", "l.npz") == 1
    refused(capsys, "expected an array pred_probs")
    Path("a.npz").write_bytes(b"PK no archive")
    assert run("a.npz", "l.npz") == 1
    refused(capsys, "a.npz: expected a .npz file")
    monkeypatch.setattr("tasks.own_files.array_archives._LEAST", 2**16)
    np.savez_compressed("a.npz", pred_probs=np.full((10_000, 2), 0.5))
    assert run("a.npz", "l.npz") == 1
    refused(capsys, "packed in this file")
