"""One flow, sweep or schedule at a time in a workspace."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows import FlowError


@contextmanager
def only_flow(root: Path, wait: bool = False, what: str = "flow") -> Iterator[None]:
    """Hold the workspace against a second flow (or sweep); the lock ends with the process, however it ends.

    Raises:
        FlowError: another one runs in this workspace, and `wait` is false.
    """
    path = root / ".dvc" / "tmp" / f"relabel-{what}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            raise FlowError(
                f"A {what} is already running in {root} ({file.read().strip() or 'just started'}). "
                f"Wait for it{' with --wait' if what == 'flow' else ''}, or end it."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield
