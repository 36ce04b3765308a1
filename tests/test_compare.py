"""Comparing versions: real DVC repositories, what is read, what is said, and that nothing is touched."""

import functools
import hashlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hand_made import write_run
from kept_versions import commit, entry, git, judged, keep, keep_tables, make_repository
from playwright.sync_api import Browser
from rich.console import Console
from small_runs import ROOT, dvc

from benchmarks.workspaces import make_workspace, set_params
from flows.compare import main
from flows.comparison.measures import direction
from flows.comparison.parameters import flatten
from flows.comparison.printing import markdown, print_tables
from flows.comparison.result import Comparison
from flows.comparison.row_changes import MOST_CHANGED
from flows.comparison.versions import compare_versions
from flows.comparison.views import number
from flows.dvc_api.revisions import RevisionError, open_revisions
from tasks import RelabelError
from tasks.label_quality.changes import OUTCOMES
from tasks.page import Content
from tasks.params import load_params
from tasks.prune import prune
from tasks.pseudo_label import pseudo_label
from tasks.reporting.provenance import folder_digest
from tasks.small_files import MOST_BYTES
from tasks.tables.catalog import LABEL_ISSUES, PRED_PROBS, UNLABELED_PROBS
from tasks.tables.facts import read_facts
from tasks.tables.io import make_table, read_table, tensor_column, write_table
from tasks.tables.schemas import column_array

pytestmark = pytest.mark.slow  # they need a finished run

ISSUES = "data/label_issues.parquet"


def repair(folder: Path) -> None:
    """Run the two stages after the predictions in this process, and tell DVC."""
    params = load_params(folder / "params.yaml")
    prune(params, folder)
    pseudo_label(params, folder)
    dvc(folder, "commit", "--quiet", "--force")


def change_probs(folder: Path, rows: slice) -> None:
    """Move the predictions of some rows by one class."""
    path = folder / "data" / "pred_probs.parquet"
    table = read_table(path, PRED_PROBS)
    probs = column_array(table, "pred_probs").copy()
    probs[rows] = np.roll(probs[rows], 1, axis=1)
    place = table.schema.get_field_index("pred_probs")
    path.unlink()  # a link into DVC's cache may not be written through
    write_table(path, table.set_column(place, table.schema.field(place), tensor_column(probs)), PRED_PROBS)


@pytest.fixture(scope="module")
def versions(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`start` has no results; `v1` a run; `strict` is an experiment with another filter; `moved` has other
    predictions and keeps what it cannot relabel. The workspace is v1's. Read it; copy it to change it.
    """
    folder = tmp_path_factory.mktemp("compare") / "versions"
    shutil.copytree(reproduced, folder, symlinks=True)
    git(folder, "tag", "start")
    git(folder, "config", "user.name", "test")
    git(folder, "config", "user.email", "test@localhost")
    keep(folder, "v1")
    dvc(folder, "exp", "run", "-n", "strict", "-S", "prune.filter_by=confident_learning", "pseudo_label")
    git(folder, "checkout", "--quiet", ".")
    git(folder, "switch", "--quiet", "--create", "side")
    dvc(folder, "checkout", "--quiet")
    change_probs(folder, slice(0, 40))
    set_params(folder / "params.yaml", {"pseudo_label.otherwise": "keep", "pseudo_label.min_confidence": 0.9})
    repair(folder)
    keep(folder, "moved")
    git(folder, "switch", "--quiet", "-")
    dvc(folder, "checkout", "--quiet")
    assert git(folder, "status", "--porcelain") == ""
    return folder


@pytest.fixture
def copy(versions: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(versions, tmp_path / "copy", symlinks=True))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A DVC repository without a version, to be filled by hand: what needs no rows needs no run."""
    return make_repository(tmp_path / "tiny")


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a folder; returns what it prints on stdout and stderr."""

    def command(folder: Path, *arguments: str, status: int = 0) -> tuple[str, str]:
        monkeypatch.chdir(folder)
        capsys.readouterr()  # what stages printed before
        assert main(arguments) == status
        printed = capsys.readouterr()
        return printed.out, printed.err

    return command


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file of the work tree and git's index, with size and time of change."""
    files = [
        path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] != ".dvc"
    ]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in files}


def columns(folder: Path, name: str) -> dict[str, Any]:
    table = pq.read_table(folder / "data" / f"{name}.parquet")
    if name == "training_set":  # dropped rows are in it, and nobody trains on them
        table = table.filter(pc.greater(table.column("weight"), 0))
    return {
        column: table.column(column).to_pylist() for column in table.column_names if column != "soft_label"
    }


@pytest.fixture(scope="module")
def compared(versions: Path) -> Callable[..., Comparison]:
    """Compares versions; each comparison is made once."""
    return functools.cache(lambda *names: compare_versions(versions, names))


