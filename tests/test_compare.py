"""Comparing versions: real DVC repositories, what is read, what is said, and that nothing is touched."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser
from small_runs import DVC, ENVIRONMENT, ROOT

from benchmarks.workspaces import set_params
from flows.compare import main
from flows.comparison import MOST_CHANGED, Comparison, compare_versions, direction, flatten
from flows.comparison_views import markdown, number
from flows.revisions import RevisionError, open_revisions
from tasks.artifacts import (
    LABEL_ISSUES,
    PRED_PROBS,
    column_array,
    read_table,
    tensor_column,
    write_table,
)
from tasks.page import Content
from tasks.params import load_params
from tasks.prune import prune
from tasks.pseudo_label import pseudo_label

pytestmark = pytest.mark.slow  # they need a finished run

ISSUES = "data/label_issues.parquet"
AUTHOR = ["-c", "user.name=test", "-c", "user.email=test@localhost"]


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *AUTHOR, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def dvc(folder: Path, *arguments: str) -> str:
    command = [*DVC, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def keep(folder: Path, name: str) -> None:
    """Keep the workspace as a commit with a tag."""
    git(folder, "add", "dvc.lock", "params.yaml", "metrics")
    git(folder, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message", name)
    git(folder, "tag", name)


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
def versions(repositories: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`start` has no results; `v1` a run; `strict` is an experiment with another filter; `moved` has other
    predictions and keeps what it cannot relabel. The workspace is v1's. Read it; copy it to change it.
    """
    folder = tmp_path_factory.mktemp("compare") / "versions"
    shutil.copytree(repositories[1], folder, symlinks=True)
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


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a folder; returns what it prints on stdout and stderr."""

    def command(folder: Path, *arguments: str, status: int = 0) -> tuple[str, str]:
        monkeypatch.chdir(folder)
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
    return {
        column: table.column(column).to_pylist() for column in table.column_names if column != "soft_label"
    }


def checked_out(versions: Path, folder: Path, name: str) -> Path:
    """The version as a work tree of its own: what comparing must not need is the oracle of what it says."""
    git(versions.parent, "clone", "--quiet", str(versions), str(folder))
    commit = open_revisions(versions, [name])[0].commit or ""
    git(folder, "fetch", "--quiet", str(versions), "+refs/exps/*:refs/exps/*")
    git(folder, "checkout", "--quiet", commit)
    dvc(folder, "cache", "dir", "--local", str(versions / ".dvc" / "cache"))
    dvc(folder, "checkout", "--quiet", "--force", "prune", "pseudo_label", "aggregate", "inject_noise")
    return folder


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
    versions: Path, tmp_path: Path, name: str
) -> None:
    (rows,) = compare_versions(versions, ["v1", name]).rows
    other = checked_out(versions, tmp_path / name, name)
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
        names = ("trusted", "kept", "relabelled", "softened", "reviewed", "dropped")
        assert dict(zip(names, counts, strict=True)) == {**actions, "reviewed": 0}
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


def test_the_truth_is_judged_row_by_row(versions: Path, tmp_path: Path) -> None:
    (rows,) = compare_versions(versions, ["v1", "moved"]).rows
    other = checked_out(versions, tmp_path / "moved", "moved")
    given = columns(versions, "given_labels")
    truth = dict(zip(given["example_id"], given["true_label"], strict=True))
    judged = []
    for folder in (versions, other):
        labels = columns(folder, "training_set")
        trained = dict(zip(labels["example_id"], labels["label"], strict=True))
        ids = columns(folder, "label_issues")["example_id"]
        judged.append([2 if i not in trained else int(trained[i] != truth[i]) for i in ids])
    expected = [[0] * 3 for _ in range(3)]
    for pair in zip(*judged, strict=True):
        expected[pair[0]][pair[1]] += 1
    assert rows.truth is not None
    assert [list(row) for row in rows.truth.table] == expected
    assert rows.truth.n_rows == len(judged[0])
    assert 0 < rows.truth.p_value <= 1


def test_the_most_changed_rows_say_what_either_version_says(versions: Path) -> None:
    (rows,) = compare_versions(versions, ["v1", "moved"]).rows
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
    }
    changed = {m.name: tuple(m.values.values()) for m in found.metrics if m.differs}
    assert changed == expected
    assert expected
    # Single classes would bury the rest of DVC's own table, and are in the comparison alone.
    moved = compare_versions(versions, ["v1", "moved"], with_rows=False)
    assert any(m.differs and m.is_detail for m in moved.metrics)
    assert len(dvc(versions, "metrics", "diff", "v1", "moved").splitlines()) < 30
    for metric in found.metrics:
        if metric.differs:
            assert metric.deltas["strict"] == metric.values["strict"] - metric.values["v1"]


def test_comparing_touches_nothing(versions: Path, tmp_path: Path, run: Run) -> None:
    status = git(versions, "status", "--porcelain=v2", "--branch")
    before = snapshot(versions)
    page = tmp_path / "page.html"
    run(versions, "v1", "strict", "moved", "workspace", "--html", str(page))
    assert snapshot(versions) == before
    assert git(versions, "status", "--porcelain=v2", "--branch") == status
    assert dvc(versions, "status").strip().endswith("up to date.")


def test_three_versions_stand_in_one_table_with_the_best_marked(versions: Path, run: Run) -> None:
    out, _ = run(versions, "v1", "strict", "moved")
    (line,) = re.findall(r"label_issues: f1 +(.*)", out)
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
    assert "* best." in out


def test_json_has_every_changed_row_and_is_the_same_each_time(versions: Path, run: Run) -> None:
    out, _ = run(versions, "v1", "strict", "--json")
    assert run(versions, "v1", "strict", "--json")[0] == out
    found = json.loads(out)
    expected = compare_versions(versions, ["v1", "strict"])
    (rows,) = found["rows"]
    assert {kind: tuple(ids) for kind, ids in rows["changes"].items()} == expected.rows[0].changes
    assert [version["name"] for version in found["versions"]] == ["v1", "strict"]
    assert "picture" not in out


def test_markdown_is_well_formed_whatever_a_class_is_called(versions: Path, run: Run) -> None:
    out, _ = run(versions, "v1", "moved", "--md")
    assert out.startswith("### `moved (")
    tables = re.findall(r"(?:^\|.*\n)+", out, flags=re.MULTILINE)
    assert len(tables) == 7
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    assert out.count("<details>") == out.count("</details>") == 4
    found = compare_versions(versions, ["v1", "moved"])
    (changed, *_) = found.rows[0].most_changed
    odd = Comparison(
        found.versions,
        found.params,
        (),
        (_replace(found.rows[0], most_changed=(_replace(changed, true="<b>a|b\n*c*</b>"),)),),
        (),
    )
    assert r"&lt;b>a\|b \*c\*&lt;/b>" in markdown(odd)


def _replace(value: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(value, **changes)


def test_artifacts_come_from_the_remote_where_the_cache_lacks_them(
    copy: Path, tmp_path: Path, run: Run
) -> None:
    expected, _ = run(copy, "v1", "strict", "--json")
    dvc(copy, "remote", "add", "--default", "--local", "store", str(tmp_path / "store"))
    dvc(copy, "push", "--quiet")
    strict = open_revisions(copy, ["strict"])[0]
    digest = strict.digest(ISSUES) or ""
    cached = copy / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    # The experiment was made before there was a remote, and its .dvc/config names none.
    stored = tmp_path / "store" / "files" / "md5" / digest[:2] / digest[2:]
    stored.parent.mkdir(exist_ok=True)
    cached.replace(stored)
    assert run(copy, "v1", "strict", "--json")[0] == expected
    stored.unlink()
    out, err = run(copy, "v1", "strict", "--json", status=1)
    assert out == ""
    assert err == (
        f"compare: strict: {ISSUES} is neither in DVC's cache nor in its remote: `dvc exp pull GIT_REMOTE "
        "strict` brings it where it was pushed; --no-rows compares without it.\n"
    )
    assert "confident_learning" in run(copy, "v1", "strict", "--no-rows")[0]


def test_a_remote_that_does_not_answer_is_one_sentence(copy: Path, tmp_path: Path, run: Run) -> None:
    shutil.rmtree(copy / ".dvc" / "cache" / "files")
    dvc(copy, "remote", "add", "--default", "--local", "store", "http://127.0.0.1:9/store")
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
        (["v1"], "Expected at least two versions to compare, found v1."),
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


def test_last_is_the_newest_experiment_of_this_commit_or_the_commit(copy: Path) -> None:
    assert open_revisions(copy, ["last"])[0].name == "strict"
    git(copy, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message", "Later")
    assert open_revisions(copy, ["last"])[0].commit == git(copy, "rev-parse", "HEAD").strip()


def test_a_version_without_results_is_said_and_the_rest_compared(versions: Path, run: Run) -> None:
    out, _ = run(versions, "v1", "start", "strict")
    assert "start has no dvc.lock: no stage ran in that version" in out
    assert f"start has no {ISSUES}: `prune` has not run" in out
    assert "strict against v1" in out
    assert "start against v1" not in out


def old_layout(folder: Path, name: str, without: list[str]) -> None:
    """Rewrite a table as a version long ago might have: columns missing, one more there, wider numbers."""
    path = folder / "data" / f"{name}.parquet"
    table = pq.read_table(path)
    table = table.drop_columns([column for column in table.column_names if column in without])
    place = table.schema.get_field_index("given_label")
    table = table.set_column(place, "given_label", table.column(place).cast("int64"))
    table = table.append_column("of_old", table.column("given_label"))
    path.unlink()
    pq.write_table(table.take(list(range(table.num_rows))[::-1]), path)


def test_an_older_layout_is_no_fault_unless_a_column_is_needed(copy: Path, run: Run) -> None:
    expected, _ = run(copy, "v1", "strict", "--json")
    old_layout(copy, "label_issues", ["importance", "contrast", "both", "noise_posterior"])
    dvc(copy, "commit", "--quiet", "--force")
    keep(copy, "older")
    rows = [json.loads(run(copy, name, "strict", "--json")[0])["rows"][0] for name in ("v1", "older")]
    assert rows[1] == json.loads(json.dumps(rows[0]).replace('"v1"', '"older"'))
    assert json.loads(expected)["rows"][0] == rows[0]
    old_layout(copy, "label_issues", ["suggested_label"])
    dvc(copy, "commit", "--quiet", "--force")
    keep(copy, "oldest")
    _, err = run(copy, "strict", "oldest", status=1)
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
    out, _ = run(copy, "v1", "workspace")
    said = "The rows of workspace and v1 cannot be compared: "
    assert f"{said}they are of other data sets (fashion_mnist and digits)." in out
    # The parameters and metrics are compared all the same, and the file that is not DVC's is said.
    assert f"workspace: {ISSUES} is not the file that dvc.lock names" in out
    write(class_names=["a", "b"])
    assert (
        f"{said}their classes differ (2: a, b and 10: 0, 1, 2, 3, 4, ...)." in run(copy, "v1", "workspace")[0]
    )
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
    found = compare_versions(copy, ["v1", "workspace"])
    (rows,) = found.rows
    assert (rows.n_rows, rows.n_only_base, rows.n_only_version) == (table.num_rows - 100, 100, 0)
    assert "workspace and v1: 100 rows are in one of them alone and left out." in found.notes
    assert not any(rows.changes.values())
    assert rows.most_changed == ()


def test_texts_stand_in_the_table_of_the_most_changed(versions: Path) -> None:
    found = compare_versions(versions, ["v1", "moved"])
    (changed, *_) = found.rows[0].most_changed
    text = _replace(changed, content=Content(text="a cat\nthat sat"))
    found = _replace(found, rows=(_replace(found.rows[0], most_changed=(text,)),))
    assert "| a cat that sat |" in markdown(found)
    assert json.loads(found.json())["rows"][0]["most_changed"][0]["text"] == "a cat\nthat sat"


def test_results_of_other_parameters_are_said_to_be(copy: Path, run: Run) -> None:
    set_params(copy / "params.yaml", {"prune.filter_by": "both"})
    out, _ = run(copy, "v1", "workspace", "--no-rows")
    assert (
        "workspace: params.yaml was changed after the results were made (prune.filter_by noise_posterior, "
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


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, flows.compare; "
        "print([m for m in ('torch', 'prefect', 'sklearn', 'pandas', 'dvc') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_page_works_in_a_browser_and_asks_nobody(
    versions: Path, tmp_path: Path, run: Run, browser: Browser
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
        len(rows.most_changed) for rows in compare_versions(versions, ["v1", "strict", "moved"]).rows
    )
    assert pictures.count() == n_pictures > MOST_CHANGED
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth === 8)")
    # On a phone only tables are wider than the screen, and scroll in their own place.
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    table = page.locator("table", has_text="newly flagged").nth(1)
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
