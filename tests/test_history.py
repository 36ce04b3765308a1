"""The label of one row over versions: what each says, what is folded, what cannot be read."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from kept_versions import commit, git, keep_tables, make_repository
from small_runs import ROOT

from flows import FlowError, relabel
from flows.comparison.row_history import read_history
from flows.comparison.versions import compare_versions, newest_versions
from flows.dvc_api.kept import find_stages, list_kept
from flows.history import main
from tasks.decisions.log import HEADER_LINE
from tasks.tables.io import tensor_column

CLASSES = ["cat", "dog", "horse"]
FACTS = {"dataset": "pets", "class_names": CLASSES, "content": "features", "shape": [2]}
ID = 4


def tables(
    given: int = 0,
    suggested: int = 1,
    prob: float = 0.9,
    is_issue: bool = True,
    action: str = "relabelled",
    label: int = 1,
    first_edition: bool = False,
    source: str = "pseudo",
) -> dict[str, pa.Table]:
    """The tables of a version in which row 4 is as the arguments say, beside seven others."""
    ids, one = np.arange(8), np.arange(8) == ID
    int16 = np.int16
    issues = {
        "example_id": ids,
        "given_label": np.where(one, given, 2).astype(int16),
        "suggested_label": np.where(one, suggested, 2).astype(int16),
        "suggested_prob": np.where(one, prob, 0.5).astype(np.float32),
        "is_issue": one & is_issue,
    }
    trained = {"example_id": ids, "label": np.where(one, label, 2).astype(int16)}
    soft = np.eye(3, dtype=np.float32)[trained["label"]]
    if first_edition:
        trained |= {"source": np.where(one, source, "given"), "soft_label": tensor_column(soft)}
        there = ~one if action == "dropped" else np.ones(8, dtype=bool)
        table = pa.table(trained).filter(pa.array(there))
    else:
        weight = np.where(one & (action == "dropped"), 0, 1).astype(np.float32)
        trained |= {"action": np.where(one, action, "trusted"), "weight": weight}
        table = pa.table(trained)
    metadata = {"relabel": json.dumps(FACTS)}
    return {
        "data/label_issues.parquet": pa.table(issues, metadata=metadata),
        "data/training_set.parquet": table.replace_schema_metadata(metadata),
    }


def decisions(*lines: str) -> str:
    return HEADER_LINE.decode() + "".join(f"{line}\n" for line in lines)


Told = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "pets")


@pytest.fixture
def told(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs the command in the repository; returns all that it prints."""

    def run(*arguments: str, status: int = 0) -> str:
        monkeypatch.chdir(repository)
        capsys.readouterr()
        assert main(arguments) == status
        printed = capsys.readouterr()
        return printed.out + printed.err

    return run


def test_each_version_says_what_its_tables_have(repository: Path) -> None:
    keep_tables(repository, "v1", tables(prob=0.75))
    keep_tables(repository, "v2", tables(given=2, suggested=0, is_issue=False, action="trusted", label=2))
    keep_tables(repository, "v3", tables(action="dropped"))
    one, two, three = read_history(repository, str(ID)).versions
    assert (one.given, one.suggested, one.suggested_prob) == ("cat", "dog", 0.75)
    assert (one.is_issue, one.action, one.label) == (True, "relabelled", "dog")
    assert one.commit == git(repository, "rev-parse", "v1").strip()
    assert "v1" in one.title
    assert (two.given, two.suggested, two.is_issue, two.label) == ("horse", "cat", False, "horse")
    assert (three.action, three.label) == ("dropped", None)


def test_without_names_the_last_two_versions_are_compared(repository: Path) -> None:
    with pytest.raises(FlowError, match="commit"):
        newest_versions(repository)
    keep_tables(repository, "v1", tables(prob=0.75))
    with pytest.raises(FlowError, match="HEAD alone"):
        newest_versions(repository)
    keep_tables(repository, "v2", tables(prob=0.5))
    commit(repository, "words", notes_txt="no other results")
    assert newest_versions(repository) == ["v1", "HEAD"]
    lock = json.loads((repository / "dvc.lock").read_text())
    lock["stages"]["all"]["cmd"] = "y"
    (repository / "dvc.lock").write_text(json.dumps(lock))
    assert newest_versions(repository) == ["HEAD", "workspace"]
    found = compare_versions(repository, [], with_rows=False)
    assert [version.name for version in found.versions] == ["HEAD", "workspace"]
    found = compare_versions(repository, ["v1"], with_rows=False)
    assert [version.name for version in found.versions] == ["v1", "workspace"]
    found = compare_versions(repository, ["workspace"], with_rows=False)
    assert [version.name for version in found.versions] == ["HEAD", "workspace"]


