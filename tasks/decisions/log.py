"""reviews/decisions.csv: what people decided about labels, one line a decision, in git.

The file is only ever appended to. The latest line of an example stands; a line `undo` withdraws the line that
it names, wherever a merge of branches put others, and so does removing that line by hand.
"""

import csv
import fcntl
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from tasks import ArtifactError
from tasks.own_files.names import shown
from tasks.small_files import open_regular
from tasks.tables.cells import escape_cell, unescape_cell
from tasks.tables.keys import example_id_of

Result = TypeVar("Result")

PATH = Path("reviews", "decisions.csv")
DECISIONS = ("keep", "accept", "choose", "drop", "unsure", "undo")
REASONS = ("suspect", "audit", "")
"""Why a row was shown: its label was flagged, it was drawn at random, or somebody asked for it."""
# Those that say which label is right, other than the given one.
RELABELLING = ("accept", "choose")
# Of a broken line, in a message.
_LONGEST = 200
# So often work on the file begins anew because it was replaced or changed meanwhile.
_ATTEMPTS = 10

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_REVISION = re.compile(r"[0-9a-f]{12}(-dirty)?|none")
_QUOTED = re.compile(r'[",\r\n]')

Outcome = Literal["stands", "replaced", "withdrawn", "undo"]


@dataclass(frozen=True)
class Decision:
    """One line.

    Attributes:
        key: what the owner calls the row that it is about; in older files its example_id, which is the same
            where rows are called by whole numbers, and names the same row where they are not.
        decision: one of `DECISIONS`.
        label: the name of the class that `accept` (the suggestion of that time) or `choose` says is right;
            for `undo` the `name` of the line that it withdraws; empty for all others.
        given_label: the name of the row's given class, as the reviewer saw it.
        reviewer: who decided.
        time: when, in UTC: 2026-01-31T12:00:00Z.
        revision: what the reviewer looked at: 12 digits of the git commit, with `-dirty` where dvc.lock was
            not the commit's; `none` outside git.
        reason: one of `REASONS`; empty too where it is not recorded, as in older files.
    """

    key: str
    decision: str
    label: str
    given_label: str
    reviewer: str
    time: str
    revision: str
    reason: str = ""

    @cached_property
    def example_id(self) -> int:
        """By which tables are joined."""
        return example_id_of(self.key)

    @property
    def name(self) -> str:
        """Tells the lines of one example apart: `2026-01-31T12:00:00Z anna: choose dog`."""
        return f"{self.time} {self.reviewer}: {self.decision}" + (f" {self.label}" if self.label else "")


HEADER = tuple(field.name for field in fields(Decision))
HEADER_LINE = (",".join(HEADER) + "\n").encode()
# Of files that were begun before lines had a reason, and before they named the key: of a number it is the
# number itself.
_WITHOUT_REASON = HEADER[:-1]
_OLD_HEADERS = (_WITHOUT_REASON, ("example_id", *_WITHOUT_REASON[1:]))


def outcomes(decisions: Iterable[Decision]) -> list[Outcome]:
    """What became of each line: it stands, a later one replaced it, or an undo withdrew it.

    An undo is of the line before it with that name, not of the one that stands: in a merge of two branches
    that may be another's. One that finds none, as a second undo of the same line, does nothing.
    """
    found: list[Outcome] = []
    left: dict[int, dict[int, str]] = {}  # by example, the places and names of lines not withdrawn
    for place, decision in enumerate(decisions):
        names = left.setdefault(decision.example_id, {})
        if decision.decision != "undo":
            found.append("replaced")
            names[place] = decision.name
            continue
        found.append("undo")
        for withdrawn in [other for other, name in names.items() if name == decision.label]:
            found[withdrawn] = "withdrawn"
            del names[withdrawn]
    for names in left.values():
        if names:
            found[max(names)] = "stands"
    return found


def standing(decisions: Sequence[Decision]) -> list[Decision]:
    """The decisions that stand, at most one an example, in their order."""
    ends = outcomes(decisions)
    return [decision for decision, end in zip(decisions, ends, strict=True) if end == "stands"]


