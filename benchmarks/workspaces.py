"""A workspace of its own for a run with other parameters: the pipeline copied to a new git repository."""

import hashlib
import shutil
from pathlib import Path

from tasks.params_file import Settings, change_params, set_params
from tasks.workspace import create_workspace, read_code

__all__ = ["code_digest", "make_workspace", "set_params"]


def make_workspace(folder: Path, settings: Settings, source: Path = Path()) -> None:
    """Copy the pipeline from `source` to the new `folder`, with `settings`, and what lies in inputs/."""
    files = read_code(source)
    text = files["params.yaml"].decode()
    files["params.yaml"] = change_params(text, settings, source / "params.yaml").encode()
    create_workspace(folder, files)
    shutil.copytree(source / "inputs", folder / "inputs", dirs_exist_ok=True)


def code_digest(source: Path = Path()) -> str:
    """Eight digits that change with the pipeline's code and parameters."""
    parts = (source / part for part in ("tasks", "dvc.yaml", "params.yaml"))
    files = sorted(file for part in parts for file in ([part] if part.is_file() else part.rglob("*.py")))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
