"""The flow, `python -m flows.clean_labels`: one Prefect task per stage of dvc.yaml, side by side.

DVC owns the cache. Each task asks DVC whether its stage is fresh, and if not runs it by `dvc repro
--single-item`; its state is Cached, Restored (from the run-cache) or Completed. The stages of a run in which
a model with torch trains share one server (`tasks.stage_server`) that imports torch and Lightning once.
"""

import argparse
import atexit
import gc
import multiprocessing
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from flows import FlowError
from flows.dvc_api import remotes
from flows.dvc_api.graph import is_fresh, matching, plan
from flows.dvc_api.inputs import begun, new_inputs, update_imports, written_within
from flows.dvc_api.lock_file import lock_order, order_lock
from flows.dvc_api.overrides import set_params
from flows.dvc_api.record import Record, check_record, push_version, save_version
from flows.dvc_api.remotes import check_remote
from flows.dvc_api.run import end_process_group, mend_locks, run_stage
from flows.engines.bridge import Engine, recover
from flows.engines.clusters import EngineName, check, open_engine
from flows.one_at_a_time import only_flow
from flows.prefect_server import open_server, server_answers, silence_prefect
from flows.program import run_program
from flows.progress import RunProgress
from flows.results import REPORT, describe_results
from flows.stranded import only_run
from tasks import RelabelError, plugins
from tasks.params import Params, load_params

from prefect import flow, task  # isort: skip  # after flows, which sets Prefect's settings
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, Failed

if TYPE_CHECKING:
    from flows.dvc_api.revisions import Revision

UP_TO_DATE = "Everything is up to date."
_EPOCH = re.compile(r"epoch (\d+)/(\d+)")


class Page:
    """What a run shows on Prefect's page beside its tasks. A server that is gone does not stop the run."""

    def __init__(self) -> None:
        self._lost = False

    def show(self, publish: Callable[..., Any], **content: Any) -> Any:
        """Call one of `prefect.artifacts`; None where there is no server to call any more."""
        if self._lost:
            return None
        try:
            return publish(**content)
        except httpx.HTTPError:
            self._lost = True
            return None


def needs_torch(stages: Collection[str], params: Params) -> bool:
    """Whether one of the stages trains a model that uses torch, which takes seconds to import.

    Raises:
        ValueError: there is no such model.
    """
    trains = any(name.split("@")[0] in ("train_fold", "retrain") for name in stages)
    return trains and bool(plugins.load("models", params.train_fold.model).USES_TORCH)