def read_decisions(path: Path) -> list[Decision]:
    """All lines, in their order; none where there is no file.

    Raises:
        ArtifactError: a line is broken; says which, what was expected and what was found.
    """
    return parse_decisions(read_whole(path), path)


def read_whole(path: Path) -> bytes:
    """The file as it is while nobody writes to it; empty where there is none.

    Raises:
        ArtifactError: it is not readable.
    """
    try:
        with open_regular(path) as file:
            # A writer in another process has its lines in whole, or not at all.
            fcntl.flock(file, fcntl.LOCK_SH)
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ArtifactError(f"{path}: expected a readable file ({error}).") from error


def with_whole(path: Path, work: Callable[[bytes], Result]) -> Result:
    """`work` on what the file holds, again as long as it is another file afterwards.

    DVC takes the digest of the file after a stage: a decision that comes while it runs would count as seen.

    Raises:
        ArtifactError: it is not readable, or people decide faster than `work` goes.
    """
    for _ in range(_ATTEMPTS):
        held = read_whole(path)
        done = work(held)
        if read_whole(path) == held:
            return done
    raise ArtifactError(
        f"{path}: expected a file that stays as it is while it is applied, found it changed {_ATTEMPTS} "
        "times in a row. Run this stage again when nobody decides."
    )


def digest_of(content: bytes) -> str:
    """The MD5 of what the file holds, as DVC has it in dvc.lock."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def parse_decisions(content: bytes, path: Path) -> list[Decision]:
    """The lines in `content`, with which the file `path` begins.

    Raises:
        ArtifactError: see `read_decisions`.
    """
    if not content:
        return []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _broken(path, line, "UTF-8 text", f"the byte {content[error.start]:#04x}") from error
    records = _records(text, path)
    _, header = next(records, (1, []))
    if tuple(header) not in (HEADER, *_OLD_HEADERS):
        raise _broken(path, 1, f"the header {','.join(HEADER)}", ",".join(header))
    # Where git merged a branch that began its file otherwise, both headers are there.
    headers: list[list[str]] = [[], *map(list, (HEADER, *_OLD_HEADERS))]
    return [_decision(record, path, line) for line, record in records if record not in headers]


def format_decisions(decisions: Iterable[Decision], n_fields: int = len(HEADER)) -> str:
    """The lines of `decisions`, each with its newline; fields are quoted where they must be.

    `n_fields` is how many the header of the file has: those of older files leave the reason out.
    """
    return "".join(",".join(map(_field, astuple(decision)[:n_fields])) + "\n" for decision in decisions)


def append_decisions(
    path: Path, decisions: Sequence[Decision], check: Callable[[bytes], None] | None = None
) -> None:
    """Append lines, all or none, and return when they are on the disk.

    Other processes that append wait meanwhile; nothing in the file is overwritten. A last line without its
    newline, as some editors leave it, gets one. Git and most editors replace a file: what was appended to the
    one before is appended to the new one.

    Args:
        path: the file; it is made, with its header, where there is none.
        decisions: what to append.
        check: takes what the file holds, while no other process can append, and may refuse by raising.

    Raises:
        ArtifactError: the last line is broken, the disk takes no more, or the file does not stay in place.
    """
    lines = format_decisions(decisions).encode()
    if parse_decisions(HEADER_LINE + lines, path) != list(decisions):
        raise ValueError(f"decisions that do not read back as themselves: {decisions}")
    for _ in range(_ATTEMPTS):
        if _append(path, decisions, check):
            return
    raise ArtifactError(
        f"{path}: expected a file that stays in place, found it replaced {_ATTEMPTS} times in a row while "
        f"{len(decisions)} line(s) were added. See whether they are there, and decide again if not."
    )


def _append(path: Path, decisions: Sequence[Decision], check: Callable[[bytes], None] | None) -> bool:
    """Append lines to the file of this name; False if it was replaced meanwhile."""
    with _locked(path) as file:
        content = b"".join(iter(lambda: os.read(file, 1 << 24), b""))
        if check:
            check(content)
        # A table has as many fields in each line as in its header.
        lines = format_decisions(decisions, _n_fields(content)).encode()
        if not content:
            lines = HEADER_LINE + lines
        elif not content.endswith(b"\n"):
            parse_decisions(content, path)
            lines = b"\n" + lines
        try:
            written = os.write(file, lines)
            if written != len(lines):
                raise OSError(f"{written} of {len(lines)} bytes written")
            os.fsync(file)
            if not content:
                # The folder too may be new.
                for folder in (path.parent, path.parent.parent):
                    _sync_folder(folder)
        except OSError as error:
            os.ftruncate(file, len(content))
            raise ArtifactError(
                f"{path}: expected room for {len(decisions)} more line(s), found: {error}. "
                "Nothing was added; free some space and decide again."
            ) from error
        return _is_in_place(file, path)


def _n_fields(content: bytes) -> int:
    """How many fields each line of a file has, by its first line."""
    first = content.partition(b"\n")[0].decode("utf-8-sig", "replace").strip()
    return len(_WITHOUT_REASON) if tuple(first.split(",")) in _OLD_HEADERS else len(HEADER)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The open file, to be appended to, while no other process appends; what is made and stays empty goes."""
    while True:
        is_new = not path.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ArtifactError(f"{path}: expected a file that can be written ({error}).") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            # What was opened may no longer be the file of this name.
            if _is_in_place(file, path):
                try:
                    yield file
                finally:
                    if is_new and not os.fstat(file).st_size and _is_in_place(file, path):
                        path.unlink()
                return
        finally:
            os.close(file)


