"""Versions that a run leaves: a DVC experiment or a git commit, so that runs can be compared later."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

from flows import FlowError
from flows.pipeline import check_remote

Record = Literal["none", "experiment", "commit"]

# What changes when the flow runs and git keeps: the rest is in DVC's cache.
_COMMITTED = ("dvc.lock", "params.yaml", "metrics")
_DVC = [sys.executable, "-m", "dvc"]


def save_version(root: Path, how: Record, name: str) -> str | None:
    """Keep the state of the workspace.

    Args:
        root: of the repository.
        how: `experiment` makes a DVC experiment called `name`; `commit` a git commit of dvc.lock, params.yaml
            and metrics/, whatever else is staged left alone; `none` nothing.
        name: of the experiment, or the subject of the commit.

    Returns:
        A sentence on what was kept, or None.

    Raises:
        FlowError: git or DVC refused; the workspace is as it was.
    """
    if how == "none":
        return None
    if how == "experiment":
        _run(root, *_DVC, "exp", "save", "--name", name)
        return f"Kept as experiment {name}."
    files = [file for file in _COMMITTED if (root / file).exists()]
    _run(root, "git", "add", "--", *files)
    if not _run(root, "git", "status", "--porcelain", "--", *files):
        return None
    _run(root, "git", "commit", "--quiet", "--message", name, "--only", "--", *files)
    return f"Kept as commit {_run(root, 'git', 'rev-parse', '--short', 'HEAD')}."


def check_push(root: Path, how: Record) -> None:
    """Check that there is something to send and somewhere to send it, before a run that is to end so.

    Raises:
        FlowError: nothing is to be kept, or git has no `origin` or DVC no default remote.
    """
    if how == "none":
        raise FlowError("--push: expected --record experiment or commit with it, found --record none.")
    if "origin" not in _run(root, "git", "remote").split():
        raise FlowError("--push: expected a git remote `origin`, found none. Add it with `git remote add`.")
    check_remote(root, "--push")


def push_version(root: Path, how: Record, name: str) -> None:
    """Send what `save_version` kept, and its data, to git's `origin` and DVC's default remote.

    Raises:
        FlowError: git or DVC refused; what was kept is still here, and a later push sends it too.
    """
    if how == "experiment":
        _run(root, *_DVC, "exp", "push", "origin", name)
    elif how == "commit":
        _run(root, *_DVC, "push", "--run-cache")
        _run(root, "git", "push", "--quiet", "origin", "HEAD")


def _run(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        what = " ".join(["dvc", *command[len(_DVC) :]][:3] if command[0] == sys.executable else command[:2])
        said = " ".join((done.stderr or done.stdout).split())
        verb = "sent" if "push" in command else "kept"
        raise FlowError(f"The version could not be {verb}: `{what}` said: {said}")
    return done.stdout.strip()
