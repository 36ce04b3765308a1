"""`make chaos`: kill -9 at random moments, then run again; every recovery must end with the same bytes.

On digits. Each round starts the flow or `dvc repro` on changed parameters, after a random time kills one of
VICTIMS (the next that is alive if that one is not), and lets one of the doors finish. Every second time there
is no Prefect server but the one that the flow brings along.
`python -m benchmarks.chaos N SEED`.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from benchmarks.doors import DVC, FLOW, prefect_server
from benchmarks.workspaces import make_workspace, set_params

FOLDER = Path(".cache/chaos").resolve()
SETTINGS = {
    "download.dataset": "digits",
    "train_fold.folds": [0, 1],
    "train_fold.epochs": 8,
    "train_fold.batch_size": 32,
    "models.convnet.shift": 0,
    "models.convnet.eval_shift": 0,
}


# In turn, by a word of the command line. A stage is DVC's child, or a fork of the stage server.
VICTIMS = ("flows.clean_labels", "dvc", "tasks", "tasks.stage_server", "prefect", "flows.prefect_server")


def processes(folder: Path) -> list[psutil.Process]:
    """All that runs in the workspace or in a folder of it."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def stages(folder: Path) -> Any:
    """What dvc.lock says of each stage, hashes of all outputs included."""
    return YAML(typ="safe").load((folder / "dvc.lock").read_text())["stages"]


def find(kind: str, folder: Path, url: str) -> list[psutil.Process]:
    """The living processes of a kind: of the server at `url`, or of what runs in the workspace."""
    if kind == "prefect":
        if not url:
            return []
        port = url.rsplit(":", 1)[1].split("/")[0]
        alive = psutil.process_iter(["cmdline"])
        return [p for p in alive if {"server", port} <= set(p.info["cmdline"] or ())]
    return [p for p in processes(folder) if kind in p.cmdline()]


def run_round(folder: Path, seed: int, environment: dict[str, str], draw: random.Random, kind: str) -> str:
    """One kill and one recovery; returns what was killed and by which door the rest was done."""
    set_params(folder / "params.yaml", {"train_fold.seed": seed})
    first = FLOW if kind not in ("dvc", "tasks") else draw.choice([DVC, FLOW])
    second = draw.choice([DVC, FLOW])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = subprocess.Popen(first, cwd=folder, env=environment, start_new_session=True, **quiet)
    after_s = draw.uniform(1, 20)
    time.sleep(after_s)
    turn = VICTIMS.index(kind)
    name = "nothing"
    for candidate in VICTIMS[turn:] + VICTIMS[:turn]:
        if found := find(candidate, folder, environment["PREFECT_API_URL"]):
            victim = draw.choice(found)
            name = " ".join(victim.cmdline()[1:4])
            victim.kill()
            break
    # A killed flow or `dvc repro` is over; one that lost a stage or its server ends by itself.
    started.wait(timeout=600)
    done = subprocess.run(second, cwd=folder, env=environment, timeout=600, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-2000:]
        raise SystemExit(f"After {name} was killed, `{' '.join(second[1:])}` said: {said}")
    deadline = time.monotonic() + 60
    while left := processes(folder):
        if time.monotonic() > deadline:
            raise SystemExit(f"Left behind: {[process.cmdline() for process in left]}")
        time.sleep(0.2)
    if left := sorted(Path(environment["TMPDIR"]).glob("relabel-*")):
        raise SystemExit(f"Left behind: {left}")
    return f"after {after_s:4.1f} s killed `{name}` of `{' '.join(first[1:])}`, then `{' '.join(second[1:])}`"


def main() -> int:
    n_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    draw = random.Random(seed)
    folder, reference, temporary = (
        FOLDER / f"{name}_{time.time_ns()}" for name in ("killed", "whole", "tmp")
    )
    temporary.mkdir(parents=True)
    for workspace in (folder, reference):
        make_workspace(workspace, SETTINGS)
    for number in range(n_rounds):
        with prefect_server() as url:
            kind = VICTIMS[number % len(VICTIMS)]
            environment = {**os.environ, "TMPDIR": str(temporary), "PREFECT_HOME": str(temporary / "prefect")}
            alone = draw.random() < 0.5
            environment["PREFECT_API_URL"] = {"prefect": url, "flows.prefect_server": ""}.get(
                kind, "" if alone else url
            )
            set_params(reference / "params.yaml", {"train_fold.seed": number})
            whole = subprocess.Popen(
                [*DVC, "--quiet"], cwd=reference, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            what = run_round(folder, number, environment, draw, kind)
            if whole.wait() != 0:
                raise SystemExit("The run that nobody killed failed.")
            # Parsed, for DVC appends a stage to dvc.lock when it ends: where the flow was killed between two
            # folds and `dvc repro` did the rest, the same entries stand in another order.
            same = stages(folder) == stages(reference)
            print(f"{number + 1:2d} {'same' if same else 'DIFFERENT'} {what}", flush=True)
            if not same:
                return 1
    print(f"{n_rounds} of {n_rounds} recovered to the same bytes; no process, lock or file left behind.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
