"""Who decides, and on which version of the results."""

import getpass
import subprocess
from pathlib import Path


def current_revision(root: Path) -> str:
    """12 digits of the git commit of `root`, with `-dirty` where its dvc.lock is not the commit's.

    `none` where there is no commit, or no git.
    """
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return "none"
    path = root / "dvc.lock"
    now = path.read_bytes() if path.exists() else None
    dirty = _git(root, "show", "HEAD:./dvc.lock") != now
    return head.decode()[:12] + ("-dirty" if dirty else "")


def default_reviewer(root: Path) -> str:
    """The name that git puts on commits in `root`, else that of the account."""
    name = _git(root, "config", "user.name")
    return (name or b"").decode(errors="replace").strip() or getpass.getuser()


def _git(root: Path, *arguments: str) -> bytes | None:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
