"""Looks for new data by the process that serves a schedule: there is no run without new data."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from doors import Door
from ruamel.yaml import YAML
from small_runs import ROOT, SETTINGS

from benchmarks.workspaces import make_workspace
from flows import FlowError, new_data
from flows.new_data import due_times, has_new_data, look, looking
from flows.one_at_a_time import only_flow
from flows.serve import parse_schedule

from prefect.client.orchestration import get_client  # isort: skip  # after flows
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.settings import PREFECT_API_URL, temporary_settings

AT = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)


class Runs:
    """Counts the runs that looks make."""

    def __init__(self) -> None:
        self.n_started, self.at_work = 0, False

    def is_done(self) -> bool:
        return not self.at_work

    def start(self) -> None:
        self.n_started += 1


def test_looks_fall_due_as_the_schedule_says() -> None:
    assert due_times(parse_schedule(None, "90s", "UTC"))(AT) == AT + timedelta(seconds=90)
    nightly = due_times(parse_schedule("0 3 * * *", None, "Europe/Berlin"))
    assert nightly(AT) == datetime(2026, 2, 1, 2, tzinfo=UTC)
    assert nightly(nightly(AT)) == datetime(2026, 2, 2, 2, tzinfo=UTC)


def test_a_look_makes_a_run_only_where_there_is_new_data_and_none_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, found = Runs(), [False, True, True]
    monkeypatch.setattr(new_data, "has_new_data", lambda root: found.pop(0))
    look(tmp_path, runs)
    assert runs.n_started == 0
    look(tmp_path, runs)
    assert runs.n_started == 1
    runs.at_work = True
    look(tmp_path, runs)
    assert (runs.n_started, len(found)) == (1, 1)


@pytest.mark.parametrize("error", [FlowError("A source does not answer."), httpx.ConnectError("refused")])
def test_a_look_that_fails_is_told_and_the_next_one_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    looks = []

    def fail(root: Path) -> bool:
        looks.append(root)
        raise error

    monkeypatch.setattr(new_data, "has_new_data", fail)
    with looking(tmp_path, lambda after: after + timedelta(milliseconds=20), Runs()):
        deadline = time.monotonic() + 20
        while len(looks) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert f"serve: {error} The next look tries again." in capsys.readouterr().err


@pytest.fixture
def counted(tmp_path: Path, environment: dict[str, str]) -> Door:
    """A workspace of one stage that reads inputs/labels, and is up to date."""
    folder = tmp_path / "workspace"
    make_workspace(folder, SETTINGS, source=ROOT)
    count = {"cmd": "ls inputs/labels > listed", "deps": ["inputs/labels"], "outs": ["listed"]}
    with (folder / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": {"count": count}}, file)
    door = Door(folder, environment)
    door.dvc("repro")
    return door


def add_labels(folder: Path, name: str) -> None:
    """A file that is there since long."""
    path = folder / "inputs" / "labels" / name
    path.write_text("example_id,given_label\n")
    os.utime(path, (0, 0))


@pytest.mark.slow
def test_new_data_is_seen_when_it_is_whole_and_nobody_runs(counted: Door) -> None:
    folder = counted.folder
    assert not has_new_data(folder)
    add_labels(folder, "labels.csv")
    with only_flow(folder):
        assert not has_new_data(folder)
    assert has_new_data(folder)
    (folder / "inputs" / "labels" / "more.csv").touch()
    assert not has_new_data(folder), "it may still be being written"


@pytest.mark.slow
def test_a_schedule_for_new_data_makes_no_run_until_there_is_some(counted: Door) -> None:
    # Otherwise a schedule asks each 10 s what is to run.
    counted.environment = {**counted.environment, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    serve = [sys.executable, "-m", "flows.serve"]
    served = counted.start("--every", "1s", "--name", "looks", "--if-new-data", command=serve)
    address = {PREFECT_API_URL: counted.environment["PREFECT_API_URL"]}
    try:
        with temporary_settings(address), get_client(sync_client=True) as client:

            def states() -> list[str]:
                chosen = DeploymentFilter(name=DeploymentFilterName(any_=["looks"]))
                return [str(run.state_name) for run in client.read_flow_runs(deployment_filter=chosen)]

            wait_until(lambda: [each for each in client.read_deployments() if each.name == "looks"], served)
            wait_for_looks(counted.folder, served)
            assert states() == []
            add_labels(counted.folder, "labels.csv")
            wait_until(lambda: states() == ["Completed"], served)
            assert "labels.csv" in (counted.folder / "listed").read_text()
            wait_for_looks(counted.folder, served)
            assert states() == ["Completed"]
    finally:
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=120)
    counted.assert_no_orphans()


def wait_for_looks(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until two more looks are over and a third has begun: each holds the workspace for a moment."""
    held = folder / ".dvc" / "tmp" / "relabel-flow.lock"

    def last() -> int:
        return held.stat().st_mtime_ns if held.exists() else 0

    for _ in range(3):
        before = last()
        wait_until(lambda before=before: last() != before, process)


def wait_until(is_so: object, process: subprocess.Popen[str], within_s: float = 300) -> None:
    """Wait for something true while the process lives."""
    assert callable(is_so)
    deadline = time.monotonic() + within_s
    while not is_so():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
