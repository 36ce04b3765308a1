"""Schedules: what parses, what is refused, and a real run that starts by itself and leaves a version."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from doors import Door, make_waiting, outcomes
from ruamel.yaml import YAML
from small_runs import ENVIRONMENT, ROOT, SETTINGS
from warm import warm_python, with_warm_programs

from benchmarks.killing import processes
from benchmarks.workspaces import make_workspace, set_params
from flows import FlowError
from flows.clean_labels import main as run_once
from flows.dvc_api.record import experiments, read_committed, save_version
from flows.flow import clean_labels
from flows.one_at_a_time import only_flow
from flows.serve import main, parse_schedule, take_over
from tasks.decisions.log import PATH, Decision, append_decisions

from prefect.client.orchestration import SyncPrefectClient, get_client  # isort: skip  # after flows
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import (
    TERMINAL_STATES,
    ConcurrencyLimitStrategy,
    ConcurrencyOptions,
    FlowRun,
    State,
    StateType,
)
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending, Running, Submitting

SERVE = [sys.executable, "-m", "flows.serve"]
# What works for a run whose stage waits.
WAITING = {"dvc", "wait.py"}


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
        # Seconds first, as Quartz and Spring write it.
        ("0 0 3 * * *", None, "UTC", "--cron: expected five fields"),
        ("61 3 * * *", None, "UTC", "--cron: expected five fields"),
        ("0 3 31 2 *", None, "UTC", "--cron: expected a time that comes, found '0 3 31 2 *'"),
        ("*/90 * * * *", None, "UTC", "--cron: expected a step of at most 60 minutes, found */90 in"),
        ("0 0 */32 * *", None, "UTC", "--cron: expected a step of at most 31 days, found */32 in"),
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


def test_a_run_whose_schedule_died_before_it_began_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    starter = SimpleNamespace(is_alive=lambda: dead.poll() is None)
    monkeypatch.setattr("multiprocessing.parent_process", lambda: starter)
    with pytest.raises(FlowError, match=r"The schedule .* that started this run has ended"):
        clean_labels.fn()


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def prefect(environment: dict[str, str]) -> Iterator[SyncPrefectClient]:
    """A client of the server that the runs report to."""
    address = {PREFECT_API_URL: environment["PREFECT_API_URL"]}
    with temporary_settings(address), get_client(sync_client=True) as client:
        yield client


def deploy(client: SyncPrefectClient, name: str, root: str) -> UUID:
    """A deployment as `flows.serve` makes it."""
    return client.create_deployment(
        flow_id=client.create_flow(clean_labels),
        name=name,
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        parameters={"root": root},
    )


def fall_due(client: SyncPrefectClient, deployment: UUID, *states: State) -> FlowRun:
    """A new run of a deployment, whose runner told the server these states."""
    run = client.create_flow_run_from_deployment(deployment)
    for state in states:
        client.set_flow_run_state(run.id, state)
    return client.read_flow_run(run.id)


def test_the_server_keeps_leases_on_the_disk(prefect: SyncPrefectClient) -> None:
    settings = prefect.request("GET", "/admin/settings").json()["server"]["concurrency"]
    assert settings["lease_storage"] == "prefect.server.concurrency.lease_storage.filesystem"
    assert settings["initial_deployment_lease_duration"] == 60


@pytest.mark.parametrize("reached", [[Pending()], [Pending(), Submitting()], [Pending(), Running()]])
def test_a_schedule_ends_what_a_killed_one_left_at_work_and_frees_its_place(
    prefect: SyncPrefectClient, tmp_path: Path, reached: list[State]
) -> None:
    deployment = deploy(prefect, f"left-{len(reached)}-{reached[-1].name}", str(tmp_path))
    name = prefect.read_deployment(deployment).name
    left = fall_due(prefect, deployment, *reached)
    assert left.state_name == reached[-1].name
    assert fall_due(prefect, deployment, Pending()).state_name == "Cancelled"
    # An orphan that is still at work holds the workspace.
    with only_flow(tmp_path):
        take_over(tmp_path, name)
    assert prefect.read_flow_run(left.id).state_name == reached[-1].name
    take_over(tmp_path, name)
    assert prefect.read_flow_run(left.id).state_name == "Crashed"
    assert fall_due(prefect, deployment, Pending(), Running()).state_name == "Running"


def test_a_name_that_another_workspace_serves_is_refused(
    prefect: SyncPrefectClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = deploy(prefect, "shared", str(tmp_path / "first"))
    take_over(tmp_path / "first", "shared")
    with pytest.raises(
        FlowError, match=f"--name shared: expected a name .* found the one of {tmp_path}/first"
    ):
        take_over(tmp_path / "second", "shared")
    # Ctrl-C pauses a schedule: then the name is free.
    prefect.pause_deployment(deployment)
    take_over(tmp_path / "second", "shared")
    assert f"shared was the schedule of {tmp_path}/first" in capsys.readouterr().err
    take_over(tmp_path / "second", "new")


def runs_of(client: SyncPrefectClient, deployment: str) -> list[FlowRun]:
    """All runs of a deployment that are over or under way, in the order in which they fell due."""
    # A schedule has a hundred runs that are not due.
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[deployment])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=[StateType.SCHEDULED]))
        ),
    )
    return sorted(runs, key=lambda run: run.expected_start_time or run.created)


def until(condition: Callable[[], Any], process: subprocess.Popen[str], within_s: float = 300) -> Any:
    """Wait for something true while the process lives."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


