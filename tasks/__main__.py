"""`python -m tasks STAGE [--fold K] [--labels NAME]`: run one stage in the current folder.

The only command that dvc.yaml calls. The exit status is 0, or 1 with one readable paragraph on stderr.
"""

import argparse
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from tasks import RelabelError
from tasks.params import Params, load_params

STAGES = tuple(name for name in Params.model_fields)
_OPTIONS = {"train_fold": "fold", "retrain": "labels"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tasks", description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=STAGES, metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument("--fold", type=int, help="the fold to train (train_fold)")
    parser.add_argument("--labels", help="the label set to train on (retrain)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    chosen = parser.parse_args(arguments)
    options = {"fold": chosen.fold, "labels": chosen.labels}
    needed = _OPTIONS.get(chosen.stage)
    for name, value in options.items():
        if (value is not None) != (name == needed):
            parser.error(
                f"--{name} is needed by {chosen.stage}"
                if name == needed
                else f"--{name} is not for {chosen.stage}"
            )
    workspace = Path.cwd()
    started = time.monotonic()
    try:
        params = load_params(workspace / "params.yaml")
        stage = getattr(importlib.import_module(f"tasks.{chosen.stage}"), chosen.stage)
        with warnings.catch_warnings():
            if not chosen.debug:
                warnings.simplefilter("ignore", DeprecationWarning)
            training_s = stage(params, workspace, **({needed: options[needed]} if needed else {}))
    except RelabelError as error:
        if chosen.debug:
            raise
        print(f"{chosen.stage}: {error}", file=sys.stderr)
        return 1
    _record_time(chosen.stage, time.monotonic() - started, training_s or 0.0)
    return 0


def _record_time(stage: str, wall_s: float, training_s: float) -> None:
    """Append a line to the file that RELABEL_STAGE_TIMES names, if it does (`make repro` asks for it)."""
    if path := os.environ.get("RELABEL_STAGE_TIMES"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "wall_s": wall_s, "training_s": training_s}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
