"""Schedules: `python -m flows.serve --cron "0 3 * * *"` runs the flow in this workspace until it is ended."""

import argparse
import asyncio
import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo, available_timezones

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron, Interval, Schedule
from prefect.server.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType
from prefect.types.names import WITHOUT_BANNED_CHARACTERS

from flows import FlowError
from flows.dvc_api.graph import stage_graph
from flows.dvc_api.record import check_record
from flows.dvc_api.revisions import open_revisions
from flows.flow import clean_labels
from flows.new_data import RunsOf, due_times, looking
from flows.one_at_a_time import only_flow
from flows.prefect_server import need_server, server_answers, silence_prefect
from flows.program import run_program
from flows.runner import check_options
from flows.stranded import end_stranded

_LOOK_S = 5.0
# The fields, and how many values each has.
_CRON = {"minute": 60, "hour": 24, "day": 31, "month": 12, "weekday": 7}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_schedule(cron: str | None, every: str | None, timezone: str) -> Schedule:
    """The schedule of `--cron` or `--every`.

    Args:
        cron: five fields, such as `0 3 * * *`.
        every: a whole number and s, m, h or d, such as `6h`.
        timezone: IANA name in which the fields of `cron` are read.

    Raises:
        FlowError: a value does not parse, or not exactly one of `cron` and `every` is given.
    """
    if timezone not in available_timezones():
        raise FlowError(f"--timezone: expected an IANA name such as Europe/Berlin, found {timezone!r}.")
    if (cron is None) == (every is None):
        raise FlowError("Give one of --cron and --every.")
    if cron is not None:
        _check_cron(cron)
        return Cron(cron, timezone=timezone)
    found = re.fullmatch(r"(\d+)([smhd])", every or "")
    if not found or int(found[1]) == 0:
        raise FlowError(f"--every: expected a whole number and s, m, h or d, such as 6h, found {every!r}.")
    return Interval(timedelta(seconds=int(found[1]) * _UNITS[found[2]]), timezone=str(ZoneInfo(timezone)))


