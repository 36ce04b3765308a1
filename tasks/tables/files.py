"""Atomic writes: a file appears under its final name whole, or not at all."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from tasks.storage import refusal
from tasks.tables.cells import escape_texts


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success rename it to `path`, on failure remove it.

    A writer that was killed leaves a `.NAME.*.tmp` behind (ignored by DVC and git); the next writer of
    the same file removes it. An orphan still writing then fails at its rename, so the newest writer wins.

    Raises:
        StorageError: there is no room or no permission; `path` is as it was.
    """
    try:
        temporary = _temporary(path)
        try:
            yield temporary
            # mkstemp makes files private to their owner; artifacts follow the umask like any other file.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise refusal(error, path) or error from error


def _temporary(path: Path) -> Path:
    """A new file beside `path`; what killed writers of the same file left is gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    return Path(name)


@contextmanager
def atomic_paths(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """`atomic_path` of files that belong together: if one cannot be put in place, all are what they were.

    They are put in place one after the other, so a kill may part them.
    """
    with ExitStack() as stack:
        for path in paths:
            stack.enter_context(_unchanged_on_failure(path))
        yield [stack.enter_context(atomic_path(path)) for path in paths]


@contextmanager
def _unchanged_on_failure(path: Path) -> Iterator[None]:
    """If the block fails, `path` is the file that it was before, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.with_name(f".before.{path.name}.tmp")
    before.unlink(missing_ok=True)
    if path.exists():
        try:
            os.link(path, before)
        except OSError:  # not every file system has links
            shutil.copy2(path, before)
    try:
        yield
    except BaseException:
        if before.exists():
            before.replace(path)
        else:
            path.unlink(missing_ok=True)
        raise
    finally:
        before.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: pa.Table) -> None:
    """Write a table as CSV, atomically; no spreadsheet takes a cell for a formula."""
    with atomic_path(path) as temporary:
        pacsv.write_csv(escape_texts(table), temporary)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a mapping as indented JSON, atomically; NaN becomes null, which every JSON reader accepts."""
    write_text(path, json.dumps(without_nan(content), indent=2) + "\n")


def without_nan(value: object) -> object:
    """A value of JSON, in which null stands for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
