"""Schedules: what parses, what is refused, and a real run that starts by itself and leaves a version."""

import itertools
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from doors import Door, outcomes
from ruamel.yaml import YAML
from small_runs import ROOT, SETTINGS

from benchmarks.chaos import processes
from benchmarks.workspaces import make_workspace, set_params
from flows import FlowError
from flows.clean_labels import clean_labels
from flows.record import experiments, read_committed, save_version
from flows.serve import main, parse_schedule
from tasks.decisions.log import PATH, Decision, append_decisions

from prefect.client.orchestration import SyncPrefectClient, get_client  # isort: skip  # after flows
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL, temporary_settings

SERVE = [sys.executable, "-m", "flows.serve"]


def test_cron_and_interval_carry_their_time_zone() -> None:
    schedule = parse_schedule("0 3 * * *", None, "Europe/Berlin")
    assert (schedule.cron, schedule.timezone) == ("0 3 * * *", "Europe/Berlin")
    schedule = parse_schedule(None, "6h", "UTC")
    assert schedule.interval is not None
    assert schedule.interval.total_seconds() == 6 * 3600


@pytest.mark.parametrize(
    ("cron", "every", "timezone", "said"),
    [
        ("every night", None, "UTC", "--cron: expected five fields"),
        ("0 3 * * * * * *", None, "UTC", "--cron: expected five fields"),
        (None, "soon", "UTC", "--every: expected a whole number and s, m, h or d"),
        (None, "0s", "UTC", "--every: expected"),
        ("0 3 * * *", None, "Mars/Olympus", "--timezone: expected an IANA name"),
        (None, None, "UTC", "one of --cron and --every"),
        ("0 3 * * *", "6h", "UTC", "one of --cron and --every"),
    ],
)
def test_a_schedule_that_does_not_parse_is_one_sentence(cron, every, timezone, said) -> None:
    with pytest.raises(FlowError) as found:
        parse_schedule(cron, every, timezone)
    assert said in str(found.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"workers": -1}, "--workers: expected at least 1, found -1."),
        (
            {"record": "experiments"},
            "--record: expected one of none, experiment, commit, found 'experiments'.",
        ),
        ({"push": True}, "--push: expected --record experiment or commit with it"),
    ],
)
def test_what_a_deployment_asks_is_checked_in_the_flow(asked, said, tmp_path: Path) -> None:
    with pytest.raises(FlowError) as found:
        clean_labels.fn(root=str(tmp_path), **asked)
    assert said in str(found.value)


def test_a_schedule_without_a_server_says_how_to_start_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.prefect_server.server_answers", lambda: False)
    assert main(["--every", "1h"]) == 1
    assert "prefect server start --host 127.0.0.1" in capsys.readouterr().err


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def prefect(environment: dict[str, str]) -> Iterator[SyncPrefectClient]:
    """A client of the server that the runs report to."""
    address = {PREFECT_API_URL: environment["PREFECT_API_URL"]}
    with temporary_settings(address), get_client(sync_client=True) as client:
        yield client


def runs_of(client: SyncPrefectClient, deployment: str) -> list[FlowRun]:
    """All runs of a deployment that are over or under way, in the order in which they fell due."""
    chosen = DeploymentFilter(name=DeploymentFilterName(any_=[deployment]))
    runs = client.read_flow_runs(deployment_filter=chosen)
    due = [run for run in runs if run.state is not None and not run.state.is_scheduled()]
    return sorted(due, key=lambda run: run.expected_start_time or run.created)


