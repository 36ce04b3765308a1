"""The process of a flow's stage server (`tasks.stage_server`), which can start before Prefect is imported."""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flows.dvc_api.dvc_by_server import PRELOAD

_SERVER = (sys.executable, "-m", "tasks.stage_server")
_ahead: "tuple[Path, subprocess.Popen[bytes]] | None" = None


def start_ahead(root: Path, options: Sequence[str]) -> None:
    """Start the server of a first run, in which all is to be done: while Prefect is imported, a core is free.

    It ends when this process does, whether a runner takes it or not.
    """
    global _ahead
    is_first = (root / "dvc.yaml").exists() and not (root / "dvc.lock").exists()
    if is_first and set(options) <= {"--summary"} and not os.environ.get("RELABEL_STAGE_SERVER"):
        address = new_address()
        # Without words: what a training needs here.
        _ahead = address, start_process(root, address, ())


def take_ahead() -> "tuple[Path, subprocess.Popen[bytes]] | None":
    """The address and the process of the server that was started ahead, if any, once."""
    global _ahead
    taken, _ahead = _ahead, None
    return taken


def new_address() -> Path:
    """A name for a socket: a path that is short, as a socket's must be."""
    return Path(tempfile.gettempdir()) / f"relabel-stages-{secrets.token_hex(8)}"


def start_process(root: Path, address: Path, imports: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a server that imports late what is named, or what a training needs. It ends with its stdin."""
    return subprocess.Popen(
        [*_SERVER, str(address), "--preload", *PRELOAD, "--later", *imports],
        cwd=root,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
