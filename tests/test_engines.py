"""Engines: real two-process clusters of Dask give the bytes of a local run, and nothing is left."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cluster_tests import ON_WORKER, lose_a_worker, refuse_silent
from doors import Door, outcomes, wait_for
from small_runs import ENVIRONMENT, ROOT
from warm import run_warm

from flows import FlowError
from flows.clean_labels import main
from flows.engines import bridge, worker
from flows.engines.bridge import recover
from flows.engines.clusters import check
from flows.engines.order import LEASE_S, LOOK_S, Order, installed_versions
from tasks.stage_server import run_remotely


@pytest.fixture(scope="module")
def dask_address(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Dask scheduler with a worker, started as the manual says, on loopback."""
    folder = tmp_path_factory.mktemp("dask")
    options = {"cwd": ROOT, "env": {**environment, "DASK_TEMPORARY_DIRECTORY": str(folder)}}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--no-dashboard", "--host", address]
    worker = [*dask, "worker", address, "--nworkers", "1", "--nthreads", "1", "--no-dashboard"]
    with (folder / "log").open("w") as log:
        quiet = {"stdout": log, "stderr": log, "start_new_session": True}
        processes = [subprocess.Popen(command, **quiet, **options) for command in (scheduler, worker)]
    deadline = time.monotonic() + 60
    # As the worker says; a client that asks takes a second to import.
    while "Registered to" not in (said := (folder / "log").read_text()):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    yield address
    # To end in order takes a worker seconds.
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.mark.endurance
@pytest.mark.slow
def test_a_local_cluster_that_loses_a_worker_gives_the_bytes_of_a_local_run(done: Door) -> None:
    lose_a_worker(done, "dask")


@pytest.mark.endurance
@pytest.mark.slow
def test_a_flow_killed_on_a_cluster_leaves_no_stage_there_and_the_next_run_recovers(
    done: Door, dask_address: str
) -> None:
    before = done.lock()
    on_cluster = ["--engine", "dask", "--address", dask_address, "--until", "train_fold@0"]
    done.add_endless()
    process = done.start("--set", "train_fold.model=endless", *on_cluster)
    wait_for(process, r"epoch \d+/")
    process.kill()
    process.communicate()
    done.assert_no_orphans()
    # A run that starts sooner than workers notice ends what is left by itself.
    process = done.start(*on_cluster)
    wait_for(process, r"epoch \d+/")
    process.kill()
    process.communicate()
    log = done.flow("--set", "train_fold.model=nearest_mean", "--until", "train_fold@0")
    done.assert_no_orphans(within_s=0)
    assert outcomes(log, "Restored") == {"features", "train_fold@0"}
    assert done.lock() == before
    assert not list((done.folder / ".dvc" / "tmp" / "relabel").glob("engine-*"))


@pytest.mark.slow
def test_a_stage_that_fails_on_a_worker_says_why_and_does_not_run_again(
    done: Door, dask_address: str
) -> None:
    source = done.folder / "tasks" / "train_fold.py"
    source.write_text(
        source.read_text().replace(
            "    section = params.train_fold\n",
            "    import sys\n"
            "    loaded = 'torch' in sys.modules\n"
            '    raise ParamsError(f"Fold {fold} is broken: mend it. Torch is loaded: {loaded}.")\n',
        )
    )
    log = done.flow(
        "--engine",
        "dask",
        "--address",
        dask_address,
        "--until",
        "train_fold@0",
        "--timeout-s",
        "300",
        status=1,
    )
    # Nothing trains here that needs torch, which takes seconds to import.
    assert "clean_labels: Fold 0 is broken: mend it. Torch is loaded: False." in log, log
    assert len(re.findall(ON_WORKER, log)) == 1


# --- the workers' side, without a cluster -------------------------------------------------------------------


def order(root: Path, **changes: object) -> Order:
    whole = Order(str(root), str(root / "run"), "stage-1", ["download"], {}, installed_versions())
    return whole._replace(**changes)


def test_a_worker_that_sees_another_file_system_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_SHARE_S", 0.1)
    said = worker.work(order(tmp_path))
    assert re.fullmatch(
        rf"The worker on \S+ does not see {tmp_path}/run, .*: mount the workspace there as {tmp_path}\.", said
    )


