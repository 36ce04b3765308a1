"""Files that people brought and that were once refused or misread: tests/cases has them and what is right."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from small_runs import ROOT

from tasks import DatasetError, plugins
from tasks.command_line import main
from tasks.contents import Fetch
from tasks.inject_noise import read_given_labels
from tasks.intake.command import init
from tasks.params import load_params
from tasks.prune import prune
from tasks.tables.catalog import FILTER_COLUMNS, GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array

CASES = Path(__file__).parent / "cases"
IDS, PICTURES, EXCEL = "01-string-ids", "02-encoded-images", "03-excel-csv"
FLOATS, INDEX, NAMES = (
    "04-float-and-bool-labels",
    "05-pandas-index",
    "06-composed-and-decomposed-names",
)
ANIMALS = ("cat", "dog", "horse")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "docs").mkdir()
    for name in ("params.yaml", "dvc.yaml", "docs/own_probs.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bring(workspace: Path, probs: Path, labels: Path, names: str = "") -> tuple[np.ndarray, pa.Table]:
    """Import the files, and let `init` understand them too; returns given class indices and the table."""
    more = ["--class-names", names] if names else []
    init(workspace, [str(probs), "--labels", str(labels), *more])
    brought = workspace / "inputs" / "probs"
    assert {path.name for path in brought.iterdir()} == {probs.name, labels.name}
    files = ["--pred-probs", str(brought / probs.name), "--labels", str(brought / labels.name)]
    assert main(["import-probs", *files, *more]) == 0
    given = read_table(GIVEN_LABELS.at(workspace), GIVEN_LABELS)
    return column_array(given, "given_label"), given


def flagged(workspace: Path) -> dict[str, list[str]]:
    """The keys that each filter flags, of those that flag any."""
    prune(load_params(workspace / "params.yaml"), workspace)
    issues = read_table(LABEL_ISSUES.at(workspace), LABEL_ISSUES)
    found = {
        name: sorted(issues.filter(issues.column(name)).column("key").to_pylist()) for name in FILTER_COLUMNS
    }
    return {name: keys for name, keys in found.items() if keys}


def test_ids_that_are_paths_join_the_rows_and_name_them(workspace: Path) -> None:
    folder = CASES / IDS
    bring(workspace, folder / "probs.parquet", folder / "labels.csv")
    found = flagged(workspace)
    wrong = [f"site-b/scan_{row:04}.png" for row in range(4)]
    assert len(found) >= 4
    assert all(keys == wrong for keys in found.values()), found


def test_encoded_pictures_give_their_pixels(workspace: Path) -> None:
    path, pixels = CASES / PICTURES / "examples.parquet", np.load(CASES / PICTURES / "pixels.npy")
    fetch = Fetch((), 1, 0, Console(quiet=True))
    (workspace / "inputs" / "examples").mkdir(parents=True)
    shutil.copy(path, workspace / "inputs" / "examples")
    reader = plugins.load("datasets", "parquet")
    brought = reader.read(workspace / "inputs", reader.Options(class_names=ANIMALS), fetch)
    assert np.array_equal(brought.content.values(), pixels)
    init(workspace, [str(path), "--label", "true_label", "--name", "scans"])
    params = load_params(workspace / "params.yaml")
    reader = plugins.load("datasets", params.download.dataset)
    options = params.options("datasets", params.download.dataset)
    found = reader.read(workspace / "inputs", options, fetch)
    assert np.array_equal(found.content.values(), pixels)
    assert np.array_equal(found.given_label, brought.true_label)


@pytest.mark.parametrize("name", ["semicolon.csv", "LABELS.CSV", "labels.tsv", "labels.csv.gz"])
def test_a_table_as_excel_writes_it_has_the_same_labels(tmp_path: Path, name: str) -> None:
    frame = pd.read_csv(CASES / EXCEL / "bom_crlf.csv", encoding="utf-8-sig")
    expected = [ANIMALS.index(label) for label in frame.sort_values("example_id").given_label]
    if name == "labels.tsv":
        frame.to_csv(tmp_path / name, sep="\t", index=False)
    elif name == "labels.csv.gz":
        frame.to_csv(tmp_path / name, index=False)
    else:
        shutil.copy(CASES / EXCEL / name, tmp_path)
    ids = np.arange(60)
    found = read_given_labels(tmp_path, name, ids, pa.array(map(str, ids)), ANIMALS)
    assert found.tolist() == expected


def test_decimal_commas_are_probabilities(workspace: Path) -> None:
    path = CASES / EXCEL / "decimal_comma.csv"
    expected = pd.read_csv(path, sep=";", decimal=",").to_numpy(np.float32)
    labels = pd.read_csv(CASES / EXCEL / "semicolon.csv", sep=";").set_index("example_id").sort_index()
    labels.reset_index(drop=True).to_csv(workspace / "labels.csv", index=False)
    given, _ = bring(workspace, path, workspace / "labels.csv")
    found = read_table(PRED_PROBS.at(workspace), PRED_PROBS)
    assert np.array_equal(column_array(found, "pred_probs"), expected)
    assert [ANIMALS[k] for k in given] == labels.given_label.tolist()


@pytest.mark.parametrize("form", ["csv", "npy", "parquet"])
def test_whole_floats_are_class_indices_in_every_format(workspace: Path, form: str) -> None:
    folder = CASES / FLOATS
    given, _ = bring(workspace, folder / "probs.npy", folder / f"labels_float.{form}", ",".join(ANIMALS))
    assert np.array_equal(given, np.load(folder / "labels_float.npy"))


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_booleans_are_classes_in_every_format(workspace: Path, form: str) -> None:
    folder = CASES / FLOATS
    given, _ = bring(workspace, folder / "probs2.npy", folder / f"labels_bool.{form}", "False,True")
    assert np.array_equal(
        given, pq.read_table(folder / "labels_bool.parquet").column("given_label").to_numpy()
    )


def test_a_fraction_is_no_class_index(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("labels.npy", np.where(np.arange(60) == 7, 1.5, np.load(CASES / FLOATS / "labels_float.npy")))
    files = [str(CASES / FLOATS / "probs.npy"), "--labels", "labels.npy", "--class-names", ",".join(ANIMALS)]
    assert main(["import-probs", "--pred-probs", *files]) == 1
    assert "1.5" in capsys.readouterr().err
    with pytest.raises(DatasetError, match=r"1\.5"):
        init(workspace, files)


@pytest.mark.parametrize(("probs", "labels"), [("probs", "labels"), ("probs_plain", "labels_shuffled")])
def test_the_index_of_pandas_joins_the_rows(workspace: Path, probs: str, labels: str) -> None:
    folder = CASES / INDEX
    bring_or_refuse = (folder / f"{probs}.parquet", folder / f"{labels}.parquet")
    if probs == "probs":
        bring(workspace, *bring_or_refuse)
        assert all(keys == ["0", "1", "2", "3"] for keys in flagged(workspace).values())
    else:
        # The probabilities have no ids: nobody knows which row is which.
        with pytest.raises(DatasetError, match="expected ids of the rows"):
            bring(workspace, *bring_or_refuse)


def test_names_that_unicode_spells_in_two_ways_are_one_class(workspace: Path) -> None:
    folder = CASES / NAMES
    given, table = bring(workspace, folder / "probs.npy", folder / "labels.csv", str(folder / "names.txt"))
    assert read_facts(table).class_names == ("Käfer", "Biene", "Ameise")
    assert len(given) == 60
    assert set(given) == {0, 1, 2}