def until(condition: Callable[[], Any], process: subprocess.Popen[str], within_s: float = 300) -> Any:
    """Wait for something true while the process lives."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


@pytest.mark.slow
def test_due_runs_start_by_themselves_one_at_a_time_and_leave_an_experiment(
    done: Door, prefect: SyncPrefectClient
) -> None:
    git(done.folder, "add", "--all")
    git(done.folder, "commit", "--quiet", "--no-gpg-sign", "-m", "Ran")
    set_params(done.folder / "params.yaml", {"report.top_issues": 9})
    served = done.start("--every", "2s", "--name", "often", "--record", "experiment", command=SERVE)
    try:
        # `dvc exp list` would fail in the moment in which the run saves its own.
        (name,) = until(lambda: experiments(done.folder), served)
        # The next run finds everything up to date and leaves no version.
        n_completed = sum(run.state_name == "Completed" for run in runs_of(prefect, "often"))
        until(
            lambda: sum(run.state_name == "Completed" for run in runs_of(prefect, "often")) > n_completed + 1,
            served,
        )
        assert list(experiments(done.folder)) == [name]
    finally:
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=60)
    shown = done.dvc("exp", "show", "--csv")
    assert "report.top_issues" in shown
    assert name in shown
    done.assert_no_orphans()
    # A run takes longer than 2 s: those that fell due meanwhile were cancelled, and no two ran at once.
    runs = runs_of(prefect, "often")
    assert "Cancelled" in {run.state_name for run in runs}
    ran = [run for run in runs if run.state_name == "Completed"]
    assert all(one.end_time <= two.start_time for one, two in itertools.pairwise(ran))


@pytest.mark.slow
def test_a_run_cancelled_on_the_page_leaves_no_process(done: Door, prefect: SyncPrefectClient) -> None:
    set_params(done.folder / "params.yaml", {"train_fold.epochs": 400})
    served = done.start("--every", "1h", "--name", "long", command=SERVE)
    try:
        deployment = until(lambda: prefect.read_deployments() and named(prefect, "long"), served)
        run = prefect.create_flow_run_from_deployment(deployment.id)
        until(lambda: working(done.folder) >= {"dvc", "tasks", "tasks.remote"}, served)
        # What the page's button does.
        prefect.set_flow_run_state(run.id, State(type=StateType.CANCELLING, name="Cancelling"))
        until(lambda: prefect.read_flow_run(run.id).state_name == "Cancelled", served)
        until(lambda: not working(done.folder), served)
    finally:
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=60)
    done.assert_no_orphans()
    set_params(done.folder / "params.yaml", {"train_fold.epochs": 4})
    assert not outcomes(done.flow(), "Completed")


def working(folder: Path) -> set[str]:
    """The modules whose processes work for a flow run in the workspace."""
    commands = [process.cmdline() for process in processes(folder)]
    return {"dvc", "tasks", "tasks.remote"} & {word for command in commands for word in command}


def named(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    return next((found for found in client.read_deployments() if found.name == name), None)


@pytest.mark.slow
def test_a_worker_runs_what_prefect_yaml_deploys(done: Door, prefect: SyncPrefectClient) -> None:
    shutil.copy(ROOT / "prefect.yaml", done.folder)
    git(done.folder, "add", "--all")
    git(done.folder, "commit", "--quiet", "--no-gpg-sign", "-m", "Ran")
    set_params(done.folder / "params.yaml", {"report.top_issues": 9})
    command = [sys.executable, "-m", "prefect"]
    done.environment = {**done.environment, "PWD": str(done.folder)}  # as a shell there would have it
    for arguments in (
        ["work-pool", "create", "local", "--type", "process"],
        ["--no-prompt", "deploy", "--name", "nightly"],
        ["deployment", "run", "clean-labels/nightly"],
        ["worker", "start", "--pool", "local", "--run-once"],
    ):
        step = done.start(*arguments, command=command)
        log, _ = step.communicate(timeout=300)
        assert step.returncode == 0, log
    (run,) = runs_of(prefect, "nightly")
    assert run.state is not None
    assert run.state.message is not None
    assert "1 of 12 stages were out of date. Kept as experiment relabel-" in run.state.message
    (schedule,) = named(prefect, "nightly").schedules
    assert schedule.schedule.cron == "0 3 * * *"
    done.assert_no_orphans()


@pytest.mark.endurance
@pytest.mark.slow
def test_fifty_runs_of_five_parallel_folds_lock_no_database(
    environment: dict[str, str], server_log: Path, tmp_path: Path
) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    fold = {"cmd": "echo > fold_${item.fold}", "outs": ["fold_${item.fold}"]}
    stages = {"fold": {"matrix": {"fold": [0, 1, 2, 3, 4]}, **fold}}
    # Two flows at a time, each with its five tasks at a time.
    code = "from flows.clean_labels import main\nfor _ in range(25): assert main(['--workers', '5']) == 0"
    running = []
    for folder in folders:
        make_workspace(folder, SETTINGS, source=ROOT)
        with (folder / "dvc.yaml").open("w") as file:
            YAML().dump({"stages": stages}, file)
        door = Door(folder, environment)
        door.dvc("repro")
        running.append(door.start("-c", code, command=[sys.executable]))
    for process in running:
        log, _ = process.communicate(timeout=300)
        assert process.returncode == 0, log
        assert log.count("Everything is up to date.") == 25
    assert "database is locked" not in server_log.read_text()


@pytest.mark.slow
def test_a_version_as_commit_holds_the_lock_and_the_decisions_and_nothing_else(done: Door) -> None:
    git(done.folder, "config", "user.name", "test")
    git(done.folder, "config", "user.email", "test@localhost")
    (done.folder / "notes.txt").write_text("mine")
    git(done.folder, "add", "notes.txt")
    line = Decision(0, "keep", "", "0", "anna", "2026-01-31T12:00:00Z", "none")
    append_decisions(done.folder / PATH, [line])
    assert "Kept as commit" in (save_version(done.folder, "commit", "Nightly") or "")
    changed = git(done.folder, "show", "--name-only", "--format=%s", "HEAD").split()
    assert changed[0] == "Nightly"
    # A decision that a run took in is part of what dvc.lock stands for.
    assert {"dvc.lock", str(PATH)} <= set(changed)
    assert "notes.txt" not in changed
    assert "A  notes.txt" in git(done.folder, "status", "--porcelain")
    # Nothing changed since, so there is nothing to keep.
    assert save_version(done.folder, "commit", "Nightly") is None


@pytest.mark.slow
def test_an_experiment_has_the_metrics_though_no_commit_has_them_yet(done: Door) -> None:
    assert "?? metrics/" in git(done.folder, "status", "--porcelain")
    save_version(done.folder, "experiment", "first")
    commit = experiments(done.folder)["first"]
    assert "metrics/label_issues.json" in git(done.folder, "ls-tree", "-r", "--name-only", commit)
    assert "metrics/label_issues.json" in read_committed(done.folder, commit, ["metrics/label_issues.json"])


@pytest.mark.slow
def test_versions_are_sent_with_their_data(done: Door, tmp_path: Path) -> None:
    for name in ("user.name", "user.email"):
        git(done.folder, "config", name, "test@localhost")
    log = done.flow("--record", "commit", "--push", status=1)
    assert "clean_labels: --push: expected a git remote `origin`, found none." in log
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(done.folder, "remote", "add", "origin", str(tmp_path / "origin.git"))
    done.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    git(done.folder, "commit", "--quiet", "--no-gpg-sign", "-am", "Remote")
    log = done.flow("--set", "report.top_issues=9", "--record", "commit", "--push")
    assert git(done.folder, "rev-parse", "--short", "HEAD").strip() in log
    clone = Door(tmp_path / "clone", done.environment)
    git(tmp_path, "clone", "--quiet", "origin.git", "clone")
    # All that the commit names is in the store: nothing is run.
    assert "Everything is up to date." in clone.flow("--pull")
    log = done.flow("--set", "report.top_issues=8", "--record", "experiment", "--push")
    (name,) = re.findall(r"Kept as experiment (\S+)\.", log)
    assert name in clone.dvc("exp", "list", "origin", "--name-only")


@pytest.mark.slow
def test_a_version_that_git_refuses_is_one_sentence(done: Door) -> None:
    (done.folder / ".git" / "index.lock").touch()
    with pytest.raises(FlowError, match="The version could not be kept: `git add` said: "):
        save_version(done.folder, "commit", "Nightly")