@pytest.fixture(scope="module")
def checked_out(versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a version a work tree, once: what comparing must not need is the oracle of what it says."""

    @functools.cache
    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("work_trees") / name
        git(versions.parent, "clone", "--quiet", str(versions), str(folder))
        commit = open_revisions(versions, [name])[0].commit or ""
        git(folder, "fetch", "--quiet", str(versions), "+refs/exps/*:refs/exps/*")
        git(folder, "checkout", "--quiet", commit)
        settings(folder, f"[cache]\n    dir = {versions / '.dvc' / 'cache'}\n")
        dvc(folder, "checkout", "--quiet", "--force", "prune", "pseudo_label", "aggregate", "inject_noise")
        return folder

    return make


def settings(folder: Path, text: str) -> None:
    """Settings of DVC that git does not keep."""
    (folder / ".dvc" / "config.local").write_text(text)


def changes_by_hand(one: Path, two: Path) -> dict[str, set[int]]:
    """Changed ids, by walking over the rows of two work trees."""
    state = []
    for folder in (one, two):
        issues, labels = columns(folder, "label_issues"), columns(folder, "training_set")
        trained = dict(
            zip(labels["example_id"], zip(labels["label"], labels["source"], strict=True), strict=True)
        )
        names = ("given_label", "suggested_label", "is_issue")
        rows = zip(issues["example_id"], *(issues[name] for name in names), strict=True)
        state.append({row[0]: (*row[1:], *trained.get(row[0], (None, None))) for row in rows})
    found: dict[str, set[int]] = {}

    def add(kind: str, example_id: int, changed: bool) -> None:
        found.setdefault(kind, set()).update({example_id} if changed else ())

    for example_id, (given, suggested, flagged, label, source) in state[0].items():
        given2, suggested2, flagged2, label2, source2 = state[1][example_id]
        add("newly flagged", example_id, flagged2 and not flagged)
        add("no longer flagged", example_id, flagged and not flagged2)
        add("suggested differently", example_id, suggested != suggested2)
        add("given differently", example_id, given != given2)
        add("newly relabelled", example_id, source2 == "pseudo" != source)
        add("no longer relabelled", example_id, source == "pseudo" != source2)
        add("relabelled otherwise", example_id, source == source2 == "pseudo" and label != label2)
        add("newly dropped", example_id, label2 is None and label is not None)
        add("no longer dropped", example_id, label is None and label2 is not None)
        add("trained on another label", example_id, None not in (label, label2) and label != label2)
    return found


@pytest.mark.parametrize("name", ["strict", "moved"])
def test_the_rows_are_those_of_work_trees_that_were_checked_out(
    versions: Path, compared: Callable[..., Comparison], checked_out: Callable[[str], Path], name: str
) -> None:
    (rows,) = compared("v1", name).rows
    other = checked_out(name)
    expected = changes_by_hand(versions, other)
    assert {kind: set(ids) for kind, ids in rows.changes.items()} == expected
    assert sum(map(len, expected.values())) > 0
    assert rows.flow is not None
    # What became of the rows is what pseudo_label counted, in either version.
    for folder, counts in (
        (versions, [sum(row) for row in rows.flow]),
        (other, [sum(column) for column in zip(*rows.flow, strict=True)]),
    ):
        actions = json.loads((folder / "metrics" / "training_set.json").read_text())["actions"]
        names = ("trusted", "kept", "relabelled", "softened", "reviewed", "dropped", "other")
        assert dict(zip(names, counts, strict=True)) == {**actions, "reviewed": 0, "other": 0}
    one, two = (
        set(
            np.array(columns(folder, "label_issues")["example_id"])[
                columns(folder, "label_issues")["is_issue"]
            ]
        )
        for folder in (versions, other)
    )
    assert rows.agreement == pytest.approx(len(one & two) / len(one | two))
    assert rows.n_issues == (len(one), len(two))


def test_the_truth_is_judged_row_by_row(
    versions: Path, compared: Callable[..., Comparison], checked_out: Callable[[str], Path]
) -> None:
    (rows,) = compared("v1", "moved").rows
    other = checked_out("moved")
    given = columns(versions, "given_labels")
    truth = dict(zip(given["example_id"], given["true_label"], strict=True))
    judged = []
    for folder in (versions, other):
        labels = columns(folder, "training_set")
        trained = dict(zip(labels["example_id"], labels["label"], strict=True))
        ids = columns(folder, "label_issues")["example_id"]
        judged.append([2 if i not in trained else int(trained[i] != truth[i]) for i in ids])
    expected = [[0] * 3 for _ in range(3)]
    cells: dict[tuple[str, str], list[int]] = {}
    for example_id, pair in zip(ids, zip(*judged, strict=True), strict=True):
        expected[pair[0]][pair[1]] += 1
        cells.setdefault((OUTCOMES[pair[0]], OUTCOMES[pair[1]]), []).append(example_id)
    assert rows.truth is not None
    assert [list(row) for row in rows.truth.table] == expected
    assert rows.truth.n_rows == len(judged[0])
    for was, of_new in rows.truth.ids.items():
        assert was not in of_new
        assert all(list(found) == sorted(cells.get((was, now), [])) for now, found in of_new.items())
    # McNemar's exact test: the rows that one version alone has right, as throws of a fair coin.
    alone = expected[0][1], expected[1][0]
    tail = sum(math.comb(sum(alone), k) for k in range(min(alone) + 1)) / 2 ** sum(alone)
    assert rows.truth.p_value == pytest.approx(min(1, 2 * tail))


def test_the_most_changed_rows_say_what_either_version_says(
    versions: Path, compared: Callable[..., Comparison]
) -> None:
    (rows,) = compared("v1", "moved").rows
    assert len(rows.most_changed) == MOST_CHANGED
    moved = set(
        np.sort(column_array(read_table(versions / ISSUES, LABEL_ISSUES), "example_id"))[:40].tolist()
    )
    # Of the rows with another fate those whose predictions moved are the furthest.
    assert {row.example_id for row in rows.most_changed if row.distance > 0.5} <= moved
    distances = [
        row.distance
        for row in rows.most_changed
        if (row.old.action, row.old.label) != (row.new.action, row.new.label)
    ]
    assert distances == sorted(distances, reverse=True)
    probs = read_table(versions / "data" / "pred_probs.parquet", PRED_PROBS)
    by_id = dict(
        zip(column_array(probs, "example_id").tolist(), column_array(probs, "pred_probs"), strict=True)
    )
    for row in rows.most_changed:
        for name, (old, new) in row.probs.items():
            assert old == pytest.approx(float(by_id[row.example_id][int(name)]))
            shift = 1 if row.example_id in moved else 0
            assert new == pytest.approx(float(np.roll(by_id[row.example_id], shift)[int(name)]))
        assert {row.old.suggested, row.new.suggested, row.old.given} <= set(row.probs)


def test_parameters_and_metrics_are_those_of_dvc(versions: Path) -> None:
    found = compare_versions(versions, ["v1", "strict"], with_rows=False)
    diff = json.loads(dvc(versions, "params", "diff", "--json", "v1", "strict"))
    assert {param.name: (param.values["v1"], param.values["strict"]) for param in found.params} == {
        name: (values["old"], values["new"]) for name, values in diff["params.yaml"].items()
    }
    diff = json.loads(dvc(versions, "metrics", "diff", "--json", "v1", "strict"))
    expected = {
        f"{Path(file).stem}: {name}": (values["old"], values["new"])
        for file, names in diff.items()
        for name, values in names.items()
        # Sentences, as that of the rule, are no measures.
        if str not in (type(values["old"]), type(values["new"]))
    }
    changed = {m.name: tuple(m.values.values()) for m in found.metrics if m.differs}
    assert changed == expected
    assert expected
    # Single classes would bury the rest of DVC's own table, and are in the comparison alone.
    moved = compare_versions(versions, ["v1", "moved"], with_rows=False)
    assert any(m.differs and m.is_detail for m in moved.metrics)
    assert len(dvc(versions, "metrics", "diff", "v1", "moved").splitlines()) < 80
    plots = json.loads(dvc(versions, "plots", "diff", "--json", "v1", "moved"))["data"]
    funnels = plots["Funnel of labels (rows)"]
    assert {revision for funnel in funnels for revision in funnel["revisions"]} == {"v1", "moved"}
    for metric in found.metrics:
        if metric.differs:
            assert metric.deltas["strict"] == metric.values["strict"] - metric.values["v1"]


def test_comparing_touches_nothing(versions: Path, tmp_path: Path, run: Run) -> None:
    status = git(versions, "status", "--porcelain=v2", "--branch")
    before = snapshot(versions)
    page = tmp_path / "page.html"
    run(versions, "v1", "strict", "workspace", "--html", str(page))
    assert snapshot(versions) == before
    assert git(versions, "status", "--porcelain=v2", "--branch") == status
    assert dvc(versions, "status").strip().endswith("up to date.")


def test_three_versions_stand_in_one_table_with_the_best_marked(versions: Path, run: Run) -> None:
    out, _ = run(versions, "v1", "strict", "moved")
    (line,) = re.findall(r"F1 of the flags +(.*)", out)
    values = line.split()
    metrics = [
        json.loads(
            git(versions, "show", f"{open_revisions(versions, [name])[0].commit}:metrics/label_issues.json")
        )
        for name in ("v1", "strict", "moved")
    ]
    f1 = [found["f1"] for found in metrics]
    assert [float(value) for value in values if value != "*"] == [round(value, 4) for value in f1]
    best = values.index("*") - 1
    assert f1[best] == max(f1)
    assert out.count("What became of the rows") == 2
    assert "* best" in out


def test_json_has_every_changed_row_and_is_the_same_each_time(
    versions: Path, compared: Callable[..., Comparison], run: Run
) -> None:
    out, _ = run(versions, "v1", "strict", "--json")
    expected = compared("v1", "strict")
    assert f"{expected.json()}\n" == out
    found = json.loads(out)
    (rows,) = found["rows"]
    assert {kind: tuple(ids) for kind, ids in rows["changes"].items()} == expected.rows[0].changes
    assert [version["name"] for version in found["versions"]] == ["v1", "strict"]
    assert "picture" not in out
    assert any(ids for row in rows["truth"]["ids"].values() for ids in row.values())


def test_markdown_is_well_formed_whatever_a_class_is_called(compared: Callable[..., Comparison]) -> None:
    out = markdown(compared("v1", "moved"))
    assert out.startswith("### moved (")
    tables = re.findall(r"(?:^\|.*\n)+", out, flags=re.MULTILINE)
    assert len(tables) == 7
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    assert out.count("<details>") == out.count("</details>") == 4
    found = compared("v1", "moved")
    (changed, *_) = found.rows[0].most_changed
    odd = Comparison(
        found.versions,
        found.params,
        (),
        (
            _replace(
                found.rows[0], version="<i>`x`", most_changed=(_replace(changed, true="<b>a|b\n*c*</b>"),)
            ),
        ),
        ("their classes differ: <script>, [x](javascript:1)\n\n# heading",),
    )
    odd = _replace(odd, versions=(*odd.versions[:1], _replace(odd.versions[1], title="<i>`x`")))
    text = markdown(odd)
    assert r"\<b\>a\|b \*c\*\</b\>" in text
    assert text.startswith(r"### \<i\>\`x\` against v1 (")
    assert "#### \\<i\\>\\`x\\` against v1\n\n<details><summary>The 1 most" in text
    assert "> their classes differ: \\<script\\>, \\[x\\](javascript:1) \\# heading\n" in text
    # Nor do names steer a terminal.
    with io.StringIO() as printed:
        hostile = _replace(changed, true="a\x1b]0;title\x07[31m\x9b2J")
        print_tables(
            Console(file=printed, width=200, force_terminal=True, color_system=None),
            _replace(odd, rows=(_replace(odd.rows[0], most_changed=(hostile,)),), notes=("\x1b[2J",)),
        )
        assert "\x1b" not in printed.getvalue()
        assert "\x9b" not in printed.getvalue()


def _replace(value: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(value, **changes)


def test_artifacts_come_from_the_remote_where_the_cache_lacks_them(tiny: Path, run: Run) -> None:
    ids, probs = np.arange(30), np.tile([0.6, 0.4], (30, 1))
    keep_tables(tiny, "v1", judged(ids, probs))
    keep_tables(tiny, "v2", judged(ids, probs, [3, 4]))
    # As an experiment that was made before there was a remote: its .dvc/config names none.
    start, made = (git(tiny, "rev-parse", name).strip() for name in ("v1", "v2"))
    git(tiny, "reset", "--quiet", "--hard", "v1")
    git(tiny, "tag", "--delete", "v2")
    git(tiny, "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/strict", made)
    expected, _ = run(tiny, "v1", "strict", "--json")
    assert json.loads(expected)["rows"][0]["changes"]["newly flagged"] == [3, 4]
    store = tiny.parent / "store"
    settings(tiny, f"[core]\n    remote = store\n['remote \"store\"']\n    url = {store}\n")
    digest = open_revisions(tiny, ["strict"])[0].digest(ISSUES) or ""
    cached = tiny / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    stored = store / "files" / "md5" / digest[:2] / digest[2:]
    stored.parent.mkdir(parents=True)
    cached.replace(stored)
    assert run(tiny, "v1", "strict", "--json")[0] == expected
    cached.unlink(missing_ok=True)
    stored.unlink()
    out, err = run(tiny, "v1", "strict", "--json", status=1)
    assert out == ""
    assert err == (
        f"compare: strict: {ISSUES} is neither in DVC's cache nor in its remote: `dvc exp pull GIT_REMOTE "
        "strict` brings it where it was pushed; --no-rows compares without it.\n"
    )
    run(tiny, "v1", "strict", "--no-rows")


def test_a_remote_that_does_not_answer_is_one_sentence(copy: Path, run: Run) -> None:
    shutil.rmtree(copy / ".dvc" / "cache" / "files")
    settings(copy, "[core]\n    remote = store\n['remote \"store\"']\n    url = http://127.0.0.1:9/store\n")
    _, err = run(copy, "v1", "strict", status=1)
    assert err.startswith(f"compare: v1: {ISSUES} is neither in DVC's cache nor in its remote")
    assert "`dvc fetch --all-commits`" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["v1", "strct"],
            "strct: expected a git revision, a tag, a DVC experiment, `last` or `workspace`, found "
            "nothing of that name; is it strict or start?",
        ),
        (["v1", "zzzzzz"], "see `git branch --all`, `git tag` and `dvc exp list --all`."),
        (["v1", "v1"], "Expected each version once, found v1 twice."),
        (["v1", "--html", "/dev/null/page.html", "strict"], "--html: expected a file that can be written"),
    ],
)
def test_bad_input_is_one_sentence(versions: Path, run: Run, names: list[str], said: str) -> None:
    out, err = run(versions, *names, status=1)
    assert out == ""
    assert said in err
    assert err.startswith("compare: ")
    assert len(err.splitlines()) == 1


def test_an_experiment_of_two_commits_is_named_by_its_commit(copy: Path, run: Run) -> None:
    commit = open_revisions(copy, ["strict"])[0].commit or ""
    (ref,) = (
        line for line in git(copy, "for-each-ref", "--format=%(refname)").split() if line.endswith("/strict")
    )
    git(copy, "update-ref", f"refs/exps/ab/{'c' * 38}/strict", commit)
    # Those that start from here go first.
    assert open_revisions(copy, ["strict"])[0].commit == commit
    git(copy, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message", "Later")
    with pytest.raises(RevisionError, match=f"several commits; take one of theirs: {commit[:7]}"):
        open_revisions(copy, ["strict"])
    git(copy, "update-ref", "-d", ref)
    assert open_revisions(copy, ["strict"])[0].commit == commit


def test_a_repository_below_that_of_git_is_read_where_it_is(tiny: Path, run: Run) -> None:
    shutil.rmtree(tiny / ".git")
    git(tiny.parent, "init", "--quiet")
    table = "data"
    made = entry("data/table.csv", table)
    cached = tiny / ".dvc" / "cache" / "files" / "md5" / made["md5"][:2] / made["md5"][2:]
    cached.parent.mkdir(parents=True)
    cached.write_text(table)
    pipeline = {"stages": {"prune": {"cmd": "x", "params": ["prune"], "outs": ["data/table.csv"]}}}
    for name, value in (("v1", 1), ("v2", 2)):
        params = {"prune": {"a": value}}
        lock = {"prune": {"cmd": "x", "params": {"params.yaml": params}, "outs": [made]}}
        files = {"params_yaml": params, "dvc_lock": {"schema": "2.0", "stages": lock}, "dvc_yaml": pipeline}
        commit(tiny, name, **files, metrics__label_issues_json={"f1": value / 4})
    out, _ = run(tiny, "v1", "v2", "--no-rows")
    assert re.search("prune.a +1 +2", out)
    assert re.search(r"F1 of the flags +0.2500 +0.5000", out)
    v2 = open_revisions(tiny, ["v2"])[0]
    assert v2.digest("data/table.csv") == made["md5"]
    assert v2.file("data/table.csv").read_text() == table
    assert v2.names("metrics/*.json") == ["metrics/label_issues.json"]
    assert v2.names("data/*.csv") == ["data/table.csv"]
    assert v2.text("data/table.csv") == table
    # What DVC's cache has of a file that is not in the work tree is no result of the workspace.
    assert open_revisions(tiny, ["workspace"])[0].names("data/*.csv") == []


def test_what_git_keeps_and_was_changed_after_a_run_is_said(tiny: Path, versions: Path, run: Run) -> None:
    folds = [entry(f"data/pred_probs/fold_{k}.parquet", f"probs {k}") for k in (0, 1)]
    # The digests of folders are held against DVC's own.
    read = open_revisions(versions, ["v1"])[0].yaml("dvc.lock")["stages"]
    (whole,) = (dep for dep in read["aggregate"]["deps"] if dep["path"] == "data/pred_probs")
    of_folds = {
        Path(out["path"]).name: out["md5"]
        for name in ("train_fold@0", "train_fold@1")
        for out in read[name]["outs"]
        if out["path"].startswith("data/pred_probs")
    }
    assert folder_digest(of_folds) == whole["md5"]
    before = {Path(fold["path"]).name: fold["md5"] for fold in folds}
    deps = {
        "aggregate": [{**entry("data/pred_probs", "", nfiles=2), "md5": folder_digest(before)}],
        "pseudo_label": [entry("reviews/decisions.csv", "example_id\n"), entry("tasks/repair.py", "code")],
        "report": [
            {
                **entry("tasks/page", "", nfiles=2),
                "md5": folder_digest({name: entry("", name)["md5"] for name in ("a.js", "b.js")}),
            }
        ],
    }
    stages = {name: {"cmd": "x", "deps": found} for name, found in deps.items()}
    stages |= {f"train_fold@{k}": {"cmd": "x", "outs": [fold]} for k, fold in enumerate(folds)}
    lock = {"schema": "2.0", "stages": stages}
    files = {"tasks__repair_py": "code", "tasks__page__a_js": "a.js", "tasks__page__b_js": "b.js"}
    commit(tiny, "v1", **files, reviews__decisions_csv="example_id\n", dvc_lock=lock)
    commit(tiny, "v2", reviews__decisions_csv="example_id\n1\n")
    commit(tiny, "v3", tasks__repair_py="other code", tasks__page__a_js="other code")
    folds[0]["md5"] = "0" * 32
    commit(tiny, "v4", dvc_lock=lock)
    # Git does not know this file, but DVC would run the stage for it.
    (tiny / "tasks" / "page" / "c.js").write_text("mine")
    out, _ = run(tiny, "v1", "v2", "v3", "v4", "workspace", "--no-rows")
    repro = "`dvc repro` brings them together."
    stale = [line.removeprefix("Note: ") for line in out.splitlines() if line.endswith(repro)]
    decided, both = "reviews/decisions.csv", "reviews/decisions.csv, tasks/repair.py"
    older = "aggregate ran on older results than those of the stages before"
    assert stale == [
        f"v2: {decided} changed since `pseudo_label` ran; {repro}",
        f"v3: {both} changed since `pseudo_label` ran; {repro}",
        f"v3: tasks/page changed since `report` ran; {repro}",
        f"v4: {older}; {repro}",
        f"v4: {both} changed since `pseudo_label` ran; {repro}",
        f"v4: tasks/page changed since `report` ran; {repro}",
        f"workspace: {older}; {repro}",
        f"workspace: {both} changed since `pseudo_label` ran; {repro}",
        f"workspace: tasks/page changed since `report` ran; {repro}",
    ]


def test_what_came_or_went_since_a_run_is_said(tiny: Path, run: Run) -> None:
    def folder(path: str, *names: str) -> dict[str, Any]:
        digest = folder_digest({name: entry("", name)["md5"] for name in names})
        return {**entry(path, "", nfiles=len(names)), "md5": digest}

    models, inputs = folder("tasks/models", "a.py", "b.py"), folder("inputs/labels", "README.md", "mine.csv")
    probs = entry("data/pred_probs.parquet", "from elsewhere")
    train = {"cmd": "train --fold 0", "deps": [probs, models]}
    stages = {
        "train@0": train,
        "train@1": {**train, "cmd": "train --fold 1"},
        "noise": {"cmd": "noise", "deps": [inputs, entry("tasks/noise.py", "noise")]},
        "of_old": {"cmd": "old", "deps": [entry("tasks/old.py", "old")]},  # no stage of dvc.yaml any more
    }

    def pipeline(command: str, *deps: str) -> dict[str, Any]:
        train = {"cmd": command, "deps": ["data/${item.table}.parquet", *deps]}
        folds = {key: {"table": "pred_probs"} for key in ("0", "1")}
        return {
            "stages": {
                "train": {"foreach": folds, "do": train},
                "noise": {"cmd": "noise", "deps": ["inputs/labels", "tasks/noise.py"]},
            }
        }

    files = {"tasks__models__a_py": "a.py", "tasks__models__b_py": "b.py", "tasks__noise_py": "noise"}
    # A folder that may have held what git ignores says nothing by having less.
    files |= {"_gitignore": "/data/\n/inputs/labels/?*\n!/inputs/labels/README.md\n"}
    files |= {"inputs__labels__README_md": "README.md", "dvc_lock": {"schema": "2.0", "stages": stages}}
    whole = pipeline("train --fold ${key}", "tasks/models")
    commit(tiny, "v1", dvc_yaml=whole, **files)
    commit(tiny, "v2", tasks__models__c_py="c.py")
    git(tiny, "rm", "--quiet", "tasks/models/c.py", "tasks/models/b.py", "tasks/noise.py")
    commit(tiny, "v3")
    files |= {"dvc_yaml": pipeline("train --fast --fold ${key}", "tasks/nets")}
    commit(tiny, "v4", tasks__nets__a_py="a.py", **files)
    # Git does not know this file, but DVC would run the stages for it.
    commit(tiny, "v5", dvc_yaml=whole)
    (tiny / "tasks" / "models" / "d.py").write_text("d.py")
    out, _ = run(tiny, "v1", "v2", "v3", "v4", "workspace", "--no-rows")
    repro = "; `dvc repro` brings them together."
    stale = [line.removeprefix("Note: ") for line in out.splitlines() if line.endswith(repro)]
    both = "`train@0`, `train@1` ran"
    assert [line.removesuffix(repro) for line in stale] == [
        f"v2: tasks/models changed since {both}",
        f"v3: tasks/models changed since {both}",
        "v3: tasks/noise.py (gone) changed since `noise` ran",
        "v4: tasks/nets (new in dvc.yaml), tasks/models (no longer in dvc.yaml), the command in dvc.yaml "
        f"changed since {both}",
        f"workspace: tasks/models changed since {both}",
    ]


def test_a_version_that_is_not_kept_is_one_sentence(tiny: Path, run: Run) -> None:
    _, err = run(tiny, "last", "workspace", status=1)
    assert err.startswith("compare: last: expected a git repository with a commit, found none in ")
    _, err = run(tiny, "v1", "workspace", status=1)
    assert err.startswith("compare: v1: expected a git revision, a tag, a DVC experiment")
    shutil.rmtree(tiny / ".git")
    (tiny / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    _, err = run(tiny, "last", "workspace", status=1)
    assert err.startswith("compare: last: expected a git repository with a commit, found none in ")


def test_a_shallow_clone_is_said_to_be_one(tiny: Path, tmp_path: Path, run: Run) -> None:
    for name in ("v1", "v2"):
        commit(tiny, name, params_yaml={"a": {"b": name}})
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth", "1", tiny.as_uri(), str(clone))
    for name in ("v1", "HEAD~1"):
        out, err = run(clone, name, "workspace", status=1)
        assert out == ""
        assert err.startswith(f"compare: {name}: expected a git revision")
        assert "this is a shallow clone, and `git fetch --unshallow --tags` brings the rest" in err
        assert len(err.splitlines()) == 1
    git(clone, "fetch", "--quiet", "--unshallow", "--tags")
    assert re.search("a.b +v1 +v2", run(clone, "v1", "workspace", "--no-rows")[0])
    assert "shallow" not in run(clone, "v3", "workspace", status=1)[1]


def test_metrics_that_are_no_text_are_said_to_be_none(tiny: Path, run: Run) -> None:
    commit(tiny, "v1", metrics__report_json={"n": 1})
    (tiny / "metrics" / "report.json").write_bytes(b"\xff\xfe")
    _, err = run(tiny, "v1", "workspace", "--no-rows", status=1)
    expected = "compare: workspace: metrics/report.json: expected text in UTF-8, found bytes that are none.\n"
    assert err == expected


def test_numbers_that_no_float_holds_are_left_out(tiny: Path, run: Run) -> None:
    commit(tiny, "v1", metrics__report_json={"n": 1, "m": 2})
    (tiny / "metrics" / "report.json").write_text(f'{{"n": {10**400}, "m": 3}}')
    out, _ = run(tiny, "v1", "workspace", "--no-rows")
    assert re.search(r"report: m +2 +3", out)


@pytest.mark.parametrize("content", ["", "[1]", "[" * 100_000, '{"a":' * 100_000])
def test_metrics_that_are_no_object_are_one_sentence(tiny: Path, run: Run, content: str) -> None:
    commit(tiny, "v1", metrics__report_json={"n": 1})
    (tiny / "metrics" / "report.json").write_text(content)
    _, err = run(tiny, "v1", "workspace", "--no-rows", status=1)
    assert err.startswith("compare: workspace: metrics/report.json: expected")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["pipe", "loop", "device"])
def test_metrics_that_are_no_file_are_refused_at_once(tiny: Path, run: Run, kind: str) -> None:
    commit(tiny, "v1", metrics__report_json={"n": 1})
    path = tiny / "metrics" / "report.json"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name if kind == "loop" else "/dev/zero")
    _, err = run(tiny, "v1", "workspace", "--no-rows", status=1)
    assert err.startswith("compare: workspace: metrics/report.json: expected a file, found")


DEEP = "a: " + "[" * 2_000 + "]" * 2_000
BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))])


@pytest.mark.parametrize("text", [DEEP, BOMB])
@pytest.mark.parametrize("is_committed", [True, False])
def test_parameters_that_never_end_are_refused_before_dvc_reads_them(
    tiny: Path, run: Run, text: str, is_committed: bool
) -> None:
    commit(tiny, "good", params_yaml={"a": 1}, dvc_yaml={"stages": {"a": {"cmd": "x"}}})
    (tiny / "params.yaml").write_text(text)
    if is_committed:
        git(tiny, "commit", "--quiet", "--no-gpg-sign", "--all", "-m", "bad")
        git(tiny, "tag", "bad")
        git(tiny, "checkout", "--quiet", "good")
    _, err = run(tiny, "good", "bad" if is_committed else "workspace", "--no-rows", status=1)
    assert "params.yaml: expected YAML, found what cannot be read" in err
    assert len(err.splitlines()) == 1


def test_parameters_of_a_version_are_read_within_bounds(tiny: Path) -> None:
    commit(tiny, "good", params_yaml={"a": 1}, dvc_yaml={"stages": {"a": {"cmd": "x"}}})
    commit(tiny, "huge", params_yaml="# " + "x" * MOST_BYTES)
    git(tiny, "checkout", "--quiet", "good")
    (huge,) = open_revisions(tiny, ["huge"])
    with pytest.raises(RevisionError, match=r"huge: params.yaml: expected at most 16 MB"):
        huge.yaml("params.yaml")


def test_a_version_without_metrics_is_a_column_of_dashes(tiny: Path, run: Run) -> None:
    params = {"a": {"inf": ".inf", "text": "1"}}
    commit(tiny, "v1", metrics__report_json={"n": 1, "accuracy": 0.5}, params_yaml=params)
    commit(tiny, "v2", params_yaml="a: {inf: .inf, text: 1, nan: [.nan]}")
    git(tiny, "rm", "--quiet", "metrics/report.json")
    git(tiny, "commit", "--quiet", "--no-gpg-sign", "--amend", "--message", "v2")
    git(tiny, "tag", "--force", "v2")
    out, _ = run(tiny, "v1", "v2", "--no-rows")
    assert "v2 has no metrics/*.json: none was made in that version, or committed." in out
    assert re.search("report: accuracy +0.5000 +\N{EN DASH} +\N{EN DASH}", out)
    # A text is no number, and JSON has names for what it has no numbers for.
    assert re.search(r'a.text +"1" +1 *\n', out)
    params = json.loads(run(tiny, "v1", "v2", "--no-rows", "--json")[0])["params"]
    assert [(param["name"], param["values"]) for param in params] == [
        ("a.text", {"v1": "1", "v2": 1}),
        ("a.nan", {"v2": [".nan"]}),
    ]


def test_metrics_of_other_data_are_neither_better_nor_worse(tiny: Path, run: Run) -> None:
    for name, dataset, classes, value in (
        ("v1", "digits", [], 0.5),
        ("v2", "mnist", [], 0.75),
        ("v3", "parquet", ["a", "b"], 0.5),
        ("v4", "parquet", ["a", "c"], 0.25),
    ):
        params = {"download": {"dataset": dataset}, "datasets": {"parquet": {"class_names": classes}}}
        commit(tiny, name, params_yaml=params, metrics__report_json={"accuracy": value})
    out, _ = run(tiny, "v1", "v2", "--no-rows")
    assert re.search(r"report: accuracy +0.5000 +0.7500 +\+0.2500 *\n", out)
    said = "do not measure the same: they are of other data sets (mnist and digits). None is called better."
    assert f"The metrics of v2 and v1 {said}" in out
    assert "* best" not in run(tiny, "v1", "v2", "v3", "--no-rows")[0]
    out, _ = run(tiny, "v3", "v4", "--no-rows")
    assert "worse" not in out
    assert "their classes differ (2: a, c and 2: a, b)" in out


def test_parameters_of_the_first_edition_go_by_their_names_of_today(tiny: Path, run: Run) -> None:
    first = {
        "download": {"dataset": "digits", "pool_test": True, "class_names": []},
        "assign_folds": {"n_splits": 2, "seed": 0},
        "train_fold": {"network": "mlp", "max_lr": 0.1, "epochs": 4},
    }
    now = {
        "download": {"dataset": "digits", "pool": ["test"]},
        "datasets": {"parquet": {"class_names": []}},
        "assign_folds": {"seed": 0},
        "train_fold": {"model": "mlp", "epochs": 5},
        "models": {"mlp": {"max_lr": 0.1}},
    }
    for name, params in ("v1", first), ("v2", now):
        commit(tiny, name, params_yaml=params, metrics__report_json={"accuracy": 0.5})
    out, _ = run(tiny, "v1", "v2", "--no-rows")
    assert re.search(r"train_fold.epochs +4 +5", out)
    for name in ("network", "model", "max_lr", "pool", "n_splits", "class_names"):
        assert name not in out


def test_a_version_without_results_is_said_and_the_rest_compared(versions: Path, run: Run) -> None:
    out, _ = run(versions, "v1", "start", "strict")
    assert "start has no dvc.lock: no stage ran in that version" in out
    assert f"start has no {ISSUES}: `prune` has not run" in out
    assert "strict against v1" in out
    assert "start against v1" not in out
    assert "start has no metrics/*.json" in out
    (heading,) = re.findall("metric .*", out)
    (line,) = re.findall("F1 of the flags .*", out)
    assert heading.split() == ["metric", "v1", "start", "strict"]
    assert line.split().count("\N{EN DASH}") == 1


def old_layout(table: pa.Table, without: list[str]) -> pa.Table:
    """A table as a version long ago might have it: columns missing, one more there, wider numbers."""
    place = table.schema.get_field_index("given_label")
    table = table.set_column(place, "given_label", table.column(place).cast("int64"))
    table = table.append_column("of_old", table.column("given_label")).drop_columns(without)
    return table.take(list(range(table.num_rows))[::-1])


def test_an_older_layout_is_no_fault_unless_a_column_is_needed(tiny: Path, run: Run) -> None:
    ids, probs = np.arange(60) * 2, np.random.default_rng(0).dirichlet([1, 1], 60)
    first = judged(ids, probs, [4, 6])
    first[ISSUES] = first[ISSUES].append_column("both", first[ISSUES].column("is_issue"))
    keep_tables(tiny, "v1", first)
    keep_tables(tiny, "v2", judged(ids, probs[::-1], [6, 8]))
    keep_tables(tiny, "older", first | {ISSUES: old_layout(first[ISSUES], ["both"])})
    keep_tables(tiny, "oldest", first | {ISSUES: old_layout(first[ISSUES], ["suggested_label"])})
    expected, found = (json.loads(run(tiny, name, "v2", "--json")[0])["rows"][0] for name in ("v1", "older"))
    assert found == json.loads(json.dumps(expected).replace('"v1"', '"older"'))
    assert found["changes"]["newly flagged"] == [8]
    _, err = run(tiny, "v2", "oldest", status=1)
    assert err.startswith(
        f"compare: oldest: {ISSUES}: column `suggested_label` (int16) was expected, found only example_id, "
    )
    assert "--no-rows" in err
    assert len(err.splitlines()) == 1


def test_other_data_are_not_compared_row_by_row(copy: Path, run: Run) -> None:
    path = copy / ISSUES
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"relabel"])

    def write(**changes: Any) -> None:
        path.unlink(missing_ok=True)
        pq.write_table(table.replace_schema_metadata({"relabel": json.dumps(facts | changes)}), path)

    write(dataset="fashion_mnist")
    figures = "metrics/training_set.json"
    (copy / figures).write_text((copy / figures).read_text().replace("1", "2"))
    out, _ = run(copy, "v1", "workspace")
    said = "The rows of workspace and v1 cannot be compared: "
    assert f"{said}they are of other data sets (fashion_mnist and digits)." in out
    assert "The metrics of workspace and v1 do not measure the same: they are of other" in out
    # The parameters and metrics are compared all the same, and the files that are not DVC's are said.
    for name in (ISSUES, figures):
        assert f"workspace: {name} is not the file that dvc.lock names" in out
    write(class_names=list("abcdefghij"))
    out, _ = run(copy, "v1", "workspace")
    assert f"{said}their classes differ (10: a, b, c, d, e, ... and 10: 0, 1, 2, 3, 4, ...)." in out
    given = copy / "data" / "given_labels.parquet"
    for file in (path, given):
        rows = pq.read_table(file).replace_schema_metadata(table.schema.metadata)
        place = rows.schema.get_field_index("example_id")
        ids = (rows.column("example_id").to_numpy() + 10**6).tolist()
        file.unlink()
        pq.write_table(rows.set_column(place, rows.schema.field(place), [ids]), file)
    assert f"{said}they have no example_id in common." in run(copy, "v1", "workspace")[0]
    given.write_bytes(b"")
    _, err = run(copy, "v1", "workspace", status=1)
    assert (
        "workspace: data/given_labels.parquet: expected a readable Parquet file, found a damaged one" in err
    )


def test_rows_that_one_version_lacks_are_left_out(copy: Path) -> None:
    path = copy / ISSUES
    table = pq.read_table(path)
    path.unlink()
    pq.write_table(table.slice(100), path)
    examples = copy / "data" / "examples.parquet"
    contents = pq.read_table(examples)
    examples.unlink()
    pq.write_table(contents, examples, compression="none")
    found = compare_versions(copy, ["v1", "workspace"])
    same = "rows are taken to be the same by example_id."
    assert f"workspace and v1: data/examples.parquet is not the same file; {same}" in found.notes
    (rows,) = found.rows
    assert (rows.n_rows, rows.n_only_base, rows.n_only_version) == (table.num_rows - 100, 100, 0)
    assert "workspace and v1: 100 rows are in one of them alone and left out." in found.notes
    assert not any(rows.changes.values())
    assert rows.most_changed == ()


def test_texts_stand_in_the_table_of_the_most_changed(compared: Callable[..., Comparison]) -> None:
    found = compared("v1", "moved")
    (changed, *_) = found.rows[0].most_changed
    text = _replace(changed, content=Content(text="a cat\nthat sat"))
    found = _replace(found, rows=(_replace(found.rows[0], most_changed=(text,)),))
    assert "| a cat that sat |" in markdown(found)
    assert json.loads(found.json())["rows"][0]["most_changed"][0]["text"] == "a cat\nthat sat"


def test_versions_of_texts_are_made_and_compared(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "texts"
    make_workspace(folder, {}, source=ROOT)
    write_run(folder, [f"What *the* {k}th cat sat on" for k in range(300)], sureness=3, test_split=False)
    issues = pq.read_table(folder / ISSUES)
    names = pa.array([f"note {key}" for key in issues.column("key").to_pylist()])
    place = issues.schema.get_field_index("key")
    pq.write_table(issues.set_column(place, issues.schema.field(place), names), folder / ISSUES)
    (folder / "data" / "features.parquet").touch()
    (folder / "data" / "unlabeled_probs").mkdir()
    none = {"example_id": np.zeros(0, dtype=np.int64), "pred_probs": np.zeros((0, 2), dtype=np.float32)}
    facts = read_facts(pq.read_table(folder / ISSUES))
    table = make_table(UNLABELED_PROBS, facts, none)
    write_table(UNLABELED_PROBS.at(folder), table, UNLABELED_PROBS)
    dvc(folder, "commit", "--quiet", "--force", "prune", "pseudo_label")
    keep(folder, "v1")
    set_params(folder / "params.yaml", {"pseudo_label.min_confidence": 0.99})
    dvc(folder, "repro", "--quiet", "--single-item", "pseudo_label")
    page = tmp_path / "page.html"
    out, _ = run(folder, "v1", "workspace", "--json", "--html", str(page))
    found = json.loads(out)
    assert [(param["name"], param["values"]) for param in found["params"]] == [
        ("pseudo_label.min_confidence", {"v1": 0.8, "workspace": 0.99})
    ]
    (rows,) = found["rows"]
    assert rows["changes"]["newly dropped"]
    assert rows["n_changed"] >= len(rows["changes"]["newly dropped"])
    for row in rows["most_changed"]:
        # Ids are every third number; see `write_run`.
        assert row["text"] == f"What *the* {row['example_id'] // 3}th cat sat on"
        assert f">{row['text']}</span>" in page.read_text()
        assert row["key"] == f"note {row['example_id']}"
        assert f"<figcaption>{row['key']}, given" in page.read_text()
    assert f"| {rows['most_changed'][0]['key']} |" in run(folder, "v1", "workspace", "--md")[0]
    assert all("contents" not in note for note in found["notes"])


def test_results_of_other_parameters_are_said_to_be(copy: Path, run: Run) -> None:
    set_params(copy / "params.yaml", {"prune.filter_by": "both"})
    out, _ = run(copy, "v1", "workspace", "--no-rows")
    assert (
        "workspace: params.yaml was changed after the results were made (prune.filter_by auto, "
        "now both)" in out
    )
    # So the parameters of the results do not differ.
    assert "Parameters that differ" not in out
    out, _ = run(copy, "v1", "strict", "--no-rows")
    assert "strict: retrain@cleaned, report ran on older results than those of the stages before" in out


def test_probabilities_that_one_version_lacks_leave_the_given_label(copy: Path) -> None:
    """As after import-probs, when dvc.lock knows nothing of the probabilities."""
    text = (copy / "dvc.lock").read_text()
    (copy / "dvc.lock").write_text(re.sub(r"(?ms)^  aggregate:\n.*?(?=^  \w)", "", text))
    (copy / "data" / "pred_probs.parquet").unlink()
    found = compare_versions(copy, ["v1", "workspace"])
    assert any("go by the probability of the given label alone" in note for note in found.notes)
    assert found.rows[0].most_changed == ()


MEASURE = """
import sys
from pathlib import Path
from benchmarks.prune import peak_mb
from flows.comparison.versions import compare
from flows.dvc_api.revisions import open_revisions
from tasks.tables.catalog import LABEL_ISSUES
revisions = open_revisions(Path(sys.argv[1]), ["v1", "v2"])
for revision in revisions:  # what any reading of a table takes is not counted
    revision.table(LABEL_ISSUES, ["is_issue"])
before = peak_mb()
found = compare(revisions).json()
print(peak_mb() - before)
print(found)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc")
def test_probabilities_larger_than_memory_pass_by(tiny: Path) -> None:
    n_rows, n_classes, step = 40_000, 500, 100
    rng = np.random.default_rng(0)
    block = rng.random((step, n_classes), dtype=np.float32)
    block /= block.sum(axis=1, keepdims=True)
    facts = {"dataset": "mine", "class_names": [f"c{k}" for k in range(n_classes)], "content": "features"}
    metadata = {"relabel": json.dumps(facts | {"shape": []})}
    ids = np.arange(n_rows) * 2
    labels = np.arange(n_rows) % n_classes
    for name, moved, groups in (("v1", 0, 16_384), ("v2", 1, n_rows)):
        # In the second version row i of a hundred has its probabilities moved in as many classes as i says.
        rows = block.copy()
        for row in range(step) if moved else ():
            rows[row, :row] = np.roll(rows[row, :row], 1)
        probs = tensor_column(np.tile(rows, (n_rows // step, 1)))
        issues = {
            "given_label": pa.array(labels, pa.int16()),
            "suggested_label": pa.array((labels + 1) % n_classes, pa.int16()),
            "suggested_prob": np.full(n_rows, 0.5, dtype=np.float32),
            "self_confidence": np.linspace(0, 1, n_rows),
            "is_issue": np.arange(n_rows) % 7 == moved,
        }
        training = {"label": issues["given_label"], "soft_label": probs, "source": ["given"] * n_rows}
        tables = {"label_issues": issues, "training_set": training, "pred_probs": {"pred_probs": probs}}
        keep_tables(
            tiny,
            name,
            {
                f"data/{table}.parquet": pa.table({"example_id": ids, **columns}, metadata=metadata)
                for table, columns in tables.items()
            },
            row_group_size=groups,
            use_dictionary=False,
            compression="none" if moved else "zstd",
        )
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tiny)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    shutil.rmtree(tiny / ".dvc" / "cache")
    assert done.returncode == 0, done.stderr
    grown, content = done.stdout.split("\n", 1)
    (rows,) = json.loads(content)["rows"]
    assert len(rows["changes"]["newly flagged"]) == len(range(1, n_rows, 7))
    distance = np.abs(block - np.stack([np.r_[np.roll(r[:k], 1), r[k:]] for k, r in enumerate(block)]))
    expected = distance.astype(np.float64).sum(axis=1) / 2
    for row in rows["most_changed"]:
        assert row["distance"] == pytest.approx(expected[row["example_id"] // 2 % step], rel=1e-5)
    # The probabilities and the soft labels of either version take 76 MB each.
    assert float(grown) < 150


def test_versions_whose_rows_are_cut_otherwise_are_joined(tiny: Path) -> None:
    """Whatever the row groups, the order and the rows that one alone has."""
    rng = np.random.default_rng(1)
    n, n_classes = 20_000, 3
    probs = rng.dirichlet(np.ones(n_classes), (2, n)).astype(np.float32)
    chosen = [np.flatnonzero(rng.random(n) < 0.8) for _ in range(2)]
    tables = [judged(rows * 5, own[rows]) for rows, own in zip(chosen, probs, strict=True)]
    keep_tables(tiny, "v1", tables[0], row_group_size=3_000)
    keep_tables(tiny, "v2", tables[1], row_group_size=7_000)
    mixed = {path: table.take(rng.permutation(table.num_rows)) for path, table in tables[1].items()}
    keep_tables(tiny, "v3", mixed, row_group_size=7_000)
    common = np.intersect1d(*chosen)
    expected = np.abs(probs[0][common] - probs[1][common].astype(np.float64)).sum(axis=1) / 2
    top = np.argsort(-expected)[:MOST_CHANGED]
    found = compare_versions(tiny, ["v1", "v2", "v3"])
    for rows in found.rows:
        assert rows.n_rows == len(common)
        assert [row.example_id for row in rows.most_changed] == (common[top] * 5).tolist()
        assert [row.distance for row in rows.most_changed] == pytest.approx(expected[top])
        shown = [list(row.probs["a"]) for row in rows.most_changed]
        assert shown == probs[:, common[top], 0].T.tolist()
    # A row without its probabilities is said to be.
    path = "data/pred_probs.parquet"
    keep_tables(tiny, "v4", {**tables[0], path: tables[0][path].slice(1)})
    with pytest.raises(RelabelError, match=r"v4: data/pred_probs.parquet: expected a row .* 1 missing"):
        compare_versions(tiny, ["v1", "v4"])


def test_a_flipped_bit_is_a_damaged_file_and_no_change(tiny: Path, run: Run) -> None:
    ids, probs = np.arange(1000), np.tile([0.6, 0.4], (1000, 1))
    keep_tables(tiny, "v1", judged(ids, probs))
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    keep_tables(tiny, "v2", judged(ids, np.roll(probs, 1, axis=1)), **options)
    cached = open_revisions(tiny, ["v2"])[0].file("data/pred_probs.parquet")
    content = bytearray(cached.read_bytes())
    content[content.index(np.float32([0.6, 0.4, 0.6]).tobytes()) + 2] ^= 1
    cached.write_bytes(content)
    out, err = run(tiny, "v1", "v2", status=1)
    assert out == ""
    assert err.startswith(
        "compare: v2: data/pred_probs.parquet: expected a readable Parquet file, found a damaged one"
    )
    assert len(err.splitlines()) == 1


def test_only_what_changed_is_among_the_most_changed(tiny: Path, run: Run) -> None:
    ids = np.arange(200)
    probs = np.tile([0.6, 0.4], (200, 1))
    keep_tables(tiny, "v1", judged(ids, probs, [1, 2, 3]))
    # As after another training: all differ somewhat, of which two by more, and two are flagged otherwise.
    other = probs + 0.004 * np.array([1, -1])
    other[[50, 60]] = [[0.3, 0.7], [0.2, 0.8]]
    keep_tables(tiny, "v2", judged(ids, other, [2, 3, 4]))
    keep_tables(tiny, "v3", judged(ids, probs + 0.004 * np.array([1, -1]), [1, 2, 3]))
    found = compare_versions(tiny, ["v1", "v2", "v3"])
    assert [row.example_id for row in found.rows[0].most_changed] == [1, 4, 60, 50]
    assert [rows.n_changed for rows in found.rows] == [4, 0]
    out, _ = run(tiny, "v1", "v2")
    assert "The 4 rows that changed" in out
    assert "probabilities moved by 1 % or more" in out
    # What no version has is one line, not one for each.
    assert re.search(r"newly flagged +1 *\n +no longer flagged +1 *\n", out)
    assert "None: suggested differently, given differently." in out
    assert re.search(r"class +newly flagged +no longer flagged *\n", out)
    for arguments in ([], ["--md"]):
        out, _ = run(tiny, "v1", "v3", *arguments)
        assert re.search("[Nn]o row changed[.]", out)
    page = tiny / "page.html"
    run(tiny, "v1", "v3", "--html", str(page))
    assert "<b>No row changed.</b>" in page.read_text()
    run(tiny, "v1", "v2", "--html", str(page))
    assert page.read_text().count("distance 0.") == 2
    # The same probabilities: how far they moved is no order.
    keep_tables(tiny, "v4", judged(ids, probs, ids[10:40]))
    out, _ = run(tiny, "v1", "v4")
    assert "The 25 most changed of 33 changed rows" in out
    assert "Their probabilities are the same in both." in " ".join(out.split())


def test_a_difference_within_the_sampling_error_is_not_called_better(tiny: Path, run: Run) -> None:
    def metrics(accuracy: float, recall: float, f1: float, auroc: float) -> dict[str, Any]:
        issues = {"n_issues": 900, "n_errors": 1000, "precision": 0.95, "recall": recall, "f1": f1}
        return {
            "metrics__retrain_cleaned_json": {"n_test_rows": 10_000, "test": {"accuracy": accuracy}},
            "metrics__label_issues_json": issues | {"auroc": auroc},
        }

    commit(tiny, "v1", **metrics(0.99, 0.90, 0.924, 0.99))
    commit(tiny, "v2", **metrics(0.9905, 0.91, 0.93, 0.99001))
    commit(tiny, "v3", **metrics(0.995, 0.97, 0.96, 0.98))
    out, _ = run(tiny, "v1", "v2", "--no-rows")
    # 1.96 standard errors of a difference of 0.9900 and 0.9905 of 10,000 rows.
    assert re.search(r"test accuracy, trained on the cleaned labels .* \+0.0005\d* within ±0.0027 *\n", out)
    assert re.search(r"recall of the flags .* \+0.0100 within ±0.0258 *\n", out)
    # Nor is F1, of which the parts are not; nor what four places do not show.
    assert re.search(r"F1 of the flags .* \+0.0060 *\n", out)
    assert re.search(r"AUROC of the ranking .* \+1e-05 *\n", out)
    assert "1.96 standard errors" in out
    out, _ = run(tiny, "v1", "v3", "--no-rows")
    for name, word in (
        ("test accuracy, trained on the cleaned labels", "better"),
        ("recall of the flags", "better"),
        ("F1 of the flags", "better"),
        ("AUROC of the ranking", "worse"),
    ):
        assert re.search(rf"{name} .* {word} *\n", out)
    assert "standard errors" not in out
    (metric,) = (
        each
        for each in compare_versions(tiny, ["v1", "v2"], with_rows=False).metrics
        if each.margins and "test" in each.name
    )
    assert (metric.within_error, list(metric.margins), metric.best) == (("v2",), ["v2"], ())
    # Of three the best is marked, and what may be as good.
    out, _ = run(tiny, "v3", "v2", "v1", "--no-rows")
    assert re.search(r"trained on the cleaned labels +0.9950 [*] +0.9905 +0.9900 *\n", out)
    assert re.search(r"AUROC of the ranking +0.9800 +0.9900 [*] +0.9900 [*] *\n", out)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, flows.compare; "
        "print([m for m in ('torch', 'prefect', 'sklearn', 'pandas', 'dvc') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_page_works_in_a_browser_and_asks_nobody(
    versions: Path, compared: Callable[..., Comparison], tmp_path: Path, run: Run, browser: Browser
) -> None:
    path = tmp_path / "page.html"
    run(versions, "v1", "strict", "moved", "--html", str(path))
    text = path.read_bytes()
    run(versions, "v1", "strict", "moved", "--html", str(path))
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(text).digest()
    page = browser.new_page(viewport={"width": 360, "height": 740})
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    pictures = page.locator(".grid img")
    n_pictures = sum(
        len(rows.most_changed) for name in ("strict", "moved") for rows in compared("v1", name).rows
    )
    assert pictures.count() == n_pictures > MOST_CHANGED
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth === 8)")
    # On a phone only tables are wider than the screen, and scroll in their own place.
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    table = page.locator("table", has_text="By given class").filter(has_text="newly flagged").first
    table.get_by_role("button", name="newly flagged").click()
    counts = [int(cell.replace(",", "")) for cell in table.locator("tbody td:nth-child(2)").all_inner_texts()]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) > 1
    pictures.first.click()
    assert page.locator("dialog[open] img").count() == 1
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert faults == []
    page.close()


def test_names_of_metrics_say_which_way_is_better() -> None:
    assert direction("label_issues: f1") == "higher"
    assert direction("retrain_cleaned: test.log_loss") == "lower"
    assert direction("health: noise_matrix_l1_error.noise_posterior") == "lower"
    assert direction("cross_validation: true.accuracy") == "higher"
    # Agreement with labels that may be wrong.
    assert direction("cross_validation: given.accuracy") is None
    assert direction("training_set: label_accuracy.before") is None
    assert direction("label_issues: n_issues") is None


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0, 3, 12345, 0.98765, 0.00012345)] == [
        "0",
        "3",
        "12,345",
        "0.9877",
        "0.00012",
    ]
    assert [number(value, signed=True) for value in (3, -0.5, 0)] == ["+3", "-0.5000", "+0"]
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}
