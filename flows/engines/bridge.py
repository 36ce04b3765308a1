"""The flow's side: it takes what `python -m tasks` asks for to a worker, and answers for the worker."""

import contextlib
import contextvars
import itertools
import json
import os
import secrets
import selectors
import shutil
import socket
import tempfile
import threading
import time
from io import RawIOBase
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import FlowError
from flows.engines.order import LEASE_S, LOOK_S, Order, installed_versions
from flows.engines.worker import stage_on_worker
from tasks.stage_server import Request, receive_request

_BEAT_S = 1.0
# Waits before a stage whose worker was lost runs again; long enough for a worker that only lost its cluster,
# not the file system, to see its ticket gone.
_RETRY_S = (2.0, 10.0, 30.0)


def recover(root: Path) -> None:
    """End what a killed flow left on workers, and wait until nothing of it can write any more."""
    for folder in (root / ".dvc" / "tmp" / "relabel").glob("engine-*"):
        _end_all(folder, LEASE_S + 2)
        for left in Path(tempfile.gettempdir()).glob(f"relabel-{folder.name}*"):
            left.unlink(missing_ok=True)


class Engine:
    """A cluster and the bridge to it, for one run; `open_engine` makes and ends it."""

    def __init__(self, name: str, root: Path, task_runner: Any, slots: int, threads: int) -> None:
        self.name = name
        self.root = root
        self.task_runner = task_runner
        self.slots = slots
        self.threads = threads
        self.folder = root / ".dvc" / "tmp" / "relabel" / f"engine-{secrets.token_hex(8)}"
        self.socket = Path(tempfile.gettempdir()) / f"relabel-{self.folder.name}"
        self._ended = threading.Event()
        # Prefect's tasks belong to the flow run whose context they are submitted in.
        self._context = contextvars.copy_context()
        # If no server was there, the flow started one. The workers must use it and not start their own.
        flow_run = FlowRunContext.get()
        self._api_url = str(flow_run.client.api_url) if flow_run else None

    def address(self, stage: str) -> str:
        """What RELABEL_STAGE_SERVER is for a stage: a group's go to the workers, single ones run here."""
        return str(self.socket) if "@" in stage else ""

    def start(self) -> None:
        """Listen, and renew the lease, until `end`."""
        self.folder.mkdir(parents=True)
        (self.folder / "lease").write_text("0")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.socket))
        self.socket.chmod(0o600)
        listener.listen(64)
        threading.Thread(target=self._renew, daemon=True).start()
        threading.Thread(target=self._listen, args=[listener], daemon=True).start()

    def end(self) -> None:
        """End what runs on workers and see it ended."""
        self._ended.set()
        self.socket.unlink(missing_ok=True)
        _end_all(self.folder, 5)

    def _renew(self) -> None:
        for beat in itertools.count(1):
            if self._ended.wait(_BEAT_S):
                return
            with contextlib.suppress(OSError):  # a full disk, a stale handle: the next beat may pass
                (self.folder / "lease").write_text(str(beat))

    def _listen(self, listener: socket.socket) -> None:
        while not self._ended.is_set():
            connection, _ = listener.accept()
            threading.Thread(
                target=self._context.copy().run, args=[self._serve, connection], daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        """Run one request of `python -m tasks` on a worker; tell its status."""
        with connection:
            request, (out, err) = receive_request(connection)
            os.close(err)
            with os.fdopen(out, "wb", buffering=0) as stream:
                status = self._run(request, connection, stream)
                if status is not None:
                    connection.sendall(bytes([status]))

    def _run(self, request: Request, connection: socket.socket, stream: RawIOBase) -> int | None:
        """The exit status of the stage, or None if the caller is gone."""
        stage = request.environment.get("DVC_STAGE", request.arguments[0]).replace(os.sep, "_")
        failure = ""
        for number, wait_s in enumerate((*_RETRY_S, None), start=1):
            try:
                result = self._attempt(f"{stage}-{number}", stage, request, connection, stream)
            except Exception as error:  # the engines' own hierarchies
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                failure = f"{stage}: its {self.name} worker was lost or could not take it ({reason})"
                if isinstance(error, ImportError):
                    result = (
                        f"{stage}: a {self.name} worker could not load the flow ({reason}). Start workers "
                        f"in {self.root}, with the Python environment of the flow."
                    )
                elif wait_s is not None:
                    # When the flow ends and the cluster ends before it, it looks the same.
                    if self._ended.wait(1) or _is_closed(connection):
                        return None
                    _write(stream, f"{failure}; it runs again in {wait_s:g} s.\n".encode())
                    if self._ended.wait(wait_s):
                        return None
                    continue
                else:
                    result = (
                        f"{failure}, {number} times. Look at the workers' logs and memory, and whether they "
                        f"reach the Prefect server at {self._api_url}."
                    )
            if isinstance(result, str):
                _write(stream, f"{result}\n".encode())
                if record := request.environment.get("RELABEL_STAGE_RECORD"):
                    with Path(record).open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"stage": stage, "failure": result}) + "\n")
                return 1
            return result
        raise AssertionError("unreachable")

    def _attempt(
        self, attempt: str, stage: str, request: Request, connection: socket.socket, stream: RawIOBase
    ) -> int | str | None:
        """Exit status, a sentence why no worker can run it, or None if the caller is gone.

        Raises:
            Exception: the worker was lost.
        """
        ticket, log = (self.folder / f"{attempt}.{kind}" for kind in ("ticket", "log"))
        ticket.touch()
        log.touch()
        # The worker's own environment, and what DVC and the flow tell the stage.
        told = {k: v for k, v in request.environment.items() if k.startswith(("DVC_", "RELABEL_"))}
        order = Order(
            str(self.root), str(self.folder), attempt, request.arguments, told, installed_versions()
        )
        read = 0
        try:
            future = self._submit(stage, order)
            while True:
                try:
                    result = future.result(timeout=LOOK_S, raise_on_failure=False)
                    over = True
                except TimeoutError:
                    over = False
                # It is opened each time: a network file system then looks for new content.
                with log.open("rb") as file:
                    file.seek(read)
                    read += _write(stream, file.read())
                if over:
                    if isinstance(result, Exception):
                        raise result
                    if result is None:
                        raise FlowError("the cluster gave it up")
                    return int(result) if isinstance(result, int) else str(result)
                if _is_closed(connection):
                    return None
        finally:
            ticket.unlink(missing_ok=True)

    def _submit(self, stage: str, order: Order) -> Any:
        with contextlib.ExitStack() as stack:
            stack.enter_context(temporary_settings({PREFECT_API_URL: self._api_url}))
            if self.name == "ray":
                from prefect_ray.context import remote_options

                # Otherwise Ray would retry too, beside the bridge.
                stack.enter_context(remote_options(num_cpus=self.threads, max_retries=0))
            parameters = {"stage": stage, "order": tuple(order)}
            return self.task_runner.submit(stage_on_worker, parameters=parameters)


def _end_all(folder: Path, within_s: float) -> None:
    """Take back lease and tickets, wait until no worker runs anything of it, and remove the folder."""
    for path in (folder / "lease", *folder.glob("*.ticket")):
        path.unlink(missing_ok=True)
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and any(map(_may_run, folder.glob("*.running"))):
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def _may_run(claim: Path) -> bool:
    """Whether the worker that made the claim may still be at work; one killed on this machine is not."""
    try:
        host, pid = claim.read_text().split()
    except FileNotFoundError:
        return False
    except ValueError:  # not written yet
        return True
    return host != socket.gethostname() or Path(f"/proc/{pid}").exists() or not Path("/proc").exists()


def _is_closed(connection: socket.socket) -> bool:
    with selectors.DefaultSelector() as ready:
        ready.register(connection, selectors.EVENT_READ)
        return bool(ready.select(0))  # a caller sends nothing more


def _write(stream: RawIOBase, content: bytes) -> int:
    with contextlib.suppress(BrokenPipeError):
        stream.write(content)
    return len(content)
