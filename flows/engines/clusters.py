"""Clusters of Dask and Ray: whether one answers, and how to join one or start one here."""

import contextlib
import importlib
import importlib.util
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from flows import FlowError
from flows.engines.bridge import Engine

EngineName = Literal["local", "dask", "ray"]
_ANSWER_S = 10.0  # for a cluster to answer
_PROBE_S = 5.0
_MODULES = {"dask": ("prefect_dask", "distributed"), "ray": ("prefect_ray", "ray")}


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
        # Ray Client (ray://) is refused: its code runs neither on the flow's machine nor on a worker.
        if not host or not port or (engine == "ray" and "://" in address):
            example = "tcp://HOST:8786" if engine == "dask" else "HOST:6379"
            raise FlowError(f"--address: expected {example}, found {address}.")
        try:
            socket.create_connection((host, port), timeout=3).close()
            # Something listens. Whether it is a cluster, the engines' own clients would ask for minutes.
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


@contextlib.contextmanager
def open_engine(
    engine: str, address: str | None, root: Path, n_workers: int, threads: int
) -> Iterator[Engine | None]:
    """The cluster at `address`, or a local one of `n_workers` processes; None for the local engine.

    Args:
        engine: local, dask or ray.
        address: of the cluster; None to start one on this machine.
        root: of the workspace.
        n_workers: of a cluster on this machine.
        threads: CPU threads of one training.

    Raises:
        FlowError: the engine is not installed, or the cluster does not answer or has no workers.
    """
    check(engine, address)
    if engine == "local":
        yield None
        return
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
        # A worker process needs little memory; its stages are processes of their own.
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
        # Ray listens to the network whatever its address is. So each request must show the token of this run.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    elif Path("~/.ray/auth_token").expanduser().exists():
        # `ray start` then asks for that token, and `ray.init` must be told to show it.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # do not change CUDA_VISIBLE_DEVICES, and do not warn
        "RAY_DISABLE_METRICS_COLLECTION": "1",
    }.items():
        os.environ.setdefault(name, value)
    from prefect_ray import RayTaskRunner

    ray: Any = importlib.import_module("ray")

    options: dict[str, object] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if not address:
        options |= {
            "num_cpus": n_workers * threads,
            "include_dashboard": False,
            # Only small answers go through it.
            "object_store_memory": 80 * 2**20,
        }
    stack.enter_context(runner := RayTaskRunner(address=address or "local", init_kwargs=options))
    return runner, int(ray.cluster_resources().get("CPU", 0)) // threads


def _no_answer(engine: str, address: str, error: Exception) -> FlowError:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return FlowError(f"--address: no {engine} cluster answers at {address} ({said}).")
