"""The workers' side: a stage runs in the stage server of its worker, as long as the lease is renewed."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.engines.order import LEASE_S, LOOK_S, Order, installed_versions
from tasks.stage_server import KILLED, Request, send_request

_SHARE_S = 5.0  # for a new file to show on another machine


@task(task_run_name="{stage} on a worker", cache_policy=NO_CACHE, persist_result=False, retries=0)
def stage_on_worker(stage: str, order: tuple[Any, ...]) -> int | str | None:  # noqa: ARG001  # the name is the task's
    """The work of one stage, on a worker."""
    # The function is sent as a copy. The stage servers are in the module as the worker has imported it.
    from flows.engines import worker
    from flows.engines.order import Order

    return worker.work(Order(*order))


_servers: dict[str, subprocess.Popen[bytes]] = {}
_servers_lock = threading.Lock()


def work(order: Order) -> int | str | None:
    """Run a stage in this worker's stage server.

    Returns:
        The exit status; a sentence why this worker cannot run it; None if the ticket is gone or another
        worker has it, as when an engine runs by itself again what a lost worker had.
    """
    folder = Path(order.folder)
    if refusal := _why_not(order, folder):
        return refusal
    ticket, running = (folder / f"{order.attempt}.{kind}" for kind in ("ticket", "running"))
    if not ticket.exists():
        return None
    try:
        with running.open("x") as file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
    except FileExistsError:
        return None
    try:
        server = _start_server(order.root, folder)
        if server is None:
            return f"The worker on {socket.gethostname()} could not start a stage server; its log says why."
        return _run_in(server, order, ticket, folder / f"{order.attempt}.log")
    finally:
        running.unlink(missing_ok=True)


def _why_not(order: Order, folder: Path) -> str | None:
    """A sentence why this worker can run no stage of the flow; None if it can."""
    host = socket.gethostname()
    deadline = time.monotonic() + _SHARE_S
    while not (folder / "lease").exists():
        if time.monotonic() > deadline:
            return (
                f"The worker on {host} does not see {folder}, which the flow has just written: mount the "
                f"workspace there as {order.root}."
            )
        time.sleep(0.2)
    differ = [
        f"{name} {found} where the flow has {order.versions[name]}"
        for name, found in installed_versions().items()
        if found != order.versions[name]
    ]
    if differ:
        return f"The worker on {host} has {', '.join(differ)}: install requirements.lock there too."
    return None


def _run_in(server: str, order: Order, ticket: Path, log: Path) -> int | None:
    """The exit status of the stage; None if it was ended, as its ticket or its run is gone."""
    with socket.socket(socket.AF_UNIX) as connection, log.open("ab") as stream:
        connection.connect(server)
        stream.write(f"On {socket.gethostname()}, worker process {os.getpid()}\n".encode())
        stream.flush()
        request = Request(order.arguments, order.root, {**os.environ, **order.environment})
        send_request(connection, request, (stream.fileno(), stream.fileno()))
        stream.close()
        connection.settimeout(LOOK_S)
        while ticket.exists():
            with contextlib.suppress(TimeoutError):
                if answer := connection.recv(1):
                    return answer[0]
                if server not in _servers:  # ended with its run
                    return None
                with log.open("a") as file:
                    file.write(f"{KILLED}\n")
                return 1
        # The stage ends with its connection, and the connection with the stage.
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(None)
        connection.recv(1)
        return None


def _start_server(root: str, folder: Path) -> str | None:
    """The socket of this process's stage server for this run, started if need be; None if that fails."""
    address = f"{tempfile.gettempdir()}/relabel-{folder.name}-{os.getpid()}"
    with _servers_lock:
        server = _servers.get(address)
        if server is None:
            # Each run has its own, as the next run may have other code.
            server = _servers[address] = subprocess.Popen(
                [sys.executable, "-m", "tasks.stage_server", address],
                cwd=root,
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
            threading.Thread(target=_end_with_lease, args=[address, folder], daemon=True).start()
    while not Path(address).exists():
        if server.poll() is not None:
            return None
        time.sleep(0.02)
    return address


def _end_with_lease(address: str, folder: Path) -> None:
    """End a stage server, and so its stages, when the flow has ended or renews its lease no more."""
    seen, since = "", time.monotonic()
    while time.monotonic() - since < LEASE_S:
        time.sleep(LOOK_S)
        try:
            found = (folder / "lease").read_text()
        except FileNotFoundError:
            break
        except OSError:  # a network file system may fail for a moment
            continue
        if found != seen:
            seen, since = found, time.monotonic()
    with _servers_lock:
        server = _servers.pop(address)
    server.communicate()