@pytest.mark.slow
def test_due_runs_start_by_themselves_one_at_a_time_can_be_cancelled_and_leave_an_experiment(
    waited: Door, prefect: SyncPrefectClient
) -> None:
    # Otherwise a schedule asks each 10 s what is due.
    door = Door(waited.folder, {**waited.environment, "PREFECT_RUNNER_POLL_FREQUENCY": "1"})
    set_params(door.folder / "params.yaml", {"report.top_issues": 9})
    served = door.start("--every", "2s", "--name", "often", "--record", "experiment", command=SERVE)

    def in_state(state: str) -> list[UUID]:
        return [run.id for run in runs_of(prefect, "often") if run.state_name == state]

    def state_of(run: UUID) -> str | None:
        return prefect.read_flow_run(run).state_name

    try:
        until(lambda: working(door.folder, WAITING) == WAITING, served)
        # What falls due while a run is at work is cancelled.
        until(lambda: in_state("Running") and in_state("Cancelled"), served)
        (first,) = in_state("Running")
        at_work = [found for found in processes(door.folder) if WAITING & {*found.cmdline()}]
        # What the page's button does.
        prefect.set_flow_run_state(first, State(type=StateType.CANCELLING, name="Cancelling"))
        until(lambda: state_of(first) == "Cancelled", served)
        until(lambda: not {*at_work} & {*processes(door.folder)}, served)
        # One that falls due later does what the cancelled one left.
        until(lambda: working(door.folder, WAITING) == WAITING and in_state("Running"), served)
        prefect.pause_deployment(named(prefect, "often").id)
        (second,) = in_state("Running")
        assert not experiments(door.folder)
        (door.folder / "go").touch()
        until(lambda: state_of(second) == "Completed", served)
    finally:
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=60)
    door.assert_no_orphans()
    (name,) = experiments(door.folder)
    shown = door.dvc("exp", "show", "--csv")
    assert "report.top_issues" in shown
    assert name in shown
    # A run that finds everything up to date leaves no version.
    assert "Everything is up to date." in door.flow("--record", "experiment", "--set", "report.top_issues=9")
    assert list(experiments(door.folder)) == [name]
    # No two ran at once.
    one, two = (prefect.read_flow_run(run) for run in (first, second))
    assert one.end_time <= two.start_time


@pytest.mark.endurance
@pytest.mark.slow
def test_a_run_cancelled_on_the_page_leaves_no_process(done: Door, prefect: SyncPrefectClient) -> None:
    """While a stage of the pipeline trains."""
    done.add_endless()
    done.choose_model("endless")
    served = done.start("--every", "1h", "--name", "long", command=SERVE)
    try:
        deployment = until(lambda: prefect.read_deployments() and named(prefect, "long"), served)
        run = prefect.create_flow_run_from_deployment(deployment.id)
        until(lambda: working(done.folder) >= {"dvc", "tasks"}, served)
        # What the page's button does.
        prefect.set_flow_run_state(run.id, State(type=StateType.CANCELLING, name="Cancelling"))
        until(lambda: prefect.read_flow_run(run.id).state_name == "Cancelled", served)
        until(lambda: not working(done.folder), served)
    finally:
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=60)
    done.assert_no_orphans()
    done.choose_model("nearest_mean")
    assert not outcomes(done.flow(), "Completed")


