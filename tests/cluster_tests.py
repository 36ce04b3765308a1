"""What the tests of Dask and of Ray ask of either."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest
from doors import Door, outcomes

from flows import FlowError
from flows.engines import clusters
from flows.engines.clusters import check

ON_WORKER = r"On \S+, worker process (\d+)"


def read_until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The first line that the process prints and that has the pattern."""
    assert process.stdout is not None
    log = []
    for line in process.stdout:
        log.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError("".join(log))


def lose_a_worker(done: Door, engine: str) -> None:
    """Kill a worker of a local cluster: the bytes are those of a local run, and nothing is left."""
    before = done.lock()
    process = done.start("--engine", engine, "--workers", "2", "--force", "train_fold")
    other = int(read_until(process, ON_WORKER)[1])
    # The one that started last has not trained yet, however quick the other was.
    killed = int(read_until(process, ON_WORKER)[1])
    assert killed != other
    os.kill(killed, signal.SIGKILL)
    log, _ = process.communicate(timeout=120)
    assert process.returncode == 0, log
    assert len(re.findall(rf"train_fold@\d: its {engine} worker was lost .*; it runs again in 2 s", log)) == 1
    assert outcomes(log, "Completed") == {"train_fold@0", "train_fold@1"}
    assert done.lock() == before
    assert "up to date" in done.dvc("status")
    done.assert_no_orphans()


def refuse_silent(engine: str, listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that does not answer, or answers nothing, is one sentence soon."""
    monkeypatch.setattr(clusters, "_PROBE_S", 0.5)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listens:  # something, which says nothing
            other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}".removeprefix(
            "tcp://" if engine == "ray" else ""
        )
        started = time.monotonic()
        with pytest.raises(
            FlowError, match=rf"^--address: no {engine} cluster answers at {address} \(.+\)\.$"
        ):
            check(engine, address)
        assert time.monotonic() - started < 10