def _check_cron(cron: str) -> None:
    """Check that a cron expression has five fields and means what it says.

    Raises:
        FlowError: it does not parse, a step is longer than what it steps through, or it never comes true.
    """
    fields = cron.split()
    found = f"{cron!r}, which has {len(fields)}" if len(fields) != len(_CRON) else repr(cron)
    try:
        # Prefect also takes six and seven fields. Seconds are last there, but first in Quartz and Spring.
        if len(fields) != len(_CRON):
            raise ValueError(found)
        schedule = CronSchedule(cron=cron, timezone="UTC")
    except ValueError as error:
        raise FlowError(
            f"--cron: expected five fields such as '0 3 * * *' (3 o'clock each night), found {found}."
        ) from error
    for field, (unit, count) in zip(fields, _CRON.items(), strict=True):
        for step in map(int, re.findall(r"/(\d+)", field)):
            if step > count:
                raise FlowError(
                    f"--cron: expected a step of at most {count} {unit}s, found {field} in {cron!r}, which "
                    "comes true once in each round. For an interval take --every, such as --every 90m."
                )
    try:
        asyncio.run(schedule.get_dates(1))
    except ValueError as error:
        raise FlowError(f"--cron: expected a time that comes, found {cron!r}, which never does.") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the flow on a schedule; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flows.serve", description=__doc__.splitlines()[0])
    parser.add_argument("--cron", help="five fields: minute, hour, day, month, weekday")
    parser.add_argument("--every", help="an interval: 30m, 6h, 1d")
    parser.add_argument("--timezone", default="UTC", help="IANA name (default: UTC)")
    parser.add_argument("--name", default="scheduled", help="of the deployment (default: scheduled)")
    parser.add_argument("--record", choices=["none", "experiment", "commit"], default="none")
    parser.add_argument("--push", action="store_true", help="push what --record keeps")
    parser.add_argument(
        "--compare", metavar="REV", help="show on each run's page what changed since (`last`)"
    )
    parser.add_argument(
        "--if-new-data", action="store_true", help="run only if inputs/ or its source changed"
    )
    parser.add_argument("--workers", type=int, help="stages at a time")
    parser.add_argument("--timeout-s", type=float, help="end a stage that runs longer")
    chosen = parser.parse_args(arguments)
    return run_program("serve", "the same command goes on with the schedule", lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    schedule = parse_schedule(chosen.cron, chosen.every, chosen.timezone)
    if not re.fullmatch(WITHOUT_BANNED_CHARACTERS, chosen.name):
        raise FlowError(f"--name: expected a name without / % & < and >, found {chosen.name!r}.")
    root = Path.cwd()
    stage_graph(root)
    check_options(chosen.workers, chosen.timeout_s)
    check_record(root, chosen.record, chosen.push)
    if chosen.compare is not None:
        open_revisions(root, [chosen.compare])
    need_server("A schedule")
    try:
        with only_flow(root, what=f"schedule {chosen.name}"):
            take_over(root, chosen.name)
            _serve(root, chosen, schedule)
    except Exception as error:  # Prefect's own hierarchies, in groups
        if not _lost_server(error):
            raise
        _start_again()
    return 0


def _start_again() -> NoReturn:
    """Wait for the server, then start this program again. What its run does meanwhile is as after a kill."""
    url = PREFECT_API_URL.value()
    print(
        f"serve: the Prefect server at {url} stopped answering; the schedule goes on when it answers again.",
        file=sys.stderr,
        flush=True,
    )
    while not server_answers():
        time.sleep(_LOOK_S)
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # this program, with its own arguments


def take_over(root: Path, name: str) -> None:
    """End what a schedule of this name left that was killed, with its server or without.

    Raises:
        FlowError: the name is another workspace's.
    """
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(f"{clean_labels.name}/{name}")
        except ObjectNotFound:
            return
        owner = found.parameters.get("root", str(root))
        if owner != str(root):
            # Ctrl-C of `flows.serve` pauses its schedule.
            if not found.paused:
                raise FlowError(
                    f"--name {name}: expected a name that no other workspace serves, found the one of "
                    f"{owner}. Choose another --name; or, if nobody serves it there any more, type "
                    f"`prefect deployment delete {clean_labels.name}/{name}`."
                )
            print(f"serve: {name} was the schedule of {owner}; from now on it runs here.", file=sys.stderr)
        # A run that is still at work holds the workspace. It ends by itself.
        with suppress(FlowError), only_flow(root):
            end_stranded(client, found.id)


def _serve(root: Path, chosen: argparse.Namespace, schedule: Schedule) -> None:
    """Run what falls due until Ctrl-C, or until the server is gone, which raises."""
    name = f"{clean_labels.name}/{chosen.name}"
    when = chosen.cron or f"every {chosen.every}"
    if chosen.if_new_data:
        when = f"if there is new data, looked for {chosen.cron or when}"
    looks = looking(root, due_times(schedule), RunsOf(name)) if chosen.if_new_data else nullcontext()
    print(
        f"Serving {name} in {root}: {when}. Ctrl-C ends it; `prefect deployment run {name}` runs it now.",
        flush=True,
    )
    # A run that is due while another is at work is cancelled. It does not wait.
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    with silence_prefect(), looks:
        clean_labels.serve(
            name=chosen.name,
            # Without a schedule of its own, the deployment has the runs that looks make.
            schedule=None if chosen.if_new_data else schedule,
            global_limit=one,
            entrypoint_type=EntrypointType.MODULE_PATH,
            print_starting_message=False,
            parameters={
                "root": str(root),
                "record": chosen.record,
                "push": chosen.push,
                "if_new_data": chosen.if_new_data,
                "workers": chosen.workers,
                "timeout_s": chosen.timeout_s,
                "compare": chosen.compare,
            },
        )


def _lost_server(error: BaseException) -> bool:
    """Whether an exception, or one of a group, is what Prefect raises where no server answers."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_lost_server, error.exceptions))
    said = ("Service exceeded error threshold", "Failed to reach API at")
    return isinstance(error, httpx.HTTPError) or str(error).startswith(said)


if __name__ == "__main__":
    sys.exit(main())