def working(folder: Path, words: Collection[str] = ("dvc", "tasks", "tasks.stage_server")) -> set[str]:
    """Those of the words, modules, that processes which work for a flow run in the workspace have."""
    commands = [process.cmdline() for process in processes(folder)]
    return {*words} & {word for command in commands for word in command}


def named(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    return next((found for found in client.read_deployments() if found.name == name), None)


@pytest.mark.slow
def test_a_worker_runs_what_prefect_yaml_deploys(waited: Door, prefect: SyncPrefectClient) -> None:
    # As a shell there would have it.
    door = Door(waited.folder, {**waited.environment, "PWD": str(waited.folder)})
    assert (door.folder / "prefect.yaml").read_bytes() == (ROOT / "prefect.yaml").read_bytes()
    set_params(door.folder / "params.yaml", {"report.top_issues": 9})
    (door.folder / "go").touch()
    door.run("prefect", "work-pool", "create", "local", "--type", "process")
    door.run("prefect", "--no-prompt", "deploy", "--name", "nightly")
    # The run of a worker that was killed, whose lease has run out since.
    deployment = named(prefect, "nightly")
    left = fall_due(prefect, deployment.id, Pending(), Running())
    limit = deployment.global_concurrency_limit.name
    prefect.update_global_concurrency_limit(limit, GlobalConcurrencyLimitUpdate(active_slots=0))
    prefect.create_flow_run_from_deployment(deployment.id)
    door.run("prefect", "worker", "start", "--pool", "local", "--run-once")
    dead, run = runs_of(prefect, "nightly")
    assert (dead.id, dead.state_name) == (left.id, "Crashed")
    assert run.state is not None
    assert run.state.message is not None
    assert "1 of 1 stages were out of date. Kept as experiment relabel-" in run.state.message
    (schedule,) = named(prefect, "nightly").schedules
    assert schedule.schedule.cron == "0 3 * * *"
    door.assert_no_orphans()


@pytest.mark.slow
@pytest.mark.parametrize("n_runs", [2, pytest.param(25, marks=pytest.mark.endurance)])
def test_runs_of_five_parallel_folds_by_two_flows_lock_no_database(
    environment: dict[str, str], prefect_folder: Path, tmp_path: Path, n_runs: int
) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    fold = {"cmd": "echo > fold_${item.fold}", "outs": ["fold_${item.fold}"]}
    stages = {"fold": {"matrix": {"fold": [0, 1, 2, 3, 4]}, **fold}}
    # Two flows at a time, each with its five tasks at a time.
    runs = f"for n in $(seq {n_runs}); do python -m flows.clean_labels --workers 5; done"
    running = []
    for folder in folders:
        make_workspace(folder, SETTINGS, source=ROOT)
        with (folder / "dvc.yaml").open("w") as file:
            YAML().dump({"stages": stages}, file)
        door = Door(folder, with_warm_programs(environment))
        door.dvc("repro")
        running.append(door.start(runs, command=["sh", "-ec"]))
    for process in running:
        log, _ = process.communicate(timeout=900)
        assert process.returncode == 0, log
        assert log.count("Everything is up to date.") == n_runs
    assert "database is locked" not in (prefect_folder / "server.log").read_text()


@pytest.mark.slow
def test_a_version_as_commit_holds_the_lock_and_the_decisions_and_nothing_else(done: Door) -> None:
    git(done.folder, "config", "user.name", "test")
    git(done.folder, "config", "user.email", "test@localhost")
    (done.folder / "notes.txt").write_text("mine")
    git(done.folder, "add", "notes.txt")
    line = Decision("0", "keep", "", "0", "anna", "2026-01-31T12:00:00Z", "none")
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
def test_an_experiment_has_the_metrics_though_no_commit_has_them_yet(
    done: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.dvc_api.record._DVC", [str(warm_python()), "-m", "dvc"])
    assert "?? metrics/" in git(done.folder, "status", "--porcelain")
    save_version(done.folder, "experiment", "first")
    commit = experiments(done.folder)["first"]
    assert "metrics/label_issues.json" in git(done.folder, "ls-tree", "-r", "--name-only", commit)
    assert "metrics/label_issues.json" in read_committed(done.folder, commit, ["metrics/label_issues.json"])


@pytest.mark.slow
def test_versions_are_sent_with_their_data(
    waited: Door,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("user.name", "user.email"):
        git(waited.folder, "config", name, "test@localhost")
    monkeypatch.chdir(waited.folder)
    assert run_once(["--record", "commit", "--push"]) == 1
    assert "clean_labels: --push: expected a git remote `origin`, found none." in capsys.readouterr().err
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "origin.git")
    git(waited.folder, "remote", "add", "origin", str(tmp_path / "origin.git"))
    waited.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    git(waited.folder, "commit", "--quiet", "--no-gpg-sign", "-am", "Remote")
    (waited.folder / "go").touch()
    log = waited.flow("--set", "report.top_issues=9", "--record", "commit", "--push")
    assert git(waited.folder, "rev-parse", "--short", "HEAD").strip() in log
    clone = Door(tmp_path / "clone", waited.environment)
    git(tmp_path, "clone", "--quiet", "origin.git", "clone")
    # All that the commit names is in the store: nothing is run.
    assert "Everything is up to date." in clone.flow("--pull")
    log = waited.flow("--set", "report.top_issues=8", "--record", "experiment", "--push")
    (name,) = re.findall(r"Kept as experiment (\S+)\.", log)
    assert name in clone.dvc("exp", "list", "origin", "--name-only")


@pytest.mark.slow
def test_a_version_that_git_refuses_is_one_sentence(done: Door) -> None:
    (done.folder / ".git" / "index.lock").touch()
    with pytest.raises(FlowError, match="The version could not be kept: `git add` said: "):
        save_version(done.folder, "commit", "Nightly")


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a server and a schedule that share a new database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    # The shortest lease that there is, looked at each second.
    short = {
        "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "30",
        "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1",
        "PREFECT_UI_ENABLED": "false",
    }
    return {**ENVIRONMENT, **short, "PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": url}


def start_server(door: Door) -> subprocess.Popen[str]:
    url = urlsplit(door.environment["PREFECT_API_URL"])
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    server = door.start("--port", str(url.port), command=command, output=subprocess.DEVNULL)
    health = f"{url.scheme}://{url.netloc}/api/health"

    def answers() -> bool:
        try:
            return httpx.get(health, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    until(answers, server)
    return server


@pytest.mark.endurance
@pytest.mark.slow
@pytest.mark.parametrize("at", [StateType.PENDING, StateType.RUNNING])
@pytest.mark.parametrize("killed", ["all", "server and schedule", "server", "schedule"])
def test_a_schedule_goes_on_after_a_power_cut(
    home: dict[str, str], tmp_path: Path, killed: str, at: StateType
) -> None:
    door = make_waiting(tmp_path / "workspace", home)
    address = {PREFECT_API_URL: home["PREFECT_API_URL"]}

    def serve() -> subprocess.Popen[str]:
        return door.start("--every", "10s", "--name", "cut", command=SERVE, output=subprocess.DEVNULL)

    def states() -> dict[UUID, StateType]:
        return {run.id: run.state.type for run in runs_of(client, "cut") if run.state is not None}

    server = start_server(door)
    served = serve()
    try:
        with temporary_settings(address), get_client(sync_client=True) as client:
            begun = until(lambda: [run for run, state in states().items() if state == at], served)[0]
            if at == StateType.RUNNING:
                until(lambda: working(door.folder, ["wait.py"]), served)
            for name, process in (("server", server), ("schedule", served)):
                if killed == "all" or name in killed:
                    process.kill()
                    process.wait()
            if killed == "all":
                for left in processes(door.folder):
                    left.kill()
            (door.folder / "go").touch()
            server = start_server(door) if server.poll() is not None else server
            served = serve() if served.poll() is not None else served
            # A later run runs, and then this one is not at work any more either.
            until(lambda: StateType.COMPLETED in [states()[run] for run in states() if run != begun], served)
            until(lambda: states()[begun] in TERMINAL_STATES, served, within_s=20)
    finally:
        for process in (served, server):
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
    door.assert_no_orphans()
