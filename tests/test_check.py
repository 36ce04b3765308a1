"""Limits on labels: what is counted, what passes and fails, and what cannot be measured."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from kept_versions import commit, git, keep, keep_tables, make_repository
from ruamel.yaml import YAML
from small_runs import ROOT, dvc

from benchmarks.workspaces import set_params
from flows.check import main
from tasks.decisions.log import HEADER_LINE

CLASSES = ["cat", "dog", "horse"]
FACTS = {"dataset": "pets", "class_names": CLASSES, "content": "features", "shape": [2]}
Check = Callable[..., tuple[int, dict[str, tuple[str, str]], str]]


def tables(
    given: Sequence[int],
    suspects: Mapping[int, int],
    groups: Mapping[int, int] | None = None,
    facts: Mapping[str, Any] = FACTS,
) -> dict[str, pa.Table]:
    """The tables of a version: rows 0, 1, ... by given class; suspects, the worst first, with suggestions."""
    n_rows = len(given)
    ids = np.arange(n_rows)
    places = {row: place for place, row in enumerate(suspects)}
    issues = {
        "example_id": ids,
        "key": [f"photo {row}" for row in ids],
        "given_label": np.array(given, dtype=np.int16),
        "suggested_label": np.array(
            [suspects.get(row, label) for row, label in enumerate(given)], dtype=np.int16
        ),
        "is_issue": np.isin(ids, list(suspects)),
        "rank": pa.array([places.get(row) for row in range(n_rows)], pa.int64()),
    }
    found = {"data/label_issues.parquet": issues}
    if groups is not None:
        group = np.array([groups.get(row, row) for row in range(n_rows)])
        found["data/splits.parquet"] = {"example_id": ids, "group": group}
    metadata = {"relabel": json.dumps(facts)}
    return {path: pa.table(columns, metadata=metadata) for path, columns in found.items()}


def metrics(folder: Path, name: str, health: Mapping[str, float], accuracy: float, n_rows: int) -> None:
    classes = [{"name": label, "label_quality": value} for label, value in health.items()]
    commit(
        folder,
        name,
        metrics__health_json={"classes": classes},
        metrics__cross_validation_json={"n_rows": n_rows, "given": {"accuracy": accuracy}},
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`start` is empty; `v1` has twelve rows with two suspects; `v2` others, two rows more, and copies."""
    folder = make_repository(tmp_path / "pets")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    commit(folder, "start")
    given = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    keep_tables(folder, "one", tables(given, {3: 1, 5: 2}))
    metrics(folder, "v1", {"cat": 0.95, "dog": 0.9, "horse": 0.85}, 0.9, 12)
    keep_tables(folder, "two", tables([*given, 2, 2], {12: 0, 3: 1, 7: 0}, groups={6: 0, 9: 8}))
    metrics(folder, "v2", {"cat": 0.7, "dog": 0.9, "horse": 0.6}, 0.85, 14)
    return folder


@pytest.fixture
def check(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Sets limits, runs the command: its exit status, verdict and sentence by limit, all that it printed."""

    def run(
        *arguments: str, revision: str = "v2", against: str = "v1", **limits: Any
    ) -> tuple[int, dict[str, tuple[str, str]], str]:
        if limits:
            set_params(repository / "params.yaml", {f"check.{name}": value for name, value in limits.items()})
        monkeypatch.chdir(repository)
        capsys.readouterr()
        status = main([revision, "--against", against, *arguments])
        printed = capsys.readouterr()
        lines = [line.split(maxsplit=2) for line in printed.out.splitlines() if line[26:27].strip()]
        found = {words[1]: (words[0], words[2]) for words in lines if words[1].startswith(("max_", "min_"))}
        return status, found, printed.out + printed.err

    return run


def decide(folder: Path, *lines: str) -> None:
    """Keep decisions as a commit `decided`."""
    text = HEADER_LINE.decode() + "".join(f"{line},anna,2026-01-31T12:00:00Z,none\n" for line in lines)
    commit(folder, "decided", reviews__decisions_csv=text)


def test_without_limits_nothing_is_checked_and_the_figures_are_told(check: Check) -> None:
    status, found, said = check()
    assert status == 0
    assert {verdict for verdict, _ in found.values()} == {"unset"}
    assert "nothing was checked" in said
    assert "2 labels are newly suspect against v1, 1 of them in new rows" in found["max_new_suspects"][1]
    assert "1 group of copies has different labels" in found["max_contradictions"][1]


@pytest.mark.parametrize(
    ("name", "holds", "fails"),
    [
        ("max_new_suspects", 2, 1),
        ("max_contradictions", 1, 0),
        ("min_class_health", 0.6, 0.61),
        ("max_class_drift", 0.1, 0.09),  # horse: 4 of 12 rows, then 6 of 14
        ("max_accuracy_drop", 0.051, 0.049),
    ],
)
def test_a_limit_holds_up_to_its_value(check: Check, name: str, holds: float, fails: float) -> None:
    status, found, said = check(**{name: holds})
    assert (status, found[name][0]) == (0, "pass"), said
    status, found, said = check(**{name: fails})
    assert (status, found[name][0]) == (1, "fail"), said
    assert "1 of 1 limit does not hold" in said


def test_what_does_not_hold_is_named(check: Check) -> None:
    _, found, _ = check(min_class_health=0.8)
    assert "horse (60.0%), cat (70.0%)" in found["min_class_health"][1]
    assert "dog" not in found["min_class_health"][1]
    _, found, _ = check(max_class_drift=0.01)
    assert (
        "class horse moved most: from 33.33% of the given labels in v1 to 42.86%"
        in found["max_class_drift"][1]
    )
    assert "photo 0, photo 6" in found["max_contradictions"][1]


def test_what_a_person_decided_counts_no_more(check: Check, repository: Path) -> None:
    decide(
        repository,
        "12,keep,,horse",
        "7,unsure,,dog",  # decides nothing
        "6,choose,cat,dog",
    )
    _, found, _ = check(revision="decided")
    assert found["max_new_suspects"][1].startswith("no limit; 1 label is newly suspect")
    assert found["max_contradictions"][1].startswith("no limit; 0 groups")


def test_a_dropped_copy_contradicts_nothing_and_a_decision_about_another_label_is_none(
    check: Check, repository: Path
) -> None:
    decide(repository, "0,drop,,cat", "12,keep,,dog")
    _, found, _ = check(revision="decided")
    assert found["max_contradictions"][1].startswith("no limit; 0 groups")
    assert found["max_new_suspects"][1].startswith("no limit; 2 labels")


def test_the_markdown_names_limits_and_suspects(check: Check, repository: Path) -> None:
    check("--markdown", "found.md", max_new_suspects=0)
    text = (repository / "found.md").read_text()
    assert "| max_new_suspects | **does not hold** |" in text
    assert text.index("| photo 12 | horse | cat |") < text.index("| photo 7 | dog | cat |")  # the worst first
    assert "photo 3" not in text


def test_it_can_be_switched_off(check: Check, repository: Path) -> None:
    status, found, said = check("--markdown", "found.md", max_new_suspects=0, enabled=False)
    assert (status, found) == (0, {})
    assert "check.enabled is false" in said
    assert "nothing was checked" in (repository / "found.md").read_text()


def test_before_the_first_run_there_is_nothing_to_compare_with(check: Check) -> None:
    limits = {"max_new_suspects": 0, "max_class_drift": 0, "max_accuracy_drop": 0, "min_class_health": 0.5}
    status, found, said = check(against="start", **limits)
    assert status == 0, said
    assert [found[name][0] for name in limits] == ["skip", "skip", "skip", "pass"]
    assert "3 could not be compared with anything yet" in said


def test_a_limit_that_cannot_be_measured_does_not_hold(check: Check, repository: Path) -> None:
    locked = git(repository, "show", "v1:dvc.lock")
    cached = (repository / ".dvc" / "cache" / "files" / "md5").glob("*/*")
    (entry,) = [path for path in cached if path.parent.name + path.name in locked]
    entry.unlink()
    status, found, _ = check(max_new_suspects=5)
    assert (status, found["max_new_suspects"][0]) == (1, "fail")
    assert "v1: data/label_issues.parquet is neither in DVC's cache" in found["max_new_suspects"][1]
    assert found["max_class_drift"][0] == "unset"  # no limit, so that is no failure


def test_a_version_without_results_is_refused(check: Check, repository: Path) -> None:
    commit(repository, "gone", dvc_lock={"schema": "2.0", "stages": {}}, dvc_yaml={"stages": {}})
    status, _, said = check(revision="gone", max_new_suspects=5)
    assert status == 1
    assert "gone: expected results to check, found none" in said


def test_other_classes_are_not_compared(check: Check, repository: Path) -> None:
    other = FACTS | {"class_names": ["cat", "dog", "cow"]}
    keep_tables(repository, "cows", tables([0, 1, 2], {}, facts=other))
    status, found, _ = check(revision="cows", max_new_suspects=9)
    assert (status, found["max_new_suspects"][0]) == (1, "fail")
    assert "another class names" in found["max_new_suspects"][1]


def test_it_imports_no_torch_and_no_prefect() -> None:
    code = "import sys, flows.check; print({'torch', 'prefect', 'sklearn'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.slow
def test_after_a_real_run_a_limit_makes_no_stage_stale(
    reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(reproduced, folder, symlinks=True)
    keep(folder, "v1")
    set_params(folder / "params.yaml", {"check.max_new_suspects": 0, "check.min_class_health": 0.0})
    assert "up to date" in dvc(folder, "status")
    monkeypatch.chdir(folder)
    assert main(["--against", "v1"]) == 0


def test_the_example_workflow_is_yaml_and_its_options_are_those_of_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workflow = YAML(typ="safe").load(ROOT / "docs" / "check_labels.yaml")
    steps = workflow["jobs"]["check"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    (check,) = [shlex.split(command) for command in commands if "flows.check" in command]
    words = shlex.split(" ".join(check).replace("${{ github.base_ref }}", "main"))
    assert words[:3] == ["python", "-m", "flows.check"]
    seen: list[tuple[str | None, Path | None]] = []
    monkeypatch.setattr("flows.check._run", lambda _, __, against, path: seen.append((against, path)) or 0)
    assert main(words[3:]) == 0
    assert seen == [("origin/main", Path("check.md"))]
    # The version before is in git, and what is shown is what the check wrote.
    assert steps[0]["with"]["fetch-depth"] == 0
    assert "cat check.md" in commands[-1]
    assert steps[-1]["if"].startswith("always()")