@pytest.mark.parametrize(
    ("action", "source", "expected"),
    [
        ("relabelled", "pseudo", ("relabelled", "dog")),
        ("dropped", "pseudo", ("dropped", None)),
        ("kept", "given", ("kept", "dog")),
        ("reviewed", "reviewed", ("reviewed", "dog")),
    ],
)
def test_tables_of_the_first_edition_are_read(
    repository: Path, action: str, source: str, expected: tuple[str, str | None]
) -> None:
    keep_tables(repository, "old", tables(action=action, source=source, first_edition=True))
    (seen,) = read_history(repository, str(ID)).versions
    assert (seen.action, seen.label) == expected
    assert (seen.given, seen.suggested) == ("cat", "dog")


def test_neighbours_that_say_the_same_probability_name_it_once(repository: Path, told: Told) -> None:
    for place, prob in enumerate([0.9, 0.9101, 0.9102]):
        keep_tables(repository, f"same{place}", tables(prob=prob))
    (folded,) = [line for line in told(str(ID)).splitlines() if "the next 2 versions the same" in line]
    assert "suggested at 91.0%; the last" in folded


def test_unchanged_neighbours_are_one_line(repository: Path, told: Told) -> None:
    for place, prob in enumerate([0.9, 0.91, 0.93]):
        keep_tables(repository, f"same{place}", tables(prob=prob))
    keep_tables(repository, "other", tables(action="dropped"))
    lines = told(str(ID)).splitlines()
    assert sum("relabelled: dog" in line for line in lines) == 1
    (folded,) = [line for line in lines if "the next 2 versions the same" in line]
    assert "91.0% to 93.0%" in folded
    assert "same2" in folded
    assert any("other" in line and "dropped" in line for line in lines)
    assert len(json.loads(told(str(ID), "--json"))["versions"]) == 4  # programs get each of them


def test_decisions_stand_between_versions_with_who_made_them(repository: Path, told: Told) -> None:
    keep_tables(repository, "v1", tables())
    text = decisions(
        "4,choose,horse,cat,anna,2020-01-31T12:00:00Z,none",
        "4,keep,,cat,bert,2020-02-01T12:00:00Z,none",
        "5,drop,,horse,carl,2020-02-01T12:00:00Z,none",
    )
    commit(repository, "decided", reviews__decisions_csv=text)
    keep_tables(repository, "v2", tables(action="reviewed", label=0))
    said = told(str(ID))
    assert "by anna: choose horse (of cat): replaced" in said
    assert "by bert: keep (of cat): stands" in said
    assert "carl" not in said
    assert said.index("anna") < said.index("bert") < said.index("v1")  # by time
    assert "reviewed: cat, by bert" in said
    (*_, last) = read_history(repository, str(ID)).versions
    assert last.reviewer == "bert"


def test_versions_whose_tables_are_gone_are_left_out_and_named(repository: Path, told: Told) -> None:
    keep_tables(repository, "v1", tables())
    keep_tables(repository, "v2", tables(prob=0.5))
    locked = git(repository, "show", "v1:dvc.lock")
    cached = (repository / ".dvc" / "cache" / "files" / "md5").glob("*/*")
    for path in cached:
        if path.parent.name + path.name in locked and path.parent.name + path.name not in git(
            repository, "show", "v2:dvc.lock"
        ):
            path.unlink()
    found = read_history(repository, str(ID))
    assert [seen.suggested_prob for seen in found.versions] == [0.5]
    assert len(found.left_out) == 1
    said = told(str(ID))
    assert "Left out: 1 version whose tables" in said
    assert "v1" in said
    assert "dvc fetch --all-commits" in said


