"""A folder of its own for a data set: what comes along, what is kept, what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ROOT

from tasks import ParamsError, WorkspaceError
from tasks.params import load_params
from tasks.workspace import create_workspace, make_workspace, read_code


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkout: the parameters, some code, results, data and a decision."""
    folder = tmp_path_factory.mktemp("checkouts") / "checkout"
    files = {
        "params.yaml": (ROOT / "params.yaml").read_bytes(),
        "dvc.yaml": b"stages: {}\n",
        "tasks/one.py": b"ONE = 1\n",
        "tasks/two.py": b"TWO = 2\n",
        "inputs/examples/README.md": b"Here.\n",
        ".gitignore": b"/data/\n/.venv\n/inputs/examples/?*\n!/inputs/examples/README.md\n",
        ".dvc/config": b"[core]\n    analytics = false\n",
        "dvc.lock": b"schema: '2.0'\n",
        "metrics/report.json": b"{}\n",
        "tests/test_one.py": b"",
    }
    create_workspace(folder, files)
    (folder / "data").mkdir()
    (folder / "data" / "examples.parquet").write_bytes(b"large")
    (folder / "inputs" / "examples" / "own.csv").write_bytes(b"large")
    (folder / "reviews" / "decisions.csv").write_text("a decision\n")
    return folder


def files_of(folder: Path) -> set[str]:
    return set(git(folder, "ls-files").splitlines())


def test_code_and_parameters_come_along_and_results_data_and_decisions_do_not(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "tasks" / "new.py").write_text("NEW = 3\n")  # not yet known to git
    folder = tmp_path / "here" / "pets"
    make_workspace(folder, {"train_fold.epochs": 3, "download.dataset": "digits"}, checkout)
    (checkout / "tasks" / "new.py").unlink()
    assert files_of(folder) == {
        *("params.yaml", "dvc.yaml", "tasks/one.py", "tasks/two.py", "tasks/new.py"),
        *("inputs/examples/README.md", ".gitignore", ".dvc/config", "reviews/decisions.csv", ".relabel.json"),
    }
    assert "decision\n" not in (folder / "reviews" / "decisions.csv").read_text()
    assert load_params(folder / "params.yaml").train_fold.epochs == 3
    assert load_params(checkout / "params.yaml").train_fold.epochs == 5
    assert git(folder, "status", "--porcelain") == ""
    assert str(checkout) not in (folder / ".relabel.json").read_text()
    assert [path.name for path in folder.parent.iterdir()] == ["pets"]


