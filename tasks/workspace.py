"""A folder of its own for a data set: a new git repository with the pipeline's code and DVC.

It uses the environment of the checkout that made it, by a link `.venv`. Data, cache and results of the
checkout stay where they are.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks import WorkspaceError
from tasks.decisions.log import HEADER_LINE, PATH
from tasks.params_file import Settings, change_params
from tasks.tables.files import atomic_path

CHECKOUT = Path(__file__).parents[1]
"""The folder with the pipeline that runs."""

_CONFIG = ".dvc/config"
# What makes a folder the pipeline. Results, data and decisions are not among it.
_PARTS = (
    "flows",
    "review",
    "tasks",
    "presets",
    "docs/*.yaml",
    "inputs/*/README.md",
    "dvc.yaml",
    "params.yaml",
    "prefect.yaml",
    "pyproject.toml",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
    ".dvc/.gitignore",
    _CONFIG,
)
_RECORD = ".relabel.json"
"""In a folder of ours: what we wrote there. A file that is no longer so was changed by a person."""

Files = Mapping[str, bytes]
"""Contents by path, relative to the folder, with `/`."""


def make_workspace(folder: Path, settings: Settings, source: Path = CHECKOUT) -> None:
    """Make `folder` a workspace with the code of the checkout `source`, or bring it up to date.

    A new one is there whole or not at all. One that we made before keeps its data, cache and results; its
    code and params.yaml become those of now, and DVC decides what is stale.

    Args:
        folder: new, empty, or made by this function.
        settings: values of params.yaml that differ from those of `source`.
        source: a checkout, known to git; changes that are not yet committed come along.

    Raises:
        WorkspaceError: `folder` is something else, a person changed a file that would be overwritten, or git
            does not do what it is asked.
        ParamsError: a setting does not fit.
    """
    files = read_code(source)
    text = files["params.yaml"].decode()
    files["params.yaml"] = change_params(text, settings, folder / "params.yaml").encode()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        _update(folder, files)
    else:
        create_workspace(folder, files)
    _link_environment(folder)


def read_code(source: Path) -> dict[str, bytes]:
    """The pipeline's files in a checkout: those that git knows, and new ones that it does not ignore.

    Raises:
        WorkspaceError: git knows no checkout there.
    """
    command = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *_PARTS]
    names = sorted({name for name in _git(source, command).split("\0") if (source / name).is_file()})
    if "params.yaml" not in names:
        raise WorkspaceError(
            f"{source}: expected a checkout of the pipeline that git knows, found no params.yaml."
        )
    return {name: (source / name).read_bytes() for name in names}


def create_workspace(folder: Path, files: Files) -> None:
    """Make the new `folder` a git repository with `files` committed and DVC set up.

    Raises:
        WorkspaceError: git does not do what it is asked.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        # What people decided about labels elsewhere says nothing of these.
        _write(unfinished, {**files, str(PATH): HEADER_LINE, _RECORD: _record(files)})
        _git(unfinished, ["init", "--quiet"])
        # The README's commands call it so; an unconfigured git would say master.
        _git(unfinished, ["symbolic-ref", "HEAD", "refs/heads/main"])
        _git(unfinished, ["add", "--all"])
        # DVC's experiments start from a commit.
        _commit(unfinished, "Start")
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _update(folder: Path, files: Files) -> None:
    """Bring a folder of ours up to date; nothing that a person wrote is lost."""
    before = _read_record(folder)
    if (config := folder / _CONFIG).is_file():
        # Its owner's from the start on: `dvc remote add` writes there.
        files = {**files, _CONFIG: config.read_bytes()}
    written = {name: path.read_bytes() for name in {*before, *files} if (path := folder / name).is_file()}
    for name, content in sorted(written.items()):
        if content != files.get(name) and _digest(content) != before.get(name):
            raise WorkspaceError(
                f"{folder / name}: expected the file as it was written here, found one that was changed. Run "
                f"`dvc repro` in {folder} to go on with it, or move it away to have the new one."
            )
    changed = {name: content for name, content in files.items() if written.get(name) != content}
    gone = sorted(name for name in before if name not in files)
    if not changed and not gone:
        return
    _write(folder, {**changed, _RECORD: _record(files)})
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    _git(folder, ["add", "--all", "--", *changed, *(name for name in gone if name in written), _RECORD])
    _commit(folder, "The pipeline's code of now")


def _read_record(folder: Path) -> dict[str, str]:
    """The digests of the files that we wrote."""
    try:
        found = json.loads((folder / _RECORD).read_text(encoding="utf-8"))["files"]
        return {str(name): str(digest) for name, digest in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkspaceError(
            f"{folder}: expected a new folder, or one that this pipeline made, found something else there. "
            "Name another folder."
        ) from error


def _record(files: Files) -> bytes:
    digests = {name: _digest(content) for name, content in sorted(files.items())}
    return (json.dumps({"files": digests}, indent=1) + "\n").encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)


def _link_environment(folder: Path) -> None:
    """Link `.venv` to the virtual environment that runs, so that `folder` needs none of its own."""
    link = folder / ".venv"
    if sys.prefix == sys.base_prefix or (link.is_dir() and not link.is_symlink()):
        return
    link.unlink(missing_ok=True)
    link.symlink_to(sys.prefix)


def _commit(folder: Path, message: str) -> None:
    author = [
        "-c",
        "user.name=relabel",
        "-c",
        "user.email=relabel@localhost",
        "-c",
        "core.hooksPath=/dev/null",
    ]
    _git(folder, [*author, "commit", "--quiet", "--no-gpg-sign", "-m", message])


def _git(folder: Path, arguments: Sequence[str]) -> str:
    # A hook of the checkout would set variables that lead git there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *arguments]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise WorkspaceError(f"{folder}: expected to run git here, found: {error}.") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise WorkspaceError(f"{folder}: expected that `git {arguments[0]}` works here, found: {said}.")
    return done.stdout
