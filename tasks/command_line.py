"""The command line of the stages: parse it, run one stage in the current folder, say how it went."""

import argparse
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks import RelabelError
from tasks.params import STAGES, load_params
from tasks.storage import sentence_of

COMMANDS = {
    "init": ("tasks.intake.command", "init"),
    "preset": ("tasks.presets", "preset"),
    "explain": ("tasks.explain", "explain"),
    "export": ("tasks.export", "export"),
    "import-decisions": ("tasks.import_decisions", "import_decisions"),
    "predict": ("tasks.predict", "predict"),
}
"""What is no stage: the module and the function, which takes the workspace and arguments."""
_OPTIONS = {"train_fold": "fold", "retrain": "labels"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage that the command line names; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["import-probs"]:
        return _import_probs(given[1:])
    if given and given[0] in COMMANDS:
        return _run_command(given[0], given[1:])
    others = ", ".join(("import-probs", *COMMANDS))
    parser = argparse.ArgumentParser(
        prog="python -m tasks", description=f"Run one stage here, or one of {others}, which have a --help."
    )
    parser.add_argument("stage", choices=STAGES, metavar="STAGE", help=f"{', '.join(STAGES)}, or {others}")
    parser.add_argument("--fold", type=int, help="the fold to train (train_fold)")
    parser.add_argument("--labels", help="the label set to train on (retrain)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    chosen = parser.parse_args(given)
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
    started, began_at = time.monotonic(), time.time()
    training_s, failure = 0.0, None
    try:
        params = load_params(workspace / "params.yaml")
        stage = getattr(importlib.import_module(f"tasks.{chosen.stage}"), chosen.stage)
        with warnings.catch_warnings():
            if not chosen.debug:
                warnings.simplefilter("ignore", DeprecationWarning)
            training_s = stage(params, workspace, **({needed: options[needed]} if needed else {})) or 0.0
    except (RelabelError, OSError, MemoryError) as error:
        if chosen.debug:
            raise
        failure = str(sentence_of(error))
        print(f"{chosen.stage}: {failure}", file=sys.stderr)
    _record(chosen.stage, began_at, started, training_s, failure)
    return 0 if failure is None else 1


def _import_probs(arguments: Sequence[str]) -> int:
    """A stage of docs/own_probs.yaml alone: probabilities and labels from elsewhere."""
    from tasks.import_probs import import_probs

    started, began_at, failure = time.monotonic(), time.time(), None
    try:
        with readers_may_leave():
            import_probs(Path.cwd(), arguments)
    except (RelabelError, OSError, MemoryError) as error:
        failure = str(sentence_of(error))
        print(f"import-probs: {failure}", file=sys.stderr)
    _record("import_probs", began_at, started, 0.0, failure)
    return 0 if failure is None else 1


def _run_command(name: str, arguments: Sequence[str]) -> int:
    """Run one of `COMMANDS`."""
    module, function = COMMANDS[name]
    try:
        with readers_may_leave():
            getattr(importlib.import_module(module), function)(Path.cwd(), arguments)
    except (RelabelError, OSError, MemoryError) as error:
        print(f"{name}: {str(sentence_of(error)).removeprefix(f'{name}: ')}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """What is printed here may go to a reader that leaves early, as `head` does: that is no error."""
    try:
        yield
        if sys.stdout is not None:  # as it is where the caller closed it
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _record(stage: str, began_at: float, started: float, training_s: float, failure: str | None) -> None:
    """Append a line to the file that RELABEL_STAGE_RECORD names, if it does (the flow)."""
    facts = {
        "stage": stage,
        "began_at": began_at,
        "wall_s": time.monotonic() - started,
        "training_s": training_s,
        "failure": failure,
    }
    if path := os.environ.get("RELABEL_STAGE_RECORD"):
        # On a full disk the stage's own words count, not those about this line.
        with suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")