def test_the_branch_is_called_main_whatever_git_is_told(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[init]\n\tdefaultBranch = trunk\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    make_workspace(tmp_path / "pets", {}, checkout)
    assert git(tmp_path / "pets", "branch", "--show-current").strip() == "main"


def test_the_environment_is_that_of_the_python_that_runs(checkout: Path, tmp_path: Path) -> None:
    make_workspace(tmp_path / "pets", {}, checkout)
    link = tmp_path / "pets" / ".venv"
    if sys.prefix == sys.base_prefix:
        assert not link.exists()
        return
    assert link.is_symlink()
    assert (link / "bin" / "python").samefile(sys.executable)


def test_the_same_again_is_used_as_it_is(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    make_workspace(folder, {"train_fold.epochs": 3}, checkout)
    (folder / "data").mkdir()
    (folder / "data" / "examples.parquet").write_bytes(b"mine")
    before = git(folder, "log", "--format=%H"), (folder / "params.yaml").stat().st_mtime_ns
    make_workspace(folder, {"train_fold.epochs": 3}, checkout)
    assert (git(folder, "log", "--format=%H"), (folder / "params.yaml").stat().st_mtime_ns) == before
    assert (folder / "data" / "examples.parquet").read_bytes() == b"mine"


def test_newer_code_takes_the_place_of_older_and_what_people_added_stays(
    checkout: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pets"
    make_workspace(folder, {}, checkout)
    (folder / "tasks" / "mine.py").write_text("MINE = 4\n")
    (folder / "dvc.lock").write_text("mine\n")
    one, two = (checkout / "tasks" / name for name in ("one.py", "two.py"))
    before = one.read_bytes(), two.read_bytes()
    try:
        one.write_text("ONE = 11\n")
        two.unlink()
        make_workspace(folder, {"train_fold.epochs": 6}, checkout)
    finally:
        one.write_bytes(before[0])
        two.write_bytes(before[1])
    assert (folder / "tasks" / "one.py").read_text() == "ONE = 11\n"
    assert not (folder / "tasks" / "two.py").exists()
    assert (folder / "tasks" / "mine.py").exists()
    assert (folder / "dvc.lock").read_text() == "mine\n"
    assert load_params(folder / "params.yaml").train_fold.epochs == 6
    assert git(folder, "status", "--porcelain").split() == ["??", "dvc.lock", "??", "tasks/mine.py"]


def test_newer_code_leaves_the_remote_alone_that_a_person_added(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    make_workspace(folder, {}, checkout)
    config = folder / ".dvc" / "config"
    config.write_text(config.read_text() + "['remote \"store\"']\n    url = ../store\n")
    mine = config.read_bytes()
    one = checkout / "tasks" / "one.py"
    before = one.read_bytes()
    try:
        one.write_text("ONE = 12\n")
        for _ in range(2):
            make_workspace(folder, {}, checkout)
            assert config.read_bytes() == mine
    finally:
        one.write_bytes(before)
    assert (folder / "tasks" / "one.py").read_text() == "ONE = 12\n"
    assert git(folder, "status", "--porcelain").strip() == "M .dvc/config"


def test_a_file_that_a_person_changed_is_not_overwritten(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    make_workspace(folder, {}, checkout)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 5", "epochs: 9"))
    mine = params.read_bytes()
    for settings in ({}, {"train_fold.epochs": 3}):
        with pytest.raises(WorkspaceError) as caught:
            make_workspace(folder, settings, checkout)
        assert str(params) in str(caught.value)
        assert "dvc repro" in str(caught.value)
        assert params.read_bytes() == mine
    # What it would write anyway is no loss.
    make_workspace(folder, {"train_fold.epochs": 9}, checkout)
    assert params.read_bytes() == mine


@pytest.mark.parametrize("what", ["a file", "a folder with something", "a checkout", "a broken record"])
def test_what_is_not_ours_is_refused_and_stays(what: str, checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    if what == "a file":
        folder.write_text("mine")
    elif what == "a checkout":
        create_workspace(folder, read_code(checkout))
        (folder / ".relabel.json").unlink()
    else:
        folder.mkdir()
        record = json.dumps({"files": 3}) if what == "a broken record" else None
        (folder / (".relabel.json" if record else "cat.png")).write_text(record or "mine")
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(WorkspaceError) as caught:
        make_workspace(folder, {}, checkout)
    assert str(folder) in str(caught.value)
    assert "Name another folder" in str(caught.value)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()) == before


def test_an_empty_folder_is_as_good_as_none(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    make_workspace(tmp_path / "pets", {}, checkout)
    assert "params.yaml" in files_of(tmp_path / "pets")


def test_nothing_is_left_where_a_setting_is_refused_or_git_fails(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, near in (("train_fold.epoch", "epochs"), ("trainfold.epochs", "train_fold")):
        with pytest.raises(ParamsError, match=f"did you mean `{near}`"):
            make_workspace(tmp_path / "pets", {name: 3}, checkout)
    with pytest.raises(WorkspaceError, match="git knows"):
        make_workspace(tmp_path / "pets", {}, checkout / "tasks")
    with pytest.raises(WorkspaceError, match="git ls-files"):
        make_workspace(tmp_path / "pets", {}, tmp_path)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(WorkspaceError, match="run git"):
        make_workspace(tmp_path / "pets", {}, checkout)
    assert list(tmp_path.iterdir()) == []


def test_a_hook_of_the_checkout_does_not_lead_git_there(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = git(checkout, "log", "--format=%H")
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(checkout / ".git" / "index"))
    make_workspace(tmp_path / "pets", {}, checkout)
    monkeypatch.undo()
    assert git(checkout, "log", "--format=%H") == before
    assert "tasks/one.py" in files_of(tmp_path / "pets")
