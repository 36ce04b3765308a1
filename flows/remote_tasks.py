"""Prefect tasks that ask a remote, and ask again where it did not answer."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from flows import FlowError
from flows.dvc_api import remotes
from flows.dvc_api.inputs import update_imports
from flows.dvc_api.record import Record, push_version

# A stage that failed would fail again. A remote that did not answer may answer in a minute.
_WAITS_S: list[float] = [2, 10, 60]
_remote = task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=len(_WAITS_S),
    retry_delay_seconds=_WAITS_S,
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
        if attempt <= len(_WAITS_S):
            print(f"{error} Trying again in {_WAITS_S[attempt - 1]:g} s.", file=sys.stderr)
        raise
