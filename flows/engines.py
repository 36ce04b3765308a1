"""Engines: with `--engine dask` or `ray`, what dvc.yaml fans out does its work on the workers of a cluster.

DVC stays with the flow: its locks hold on one machine alone. The flow's `dvc repro --single-item` runs
`python -m tasks` as ever; that finds at RELABEL_STAGE_SERVER this module's bridge rather than a stage server.
The bridge submits a Prefect task through Prefect's own task runner, the worker runs the stage in a stage
server of its own (`tasks.stage_server`) in the same folder, and its lines come back through a file there.

The flow and the workers share the workspace's file system, and there, for each run, one folder:

    lease           the flow writes it anew each second; workers end all they run when it stays or goes
    STAGE-N.ticket  leave to run a stage; the flow takes it back to end the stage
    STAGE-N.running a worker has made it its own; it goes when nothing of the stage runs any more
    STAGE-N.log     what the stage prints
"""

import contextlib
import contextvars
import importlib
import importlib.metadata
import importlib.util
import itertools
import json
import logging
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from flows import FlowError
from tasks.params import load_params
from tasks.stage_server import KILLED, Request, receive_request, send_request

from prefect import task  # isort: skip  # after flows, which sets Prefect's settings
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

EngineName = Literal["local", "dask", "ray"]

LEASE_S = 10.0  # a worker that has seen no new lease for so long ends what it runs
_BEAT_S = 1.0
_LOOK_S = 0.3
# Waits before a stage whose worker was lost runs again; long enough for a worker that only lost its cluster,
# not the file system, to see its ticket gone.
_RETRY_S = (2.0, 10.0, 30.0)
_ANSWER_S = 10.0  # for a cluster to answer
_PROBE_S = 5.0
_SHARE_S = 5.0  # for a new file to show on another machine
_MODULES = {"dask": ("prefect_dask", "distributed"), "ray": ("prefect_ray", "ray")}
# What must agree for equal bytes; `python` is the interpreter.
_VERSIONS = ("torch", "pytorch-lightning", "numpy", "pyarrow", "scikit-learn", "prefect")


class Order(NamedTuple):
    """What a worker is told of a stage."""

    root: str
    folder: str
    attempt: str
    arguments: list[str]
    environment: dict[str, str]
    versions: dict[str, str]


# --- the flow's side ----------------------------------------------------------------------------------------


def check(engine: str, address: str | None) -> None:
    """Refuse an engine that cannot work, before anything starts.

    Raises:
        FlowError: there is no such engine, its packages are not installed, or nothing listens at `address`.
    """
    if engine not in ("local", *_MODULES):
        raise FlowError(f"--engine: expected local, dask or ray, found {engine}.")
    if engine == "local":
        if address:
            raise FlowError(f"--address: expected --engine dask or ray with it, found local and {address}.")
        return
    for module in _MODULES[engine]:
        if importlib.util.find_spec(module) is None:
            raise FlowError(
                f"--engine {engine}: the package {module} is not installed. Type "
                f"`python -m pip install '.[{engine}]'` in the checkout."
            )
    if address:
        url = urlsplit(address if "://" in address else f"//{address}")
        try:
            host, port = url.hostname, url.port
        except ValueError:
            host = port = None
        # Not Ray Client (ray://): what it runs in is neither the flow's machine nor a worker.
        if not host or not port or (engine == "ray" and "://" in address):
            example = "tcp://HOST:8786" if engine == "dask" else "HOST:6379"
            raise FlowError(f"--address: expected {example}, found {address}.")
        try:
            socket.create_connection((host, port), timeout=3).close()
            # Something listens; is it what it should be? The engines' own clients ask for minutes.
            (_probe_dask if engine == "dask" else _probe_ray)(address)
        except Exception as error:  # OSError, and the engines' own hierarchies
            raise _no_answer(engine, address, error) from error