def test_experiments_are_versions_and_other_branches_are_asked_for(repository: Path) -> None:
    keep_tables(repository, "v1", tables())
    base = git(repository, "rev-parse", "HEAD").strip()
    git(repository, "switch", "--quiet", "--create", "side")
    keep_tables(repository, "v2", tables(action="dropped"))
    git(repository, "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/strict", "HEAD")
    git(repository, "switch", "--quiet", "-")
    git(repository, "branch", "--quiet", "-D", "side")
    git(repository, "tag", "--delete", "v2")
    titles = [seen.title for seen in read_history(repository, str(ID)).versions]
    assert len(titles) == 2
    assert any(title.startswith("strict (experiment") for title in titles)
    # Of a branch that does not lead to HEAD only --all tells.
    git(repository, "branch", "elsewhere")
    git(repository, "switch", "--quiet", "elsewhere")
    keep_tables(repository, "v3", tables(prob=0.6))
    git(repository, "switch", "--quiet", "-")
    assert len(read_history(repository, str(ID)).versions) == 2
    assert len(read_history(repository, str(ID), every_branch=True).versions) == 3


def test_the_work_tree_is_a_version_where_its_lock_is_another(repository: Path) -> None:
    keep_tables(repository, "v1", tables())
    keep_tables(repository, "v2", tables(action="dropped"))
    git(repository, "reset", "--quiet", "--soft", "v1")
    assert [seen.title.split()[0] for seen in read_history(repository, str(ID)).versions][-1] == "workspace"


def test_in_a_folder_of_a_larger_repository(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    git(whole, "init", "--quiet")
    inner = make_repository(tmp_path / "inner")
    shutil.rmtree(inner / ".git")
    folder = Path(shutil.move(inner, whole / "inner"))
    (folder / ".dvc" / "config").write_text("")
    keep_tables(folder, "v1", tables())
    assert [seen.given for seen in read_history(folder, str(ID)).versions] == ["cat"]


def test_a_row_that_no_version_has_and_a_repository_without_versions(repository: Path, told: Told) -> None:
    commit(repository, "start")
    assert "expected versions with results, found none" in told(str(ID), status=1)
    keep_tables(repository, "v1", tables())
    assert "expected the key of a row, found '99'" in told("99", status=1)


def test_nothing_is_changed(repository: Path, told: Told) -> None:
    def times() -> dict[Path, int]:
        files = {path.relative_to(repository): path for path in repository.rglob("*") if path.is_file()}
        return {name: path.stat().st_mtime_ns for name, path in files.items() if "tmp" not in name.parts}

    keep_tables(repository, "v1", tables())
    before = times()
    assert before
    told(str(ID))
    assert times() == before


def test_two_hundred_versions_take_no_process_each(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_tables(repository, "v1", tables())
    lock = json.loads((repository / "dvc.lock").read_text())
    commands = []
    for place in range(200):
        content = json.dumps(lock | {"place": place})
        commands += [
            f"commit refs/heads/many\ncommitter a <a@b> {1_700_000_000 + place} +0000\ndata 1\nx",
            f"M 100644 inline dvc.lock\ndata {len(content)}\n{content}",
        ]
    subprocess.run(
        ["git", "fast-import", "--quiet"], cwd=repository, input="\n".join(commands).encode(), check=True
    )
    run, started = subprocess.run, []

    def count(command: list[str], **options: Any) -> Any:
        started.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", count)
    found = read_history(repository, str(ID), every_branch=True)
    assert len(found.versions) == 201
    assert len(started) < 20


def test_dvc_lock_is_read_as_dvc_writes_it(repository: Path) -> None:
    lock = "\n".join(
        [
            "schema: '2.0'",
            "stages:",
            "  train_fold@0:",
            "    cmd: python -m tasks train_fold",
            "    params:",
            "      params.yaml:",
            "        train_fold:",
            "          model: logistic",
            "  prune:",
            "    cmd: python -m tasks prune",
            "    outs:",
            "    - path: data/label_issues.parquet",
            "      hash: md5",
            "      md5: 0123",
            "  report:",
            "    cmd: x",
            "    deps:",
            "    - path: data/label_issues.parquet",
            "      md5: 0123",
        ]
    )
    found = find_stages(lock, ["data/label_issues.parquet", "train_fold@0"])
    assert list(found) == ["train_fold@0", "prune"]
    assert found["train_fold@0"]["params"]["params.yaml"]["train_fold"]["model"] == "logistic"
    assert find_stages("no: [yaml", ["prune"]) == {}
    commit(repository, "start", dvc_lock=lock)
    assert [kept.lock for kept in list_kept(repository)] == [lock]


def test_relabel_explain_history_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(relabel, "run", lambda _, module: ran.append(list(module)) or 0)
    monkeypatch.chdir(ROOT)
    relabel.main(["explain", "cats/17.jpg", "--history", "--json"])
    assert ran == [["flows.history", "cats/17.jpg", "--json"]]
