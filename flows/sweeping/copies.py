"""Copies of the workspace in which the points of a sweep run."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows import FlowError
from flows.dvc_api.remotes import share_cache
from flows.dvc_api.signatures import source_hashes, uncached_outputs
from flows.runner import remove_socket

FOLDER = Path(".dvc", "tmp", "relabel", "sweep")
BASE = "base"


def snapshot(root: Path, base: Path) -> None:
    """Copy the workspace `root` to the new folder `base`, a clone with its uncommitted changes and its cache.

    What git tracks is copied as it is on disk, and so is all that stages read, tracked or not. Metrics and
    dvc.lock are left out: a point has what it made itself.

    Raises:
        FlowError: `root` is not the root of a git repository with a commit.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if Path(top).resolve() != root:
        raise FlowError(f"A sweep starts at the root of the git repository, {top}; found {root}.")
    _git(root, "rev-parse", "HEAD")
    _git(root, "clone", "--quiet", "--shared", "--no-checkout", str(root), str(base))
    left_out = {"dvc.lock", *uncached_outputs(root)}
    tracked = {name for name in _tracked(root) if (root / name).is_symlink() or (root / name).is_file()}
    tracked -= left_out
    for name in sorted(tracked | _read_files(root)):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, base / name, follow_symlinks=False)
    files = ["--pathspec-from-file=-", "--pathspec-file-nul"]
    _git(base, "add", "--force", *files, given="\0".join(sorted(tracked)))
    share_cache(root, base, base.parent / "site")


def copy_workspace(base: Path, workspace: Path) -> None:
    """Copy a snapshot to a point's folder. Files that git does not track, the data, become links."""
    tracked = {base / name for name in _tracked(base)}

    def copy(source: str, target: str) -> None:
        if Path(source) in tracked or Path(source).relative_to(base).parts[0] in (".git", ".dvc"):
            shutil.copy2(source, target, follow_symlinks=False)
        else:
            Path(target).symlink_to(source)

    partial = workspace.with_name(f"{workspace.name}.new")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(base, partial, symlinks=True, ignore=_ignore_dvc_tmp, copy_function=copy)
    partial.rename(workspace)


@contextmanager
def sweep_folder(root: Path) -> Iterator[Path]:
    """A folder for the workspaces of this sweep, removed with them; what a killed sweep left goes first."""
    folder = root / FOLDER
    for base in folder.glob(f"*/{BASE}"):
        remove_socket(base)
    # A stage of a killed sweep may write there for some seconds more. The next sweep removes the rest.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    run = Path(tempfile.mkdtemp(dir=folder))
    try:
        yield run
    finally:
        shutil.rmtree(run, ignore_errors=True)


def _read_files(root: Path) -> set[str]:
    """Every file in what stages read and no stage writes, by its path from `root`."""
    found: set[str] = set()
    for name in source_hashes(root):
        path = root / name
        files = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
        found.update(str(file.relative_to(root)) for file in files if "__pycache__" not in file.parts)
    return found


def _tracked(root: Path) -> list[str]:
    return [name for name in _git(root, "ls-files", "-z").split("\0") if name]


def _ignore_dvc_tmp(folder: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name == "tmp" and Path(folder).name == ".dvc"]


def _git(root: Path, *arguments: str, given: str = "") -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, input=given, check=False)
    if done.returncode != 0:
        raise FlowError(
            f"A sweep needs a git repository with at least one commit in {root}: `git {arguments[0]}` said: "
            f"{' '.join(done.stderr.split())}"
        )
    return done.stdout.strip()
