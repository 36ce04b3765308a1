"""Who decides, and on which version of the results."""

import getpass
import hashlib
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

_ISSUES = "data/label_issues.parquet"


def current_revision(root: Path) -> str:
    """12 digits of the git commit of `root`, with `-dirty` where it is not what one looks at.

    That is where dvc.lock is not the commit's, or the label issues are not those that dvc.lock names.
    `none` where there is no commit, or no git.
    """
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return "none"
    path = root / "dvc.lock"
    now = path.read_bytes() if path.exists() else None
    dirty = _git(root, "show", "HEAD:./dvc.lock") != now or not _are_locked_issues(root)
    return head.decode()[:12] + ("-dirty" if dirty else "")


def default_reviewer(root: Path) -> str:
    """The name that git puts on commits in `root`, else that of the account."""
    name = _git(root, "config", "user.name")
    return (name or b"").decode(errors="replace").strip() or _account()


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container whose user id has no name
        return "unknown"


def _are_locked_issues(root: Path) -> bool:
    """Whether the table of issues is the one that dvc.lock names; so it is where one cannot be had."""
    try:
        stats = [(root / name).stat() for name in ("dvc.lock", _ISSUES)]
    except OSError:
        return True
    return _compare(root, tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats))


@lru_cache(4)
def _compare(root: Path, _stats: tuple[tuple[int, ...], ...]) -> bool:
    try:
        lock = YAML(typ="safe").load((root / "dvc.lock").read_bytes())
        stages: Mapping[str, Mapping[str, list[dict[str, str]]]] = lock["stages"]
        locked = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", [])}
    except (YAMLError, LookupError, TypeError, AttributeError):
        return False
    with (root / _ISSUES).open("rb") as file:
        return bool(locked.get(_ISSUES) == hashlib.file_digest(file, "md5").hexdigest())


def _git(root: Path, *arguments: str) -> bytes | None:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
