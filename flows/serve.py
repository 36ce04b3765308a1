"""Schedules: `python -m flows.serve --cron "0 3 * * *"` runs the flow in this workspace until it is ended."""

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from flows import FlowError, pipeline
from flows.clean_labels import check_options, clean_labels
from flows.prefect_server import need_server
from flows.record import check_record
from flows.revisions import open_revisions
from tasks import RelabelError

from prefect.client.schemas.objects import (  # isort: skip  # after flows, which sets Prefect's settings
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
)
from prefect.schedules import Cron, Interval, Schedule
from prefect.types.entrypoint import EntrypointType

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
        try:
            return Cron(cron, timezone=timezone)
        except ValueError as error:
            raise FlowError(
                f"--cron: expected five fields such as '0 3 * * *' (3 o'clock each night), found {cron!r}."
            ) from error
    found = re.fullmatch(r"(\d+)([smhd])", every or "")
    if not found or int(found[1]) == 0:
        raise FlowError(f"--every: expected a whole number and s, m, h or d, such as 6h, found {every!r}.")
    return Interval(timedelta(seconds=int(found[1]) * _UNITS[found[2]]), timezone=str(ZoneInfo(timezone)))


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
    try:
        schedule = parse_schedule(chosen.cron, chosen.every, chosen.timezone)
        root = Path.cwd()
        pipeline.stage_graph(root)
        check_options(chosen.workers, chosen.timeout_s)
        check_record(root, chosen.record, chosen.push)
        if chosen.compare is not None:
            open_revisions(root, [chosen.compare])
        need_server("A schedule")
    except RelabelError as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    # A run that falls due while another is at work is cancelled, not piled up behind it.
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    clean_labels.serve(
        name=chosen.name,
        schedule=schedule,
        global_limit=one,
        entrypoint_type=EntrypointType.MODULE_PATH,
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
