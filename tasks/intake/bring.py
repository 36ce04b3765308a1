"""Bringing files into a workspace: as reflinks where the disk can, else as hard links or copies."""

import fcntl
import filecmp
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tasks import DatasetError

REFLINK, HARD_LINK, COPY = "reflink", "hard link", "copy"
# Of Linux: make a file share the blocks of another (ioctl_ficlone(2)).
_FICLONE = 0x40049409


def bring_files(source: Path, files: Sequence[str], target: Path) -> str:
    """Bring files of the folder `source`, or the one file `source`, to `target`; say by which way.

    Nothing appears under `target` before all is there. What is there already and the same stays.

    Raises:
        DatasetError: something else is there, or the disk takes no more; nothing has changed.
    """
    if source.resolve() == target.resolve():
        return "where it lies"
    if target.exists():
        if _is_same(source, files, target):
            return "as it lay there"
        raise DatasetError(
            f"{target}: expected nothing here yet, found other data. Choose another name (--name NAME), "
            "or remove it first."
        )
    new = target.with_name(f"{target.name}.new.tmp")
    remove(new)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pairs = [(source / file, new / file) for file in files] or [(source, new)]
        ways = {_bring(origin, place) for origin, place in pairs}
        new.rename(target)
    except OSError as error:
        remove(new)
        raise DatasetError(
            f"{target}: expected to bring {source} here ({error}). Nothing has changed."
        ) from error
    return max(ways, key=[REFLINK, HARD_LINK, COPY].index)


def _bring(origin: Path, place: Path) -> str:
    """One file; a link is followed, as DVC sees nothing in a symbolic link."""
    place.parent.mkdir(parents=True, exist_ok=True)
    origin = origin.resolve(strict=True)
    with suppress(OSError), origin.open("rb") as whole, place.open("xb") as part:
        fcntl.ioctl(part.fileno(), _FICLONE, whole.fileno())
        return REFLINK
    place.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(origin, place)
        return HARD_LINK
    shutil.copyfile(origin, place)
    return COPY


def _is_same(source: Path, files: Sequence[str], target: Path) -> bool:
    if not files:
        return target.is_file() and filecmp.cmp(source, target, shallow=False)
    here = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    return here == sorted(files) and all(
        filecmp.cmp(source / file, target / file, shallow=False) for file in files
    )


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
