"""Runs the stages of one flow run, and ends what still runs when the flow run ends."""

import os
import re
import subprocess
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from flows import FlowError
from flows.dvc_api.graph import is_fresh
from flows.dvc_api.single_stage import end_process_group, run_stage
from flows.engines.bridge import Engine
from flows.prefect_page import Bar, Page
from flows.stage_process import new_address, start_process, take_ahead
from flows.terminal_progress import RunProgress, epoch_of
from tasks import plugins
from tasks.params import Params
from tasks.stage_server import OF_SKLEARN, OF_TORCH

# A server imports for as long as two stages run.
_FEWEST = 4


def check_options(workers: int | None, timeout_s: float | None) -> None:
    """Check what a flow or a sweep may be asked.

    Raises:
        FlowError: a value is out of range.
    """
    if workers is not None and workers < 1:
        raise FlowError(f"--workers: expected at least 1, found {workers}.")
    if timeout_s is not None and timeout_s <= 0:
        raise FlowError(f"--timeout-s: expected more than 0 seconds, found {timeout_s:g}.")


def default_workers(threads: int) -> int:
    """How many stages may run at a time on this machine, if each uses `threads` cores."""
    return max(1, (os.cpu_count() or 1) // threads)


def needs_torch(stages: Collection[str], params: Params) -> bool:
    """Whether one of the stages trains a model that uses torch, which takes seconds to import.

    Raises:
        ValueError: there is no such model.
    """
    trains = any(name.split("@")[0] in ("train_fold", "retrain") for name in stages)
    return trains and bool(plugins.load("models", params.train_fold.model).USES_TORCH)


def imports_of(stages: Collection[str], params: Params) -> tuple[str, ...] | None:
    """What a stage server for these stages imports late.

    None where there are too few of them for one, or where who started this run has one.

    Raises:
        ValueError: there is no such model.
    """
    if os.environ.get("RELABEL_STAGE_SERVER"):
        return None
    if needs_torch(stages, params):
        return OF_TORCH
    return OF_SKLEARN if len(stages) >= _FEWEST else None


class StageRunner:
    """Runs the stages of one flow run, and ends what still runs when the flow run ends.

    Args:
        root: of the workspace.
        fresh: stages that are up to date.
        forced: stages to run although they are fresh.
        timeout_s: seconds after which a stage is ended.
        progress: what the terminal shows.
        page: what Prefect's page shows.
        engine: where stages of groups run; None for this machine.
        imports: what the stage server imports late; None: no server is started.
    """

    def __init__(
        self,
        root: Path,
        fresh: Collection[str],
        forced: Collection[str],
        timeout_s: float | None,
        progress: RunProgress,
        page: Page,
        engine: Engine | None = None,
        imports: tuple[str, ...] | None = None,
    ) -> None:
        self.root = root
        self.fresh = fresh
        self.forced = forced
        self.timeout_s = timeout_s
        self.progress = progress
        self.page = page
        self.engine = engine
        self.imports = imports
        # Where this run needs no server, one that was started ahead ends with the program.
        ahead = take_ahead() if imports else None
        self.socket = ahead[0] if ahead else new_address()
        self._ahead = ahead[1] if ahead else None
        _link_socket(root, self.socket)
        self._server: subprocess.Popen[bytes] | None = None
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def __enter__(self) -> "StageRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def run(self, name: str) -> State[str]:
        """Run one stage unless it is fresh; the state is named after what happened."""
        return self.run_in(self.root, name, name)

    def run_in(self, root: Path, name: str, label: str) -> State[str]:
        """The same in the workspace `root`, shown as `label`: a sweep has many workspaces and one runner."""
        try:
            if name in self.fresh or (name not in self.forced and is_fresh(root, name)):
                return Completed(name="Cached", message=f"{label} is up to date.", data="Cached")
            if self.engine is None and self.imports is not None:
                self._start_server(self.imports)
            server = self.engine.address(name) if self.engine else self._server_address()
            outcome = run_stage(
                root,
                name,
                ["--force"] if name in self.forced else [],
                {
                    "RELABEL_STAGE_SERVER": server,
                    "RELABEL_DVC_SERVER": str(self.socket) if self._server else "",
                },
                self._listener(label),
                self._register,
                self.timeout_s,
            )
        except FlowError as error:
            return Failed(message=str(error))
        return Completed(name=outcome, message=f"{label}: {outcome.lower()}.", data=outcome)

    def end(self) -> None:
        """End every stage that still runs, and the server with all that it forked."""
        with self._lock:
            self._ended = True
            running = [process for process in self._running if process.poll() is None]
            server, self._server = self._server, None
        for process in running:
            end_process_group(process)
        if server is not None:
            # Its stdin ends. It then kills its stages and ends.
            server.communicate()
        remove_socket(self.root)

    def _listener(self, label: str) -> Callable[[str], None]:
        """A function that shows each line of a stage in the log, on the terminal and, epochs, on the page."""
        logger = get_run_logger()
        bar = Bar(self.page, re.sub("[^a-z0-9]+", "-", label.lower()), f"Epochs of {label}")

        def say(line: str) -> None:
            logger.info(line)
            self.progress.say(label, line)
            if found := epoch_of(line):
                bar.move(found[0] / found[1])

        return say

    def _register(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            self._running.add(process)
            ended = self._ended
        if ended:
            end_process_group(process)

    def _server_address(self) -> str:
        """Where stages run: in the server of this run, in one that who started this run names, or nowhere."""
        own = self.imports is not None
        return str(self.socket) if own else os.environ.get("RELABEL_STAGE_SERVER", "")

    def _start_server(self, imports: Sequence[str]) -> None:
        with self._lock:
            if self._server is None and not self._ended:
                self._server = self._ahead or start_process(self.root, self.socket, imports)


def _link_socket(root: Path, address: Path) -> None:
    """Say in the workspace where its stage server is, so that the next run removes what a killed one left."""
    remove_socket(root)
    link = _socket_link(root)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(address)


def remove_socket(root: Path) -> None:
    """Remove the socket of a workspace's stage server, and the link to it, where there are any."""
    link = _socket_link(root)
    if link.is_socket():
        link.resolve().unlink(missing_ok=True)
    link.unlink(missing_ok=True)


def _socket_link(root: Path) -> Path:
    return root / ".dvc" / "tmp" / "relabel" / "stages"
