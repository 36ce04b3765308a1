"""How one stage runs: `dvc repro --single-item`, while others run.

DVC lets go of its repository lock while a stage's command runs (measured with DVC 3.67).
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows import FlowError
from flows.dvc_api.lock_file import mend_lock_file
from flows.dvc_api.repository import WAITS_S
from tasks.dvc_lock import mend
from tasks.stage_server import KILLED

Outcome = Literal["Completed", "Restored"]
# What DVC says when another process of DVC holds a file that it needs.
_BUSY = re.compile(r"is busy|[Uu]nable to acquire lock")
_HOLDER = re.compile(r"\s*\((PID \d+)\): ")
# What it says after each stage about git and remotes.
_HINT = re.compile(
    r"\s*(To (track|enable)|git add|dvc config core.autostage|Use `dvc push`|(Generating|Updating) lock|$)"
)
# Of a stage that SIGKILL ended, as the shell or DVC has it.
_KILLED = re.compile(r"exited with (-9|137)$")
# What it says around the words of a stage that failed without a message of its own.
_NO_REASON = re.compile(r"> |Running stage|ERROR: failed to reproduce")
# What DVC itself could not do, before a stage or after it.
_OF_DVC = re.compile(r"ERROR: failed to reproduce '[^']*': (?!failed to run)(.+)")
_NO_LINK = "No possible cache link types"


class StageError(FlowError):
    """A stage failed; the message is what the stage said."""


def mend_locks(root: Path) -> None:
    """Mend what DVCs that were killed, or a full disk, left: DVC's list of locks, and dvc.lock. Say so.

    Raises:
        DamagedLockError: the list is damaged, and a DVC is at work.
    """
    for mended in (*mend(root), mend_lock_file(root)):
        if mended:
            print(mended, file=sys.stderr)


def run_stage(
    root: Path,
    name: str,
    options: Sequence[str],
    environment: Mapping[str, str],
    say: Callable[[str], None],
    register: Callable[[subprocess.Popen[str]], None],
    timeout_s: float | None = None,
) -> Outcome:
    """`dvc repro --single-item` of one stage, waiting as long as another process of DVC is in the way.

    Args:
        root: of the DVC repository.
        name: the stage.
        options: more arguments of `dvc repro`: `--force`, or further stages, upstream first.
        environment: variables for the stage; a stage server that RELABEL_DVC_SERVER names runs DVC, too.
        say: takes each line that DVC and the stage print.
        register: takes the process, leader of a process group of its own, as soon as it runs.
        timeout_s: after so many seconds the stage is ended, its children too.

    Returns:
        Whether the stage ran, or DVC restored its outputs from the run-cache.

    Raises:
        StageError: the stage or DVC failed, or the stage outran `timeout_s`.
    """
    for attempt in itertools.count():
        done = _repro(root, name, options, environment, say, register, timeout_s)
        if done.status == 0:
            return "Completed" if done.facts else "Restored"
        if done.timed_out:
            raise StageError(f"{name} ran longer than timeout_s ({timeout_s:g} s) and was ended.")
        if not done.is_blocked:
            reason = f"{name}: {KILLED}" if done.was_killed else None
            raise StageError(
                done.failure or reason or f"{name} ended with status {done.status}: {done.last_words}"
            )
        if mended := mend(root):
            say(" ".join(mended))
        else:
            wait_s = WAITS_S[min(attempt, len(WAITS_S) - 1)]
            say(f"{done.holder} is at work on the files of {name}; trying again in {wait_s} s.")
            time.sleep(wait_s)
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class _Repro:
    """How a `dvc repro` ended.

    Attributes:
        status: its exit status.
        lines: what DVC and the stage printed.
        facts: what the stage recorded of itself; none where DVC restored its outputs.
        timed_out: whether it was ended because it took too long.
    """

    status: int
    lines: list[str]
    facts: list[dict[str, object]]
    timed_out: bool

    @property
    def failure(self) -> str | None:
        """What the stage says went wrong."""
        return next((str(fact["failure"]) for fact in self.facts if fact["failure"]), None)

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended the stage, as the kernel does when memory is short."""
        return any(map(_KILLED.search, self.lines))

    @property
    def is_blocked(self) -> bool:
        """Whether another process of DVC was in the way."""
        return self.failure is None and self.status > 0 and any(map(_BUSY.search, self.lines))

    @property
    def holder(self) -> str:
        """Which process of DVC that was."""
        found = dict.fromkeys(match[1] for line in self.lines if (match := _HOLDER.match(line)))
        return f"Another process of DVC ({'; '.join(found)})" if found else "Another process of DVC"

    @property
    def last_words(self) -> str:
        """What DVC says that it could not do, else the last lines that may say why the stage failed."""
        of_dvc = [match[1] for line in self.lines if (match := _OF_DVC.match(line))]
        if of_dvc:
            return of_dvc[-1] + ("; DVC says so of a full disk, too" if _NO_LINK in of_dvc[-1] else "")
        said = [line for line in self.lines if line.strip() and not _NO_REASON.match(line)]
        return " ".join(said[-3:]) or "no output"


def _repro(
    root: Path,
    name: str,
    options: Sequence[str],
    environment: Mapping[str, str],
    say: Callable[[str], None],
    register: Callable[[subprocess.Popen[str]], None],
    timeout_s: float | None,
) -> _Repro:
    record = root / ".dvc" / "tmp" / "relabel" / f"{name.replace(os.sep, '_')}.jsonl"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    lines: list[str] = []
    timed_out = threading.Event()
    by_server = ["flows.dvc_api.dvc_by_server"] if environment.get("RELABEL_DVC_SERVER") else []
    repro = [*by_server, "dvc", "--wait-for-lock", "repro", "--single-item", name, *options]
    with subprocess.Popen(
        [sys.executable, "-m", *repro],
        cwd=root,
        # dvc.yaml says `python`: the one that runs this, in an activated environment or not.
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            **environment,
            "RELABEL_STAGE_RECORD": str(record),
        },
        # Never written to: it ends when this process does, and the stage then ends too.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        register(process)

        def give_up() -> None:
            timed_out.set()
            end_process_group(process)

        timer = threading.Timer(timeout_s or threading.TIMEOUT_MAX, give_up)
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                if not _HINT.match(lines[-1]):
                    say(lines[-1])
        finally:
            timer.cancel()
    facts = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    return _Repro(process.returncode, lines, facts, timed_out.is_set())


def end_process_group(process: subprocess.Popen[str]) -> None:
    """End a process that leads a group, and the group: asked first, killed after five seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None and number == signal.SIGTERM:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
