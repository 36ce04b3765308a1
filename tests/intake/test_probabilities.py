"""Probabilities of one's own, with labels, become the pipeline that begins with them."""

import contextlib
import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from own_forms import png
from small_runs import ROOT

from tasks import RelabelError
from tasks.command_line import main
from tasks.intake.asked import Asked
from tasks.intake.command import init
from tasks.intake.probabilities import are_meant, find_fault
from tasks.tables.catalog import EXAMPLES
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "docs").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", "docs/own_probs.yaml"):
        shutil.copy(ROOT / name, folder / name)
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "--no-gpg-sign", "-m", "Start"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def write(folder: Path) -> tuple[Path, Path]:
    true = np.arange(60) % 3
    np.save(folder / "p.npy", np.where(np.eye(3)[true] > 0, 0.8, 0.1))
    (folder / "labels.csv").write_text("given_label\n" + "".join(f"{k}\n" for k in true))
    return folder / "p.npy", folder / "labels.csv"


def variables(workspace: Path) -> list[str]:
    lines = (workspace / "dvc.yaml").read_text().splitlines()
    return [line for line in lines if line.startswith("  - ")]


def test_files_are_brought_and_named_in_the_pipeline(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probs, labels = write(tmp_path)
    before = (workspace / "params.yaml").read_bytes()
    init(workspace, [str(probs), "--labels", str(labels), "--class-names", "a cat,Anna's,c"])
    assert variables(workspace) == [
        '  - pred_probs: "inputs/probs/p.npy"',
        '  - labels: "inputs/probs/labels.csv"',
        '  - examples: "inputs/examples"',
        """  - options: "--class-names 'a cat,Anna'\\"'\\"'s,c'\"""",
    ]
    assert np.array_equal(np.load(workspace / "inputs" / "probs" / "p.npy"), np.load(probs))
    assert (workspace / "params.yaml").read_bytes() == before
    said = capsys.readouterr().out
    assert "60 rows" in said
    assert "a cat 20, Anna's 20, c 20" in said


def test_one_file_may_hold_probabilities_and_labels(workspace: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"id": [f"r{k}" for k in range(9)], "x": 0.25, "y": 0.75, "given_label": ["x", "y", "y"] * 3}
    )
    frame.to_csv(tmp_path / "p.csv", index=False)
    init(workspace, [str(tmp_path / "p.csv")])
    assert variables(workspace)[:2] == [
        '  - pred_probs: "inputs/probs/p.csv"',
        '  - labels: "inputs/probs/p.csv"',
    ]


def test_faults_are_one_sentence_and_change_nothing(workspace: Path, tmp_path: Path) -> None:
    probs, labels = write(tmp_path)
    with pytest.raises(RelabelError, match="--labels"):
        init(workspace, [str(probs)])
    with pytest.raises(RelabelError, match="3 names"):
        init(workspace, [str(probs), "--labels", str(labels), "--class-names", "a,b"])
    (workspace / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(RelabelError, match="--into"):
        init(workspace, [str(probs), "--labels", str(labels)])
    assert (workspace / "dvc.yaml").read_text() == "stages: {}\n"
    assert not (workspace / "inputs").exists()


def test_other_numbers_are_no_probabilities(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(20, 3)))
    np.save(tmp_path / "b.npy", np.zeros((20, 8, 8), dtype=np.uint8))
    (tmp_path / "c.csv").write_text("text,label\na,b\n")
    (tmp_path / "d.csv").write_text("a,b,label\n1,2,3\n")
    for name in ("a.npy", "b.npy", "c.csv", "d.csv"):
        assert find_fault(tmp_path / name) is not None, name
        assert not are_meant(tmp_path / name, Asked()), name


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("probs.npy", lambda probs: np.log(probs), "softmax"),
        ("pred_probs.npy", lambda probs: 100 * probs, "softmax"),
        ("model-logits.npy", lambda probs: 10 * probs, "softmax"),
        ("probs.npy", lambda probs: probs[:, 0], "K >= 2"),
        ("probs.npy", lambda probs: np.where(probs > 0.5, np.nan, probs), "finite"),
        ("p.npy", lambda probs: np.round(probs * 0.97, 2), "divide each row by its sum"),
    ],
)
def test_what_was_to_be_probabilities_is_not_learned_from(
    workspace: Path, tmp_path: Path, name: str, spoil: Callable[[np.ndarray], np.ndarray], says: str
) -> None:
    probs, labels = write(tmp_path)
    np.save(tmp_path / name, spoil(np.load(probs)))
    with pytest.raises(RelabelError, match=says):
        init(workspace, [str(tmp_path / name), "--labels", str(labels)])


def test_a_table_of_texts_that_is_called_so_may_have_another_name(workspace: Path, tmp_path: Path) -> None:
    rows = [f"some words on case {row},{'xy'[row % 2]}" for row in range(20)]
    named = tmp_path / "loan default prob.csv"
    named.write_text("\n".join(["text,label", *rows]))
    with pytest.raises(RelabelError, match="another name"):
        init(workspace, [str(named)])
    init(workspace, [str(named.rename(tmp_path / "loans.csv"))])


def test_a_table_with_labels_elsewhere_is_one_of_probabilities(workspace: Path, tmp_path: Path) -> None:
    """Ids that repeat are a fault of the probabilities, not of a table of features."""
    _, labels = write(tmp_path)
    (tmp_path / "p.csv").write_text("id,x,y\n" + "a,.5,.5\n" * 60)
    with pytest.raises(RelabelError, match="its own id"):
        init(workspace, [str(tmp_path / "p.csv"), "--labels", str(labels)])


def test_the_column_of_labels_may_have_another_usual_name(workspace: Path, tmp_path: Path) -> None:
    probs, labels = write(tmp_path)
    labels.write_text(labels.read_text().replace("given_label", "Label"))
    init(workspace, [str(probs), "--labels", str(labels)])
    assert "--label Label" in variables(workspace)[-1]


def test_examples_and_truth_are_brought_and_named_in_the_pipeline(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table that names pictures beside it: these come along, and nothing else of the folder."""
    _, labels = write(tmp_path)
    keys = [f"{row:02}" for row in range(60)]
    given = np.arange(60) % 3
    frame = pd.DataFrame(np.where(np.eye(3)[given] > 0, 0.8, 0.1), columns=["ant", "bee", "cat"])
    frame.assign(id=keys).to_parquet(tmp_path / "p.parquet", index=False)
    pd.DataFrame({"id": keys, "said": given, "gold": given}).to_csv(labels, index=False)
    pictures = tmp_path / "my photos"
    (pictures / "in").mkdir(parents=True)
    for key in keys:
        (pictures / "in" / f"{key}.png").write_bytes(png(np.full((8, 8), int(key), np.uint8)))
    (pictures / "other.txt").write_text("not to be brought")
    table = pd.DataFrame({"id": keys, "file": [f"in/{key}.png" for key in keys]})
    table.to_csv(pictures / "table.csv", index=False)
    asked = ["--labels", str(labels), "--label", "said", "--truth", "gold"]
    init(workspace, [str(tmp_path / "p.parquet"), *asked, "--examples", str(pictures / "table.csv")])
    said = capsys.readouterr().out
    assert "Pages show the pictures of table.csv" in said
    assert "The truth is known" in said
    assert '  - examples: "inputs/examples/my photos"' in variables(workspace)
    brought = workspace / "inputs" / "examples" / "my photos"
    assert sum(path.is_file() for path in brought.rglob("*")) == 61
    # What the pipeline will type.
    options = variables(workspace)[-1].removeprefix("  - options: ")
    files = ["--pred-probs", "inputs/probs/p.parquet", "--labels", "inputs/probs/labels.csv"]
    with contextlib.chdir(workspace):
        assert main(["import-probs", *files, *shlex.split(json.loads(options))]) == 0
    found = read_table(EXAMPLES.at(workspace), EXAMPLES)
    rows = found.column("key").to_pylist()
    assert sorted(rows) == keys
    assert [f"{value:02}" for value in column_array(found, "image")[:, 0, 0]] == rows
    assert column_array(found, "true_label").tolist() == [int(key) % 3 for key in rows]


def test_examples_belong_beside_probabilities_alone(workspace: Path, tmp_path: Path) -> None:
    probs, labels = write(tmp_path)
    with pytest.raises(RelabelError, match="probabilities"):
        init(workspace, [str(labels), "--examples", str(labels)])
    frame = pd.DataFrame(np.load(probs), columns=["ant", "bee", "cat"])
    frame.assign(id=[0, 0, *range(2, 60)]).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(RelabelError, match="found 0 in 2 rows"):
        init(workspace, [str(tmp_path / "p.csv"), "--labels", str(labels), "--examples", str(labels)])
    assert not (workspace / "inputs").exists()
