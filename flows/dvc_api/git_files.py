"""What git keeps, read by git itself: nothing is checked out, and any kind of clone does."""

import hashlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import FlowError

# By repository, git's name of the content, and path: what a version has is most often what another has.
_digests: dict[tuple[str, str, str], str] = {}


def ask_git(root: Path, *arguments: str) -> str:
    """What git says, empty where it has nothing to say."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def list_files(root: Path, commit: str) -> dict[str, str]:
    """What git calls the content of each file of a commit, by its path from `root`; files above are none.

    Raises:
        FlowError: git cannot read the commit.
    """
    command = ["git", "ls-tree", "-r", "-z", commit]
    done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    if done.returncode:
        raise _unreadable(done.stderr)
    found = {}
    for head, _, path in (entry.partition(b"\t") for entry in done.stdout.split(b"\0")):
        if b" blob " in head:  # the commit of a submodule is none
            found[os.fsdecode(path)] = head.split()[2].decode()
    return found


def read_start(root: Path, name: str, size: int) -> bytes:
    """The first bytes of a file, such as `COMMIT:./PATH`, as a checkout would have it.

    Raises:
        FlowError: git cannot read it.
    """
    command = ["git", "cat-file", "--filters", name]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=said) as shown,
    ):
        assert shown.stdout is not None  # noqa: S101  # it is a pipe
        found = shown.stdout.read(size)
        if len(found) == size:
            shown.kill()
        elif shown.wait():
            said.seek(0)
            raise _unreadable(said.read())
    return found


def digest_files(root: Path, files: Mapping[str, str]) -> dict[str, str]:
    """The MD5 of files as a checkout would have them, by path.

    Args:
        root: a folder of the repository.
        files: what git calls the content of each, by its path from `root`.

    Raises:
        FlowError: git cannot read one of them.
    """
    place = str(root.resolve())
    new = [(name, path) for path, name in files.items() if (place, name, path) not in _digests]
    if new:
        _digests.update(zip([(place, *each) for each in new], _digest(root, new), strict=True))
    return {path: _digests[place, name, path] for path, name in files.items()}


def md5_of(file: Path) -> str:
    """The MD5 of a file on disk."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, _md5).hexdigest()


def _digest(root: Path, files: Sequence[tuple[str, str]]) -> list[str]:
    """The MD5 of each file, by one process; `files` are what git calls their content, and their paths."""
    prefix = os.fsencode(ask_git(root, "rev-parse", "--show-prefix"))
    # What a filter makes of a file is not as long as git says, so a line that no file has stands before each.
    mark = uuid.uuid4().hex.encode()
    found, held = [_md5()], b""
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said:
        for name, path in files:
            asked.write(b"%s %s%s\n" % (name.encode(), prefix, os.fsencode(path).replace(b"\n", b" ")))
        asked.seek(0)
        command = ["git", "cat-file", f"--batch={mark.decode()}", "--filters"]
        with subprocess.Popen(command, cwd=root, stdin=asked, stdout=subprocess.PIPE, stderr=said) as process:
            for line in process.stdout or ():
                is_next = line == mark + b"\n"
                # A line ends each file, and is not of it.
                found[-1].update(held[:-1] if is_next else held)
                held = b"" if is_next else line
                if is_next:
                    found.append(_md5())
        found[-1].update(held[:-1])
        said.seek(0)
        if process.returncode or len(found) != len(files) + 1:
            raise _unreadable(said.read())
    return [each.hexdigest() for each in found[1:]]


def _unreadable(said: bytes) -> FlowError:
    words = " ".join(said.decode(errors="replace").split())
    return FlowError(f"git cannot read that version: {words or 'an object is missing'}.")


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)
