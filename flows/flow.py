"""The flow: one Prefect task per stage of dvc.yaml, side by side.

DVC owns the cache. Each task asks DVC whether its stage is fresh, and if not runs it by `dvc repro
--single-item`; its state is Cached, Restored (from the run-cache) or Completed. The stages of a run share one
server (`tasks.stage_server`) that imports once what they need, torch and Lightning only where a model with
torch trains. A run of a few stages without torch has none.
"""

import multiprocessing
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import deployment
from prefect.states import Completed, Failed

from flows import FlowError
from flows.dvc_api.graph import matching, plan
from flows.dvc_api.inputs import begun, why_not_now
from flows.dvc_api.lock_file import lock_order, order_lock
from flows.dvc_api.overrides import override_params
from flows.dvc_api.record import Record, check_record, run_name, save_version
from flows.dvc_api.single_stage import mend_locks
from flows.engines.bridge import recover
from flows.engines.clusters import EngineName, open_engine
from flows.one_at_a_time import only_flow
from flows.prefect_page import Bar, Page, name_run
from flows.prefect_server import silence_prefect
from flows.remote_tasks import fetch, send, update
from flows.results import describe_results, say_where_the_report_is
from flows.run_names import data_set_name, outcome_of, suspect_ids
from flows.run_result import RunResult
from flows.runner import StageRunner, check_options, default_workers, imports_of
from flows.scheduler import run_all
from flows.stranded import only_run
from flows.terminal_progress import RunProgress
from tasks.params import load_params

if TYPE_CHECKING:
    from flows.dvc_api.revisions import Revision


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
) -> State[object]:
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
    _check_starter()
    check_options(workers, timeout_s)
    folder = Path(root).resolve()
    if push or record != "none":
        check_record(folder, record, push)
    schedule: str | None = deployment.name
    base = _open_base(folder, compare, schedule)
    page = Page()
    page.show(name_run, name=data_set_name(folder))
    # The terminal's lines go to stderr.
    with silence_prefect(), only_flow(folder, wait), only_run():
        recover(folder)
        mend_locks(folder)
        if if_new_data:
            update(folder)
            if why_not := why_not_now(folder):
                page.show(name_run, name=f"{data_set_name(folder)}: nothing to do")
                return Completed(message=why_not)
            begun(folder).touch()
        if overrides:
            override_params(folder, overrides)
        if pull:
            fetch(folder)
        graph, fresh = plan(folder, until)
        before = suspect_ids(folder)
        forced = {name for group in force for name in matching(graph, group)}
        result = _run_stages(folder, graph, fresh, forced, page, workers, timeout_s, engine, address)
        _show_result(folder, result, page)
        if result.is_whole and until is None:
            begun(folder).unlink(missing_ok=True)
        said = ""
        if result.ran and not result.failures:
            said = _keep(folder, record, push, schedule) + _compare(base, page)
        page.show(name_run, name=f"{data_set_name(folder)}: {outcome_of(result, before, folder)}")
    if result.failures:
        return Failed(message=result.message(), data=result.data())
    return Completed(message=result.message() + said, data=result.data())


def _check_starter() -> None:
    starter = multiprocessing.parent_process()
    if starter is not None and not starter.is_alive():
        raise FlowError("The schedule (flows.serve) that started this run has ended.")


def _run_stages(
    root: Path,
    graph: Mapping[str, Sequence[str]],
    fresh: Collection[str],
    forced: Collection[str],
    page: Page,
    workers: int | None,
    timeout_s: float | None,
    engine: EngineName,
    address: str | None,
) -> RunResult:
    """Run what is not fresh, or forced; dvc.lock ends in the order of `dvc repro`."""
    stale = {*graph} - ({*fresh} - {*forced})
    locked = lock_order(root)
    params = load_params(root / "params.yaml")
    places = workers or default_workers(params.train_fold.threads)
    result = RunResult(graph)
    bar = Bar(page, "stages", "Stages of this run")
    # If there is nothing to do, no cluster is started.
    where = (engine, address) if stale else ("local", None)
    with (
        open_engine(*where, root, places, params.train_fold.threads) as cluster,
        RunProgress(graph) as progress,
        StageRunner(
            root, {*graph} - stale, forced, timeout_s, progress, page, cluster, imports_of(stale, params)
        ) as runner,
    ):
        bar.move(0)
        n_workers = workers or (cluster.slots if cluster else places)
        for name, outcome, message, seconds in run_all(graph, runner, n_workers):
            result.add(name, outcome, message, seconds)
            progress.ended(name, outcome)
            if outcome != "Cached":
                bar.move(result.share_done)
        bar.move(result.share_done)
        if result.ran:
            progress.summary(result.ran)
    order_lock(root, locked, list(graph))
    return result


def _show_result(root: Path, result: RunResult, page: Page) -> None:
    """Show the stages on Prefect's page and, where `report` ran, what was found."""
    page.show(create_markdown_artifact, key="summary", markdown=result.table(), description="Stages")
    if result.outcomes.get("report", "Cached") == "Cached":
        return
    found = describe_results(root)
    page.show(create_markdown_artifact, key="results", markdown=found, description="What was found")
    page.show(
        create_markdown_artifact,
        key="report",
        markdown=say_where_the_report_is(root),
        description="The report, on the machine that ran",
    )


def _keep(root: Path, record: Record, push: bool, schedule: str | None) -> str:
    """Keep the version as `record` says, and send it; a sentence on it, after a space."""
    name = run_name(schedule, time.strftime("%Y%m%d-%H%M%S"))
    kept = save_version(root, record, name)
    if kept and push:
        send(root, record, name)
    return f" {kept}" if kept else ""


# These two import what only a run with `compare` needs.
def _open_base(root: Path, name: str | None, schedule: str | None) -> "Revision | None":
    """The version to compare with. It is chosen before the run, which may itself become the last version."""
    if name is None:
        return None
    from flows.dvc_api.revisions import open_revisions

    return open_revisions(root, [name], schedule=schedule)[0]


def _compare(base: "Revision | None", page: Page) -> str:
    """Show what changed since `base`; a sentence on it, after a space."""
    if base is None:
        return ""
    from flows.publish import show_changes

    return f" {show_changes(base, page.show)}"
