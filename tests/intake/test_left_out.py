"""A row whose content cannot be read is left out with a sentence; export gives it back as it came."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import own_forms
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_forms import read_brought
from PIL import Image

from tasks import DatasetError
from tasks.download import download
from tasks.export import count_actions, write_export
from tasks.export.rows import ACTION, COLUMNS, LABEL, NOT_JUDGED
from tasks.intake.command import init
from tasks.params import load_params
from tasks.tables.catalog import EXAMPLES
from tasks.tables.portions import TableReader


def cut_jpeg(path: Path) -> None:
    """As a copy leaves it that stopped: its header can be read, its pixels cannot."""
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(content, "JPEG")
    path.write_bytes(content.getvalue()[: len(content.getvalue()) // 2])


def broken_folders(given: Path) -> tuple[Path, str]:
    folder = own_forms.class_folders(given)
    cut_jpeg(folder / "one" / "broken.jpg")
    return folder, "one/broken.jpg"


def broken_scans(given: Path) -> tuple[Path, str]:
    folder = own_forms.pictures_and_table(given)
    path = folder / "images" / "0003.png"
    path.write_bytes(path.read_bytes()[:60])
    return folder, "images/0003.png"


def broken_hub(given: Path) -> tuple[Path, str]:
    folder = own_forms.hugging_face(given)
    path = folder / "data" / "train-00000-of-00001.parquet"
    table = pq.read_table(path)
    images = table.column("image").to_pylist()
    images[7] = None
    pq.write_table(table.set_column(0, "image", pa.array(images, table.schema.field("image").type)), path)
    return folder, "train-00000-of-00001.parquet/7"


def empty_text(given: Path) -> tuple[Path, str]:
    path = given / "notes.csv"
    with path.open("w", newline="") as file:
        rows = list(zip(*own_forms.texts()[:2], strict=True))
        rows[5] = ("  ", rows[5][1])
        csv.writer(file).writerows([("text", "label"), *rows])
    return path, "5"


def empty_task(given: Path) -> tuple[Path, str]:
    path = own_forms.label_studio(given)
    file = path if path.is_file() else next(path.glob("*.json"))
    tasks = json.loads(file.read_text())
    (name,) = tasks[4]["data"]
    tasks[4]["data"][name] = None
    file.write_text(json.dumps(tasks))
    return path, str(tasks[4]["id"])


def first_task_without_text(given: Path) -> tuple[Path, str]:
    path = own_forms.label_studio(given)
    file = path if path.is_file() else next(path.glob("*.json"))
    tasks = json.loads(file.read_text())
    tasks[0]["data"] = {"note": "no text"}
    file.write_text(json.dumps(tasks))
    return path, str(tasks[0]["id"])


FORMS = [broken_folders, broken_scans, broken_hub, empty_text, empty_task, first_task_without_text]


@pytest.mark.parametrize("form", FORMS)
def test_a_row_without_content_is_named_left_out_and_given_back(
    workspace: Path, given: Path, form: Callable[[Path], tuple[Path, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, key = form(given)
    init(workspace, [str(path)])
    said = capsys.readouterr().out
    assert "1 of 24" in said
    assert f"left out, as nothing can be learned from it: {key} (" in said
    download(load_params(workspace / "params.yaml"), workspace)
    assert key in capsys.readouterr().out
    examples = read_brought(workspace)
    assert key not in examples.key
    assert len(examples.key) == len(examples.split) == len(examples.content)
    table = TableReader(EXAMPLES.at(workspace), EXAMPLES, ["key"])
    assert table.n_rows == len(examples.key)
    assert key in str(table.metadata("left_out"))
    names = np.array(examples.facts.class_names)[examples.given_label]
    rows = pa.table(
        {
            "key": pa.array(examples.key, pa.string()),
            "given_label": names,
            **{name: pa.nulls(len(names), pa.string()) for name in COLUMNS},
            "error_prob": pa.nulls(len(names), pa.float32()),
            "split": list(examples.split),
            "why": pa.nulls(len(names), pa.string()),
        }
    ).set_column(2, LABEL, pa.array(names))
    out = workspace / "out"
    rows = rows.set_column(rows.column_names.index(ACTION), ACTION, pa.array(["kept"] * len(names)))
    written = write_export(load_params(workspace / "params.yaml"), workspace, rows, out, False).rows
    assert written.num_rows == len(names) + 1
    assert count_actions(written, 1).startswith(f"{len(names)} kept, 1 {NOT_JUDGED} (1 left out")
    if (out / "labels.csv").exists():
        with (out / "labels.csv").open(newline="", encoding="utf-8-sig") as file:
            sniffed = csv.DictReader(file, delimiter=";" if form is broken_scans else ",")
            told = [row for row in sniffed if row[ACTION] == NOT_JUDGED]
    elif form is empty_text:
        with (out / "notes.csv").open(newline="", encoding="utf-8-sig") as file:
            told = [row for row in csv.DictReader(file) if row[ACTION] == NOT_JUDGED]
    else:
        table = pq.read_table(out / "data" / "train-00000-of-00001.parquet")
        told = [row for row in table.to_pylist() if row[ACTION] == NOT_JUDGED]
    (row,) = told
    assert row[LABEL] == next(row[name] for name in ("given_label", "label", "Label") if name in row)


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_came_or_went_since_the_run_are_named_and_nothing_is_written(
    workspace: Path, given: Path, form: Callable[[Path], tuple[Path, str]]
) -> None:
    path, _ = form(given)
    init(workspace, [str(path)])
    params = load_params(workspace / "params.yaml")
    download(params, workspace)
    examples = read_brought(workspace)
    keys, splits = list(examples.key), list(examples.split)
    came = pa.table({"key": keys[1:], "split": splits[1:]})
    went = pa.table({"key": [*keys, "went"], "split": [*splits, "train"]})
    for rows, says in ((came, "dvc repro"), (went, r"1 of them gone, the first went\.")):
        with pytest.raises(DatasetError, match=says):
            write_export(params, workspace, rows, workspace / "out", False)
        assert not (workspace / "out").exists()


def test_many_rows_without_content_are_refused(workspace: Path, given: Path) -> None:
    folder = own_forms.class_folders(given)
    files = sorted(folder.rglob("*.png"))
    for path in files[: len(files) // 10 + 1]:
        path.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=f"{len(files) // 10 + 1}"):
        init(workspace, [str(folder)])


@pytest.mark.parametrize("n_broken", [1, 2])
def test_a_class_of_which_two_rows_would_not_be_left_is_refused_for_its_unreadable_row(
    workspace: Path, given: Path, n_broken: int
) -> None:
    folder = own_forms.class_folders(given)
    (folder / "rare").mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(next(folder.glob("one/*.png")), folder / "rare" / name)
    for name in ("a.jpg", "b.jpg")[:n_broken]:
        cut_jpeg(folder / "rare" / name)
    with pytest.raises(DatasetError, match=r"rare/a.jpg: expected a picture that can be read"):
        init(workspace, [str(folder)])
