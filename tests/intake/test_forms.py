"""Each form of data, in a small real file, through `init` and the pipeline to the report."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_forms
import pyarrow.compute as pc
import pytest
from rich.console import Console
from small_runs import ROOT, run_pipeline

from tasks import plugins
from tasks.contents import Fetch
from tasks.export import export
from tasks.export.rows import ACTION, LABEL, collect_rows
from tasks.intake.command import init
from tasks.params import load_params
from tasks.params_file import set_params
from tasks.predict import Classifier
from tasks.reading import read_content
from tasks.tables.catalog import EXAMPLES, LABEL_ISSUES, TRAINING_SET
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table

# What `init` chooses where the model of its choice would take long.
FORMS: list[tuple[Callable[[Path], Path], str, str, str, bool]] = [
    (own_forms.class_folders, "convnet", "nearest_mean", "one/0001.png", True),
    (own_forms.pictures_and_table, "convnet", "nearest_mean", "images/0001.png", True),
    (own_forms.cvat, "convnet", "nearest_mean", "images/0001.png", True),
    (own_forms.hugging_face, "convnet", "nearest_mean", "train-00000-of-00001.parquet/1", False),
    (own_forms.saved_to_disk, "text", "text", "train/data-00000-of-00001.arrow/1", False),
    (own_forms.json_lines, "text", "text", "t-1", True),
    (own_forms.label_studio, "text", "text", "1001", True),
    (own_forms.numbers_and_categories, "boosting", "logistic", "P001", True),
    (own_forms.arrays, "boosting", "nearest_mean", "1", True),
]


@pytest.mark.parametrize(
    ("make", "chosen", "model", "key", "holds_out"), FORMS, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_form_goes_through_init_and_the_pipeline(
    tmp_path: Path,
    make: Callable[[Path], Path],
    chosen: str,
    model: str,
    key: str,
    holds_out: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    path = make(tmp_path)
    init(folder, [str(path)])
    said = capsys.readouterr().out
    assert f"Model: {chosen}" in said
    set_params(
        folder / "params.yaml",
        {"train_fold.model": model, "train_fold.folds": [0, 1], "prune.importance": "none"},
    )
    run_pipeline(folder)
    examples = read_table(EXAMPLES.at(folder), EXAMPLES)
    keys = examples.column("key").to_pylist()
    assert key in keys
    facts = read_facts(examples)
    assert facts.dataset == path.name.split(".")[0]
    assert f"{len(keys):,} " in said
    assert all(name in said for name in facts.class_names)
    issues = read_table(LABEL_ISSUES.at(folder), LABEL_ISSUES)
    flagged = issues.filter(issues.column("is_issue"))
    assert 5 <= flagged.num_rows <= 60
    assert set(flagged.column("key").to_pylist()) <= set(keys)
    assert ("held out" in said) == holds_out
    metrics = json.loads((folder / "metrics" / "retrain_cleaned.json").read_text())
    assert metrics
    page = (folder / "report" / "index.html").read_text()
    assert facts.class_names[0] in page
    check_export(folder, tmp_path, path)
    check_predictions(folder, path)


def check_export(folder: Path, given: Path, path: Path) -> None:
    """What is exported holds all rows, and goes in again with the repaired labels."""
    rows, _ = collect_rows(folder)
    told = {row["key"]: row for row in rows.to_pylist()}
    trained = read_table(TRAINING_SET.at(folder), TRAINING_SET)
    assert rows.num_rows == read_table(EXAMPLES.at(folder), EXAMPLES).num_rows
    n_dropped = sum(row[ACTION] == "dropped" for row in told.values())
    assert n_dropped == pc.sum(pc.equal(trained.column("action"), "dropped")).as_py()
    assert all((row[LABEL] is None) == (row[ACTION] == "dropped") for row in told.values())
    assert all(bool(row["why"]) == (row[ACTION] == "dropped") for row in told.values())
    out = given / "out"
    export(folder, [str(out), "--copy"])
    assert (out / "dropped.csv").exists() == bool(n_dropped)
    again = given / "again"
    again.mkdir()
    (again / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    form = load_params(folder / "params.yaml").download.dataset
    if form == "folder":
        init(again, [str(out / "pictures")])
        new_key = {Path(key).name: key for key in told}
        if (out / "moves.csv").exists():
            check_moves(out, told)
    elif form == "table":
        init(again, table_again(folder, out, path))
        new_key = {key: key for key in told}
    else:
        with (out / "labels.csv").open(newline="") as file:
            assert {row["key"]: row[LABEL] or None for row in csv.DictReader(file)} == {
                key: row[LABEL] for key, row in told.items()
            }
        return
    params = load_params(again / "params.yaml")
    name = params.download.dataset
    fetch = Fetch((), 1, 0, Console(quiet=True))
    read = plugins.load("datasets", name).read(again / "inputs", params.options("datasets", name), fetch)
    found = read.given_label
    for key, label in zip(read.key, found.tolist(), strict=True):
        expected = told[new_key[Path(key).name if form == "folder" else key]]
        assert (None if label < 0 else read.facts.class_names[label]) == expected[LABEL]
    # Files of dropped rows are in no folder; rows of a table stay.
    assert len(read.key) == (rows.num_rows - n_dropped if form == "folder" else rows.num_rows)


def check_moves(out: Path, told: dict[str, dict[str, Any]]) -> None:
    """Each file whose class changed is named once, with a path in the folder of its new class."""
    with (out / "moves.csv").open(newline="") as file:
        moves = list(csv.DictReader(file))
    moved = {key for key, row in told.items() if row[LABEL] not in (None, row["given_label"])}
    assert {row["file"] for row in moves} == moved
    assert len(moves) == len(moved)
    for row in moves:
        assert (out / "pictures" / row["to"]).is_file()
        assert row[LABEL] == told[row["file"]][LABEL]
        # As in labels.csv: no more digits than are known.
        assert row["error_prob"] == f"{told[row['file']]['error_prob']:.6g}"


def table_again(folder: Path, out: Path, path: Path) -> list[str]:
    """What a person types to take an exported table in: the new labels, and all else as before."""
    options = load_params(folder / "params.yaml").options("datasets", "table").model_dump()
    added = ["relabel_action", "suggested", "error_prob", "decided_by", options["label"]]
    exported = out / path.name if path.is_file() else out
    if path.is_dir():
        (out / "dropped.csv").unlink(missing_ok=True)
    typed = [str(exported), "--label", LABEL, *(word for name in added for word in ("--drop", name))]
    for name in ("text", "id", "split"):
        typed += [f"--{name}", options[name]] if options[name] else []
    return typed


def check_predictions(folder: Path, path: Path) -> None:
    """Raw files classified by the checkpoint have the probabilities that the pipeline's own rows have."""
    params = load_params(folder / "params.yaml")
    form = params.download.dataset
    options = params.options("datasets", form).model_dump() if form == "table" else {}
    if form not in ("folder", "table") or options.get("image"):
        return
    classifier = Classifier.load(folder / "models" / "classifier.ckpt")
    rows = classifier.read([path], options.get("text"), options.get("id"))
    examples = read_table(EXAMPLES.at(folder), EXAMPLES)
    content = read_content(EXAMPLES.at(folder), read_facts(examples))
    expected = dict(zip(examples.column("key").to_pylist(), classifier.predict(content), strict=True))
    for key, probs in zip(rows.key, classifier.predict(rows.content), strict=True):
        own = str(Path(key).relative_to(path)) if form == "folder" else key
        np.testing.assert_allclose(probs, expected[own], atol=1e-6)
