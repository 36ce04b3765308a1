"""Whether DVC reads a file for a stage just now, by its own lock file, without importing DVC.

From before a stage's command starts until its dependencies are hashed, `.dvc/tmp/rwlock` lists them under
`read`, each with the processes that hold it. A line that is appended after the command's last look and
before the hash would count as applied, so appends wait for that.
"""

import json
import os
import time
from pathlib import Path

_STEP_SECONDS = 0.05


def wait_until_unread(root: Path, path: Path, seconds: float) -> bool:
    """Wait until no living DVC process holds `path` (relative to `root`); False if one still does then."""
    end = time.monotonic() + seconds
    while _is_read(root, path):
        if time.monotonic() >= end:
            return False
        time.sleep(_STEP_SECONDS)
    return True


def _is_read(root: Path, path: Path) -> bool:
    try:
        holders = json.loads((root / ".dvc" / "tmp" / "rwlock").read_bytes()).get("read", {})
        pids = [holder["pid"] for holder in holders.get(str(root.resolve() / path), [])]
    except OSError:
        return False
    except (ValueError, LookupError, TypeError, AttributeError):
        # DVC does not replace its file but writes it anew: it may be seen half-written.
        return True
    return any(map(_is_alive, pids))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
