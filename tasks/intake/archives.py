"""Unpacking archives of data, within bounds and inside one folder."""

import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tasks import DatasetError
from tasks.own_files.names import shown

_MOST_BYTES = 2**37
# A bomb holds thousands of times its size; pictures and tables hold less than this.
_MOST_RATIO, _LEAST = 200, 2**30
_MOST_FILES = 5_000_000
_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: Path) -> bool:
    """Whether a file is an archive, by its name."""
    return path.is_file() and path.name.lower().endswith(_SUFFIXES)


def stem_of(path: Path) -> str:
    """The name of an archive without its suffix."""
    suffix = max((each for each in _SUFFIXES if path.name.lower().endswith(each)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)]


def unpack(path: Path, folder: Path) -> None:
    """Unpack the regular files of an archive into a new folder.

    Raises:
        DatasetError: it is damaged, holds far more than its size lets expect, or a name that leads out of the
            folder, or a link; nothing is left behind.
    """
    try:
        if path.name.lower().endswith(".zip"):
            _unpack_zip(path, folder)
        else:
            _unpack_tar(path, folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = " ".join(str(error).split())
        raise DatasetError(f"{path}: expected an archive that can be unpacked ({shown(reason)}).") from error
    except DatasetError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _unpack_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            _check_name(path, member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DatasetError(f"{path}: expected files alone, found the link {shown(member.filename)}.")
        _check_size(path, len(members), sum(member.file_size for member in members))
        # `extract` reads no more of a member than it said that it holds.
        for member in members:
            archive.extract(member, folder)


def _unpack_tar(path: Path, folder: Path) -> None:
    with tarfile.open(path) as archive:
        members, n_bytes = [], 0
        for member in archive:
            _check_name(path, member.name)
            if not (member.isfile() or member.isdir()):
                raise DatasetError(f"{path}: expected files alone, found the link {shown(member.name)}.")
            members.append(member)
            n_bytes += member.size
            _check_size(path, len(members), n_bytes)
        archive.extractall(folder, members=members, filter="data")


def _check_name(path: Path, name: str) -> None:
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in place.parts[:1] or "\0" in name:
        raise DatasetError(
            f"{path}: expected names inside the archive, found {shown(name)}, which leads out of it. Nothing "
            "was unpacked."
        )


def _check_size(path: Path, n_files: int, n_bytes: int) -> None:
    most = min(max(_LEAST, _MOST_RATIO * path.stat().st_size), _MOST_BYTES)
    if n_bytes > most or n_files > _MOST_FILES:
        raise DatasetError(
            f"{path}: expected at most {most / 2**20:,.0f} MB in {_MOST_FILES:,} files here, found "
            "more. If it is what you mean, unpack it yourself and give the folder."
        )
