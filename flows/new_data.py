"""Looks for new data in the process that serves a schedule; a run is made only where there is some."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Schedule
from prefect.server.schemas.schedules import CronSchedule

from flows import FlowError
from flows.dvc_api.inputs import update_imports, why_not_now
from flows.one_at_a_time import only_flow

Due = Callable[[datetime], datetime]
"""The next time at which to look, after a time."""


def due_times(schedule: Schedule) -> Due:
    """When a schedule of `flows.serve` says to look."""
    if schedule.interval is not None:
        interval: timedelta = schedule.interval
        return lambda after: after + interval
    cron = CronSchedule(cron=str(schedule.cron), timezone=schedule.timezone)

    def next_time(after: datetime) -> datetime:
        return asyncio.run(cron.get_dates(1, start=after + timedelta(seconds=1)))[0]

    return next_time


def has_new_data(root: Path) -> bool:
    """Whether a run for new data would begin now; not while a flow is at work here.

    Raises:
        FlowError: the source of an import does not answer, or DVC cannot read the workspace.
    """
    try:
        # Let go at once: whoever starts a flow meanwhile is not told to wait.
        with only_flow(root):
            pass
    except FlowError:
        return False
    update_imports(root)
    return why_not_now(root) is None


class RunsOf:
    """The runs that a look makes: one at a time, of one deployment."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment
        self._last: UUID | None = None

    def is_done(self) -> bool:
        """Whether the last one is over, however it ended."""
        if self._last is None:
            return True
        with get_client(sync_client=True) as client:
            try:
                state = client.read_flow_run(self._last).state
            except ObjectNotFound:  # a person removed it
                return True
        return state is None or state.is_final()

    def start(self) -> None:
        """Make a run; the schedule's process takes it up within seconds."""
        with get_client(sync_client=True) as client:
            found = client.read_deployment_by_name(self._deployment)
            self._last = client.create_flow_run_from_deployment(found.id).id


@contextmanager
def looking(root: Path, due: Due, runs: RunsOf) -> Iterator[None]:
    """While this lasts, look at each due time, and make a run where there is new data."""
    stop = threading.Event()

    def look_when_due() -> None:
        at = due(datetime.now(UTC))
        while not stop.wait(max((at - datetime.now(UTC)).total_seconds(), 0)):
            look(root, runs)
            # A look that took longer than the interval is not made up for.
            at = max(due(at), datetime.now(UTC))

    thread = threading.Thread(target=look_when_due, daemon=True, name="new data")
    thread.start()
    try:
        yield
    finally:
        stop.set()


def look(root: Path, runs: RunsOf) -> None:
    """Make a run if there is new data and no run is under way; what prevents a look is told."""
    try:
        if runs.is_done() and has_new_data(root):
            runs.start()
    except (FlowError, httpx.HTTPError, ObjectNotFound) as error:
        print(f"serve: {' '.join(str(error).split())} The next look tries again.", file=sys.stderr)
