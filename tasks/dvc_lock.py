"""DVC's list of who reads and writes which file, `.dvc/tmp/rwlock`: read and mended without importing DVC.

From before a stage's command starts until its dependencies are hashed, the list has them under `read`, each
with the processes that hold it. A line that is appended to one of them after the command's last look and
before the hash would count as applied, so appends wait for that.

DVC writes the list anew in place, under a lock of its own. A disk that is full then leaves it empty, and DVC
refuses everything from then on. It takes a process for alive if there is one of that number, whatever it is.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, StrictInt, ValidationError

from tasks import RelabelError

LIST = Path(".dvc", "tmp", "rwlock")
_STEP_SECONDS = 0.05


class DamagedLockError(RelabelError):
    """DVC's list of locks is damaged, and a DVC that is at work may be on it."""


class _Holder(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pid: StrictInt
    cmd: str


class _Holders(BaseModel):
    model_config = ConfigDict(extra="forbid")

    write: dict[str, _Holder] = {}
    read: dict[str, list[_Holder]] = {}


def wait_until_unread(root: Path, path: Path, seconds: float) -> bool:
    """Wait until no living DVC process reads `path` (relative to `root`); False if one still does then.

    Raises:
        DamagedLockError: it cannot be said.
    """
    end = time.monotonic() + seconds
    while _is_read(root, path):
        if time.monotonic() >= end:
            return False
        time.sleep(_STEP_SECONDS)
    return True


def mend(root: Path) -> list[str]:
    """Take from the list what processes left there that are gone; a damaged list goes as a whole.

    Returns:
        A sentence on each thing that was done.

    Raises:
        DamagedLockError: the list is damaged while a DVC is at work in the workspace.
    """
    place = root / LIST
    with _editing(root) as alone:
        if not alone or not place.exists():
            return []
        try:
            return _take_out_the_dead(root, place)
        except ValidationError:
            # With `core.hardlink_lock` DVC's lock is of another kind, and it may be at the list just now.
            time.sleep(4 * _STEP_SECONDS)
        try:
            return _take_out_the_dead(root, place)
        except ValidationError as error:
            if at_work := _dvc_in(root):
                pids = ", ".join(map(str, at_work))
                raise DamagedLockError(
                    f"{LIST}: expected DVC's list of locks, found a damaged file, as a full disk leaves it, "
                    f"and a DVC that is at work here and may be on it (PID {pids}). When that has ended, "
                    f"type `rm {LIST}`."
                ) from error
            place.unlink()
            return [f"{LIST} was damaged, as a full disk leaves it. No DVC is at work here: it was removed."]


def _is_read(root: Path, path: Path) -> bool:
    place = root / LIST
    try:
        since = place.stat().st_mtime
        holders = _Holders.model_validate_json(place.read_bytes())
    except OSError:
        return False
    except ValidationError:
        # It may be seen half-written.
        mend(root)
        return place.exists()
    readers = holders.read.get(str(root.resolve() / path), [])
    return any(_is_at_work(holder, root, since) for holder in readers)


def _take_out_the_dead(root: Path, place: Path) -> list[str]:
    since = place.stat().st_mtime
    before = _Holders.model_validate_json(place.read_bytes())
    all_of_them = [*before.write.values(), *(holder for held in before.read.values() for holder in held)]
    dead = {holder.pid for holder in all_of_them if not _is_at_work(holder, root, since)}
    if not dead:
        return []
    write = {path: holder for path, holder in before.write.items() if holder.pid not in dead}
    read = {path: [one for one in held if one.pid not in dead] for path, held in before.read.items()}
    after = _Holders(write=write, read={path: held for path, held in read.items() if held})
    new = place.with_name("rwlock.new")
    try:
        new.write_text(after.model_dump_json(), encoding="utf-8")
        new.replace(place)
    except OSError:  # a full disk: the list is as it was
        new.unlink(missing_ok=True)
        return []
    pids = ", ".join(map(str, sorted(dead)))
    return [f"A DVC that was killed had left locks behind (PID {pids}); they were removed from {LIST}."]


def _is_at_work(holder: _Holder, root: Path, since: float) -> bool:
    """Whether the process that made an entry of the list lives; in doubt, yes.

    Args:
        holder: the entry.
        root: of the workspace.
        since: when the list was last written, in seconds of the epoch.
    """
    try:
        process = psutil.Process(holder.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # `dvc repro` is `python -m dvc repro` or `.../bin/dvc repro` to the system.
        if holder.cmd.split()[-1:] == " ".join(process.cmdline()).split()[-1:]:
            return True
        # Another program, then: a new one that has the number, or one that has DVC in it.
        return process.create_time() <= since and Path(process.cwd()).is_relative_to(root.resolve())
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def _dvc_in(root: Path) -> list[int]:
    """The processes of DVC that are at work in a workspace."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            is_dvc = any(word == "dvc" or word.endswith(("/dvc", "/dvc/__main__.py")) for word in words[:4])
            if is_dvc and Path(process.cwd()).is_relative_to(root.resolve()):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


@contextmanager
def _editing(root: Path) -> Iterator[bool]:
    """Hold DVC's own lock around the list; whether that was to be had."""
    guard = root / LIST.with_name("rwlock.lock")
    if not guard.parent.exists():
        yield False
        return
    with guard.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
