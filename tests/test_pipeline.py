"""The whole pipeline by real `dvc repro`, on digits: fresh, again, changed, and damaged."""

import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from small_runs import ROOT, dvc

from benchmarks.workspaces import set_params
from flows.dvc_api.graph import plan
from tasks.decisions.log import PATH, Decision, append_decisions
from tasks.params import load_params
from tasks.report import report
from tasks.tables.catalog import LABEL_ISSUES, TRAINING_SET
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array

pytestmark = pytest.mark.slow


def stages_run(log: str) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", log)


@pytest.fixture(scope="module")
def repository(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline") / "workspace"
    return Path(shutil.copytree(reproduced, folder, symlinks=True))


# That a second fresh repository ends with the same lock, and by single processes, is in test_flow.py.
def test_a_fresh_repository_ends_with_all_stages_in_its_lock(reproduced: Path) -> None:
    stages = YAML(typ="safe").load(reproduced / "dvc.lock")["stages"]
    assert {name.split("@")[0] for name in stages} == set(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])


def test_the_report_names_its_inputs_as_the_lock_does(reproduced: Path) -> None:
    page, lock = ((reproduced / name).read_text() for name in ("report/index.html", "dvc.lock"))
    named = dict(re.findall(r"<tr><td>(\S+)</td><td><code>([0-9a-f]{32})</code>", page))
    assert "data/label_issues.parquet" in named
    for name, md5 in named.items():
        assert re.search(rf"path: {re.escape(name)}\n +hash: md5\n +md5: {md5}\n", lock)


def test_a_second_run_does_nothing_and_says_so(repository: Path) -> None:
    log = dvc(repository, "repro")
    assert stages_run(log) == []
    assert "up to date" in log
    assert "up to date" in dvc(repository, "status")


def test_the_comparing_commands_of_dvc_work(repository: Path) -> None:
    shown = dvc(repository, "metrics", "show")
    for name in ("f1", "gain", "label_accuracy.after", "true.accuracy"):
        assert name in shown
    dvc(repository, "plots", "show")
    page = (repository / "dvc_plots" / "index.html").read_text()
    for title in ("Given against suggested labels", "Funnel of labels"):
        assert title in page
    set_params(repository / "params.yaml", {"report.top_issues": 9})
    try:
        assert "report.top_issues" in dvc(repository, "params", "diff")
    finally:
        set_params(repository / "params.yaml", {"report.top_issues": 25})


def test_one_changed_value_reruns_only_what_depends_on_it(repository: Path) -> None:
    set_params(repository / "params.yaml", {"prune.filter_by": "predicted_neq_given"})
    try:
        ran = stages_run(dvc(repository, "repro"))
        assert ran == ["prune", "pseudo_label", "retrain@cleaned", "report"]
    finally:
        set_params(repository / "params.yaml", {"prune.filter_by": "auto"})
    # And back again comes from the cache of runs: no stage has to compute.
    log = dvc(repository, "repro")
    assert "Stage 'retrain@cleaned' is cached" in log


def test_a_decision_reruns_from_pseudo_label_and_removing_its_line_restores_the_label(
    repository: Path,
) -> None:
    path = repository / "data" / "training_set.parquet"
    before = path.read_bytes(), (repository / "dvc.lock").read_bytes()
    issues = read_table(repository / "data" / "label_issues.parquet", LABEL_ISSUES)
    row = int(column_array(issues, "is_issue").argmax())
    example_id = int(column_array(issues, "example_id")[row])
    given = read_facts(issues).class_names[column_array(issues, "given_label")[row]]
    decisions = repository / PATH
    header = decisions.read_bytes()
    append_decisions(
        decisions, [Decision(str(example_id), "keep", "", given, "anna", "2026-01-31T12:00:00Z", "none")]
    )
    graph, fresh = plan(repository)
    rerun = ["pseudo_label", "retrain@cleaned", "report"]
    assert [name for name in graph if name not in fresh] == rerun
    assert stages_run(dvc(repository, "repro")) == rerun
    table = read_table(path, TRAINING_SET)
    assert column_array(table, "example_id")[column_array(table, "source") == "reviewed"] == [example_id]
    decisions.write_bytes(header)
    assert stages_run(dvc(repository, "repro")) == []  # all of it is in DVC's cache of runs
    assert (path.read_bytes(), (repository / "dvc.lock").read_bytes()) == before


def test_an_altered_artifact_is_noticed_and_rebuilt(repository: Path) -> None:
    path = repository / "data" / "label_issues.parquet"
    before = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(before[: len(before) // 2])
    assert "label_issues.parquet" in dvc(repository, "status")
    dvc(repository, "repro")
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["metrics/training_set.json", "plots/filters.csv"])
def test_a_figure_that_was_altered_is_said_by_the_page_and_the_summary(repository: Path, name: str) -> None:
    path, params = repository / name, load_params(repository / "params.yaml")
    shown = [repository / "report" / file for file in ("index.html", "summary.txt")]
    before, whole = path.read_bytes(), [file.read_bytes() for file in shown]
    for file in (path, *shown):
        file.chmod(0o644)
    # Another number, as good as the one that was there.
    altered = re.sub(rb"(?<=\d)\d(?=,)", lambda digit: b"7" if digit[0] == b"8" else b"8", before, count=1)
    assert altered != before
    path.write_bytes(altered)
    report(params, repository)
    assert f"Not as dvc.lock has it: {name}. " in shown[0].read_text()
    assert name in shown[1].read_text()
    path.write_bytes(before)
    report(params, repository)
    assert [file.read_bytes() for file in shown] == whole