def _probe_dask(address: str) -> None:
    import asyncio

    comm: Any = importlib.import_module("distributed.comm")

    async def ask() -> None:
        connection = await asyncio.wait_for(comm.connect(address, timeout=_PROBE_S), _PROBE_S)
        await connection.close()

    _quiet_dask()
    # In a thread of its own, which has no event loop yet.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, ask()).result()


def _probe_ray(address: str) -> None:
    import grpc

    if os.environ.get("RAY_USE_TLS") != "1":
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=_PROBE_S)


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
        # Without a server the flow has started one for itself, which the workers must not do too.
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

    def _run(self, request: Request, connection: socket.socket, stream: Any) -> int | None:
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
                    # The end of the flow looks like this too, when the cluster goes first.
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
        self, attempt: str, stage: str, request: Request, connection: socket.socket, stream: Any
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
                    result = future.result(timeout=_LOOK_S, raise_on_failure=False)
                    over = True
                except TimeoutError:
                    over = False
                # Opened anew each time, which is when a network file system looks again.
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

                # Its own retries would run beside ours.
                stack.enter_context(remote_options(num_cpus=self.threads, max_retries=0))
            parameters = {"stage": stage, "order": tuple(order)}
            return self.task_runner.submit(stage_on_worker, parameters=parameters)


@contextlib.contextmanager
def open_engine(engine: str, address: str | None, root: Path, workers: int | None) -> Iterator[Engine | None]:
    """The cluster at `address`, or a local one of `workers` processes; None for the local engine.

    Raises:
        FlowError: the engine is not installed, or the cluster does not answer or has no workers.
    """
    check(engine, address)
    if engine == "local":
        yield None
        return
    threads = load_params(root / "params.yaml").train_fold.threads
    n_workers = workers or max(1, (os.cpu_count() or 1) // threads)
    with contextlib.ExitStack() as stack:
        connect = _dask if engine == "dask" else _ray
        try:
            with _signals_kept():
                task_runner, slots = connect(stack, address, n_workers, threads)
        except FlowError:
            raise
        except Exception as error:  # the engines' own hierarchies
            raise _no_answer(engine, address or "this machine", error) from error
        if slots < 1:
            raise FlowError(f"--address: the {engine} cluster at {address} has no workers; start some.")
        opened = Engine(engine, root, task_runner, slots, threads)
        stack.callback(opened.end)
        opened.start()
        yield opened


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep Ctrl-C from the processes that start here, and Ray's handler of SIGTERM from this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dask(
    stack: contextlib.ExitStack,
    address: str | None,
    n_workers: int,
    threads: int,  # noqa: ARG001  # a worker's thread is a stage's place, whatever cores it uses
) -> tuple[Any, int]:
    """A task runner and how many stages its cluster runs at a time."""
    from prefect_dask.task_runners import DaskTaskRunner

    _quiet_dask()
    if address:
        runner = DaskTaskRunner(address=address, client_kwargs={"timeout": _ANSWER_S})
    else:
        # What a worker process holds is little; its stages are processes of their own.
        runner = DaskTaskRunner(
            cluster_kwargs={
                "n_workers": n_workers,
                "threads_per_worker": 1,
                "host": "127.0.0.1",
                "dashboard_address": None,
                # Without it the health pages of scheduler and workers listen to the network.
                "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
                "worker_dashboard_address": "127.0.0.1:0",
                "memory_limit": 0,
                "silence_logs": logging.CRITICAL,
            }
        )
    stack.enter_context(runner)
    client: Any = runner.client
    with contextlib.suppress(TimeoutError):
        client.wait_for_workers(1 if address else n_workers, timeout=_ANSWER_S if address else 60)
    return runner, sum(client.nthreads().values())


