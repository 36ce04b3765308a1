"""The command line of the flow: one run, `python -m flows.clean_labels`.

The flow is in `flows.flow`: Prefect finds it by the name of its module, which must not be `__main__`.
"""

import argparse
import atexit
import gc
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flows.stage_process import start_ahead

# While Prefect is imported, a core is free.
if __name__ == "__main__":
    start_ahead(Path.cwd(), sys.argv[1:])

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.dvc_api.graph import matching, plan, stage_graph
from flows.dvc_api.record import check_record
from flows.dvc_api.remotes import check_remote
from flows.dvc_api.single_stage import mend_locks
from flows.engines.clusters import check
from flows.flow import clean_labels as clean_labels
from flows.prefect_server import open_server, server_answers
from flows.program import run_program
from flows.results import REPORT, SUMMARY
from flows.run_result import UP_TO_DATE
from flows.runner import check_options
from tasks import RelabelError
from tasks.storage import refusal


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
    parser.add_argument("--summary", action="store_true", help="at the end, show the table of the report")
    chosen = parser.parse_args(arguments)
    return run_program("clean_labels", "the next run goes on from here", lambda: _run_and_show(chosen))


def _run_and_show(chosen: argparse.Namespace) -> int:
    """Run; where that is asked for and all went well, show the table of the report and the time it took."""
    started = time.monotonic()
    status = _run(chosen)
    if chosen.summary and not status:
        if SUMMARY.exists():
            print(SUMMARY.read_text(encoding="utf-8"), end="")
        print(f"{time.monotonic() - started:.0f} s. The report: {REPORT.resolve()}")
    return status


def _run(chosen: argparse.Namespace) -> int:
    root = Path.cwd()
    check_options(chosen.workers, chosen.timeout_s)
    # Faults of the workspace or the options are reported before Prefect starts.
    check(chosen.engine, chosen.address)
    mend_locks(root)
    asked = chosen.force or chosen.overrides or chosen.if_new_data
    # The run asks what is fresh. If no server answers, it would start one first. That takes far longer than
    # to find nothing to do, so what is fresh is then asked here, too.
    starts_server = not asked and not server_answers()
    graph, fresh = plan(root, chosen.until) if starts_server else (stage_graph(root, chosen.until), set())
    for name in chosen.force:
        matching(graph, name)
    if chosen.pull:
        check_remote(root, "--pull")
    check_record(root, chosen.record, chosen.push)
    if chosen.compare is not None:
        from flows.dvc_api.revisions import open_revisions

        open_revisions(root, [chosen.compare])
    if starts_server and fresh.issuperset(graph):
        print(UP_TO_DATE)
        return 0
    # Prefect tells its server every 30 s that the run lives. The end of the run would wait 1 s for that.
    with open_server("run"), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        asked_of_flow = {name: value for name, value in vars(chosen).items() if name != "summary"}
        state = clean_labels(**asked_of_flow, return_state=True)
    if state.is_completed():
        print(state.message)
        return 0
    # On a full disk DVC leaves its list of locks half written, and `dvc repro` would refuse it.
    with suppress(RelabelError):
        mend_locks(root)
    failure = state.result(raise_on_failure=False)
    print(f"clean_labels: {describe_failure(failure, state.message)}", file=sys.stderr)
    return 1


def describe_failure(failure: object, message: str | None) -> str:
    """What a run failed of; Prefect's `message` has words of its own before those of an exception."""
    if isinstance(failure, RelabelError):
        return str(failure)
    of_disk = refusal(failure) if isinstance(failure, OSError) else None
    return str(of_disk or message)


if __name__ == "__main__":
    # At the end, the garbage collector would visit all imported modules, in half a second, and find nothing.
    atexit.register(gc.freeze)
    sys.exit(main())