def _is_in_place(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: without that a new file may be gone after a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _records(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each record with the number of its first line; a quoted name may hold a newline."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = rows.line_num + 1
        try:
            record = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            found = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
            raise _broken(path, line, f"{len(HEADER)} fields", f"{found!r} ({error})") from error
        yield line, record


def _decision(record: list[str], path: Path, line: int) -> Decision:
    if len(record) not in (len(HEADER), len(_WITHOUT_REASON)):
        found = f"{len(record)}: {','.join(record)}"
        raise _broken(path, line, f"{len(HEADER)} fields ({', '.join(HEADER)})", found)
    key, decision, label, given_label, reviewer, time, revision, *others = map(unescape_cell, record)
    reason = others[0] if others else ""
    if not key:
        raise _broken(path, line, "the key of a row", "none")
    if decision not in DECISIONS:
        raise _broken(path, line, f"a decision ({', '.join(DECISIONS)})", repr(decision))
    if (decision in (*RELABELLING, "undo")) != bool(label):
        wanted = "no label for"
        if decision in RELABELLING:
            wanted = "the name of a class as label of"
        elif decision == "undo":
            wanted = "the line that it withdraws (TIME REVIEWER: DECISION LABEL) as label of"
        raise _broken(path, line, f"{wanted} `{decision}`", repr(label))
    if not given_label or not reviewer:
        missing = "reviewer" if given_label else "given_label"
        raise _broken(path, line, f"a {missing}", "none")
    if not _is_time(time):
        raise _broken(path, line, "a time in UTC as 2026-01-31T12:00:00Z", repr(time))
    if not _REVISION.fullmatch(revision):
        raise _broken(
            path, line, "a revision (12 digits of a commit, -dirty or not; or none)", repr(revision)
        )
    if reason not in REASONS:
        raise _broken(path, line, "a reason (suspect, audit, or nothing)", repr(reason))
    return Decision(key, decision, label, given_label, reviewer, time, revision, reason)


def _is_time(text: str) -> bool:
    try:
        return bool(_TIME.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def _field(value: str | int) -> str:
    text = escape_cell(value) if isinstance(value, str) else str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _broken(path: Path, line: int, expected: str, found: str) -> ArtifactError:
    found = shown(found, _LONGEST) if found else "nothing"
    return ArtifactError(
        f"{path}, line {line}: expected {expected}, found {found}. Mend or remove this line; "
        "nothing was changed."
    )