def _quiet_dask() -> None:
    """Dask warns of workers that end, at an end too."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


def _ray(stack: contextlib.ExitStack, address: str | None, n_workers: int, threads: int) -> tuple[Any, int]:
    """A task runner and how many stages its cluster runs at a time."""
    if not address:
        # Ray listens to the network whatever address it is given: it takes this run's token to be heard.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    elif Path("~/.ray/auth_token").expanduser().exists():
        # `ray start` then asks for that token, and `ray.init` must be told to show it.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # leave CUDA_VISIBLE_DEVICES alone, and say nothing of it
        "RAY_DISABLE_METRICS_COLLECTION": "1",
    }.items():
        os.environ.setdefault(name, value)
    from prefect_ray import RayTaskRunner

    ray: Any = importlib.import_module("ray")

    options: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if not address:
        options |= {
            "num_cpus": n_workers * threads,
            "include_dashboard": False,
            # Nothing but small answers goes through it.
            "object_store_memory": 80 * 2**20,
        }
    stack.enter_context(runner := RayTaskRunner(address=address or "local", init_kwargs=options))
    return runner, int(ray.cluster_resources().get("CPU", 0)) // threads


def _no_answer(engine: str, address: str, error: Exception) -> FlowError:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return FlowError(f"--address: no {engine} cluster answers at {address} ({said}).")


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


def _write(stream: Any, content: bytes) -> int:
    with contextlib.suppress(BrokenPipeError):
        stream.write(content)
    return len(content)


def installed_versions() -> dict[str, str]:
    """The versions that must agree between the flow and its workers."""
    found = {"python": ".".join(map(str, sys.version_info[:2]))}
    return found | {name: importlib.metadata.version(name) for name in _VERSIONS}


# --- the workers' side --------------------------------------------------------------------------------------


@task(task_run_name="{stage} on a worker", cache_policy=NO_CACHE, persist_result=False, retries=0)
def stage_on_worker(stage: str, order: tuple[Any, ...]) -> Any:  # noqa: ARG001  # the name is the task's
    """The work of one stage, on a worker."""
    # The function travels by value: the worker's own copy of the module keeps the stage servers.
    from flows import engines

    return engines.work(engines.Order(*order))


_servers: dict[str, subprocess.Popen[bytes]] = {}
_servers_lock = threading.Lock()


def work(order: Order) -> int | str | None:
    """Run a stage in this worker's stage server.

    Returns:
        The exit status; a sentence why this worker cannot run it; None if the ticket is gone or another
        worker has it, as when an engine runs by itself again what a lost worker had.
    """
    folder, host = Path(order.folder), socket.gethostname()
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
    ticket, running, log = (folder / f"{order.attempt}.{kind}" for kind in ("ticket", "running", "log"))
    if not ticket.exists():
        return None
    try:
        with running.open("x") as file:
            file.write(f"{host} {os.getpid()}")
    except FileExistsError:
        return None
    try:
        server = _start_server(order.root, folder)
        if server is None:
            return f"The worker on {host} could not start a stage server; its log says why."
        with socket.socket(socket.AF_UNIX) as connection, log.open("ab") as stream:
            connection.connect(server)
            stream.write(f"On {host}, worker process {os.getpid()}\n".encode())
            stream.flush()
            request = Request(order.arguments, order.root, {**os.environ, **order.environment})
            send_request(connection, request, (stream.fileno(), stream.fileno()))
            stream.close()
            connection.settimeout(_LOOK_S)
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
    finally:
        running.unlink(missing_ok=True)


def _start_server(root: str, folder: Path) -> str | None:
    """The socket of this process's stage server for this run, started if need be; None if that fails."""
    address = f"{tempfile.gettempdir()}/relabel-{folder.name}-{os.getpid()}"
    with _servers_lock:
        server = _servers.get(address)
        if server is None:
            # One for each run: the next may have other code.
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
        time.sleep(_LOOK_S)
        try:
            found = (folder / "lease").read_text()
        except FileNotFoundError:
            break
        except OSError:  # a network file system's bad moment
            continue
        if found != seen:
            seen, since = found, time.monotonic()
    with _servers_lock:
        server = _servers.pop(address)
    server.communicate()
