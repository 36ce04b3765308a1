"""Versions that a run leaves: a DVC experiment or a git commit, so that runs can be compared later."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from flows import FlowError
from flows.dvc_api.remotes import check_remote

Record = Literal["none", "experiment", "commit"]

# What a run reads or writes and git keeps. Code is not in it; all else is in DVC's cache.
_COMMITTED = ("dvc.lock", "params.yaml", "reviews/decisions.csv", "metrics")
# The names of `run_name`; what a name of git may not hold is left out of them.
_KEPT = re.compile(r"relabel-(?:.+-)?[0-9]{8}-[0-9]{6}")
_UNFIT = re.compile(r"[^A-Za-z0-9_]+")
_DVC = [sys.executable, "-m", "dvc"]


def save_version(root: Path, how: Record, name: str) -> str | None:
    """Keep the state of the workspace.

    Args:
        root: of the repository.
        how: `experiment` makes a DVC experiment called `name`; `commit` a git commit of dvc.lock,
            params.yaml, reviews/decisions.csv and metrics/, whatever else is staged left alone; `none`
            nothing.
        name: of the experiment, or the subject of the commit.

    Returns:
        A sentence on what was kept, or None.

    Raises:
        FlowError: git or DVC refused; the workspace is as it was.
    """
    if how == "none":
        return None
    if how == "experiment":
        # DVC leaves out files that git does not know, and metrics that no commit has are such files.
        new = _run(root, "git", "ls-files", "--others", "--exclude-standard", "--", "metrics").splitlines()
        options = [part for file in new for part in ("--include-untracked", file)]
        _run(root, *_DVC, "exp", "save", "--name", name, *options)
        return f"Kept as experiment {name}."
    files = [file for file in _COMMITTED if (root / file).exists()]
    _run(root, "git", "add", "--", *files)
    if not _run(root, "git", "status", "--porcelain", "--", *files):
        return None
    _run(root, "git", "commit", "--quiet", "--message", name, "--only", "--", *files)
    return f"Kept as commit {_run(root, 'git', 'rev-parse', '--short', 'HEAD')}."


def check_record(root: Path, how: Record, push: bool) -> None:
    """Check what a run is to keep and where it is to send that, before it runs.

    Raises:
        FlowError: `how` is no way to keep a version; or, with `push`, nothing is to be kept, git has no
            `origin`, or DVC no default remote.
    """
    if how not in get_args(Record):
        raise FlowError(f"--record: expected one of {', '.join(get_args(Record))}, found {how!r}.")
    if not push:
        return
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


def run_name(schedule: str | None, time: str) -> str:
    """What the flow calls a run that it keeps: `relabel-TIME`, of a schedule `relabel-SCHEDULE-TIME`."""
    return "-".join(["relabel", *([_UNFIT.sub("-", schedule)] if schedule else []), time])


class Experiment(NamedTuple):
    """A DVC experiment: its commit, the one it starts from, its name, and when it was made (Unix time)."""

    commit: str
    baseline: str
    name: str
    time: int


def every_experiment(root: Path) -> list[Experiment]:
    """The DVC experiments of a repository, the newest first."""
    order = ["--sort=-refname", "--sort=-committerdate"]  # the last is the first that counts
    form = "--format=%(objectname) %(committerdate:unix) %(refname)"
    lines = _run(root, "git", "for-each-ref", *order, form, "refs/exps").splitlines()
    found = []
    for commit, time, ref in (line.split(" ", 2) for line in lines):
        if len(parts := ref.split("/")) == 5:  # refs/exps/ab/cdef.../NAME; others are DVC's own
            found.append(Experiment(commit, parts[2] + parts[3], parts[4], int(time)))
    return found


def kept_runs(root: Path) -> list[tuple[str, int]]:
    """The experiments that runs of the flow kept on the way to HEAD: names and times, the newest first."""
    on_the_way = set(_run(root, "git", "rev-list", "HEAD").split())
    return [
        (each.name, each.time)
        for each in every_experiment(root)
        if each.baseline in on_the_way and _KEPT.fullmatch(each.name)
    ]


def experiments(root: Path) -> dict[str, str]:
    """The commit of each DVC experiment that starts from HEAD, by name; the newest first."""
    head = _run(root, "git", "rev-parse", "HEAD")
    return {each.name: each.commit for each in every_experiment(root) if each.baseline == head}


def keep_experiment(workspace: Path, root: Path, name: str, files: Sequence[str]) -> None:
    """Make the state of `workspace`, a fresh clone of `root`, a DVC experiment of `root`.

    An experiment is a commit on top of the one it starts from, under refs/exps. Git makes it: `dvc exp save`
    commits all data again, gives git the plots that are DVC's, and omits metrics that git does not know.

    Args:
        workspace: where the pipeline ran, with the cache of `root`.
        root: of the repository; its work tree, index and branches stay as they are.
        name: of the experiment; one of this name on the same commit is replaced.
        files: what the experiment has beside the files that git knows: dvc.lock and the metrics.

    Raises:
        FlowError: git refused.
    """
    head = _run(workspace, "git", "rev-parse", "HEAD")
    ref = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
    _run(workspace, "git", "add", "--update")
    _run(workspace, "git", "add", "--force", "--", *files)
    author = [f"user.{key}={_git_config(root, f'user.{key}') or 'relabel'}" for key in ("name", "email")]
    options = ["--quiet", "--no-verify", "--no-gpg-sign", "--allow-empty", "--message", name]
    _run(workspace, "git", "-c", author[0], "-c", author[1], "commit", *options)
    quiet = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"]
    _run(root, "git", "fetch", *quiet, str(workspace), f"+HEAD:{ref}")


def read_committed(root: Path, commit: str, files: Sequence[str]) -> dict[str, str]:
    """The text of those of `files` that `commit` has."""
    there = _run(root, "git", "ls-tree", "-r", "--name-only", commit, "--", *files).splitlines()
    return {file: _run(root, "git", "show", f"{commit}:./{file}") for file in there}


def _git_config(root: Path, key: str) -> str:
    command = ["git", "config", "--get", key]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()


def _run(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        what = " ".join(["dvc", *command[len(_DVC) :]][:3] if command[0] == sys.executable else command[:2])
        said = " ".join((done.stderr or done.stdout).split())
        verb = "sent" if "push" in command else "kept"
        raise FlowError(f"The version could not be {verb}: `{what}` said: {said}")
    return done.stdout.strip()
