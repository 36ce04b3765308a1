"""A workspace of its own for a run with other parameters: the pipeline copied to a new git repository."""

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.decisions.log import HEADER, PATH

_PARTS = (
    "flows",
    "review",
    "tasks",
    "inputs",
    "dvc.yaml",
    "params.yaml",
    "pyproject.toml",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
)


def make_workspace(folder: Path, settings: Mapping[str, Any], source: Path = Path()) -> None:
    """Copy the pipeline from `source` to the new `folder`, with `settings` ("section.name": value)."""
    whole, folder = folder, folder.with_name(f"{folder.name}.new")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in _PARTS:
        origin = source / part
        if origin.is_dir():
            shutil.copytree(origin, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, folder / part)
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(source / ".dvc" / name, folder / ".dvc" / name)
    # What people decided about labels here says nothing of a run with other noise.
    (folder / PATH).parent.mkdir()
    (folder / PATH).write_text(",".join(HEADER) + "\n", encoding="utf-8")
    set_params(folder / "params.yaml", settings)
    # DVCLive asks for the commit that a run starts from.
    author = ["-c", "user.name=relabel", "-c", "user.email=relabel@localhost"]
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        [*author, "commit", "--quiet", "--no-gpg-sign", "-m", "Start"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    folder.rename(whole)


def code_digest(source: Path = Path()) -> str:
    """Eight digits that change with the pipeline's code and parameters."""
    parts = (source / part for part in ("tasks", "dvc.yaml", "params.yaml"))
    files = sorted(file for part in parts for file in ([part] if part.is_file() else part.rglob("*.py")))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def set_params(path: Path, settings: Mapping[str, Any]) -> None:
    """Change values of a params.yaml in place, keeping its comments."""
    yaml = YAML()
    yaml.width = 200
    params = yaml.load(path.read_text(encoding="utf-8"))
    for name, value in settings.items():
        *sections, last = name.split(".")
        section = params
        for part in sections:
            section = section[part]
        section[last] = value
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