def test_a_worker_with_another_environment_says_so(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lease").touch()
    said = worker.work(order(tmp_path, versions=installed_versions() | {"torch": "1.0"}))
    assert re.fullmatch(
        r"The worker on \S+ has torch \S+ where the flow has 1\.0: install requirements\.lock there too\.",
        said,
    )


def test_a_stage_runs_only_with_a_ticket_and_only_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lease").touch()
    assert worker.work(order(tmp_path)) is None
    (tmp_path / "run" / "stage-1.ticket").touch()
    (tmp_path / "run" / "stage-1.running").touch()
    assert worker.work(order(tmp_path)) is None


def test_recovery_waits_for_workers_that_may_still_write(tmp_path: Path) -> None:
    folder = tmp_path / ".dvc" / "tmp" / "relabel" / "engine-1"
    folder.mkdir(parents=True)
    (folder / "lease").touch()
    claim = folder / "stage-1.running"
    claim.write_text("elsewhere 1")
    seen = []

    def worker() -> None:
        while (folder / "lease").exists():
            time.sleep(0.01)
        time.sleep(0.3)
        seen.append("ended")
        claim.unlink()

    thread = threading.Thread(target=worker)
    thread.start()
    recover(tmp_path)
    assert seen == ["ended"]
    assert not folder.exists()
    thread.join()


def test_recovery_does_not_wait_for_a_killed_worker_of_this_machine(tmp_path: Path) -> None:
    folder = tmp_path / ".dvc" / "tmp" / "relabel" / "engine-1"
    folder.mkdir(parents=True)
    process = subprocess.Popen(["true"])
    process.wait()
    (folder / "stage-1.running").write_text(f"{socket.gethostname()} {process.pid}")
    started = time.monotonic()
    recover(tmp_path)
    assert time.monotonic() - started < LEASE_S / 2
    assert not folder.exists()


# --- cheap twins of the tests that kill workers and flows ---------------------------------------------------


class LosingCluster:
    """Stands for a cluster that loses the worker of the first two attempts."""

    def __init__(self) -> None:
        self.attempts: list[str] = []
        self.results: list[Exception | int] = [RuntimeError("gone"), RuntimeError("gone"), 0]

    def submit(self, task: object, parameters: dict[str, Any]) -> "LosingCluster":
        self.attempts.append(Order(*parameters["order"]).attempt)
        return self

    def result(self, timeout: float, raise_on_failure: bool) -> Exception | int:
        return self.results[len(self.attempts) - 1]


def test_a_stage_that_loses_its_worker_twice_runs_a_third_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bridge, "_RETRY_S", (0.01, 0.01, 0.01))
    monkeypatch.setenv("DVC_STAGE", "train_fold@0")
    cluster = LosingCluster()
    engine = bridge.Engine("dask", tmp_path, cluster, slots=2, threads=1)
    engine.start()
    try:
        assert run_remotely(engine.address("train_fold@0"), ["train_fold", "--fold", "0"]) == 0
        assert not list(engine.folder.glob("*.ticket"))
    finally:
        engine.end()
    assert cluster.attempts == ["train_fold@0-1", "train_fold@0-2", "train_fold@0-3"]
    assert capfd.readouterr().out.count("worker was lost") == 2
    assert not engine.folder.exists()
    assert not engine.socket.exists()


def test_a_worker_ends_its_stages_when_a_killed_flow_renews_its_lease_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is the test's: nobody waits, and a busy machine changes nothing."""
    # As a stage server, it ends when its stdin does.
    server = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    monkeypatch.setitem(worker._servers, "here", server)
    lease = tmp_path / "lease"
    now, last_beat = 0.0, 2.5 * LEASE_S

    def sleep(seconds: float) -> None:
        nonlocal now
        assert server.poll() is None
        assert now < 2 * last_beat
        now += seconds
        if now < last_beat:
            lease.write_text(str(now))

    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    lease.write_text("0")
    worker._end_with_lease("here", tmp_path)
    assert server.poll() == 0
    assert "here" not in worker._servers
    assert last_beat + LEASE_S - LOOK_S < now < last_beat + LEASE_S + LOOK_S


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_an_engine_that_is_not_installed_names_its_extra(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"prefect_{engine}", None)
    with pytest.raises(
        FlowError, match=rf"^--engine {engine}: .* pip install '\.\[{engine}\]'` in the checkout"
    ):
        check(engine, None)


def test_an_address_is_for_an_engine_with_a_cluster() -> None:
    with pytest.raises(FlowError, match=r"^--address: expected --engine dask or ray with it, found local"):
        check("local", "tcp://127.0.0.1:8786")
    for address in ("nonsense", "tcp://host", "tcp://host:many"):
        with pytest.raises(FlowError, match=r"^--address: expected tcp://HOST:8786, found"):
            check("dask", address)


@pytest.mark.parametrize("listens", [False, True])
def test_an_address_that_does_not_answer_is_one_sentence_soon(
    listens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_silent("dask", listens, monkeypatch)


@pytest.mark.slow
def test_the_flow_refuses_a_dead_address_before_it_starts(
    done: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(done.folder)
    assert main(["--engine", "dask", "--address", "tcp://127.0.0.1:1"]) == 1
    log = capsys.readouterr().err
    assert log.startswith("clean_labels: --address: no dask cluster answers at tcp://127.0.0.1:1"), log
    assert len(log.strip().splitlines()) == 1


def test_a_plain_flow_imports_no_engine(tmp_path: Path) -> None:
    """Nor does all else that the warm process of the tests has imported."""
    for name in ("flows", "tasks"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "imported.py").write_text("import sys, flows.clean_labels\nprint(*sys.modules)\n")
    _, said, _ = run_warm(["imported"], tmp_path, ENVIRONMENT)
    found = said.split()
    assert "flows.clean_labels" in found
    assert not {"dask", "distributed", "ray"} & {*found}