class StageRunner:
    """Runs the stages of one flow run, and ends what still runs when the flow run ends.

    Args:
        root: of the workspace.
        fresh: stages that are up to date.
        options: more arguments of `dvc repro`, by stage.
        timeout_s: seconds after which a stage is ended.
        progress: what the terminal shows.
        engine: where stages of groups run; None for this machine.
        with_server: whether a stage server pays: the stages run in processes of their own without one.
    """

    def __init__(
        self,
        root: Path,
        fresh: set[str],
        options: Mapping[str, Sequence[str]],
        timeout_s: float | None,
        progress: RunProgress,
        engine: Engine | None = None,
        with_server: bool = True,
    ) -> None:
        self.root = root
        self.fresh = fresh
        self.options = options
        self.timeout_s = timeout_s
        self.progress = progress
        self.engine = engine
        self.with_server = with_server
        self.socket = _new_socket(root)
        self.page = Page()
        self._server: subprocess.Popen[bytes] | None = None
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def run(self, name: str) -> State[str]:
        """Run one stage unless it is fresh; the state is named after what happened."""
        return self.run_in(self.root, name, name)

    def run_in(self, root: Path, name: str, label: str) -> State[str]:
        """The same in the workspace `root`, shown as `label`: a sweep has many workspaces and one runner."""
        options = self.options.get(name, ())
        try:
            if name in self.fresh or ("--force" not in options and is_fresh(root, name)):
                return Completed(name="Cached", message=f"{label} is up to date.", data="Cached")
        except FlowError as error:
            return Failed(message=str(error))
        if self.engine is None and self.with_server:
            self._start_server()
        server = self.engine.address(name) if self.engine else str(self.socket)
        logger = get_run_logger()
        bar: Any = None

        def say(line: str) -> None:
            nonlocal bar
            logger.info(line)
            self.progress.say(label, line)
            if found := _EPOCH.search(line):
                share = 100 * int(found[1]) / int(found[2])
                if bar is None:
                    key = re.sub("[^a-z0-9]+", "-", label.lower())
                    description = f"Epochs of {label}"
                    bar = self.page.show(
                        create_progress_artifact, progress=share, key=key, description=description
                    )
                else:
                    self.page.show(update_progress_artifact, artifact_id=bar, progress=share)

        try:
            outcome = run_stage(
                root,
                name,
                options,
                {"RELABEL_STAGE_SERVER": server},
                say,
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
            # Its stdin ends: it kills its stages and goes.
            server.communicate()
        remove_socket(self.root)

    def _register(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            self._running.add(process)
            ended = self._ended
        if ended:
            end_process_group(process)

    def _start_server(self) -> None:
        with self._lock:
            if self._server is None and not self._ended:
                self._server = subprocess.Popen(
                    [sys.executable, "-m", "tasks.stage_server", str(self.socket)],
                    cwd=self.root,
                    stdin=subprocess.PIPE,
                    start_new_session=True,
                )


def _new_socket(root: Path) -> Path:
    """A new name for the socket of a workspace's stage server: a path that is short, as a socket's must be.

    A link in the workspace says where it is, so that the next run removes what a killed one left.
    """
    remove_socket(root)
    path = Path(tempfile.gettempdir()) / f"relabel-stages-{secrets.token_hex(8)}"
    link = _socket_link(root)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(path)
    return path


def remove_socket(root: Path) -> None:
    """Remove the socket of a workspace's stage server, and the link to it, where there are any."""
    link = _socket_link(root)
    if link.is_socket():
        link.resolve().unlink(missing_ok=True)
    link.unlink(missing_ok=True)


def _socket_link(root: Path) -> Path:
    return root / ".dvc" / "tmp" / "relabel" / "stages"


@task(
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    # The stage itself retries what a retry can help (downloads); waiting for DVC is in `run_stage`.
    retries=0,
)
def stage(name: str, runner: StageRunner) -> State[str]:
    """One stage of dvc.yaml."""
    return runner.run(name)


# New data is not taken while a file of it is younger: a copy under way looks like a shorter file.
_SETTLE_S = 10.0
# A stage that failed would fail again; a remote that did not answer may answer in a minute.
_REMOTE_WAITS_S: list[float] = [2, 10, 60]
_remote = task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=len(_REMOTE_WAITS_S),
    retry_delay_seconds=_REMOTE_WAITS_S,
)


@_remote
def fetch(root: Path) -> None:
    """Fetch what DVC's remote has."""
    with _telling_of_retries():
        remotes.pull(root)


@_remote
def update(root: Path) -> None:
    """Bring imported inputs up to date with their source."""
    with _telling_of_retries():
        update_imports(root)


@_remote
def send(root: Path, how: Record, name: str) -> None:
    """Send a version to git's and DVC's remotes."""
    with _telling_of_retries():
        push_version(root, how, name)


@contextmanager
def _telling_of_retries() -> Iterator[None]:
    attempt = task_run.run_count
    try:
        yield
    except FlowError as error:
        if attempt <= len(_REMOTE_WAITS_S):
            wait_s = _REMOTE_WAITS_S[attempt - 1]
            print(f"{error} Trying again in {wait_s:g} s.", file=sys.stderr)
        raise


@flow(name="clean-labels", persist_result=False, validate_parameters=False)
def clean_labels(
    root: str = ".",
    force: Sequence[str] = (),
    until: str | None = None,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    pull: bool = False,
    timeout_s: float | None = None,
    wait: bool = False,
    record: Record = "none",
    push: bool = False,
    if_new_data: bool = False,
    engine: EngineName = "local",
    address: str | None = None,
    compare: str | None = None,
) -> State[Any]:
    """Bring a workspace up to date, as `dvc repro` would, with independent stages side by side.

    Args:
        root: the folder with dvc.yaml.
        force: stages to run although they are fresh.
        until: run only what this stage needs, and it.
        overrides: changes of params.yaml, `train_fold.epochs=2`, which stay.
        workers: stages that may run at a time; the default is as many as the cores can serve.
        pull: fetch what DVC's remote has rather than run it.
        timeout_s: seconds after which a stage is ended, with all that it started.
        wait: wait while another flow runs in the workspace; without it that is an error.
        record: keep what a run that changed something leaves, as a DVC experiment or a git commit.
        push: push what `record` keeps.
        if_new_data: do nothing unless inputs/, or the source of what was imported into it, changed since
            the last run; changes of parameters and code wait for such a run.
        engine: where the stages that dvc.yaml fans out do their work: here, or on workers of Dask or Ray.
        address: of a cluster; without it `engine` is a cluster of `workers` processes on this machine.
        compare: a version to compare the result with, such as `last`, the newest that is kept. A run that
            changed something shows on its page what; one that cannot be compared ends as well as any.
    """
    starter = multiprocessing.parent_process()
    if starter is not None and not starter.is_alive():
        raise FlowError("The schedule (flows.serve) that started this run has ended.")
    check_options(workers, timeout_s)
    folder = Path(root).resolve()
    if push or record != "none":
        check_record(folder, record, push)
    # What is the last version now is not when this run is kept.
    base = None if compare is None else _revision(folder, compare)
    # The terminal's lines go to stderr.
    with silence_prefect(), only_flow(folder, wait), only_run():
        recover(folder)
        mend_locks(folder)
        if if_new_data:
            update(folder)
            new = new_inputs(folder)
            if not new and not begun(folder).exists():
                return Completed(message="No new data in inputs/: nothing to do.")
            if written_within(folder, new, _SETTLE_S):
                return Completed(message=f"{', '.join(new)}: still being written; the next run looks again.")
            begun(folder).touch()
        if overrides:
            set_params(folder, overrides)
        if pull:
            fetch(folder)
        graph, fresh = plan(folder, until)
        forced = {name for group in force for name in matching(graph, group)}
        options = {name: ["--force"] if name in forced else [] for name in graph}
        locked = lock_order(folder)
        outcomes: dict[str, str] = {}
        failures: dict[str, str] = {}
        seconds: dict[str, float] = {}
        fresh -= forced
        params = load_params(folder / "params.yaml")
        with_server = needs_torch(set(graph) - fresh, params)
        # With nothing to do, no cluster.
        used = "local" if fresh.issuperset(graph) else engine
        with (
            open_engine(used, address if used == engine else None, folder, workers) as cluster,
            RunProgress(graph) as progress,
            _runner(folder, fresh, options, timeout_s, progress, cluster, with_server) as runner,
        ):
            threads = params.train_fold.threads
            n_workers = workers or (cluster.slots if cluster else max(1, (os.cpu_count() or 1) // threads))
            show = runner.page.show
            bar = show(create_progress_artifact, progress=0.0, key="stages", description="Stages of this run")
            for name, outcome, message, spent_s in run_all(graph, runner, n_workers):
                seconds[name] = spent_s
                if outcome == "Failed":
                    failures[name] = message
                else:
                    outcomes[name] = outcome
                progress.ended(name, outcome)
                if outcome != "Cached":
                    share = 100 * len(outcomes) / len(graph)
                    show(update_progress_artifact, artifact_id=bar, progress=share)
            show(update_progress_artifact, artifact_id=bar, progress=100 * len(outcomes) / len(graph))
            ended = {name: outcomes.get(name, "Failed") for name in graph if name in seconds}
            ran = [(name, outcome, seconds[name]) for name, outcome in ended.items() if outcome != "Cached"]
            if ran:
                progress.summary(ran)
        order_lock(folder, locked, list(graph))
        left = [name for name in graph if name not in outcomes and name not in failures]
        summary = summarise(graph, outcomes, failures, seconds)
        show(create_markdown_artifact, key="summary", markdown=summary, description="Stages")
        if outcomes.get("report", "Cached") != "Cached":
            results = describe_results(folder)
            show(create_markdown_artifact, key="results", markdown=results, description="What was found")
            page = {"link": (folder / REPORT).as_uri(), "link_text": str(REPORT)}
            show(
                create_link_artifact, key="report", description="The report, on the machine that ran", **page
            )
        if not failures and not left and until is None:
            begun(folder).unlink(missing_ok=True)
        changed = any(outcome != "Cached" for outcome in outcomes.values())
        kept = said = None
        if changed and not failures:
            name = f"relabel-{time.strftime('%Y%m%d-%H%M%S')}"
            kept = save_version(folder, record, name)
            if kept and push:
                send(folder, record, name)
            if base is not None:
                said = show_changes(base, show)
    result = {"outcomes": outcomes, "failures": failures, "left": left, "seconds": seconds}
    if failures:
        more = f" {len(failures) - 1} more failed." if len(failures) > 1 else ""
        waiting = f" {len(left)} stage(s) wait for it." if left else ""
        advice = "Mend it and run again: what is done is kept."
        return Failed(message=f"{next(iter(failures.values()))}{more}{waiting} {advice}", data=result)
    message = f"{len(ran)} of {len(graph)} stages were out of date." if ran else UP_TO_DATE
    return Completed(message=" ".join(filter(None, [message, kept, said])), data=result)


# Only a run that compares pays for the imports of these two.
def _revision(root: Path, name: str) -> "Revision":
    from flows.dvc_api.revisions import open_revisions

    return open_revisions(root, [name])[0]


def show_changes(base: "Revision", show: Callable[..., Any]) -> str:
    """Show on the run's page what changed since `base`; a sentence on that, or on why it cannot be said."""
    from flows.comparison.versions import compare
    from flows.dvc_api.revisions import WORKSPACE
    from flows.publish import publish, summarise

    try:
        found = compare([base, _revision(base.root, WORKSPACE)])
        publish(found, show)
        return summarise(found)
    except RelabelError as error:
        return f"Not compared: {error}"
    except Exception as error:  # the run is done and kept, whatever the comparison stumbles on
        get_run_logger().exception("What changed since %s could not be said.", base.name)
        return f"Not compared: {type(error).__name__}: {error}"


def run_all(
    graph: Mapping[str, Sequence[str]],
    runner: StageRunner,
    n_workers: int,
    urgency: Mapping[str, int] | None = None,
) -> Iterator[tuple[str, str, str, float]]:
    """Submit what is ready, the most urgent first, and yield what ended.

    A stage whose upstream failed is never ready; all others run. Without `urgency` the stages with most
    behind them go first. Yields name, outcome, message and seconds.
    """
    urgency = urgency or critical_path(graph)
    done: dict[str, PrefectFuture[Any]] = {}
    started: dict[str, float] = {}
    running: dict[PrefectFuture[Any], str] = {}
    succeeded: set[str] = set()
    while True:
        ready = [
            name
            for name in graph
            if name not in done and name not in running.values() and succeeded.issuperset(graph[name])
        ]
        # Cached stages cost a question to DVC, no core.
        for name in sorted(ready, key=lambda name: -urgency[name]):
            if name in runner.fresh or len(running) < n_workers:
                waited = [done[upstream] for upstream in graph[name]]
                started[name] = time.monotonic()
                running[stage.submit(name=name, runner=runner, wait_for=waited, return_state=False)] = name
        if not running:
            return
        future = next(iter(as_completed(list(running))))
        name = running.pop(future)
        done[name] = future
        future.wait()  # what makes its own state known; the server's may lag behind
        state = future.state
        if state.is_completed():
            succeeded.add(name)
            yield name, state.name or "Completed", state.message or "", time.monotonic() - started[name]
        else:
            yield name, "Failed", state.message or str(state), time.monotonic() - started[name]


def check_options(workers: int | None, timeout_s: float | None) -> None:
    """Check what a flow or a sweep may be asked.

    Raises:
        FlowError: a value is out of range.
    """
    if workers is not None and workers < 1:
        raise FlowError(f"--workers: expected at least 1, found {workers}.")
    if timeout_s is not None and timeout_s <= 0:
        raise FlowError(f"--timeout-s: expected more than 0 seconds, found {timeout_s:g}.")


def critical_path(graph: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many stages, one after the other, wait for each stage, itself included."""
    depth = dict.fromkeys(graph, 1)
    for name in reversed(list(graph)):  # downstream first: the graph lists what is upstream before
        for upstream in graph[name]:
            depth[upstream] = max(depth[upstream], depth[name] + 1)
    return depth


@contextmanager
def _runner(
    root: Path,
    fresh: set[str],
    options: Mapping[str, Sequence[str]],
    timeout_s: float | None,
    progress: RunProgress,
    engine: Engine | None,
    with_server: bool,
) -> Iterator[StageRunner]:
    runner = StageRunner(root, fresh, options, timeout_s, progress, engine, with_server)
    try:
        yield runner
    finally:
        runner.end()


def summarise(
    graph: Mapping[str, Any],
    outcomes: Mapping[str, str],
    failures: Mapping[str, str],
    seconds: Mapping[str, float],
) -> str:
    """The markdown table of a run."""
    lines = ["| stage | outcome | seconds |", "| --- | --- | --- |"]
    for name in graph:
        outcome = "Failed" if name in failures else outcomes.get(name, "not run")
        spent = f"{seconds[name]:.1f}" if name in seconds else ""
        lines.append(f"| {name} | {outcome} | {spent} |")
    return "\n".join([*lines, "", *(f"**{name}**: {message}" for name, message in failures.items())])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow once from the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.clean_labels", description="Run what is out of date, side by side."
    )
    parser.add_argument("--force", action="append", default=[], metavar="STAGE", help="run it though fresh")
    parser.add_argument("--until", metavar="STAGE", help="stop after this stage")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="SECTION.NAME=VALUE", help="change"
    )
    parser.add_argument("--workers", type=int, help="stages at a time (default: as the cores can serve)")
    parser.add_argument("--pull", action="store_true", help="fetch from the DVC remote rather than run")
    parser.add_argument("--timeout-s", type=float, help="end a stage that runs longer")
    parser.add_argument("--wait", action="store_true", help="wait while another flow runs here")
    parser.add_argument("--if-new-data", action="store_true", help="only if inputs/ or its source changed")
    parser.add_argument("--record", choices=["none", "experiment", "commit"], default="none")
    parser.add_argument("--push", action="store_true", help="push what --record keeps")
    parser.add_argument("--engine", choices=["local", "dask", "ray"], default="local", help="where to train")
    parser.add_argument("--address", help="of a Dask or Ray cluster (default: one on this machine)")
    parser.add_argument("--compare", metavar="REV", help="show on Prefect's page what changed since (`last`)")
    chosen = parser.parse_args(arguments)
    return run_program("clean_labels", "the next run goes on from here", lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    root = Path.cwd()
    check_options(chosen.workers, chosen.timeout_s)
    # What is wrong with the workspace or the options is said before Prefect starts.
    check(chosen.engine, chosen.address)
    mend_locks(root)
    graph, fresh = plan(root, chosen.until)
    for name in chosen.force:
        matching(graph, name)
    if chosen.pull:
        check_remote(root, "--pull")
    check_record(root, chosen.record, chosen.push)
    if chosen.compare is not None:
        _revision(root, chosen.compare)
    asked = chosen.force or chosen.overrides or chosen.if_new_data
    # Without a server one starts for the run, which takes far longer than to find nothing to do.
    if fresh.issuperset(graph) and not asked and not server_answers():
        print(UP_TO_DATE)
        return 0
    # The thread that tells the server every 30 s that a run lives makes its end wait up to 1 s.
    with open_server("run"), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        state = clean_labels(**vars(chosen), return_state=True)
    if state.is_completed():
        print(state.message)
        return 0
    failure = state.result(raise_on_failure=False)
    # Prefect's own words would stand before those of an exception.
    print(f"clean_labels: {failure if isinstance(failure, RelabelError) else state.message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    # Prefect finds the flow and its tasks again by the module's name, which must not be __main__.
    from flows.clean_labels import main as run

    # A last walk of the collector over all that was imported would find nothing and take half a second.
    atexit.register(gc.freeze)
    sys.exit(run())
