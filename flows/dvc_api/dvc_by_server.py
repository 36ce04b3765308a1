"""`python -m flows.dvc_api.dvc_by_server dvc ...`: DVC's command line, by a process that has imported DVC.

The process is forked from the stage server of the flow (`tasks.stage_server`), which `RELABEL_DVC_SERVER`
names. Where no server answers yet, this process becomes `python -m dvc`. Importing is half of what DVC does
for a stage.
"""

import logging
import os
import sys
from collections.abc import Sequence

from tasks.stage_server import end_with_parent, run_remotely

PRELOAD = (
    "flows.dvc_api.dvc_by_server",
    # What `dvc repro` imports, most of it late.
    "configobj",
    "dulwich.ignore",
    "dulwich.worktree",
    "dvc._debug",
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.commands.repro",
    "dvc.data_cloud",
    "dvc.parsing.interpolate",
    "dvc.repo.artifacts",
    "dvc.repo.datasets",
    "dvc.repo.index",
    "dvc.repo.metrics",
    "dvc.repo.open_repo",
    "dvc.repo.params",
    "dvc.repo.plots",
    "dvc.repo.reproduce",
    "dvc.repo.stage",
    "dvc.rwlock",
    "dvc.scm",
    "dvc.utils.strictyaml",
    "dvc_data.hashfile.db.local",
    "dvc_data.hashfile.status",
    "flatten_dict",
    "fsspec.implementations.memory",
    "psutil",
    "scmrepo.git",
)
"""What the server imports for it."""


def main(arguments: Sequence[str]) -> int:
    """Run DVC in this process, freshly forked; return its exit status."""
    from dvc import logger
    from dvc.cli import main as run

    # When it was imported it saw the server's terminal, if any. Colours are not for a pipe.
    for name in ("dvc", "dvc_objects", "dvc_data"):
        logging.getLogger(name).handlers.clear()
    logger.setup()
    sys.argv = ["dvc", *arguments]
    return int(run(list(arguments)))


def _ask() -> int:
    """Let the server run DVC, and return its exit status."""
    words = sys.argv[1:]
    end_with_parent()
    status = run_remotely(os.environ["RELABEL_DVC_SERVER"], ["-m", __spec__.name, *words[1:]])
    if status is None:
        os.execv(sys.executable, [sys.executable, "-m", *words])  # noqa: S606  # no shell
    return status


if __name__ == "__main__":
    sys.exit(_ask())
