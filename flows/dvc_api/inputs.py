"""What lies in inputs/: whether it is new, still being written, or imported from elsewhere."""

import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from flows import FlowError
from flows.dvc_api.repository import open_repository, pipeline_stages

_INPUTS = "inputs/"
# A run does not start while a file of the new data is younger: a file that is being copied looks complete.
_SETTLE_S = 10.0


def why_not_now(root: Path) -> str | None:
    """Why a run for new data has nothing to do yet, or None where it begins."""
    new = new_inputs(root)
    if not new and not begun(root).exists():
        return "No new data in inputs/: nothing to do."
    if written_within(root, new, _SETTLE_S):
        return f"{', '.join(new)}: still being written; the next run looks again."
    return None


def new_inputs(root: Path) -> list[str]:
    """What stages read in inputs/ and DVC finds changed since the last run."""
    with open_repository(root) as repo, repo.lock:
        found = {
            str(dep.def_path)
            for stage in pipeline_stages(repo)
            for dep in stage.deps
            if str(dep.def_path).startswith(_INPUTS) and dep.workspace_status()
        }
    return sorted(found)


def written_within(root: Path, inputs: Iterable[str], seconds: float) -> bool:
    """Whether one of the files, or a file in one of the folders, changed in the last `seconds`.

    Somebody may still be writing.
    """
    places = [root / name for name in inputs]
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*"))]
    for path in files:
        # `dvc update` writes its .dvc file each time. A file that rsync renames is gone a moment later.
        with suppress(FileNotFoundError):
            if path.suffix != ".dvc" and 0 <= time.time() - path.lstat().st_mtime < seconds:
                return True
    return False


def begun(root: Path) -> Path:
    """The file that exists until a run for new data is done. dvc.lock has the new data after one stage."""
    path = root / ".dvc" / "tmp" / "relabel" / "new_data"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def update_imports(root: Path) -> None:
    """Bring inputs that `dvc import-url` or `dvc import` made up to date with their source.

    Raises:
        FlowError: a source does not answer.
    """
    with open_repository(root) as repo:
        imported = [stage.relpath for stage in repo.index.stages if stage.is_import]
    if not imported:
        return
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "update", "--quiet", *imported]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise FlowError(f"`dvc update {' '.join(imported)}` said: {' '.join(done.stderr.split())}")
