"""`python -m tasks STAGE [--fold K] [--labels NAME]`: run one stage in the current folder.

The only command that dvc.yaml calls. The exit status is 0, or 1 with one readable paragraph on stderr. Where
RELABEL_STAGE_SERVER names the socket of a stage server (the flow starts one), the stage runs in a process
that has already imported what it needs; nothing heavier than `socket` is imported here then.
"""

import os
import sys
from contextlib import suppress

from tasks.stage_server import end_with_parent, run_remotely


def main() -> int:
    """Run the stage in the stage server, if there is one, else here; return the exit status."""
    if "DVC_STAGE" in os.environ:
        end_with_parent()
    status = None
    if address := os.environ.get("RELABEL_STAGE_SERVER"):
        status = run_remotely(address, sys.argv[1:])
    if status is None:
        from tasks import command_line

        status = command_line.main()
    return status


if __name__ == "__main__":
    status = main()
    # There is none where the caller has closed it. The reader may have left: the work is done all the same.
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError):
            stream.flush()
    # Every file is written. To tear down torch and what it imported takes more than a second.
    os._exit(status)
