"""Versions that a run leaves: a DVC experiment or a git commit, so that runs can be compared later."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

from flows import FlowError

Record = Literal["none", "experiment", "commit"]

# What changes when the flow runs and git keeps: the rest is in DVC's cache.
_COMMITTED = ("dvc.lock", "params.yaml", "metrics")
_DVC = [sys.executable, "-m", "dvc"]


def save_version(root: Path, how: Record, name: str, push: bool = False) -> str | None:
    """Keep the state of the workspace.

    Args:
        root: of the repository.
        how: `experiment` makes a DVC experiment called `name`; `commit` a git commit of dvc.lock, params.yaml
            and metrics/, whatever else is staged left alone; `none` nothing.
        name: of the experiment, or the subject of the commit.
        push: send the version and its data to git's and DVC's default remotes.

    Returns:
        A sentence on what was kept, or None.

    Raises:
        FlowError: git or DVC refused; the workspace is as it was.
    """
    if how == "none":
        return None
    if how == "experiment":
        _run(root, *_DVC, "exp", "save", "--name", name)
        if push:
            _run(root, *_DVC, "exp", "push", "origin", name)
        return f"Kept as experiment {name}."
    files = [file for file in _COMMITTED if (root / file).exists()]
    _run(root, "git", "add", "--", *files)
    if not _run(root, "git", "status", "--porcelain", "--", *files):
        return None
    _run(root, "git", "commit", "--quiet", "--message", name, "--only", "--", *files)
    if push:
        _run(root, *_DVC, "push", "--run-cache")
        _run(root, "git", "push", "--quiet")
    return f"Kept as commit {_run(root, 'git', 'rev-parse', '--short', 'HEAD')}."


def _run(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        what = " ".join(command[-3:] if command[0] == sys.executable else command[:2])
        said = " ".join((done.stderr or done.stdout).split())
        raise FlowError(f"The version could not be kept: `{what}` said: {said}")
    return done.stdout.strip()
