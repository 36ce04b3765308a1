"""`make bench-scale`: how long many folds take on many machines, by a simulation from measured costs.

A discrete-event simulation: each stage goes through steps, each step holds one unit of a resource (a worker,
the flow's process, a core of its machine, a workspace's DVC lock, the shared file system) for some seconds
and waits in line for it. Options change the question; `--measure` measures the costs of this machine instead,
and `--check` compares a prediction with a real run on digits. docs/scale.md says what to read out of it.
"""

import argparse
import hashlib
import heapq
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Costs(NamedTuple):
    """Seconds of one core, as `--measure` prints them; those that grow do so by stage in dvc.lock."""

    dvc_start: float = 0.31  # Python and the imports of one `dvc repro --single-item`
    dvc_locked: float = 0.30  # the rest of it, under DVC's lock
    dvc_locked_per_stage: float = 0.0025
    is_fresh: float = 0.02  # the flow's question before each stage
    is_fresh_per_stage: float = 0.0008
    task: float = 0.04  # Prefect and the engine, in the flow's process
    fork: float = 0.1  # a warm stage; a cold one imports for 7 seconds
    light_stage: float = 1.0  # inject_noise ... report, apart from what grows with the rows
    row_epoch: float = 160e-6  # training, one row in one epoch
    row: float = 5e-6  # a light stage, by row


class Stage(NamedTuple):
    """What it waits for, its steps (a resource and seconds), and what it holds from the first to the last."""

    needs: tuple[str, ...]
    steps: tuple[tuple[str, float], ...]
    holds: str | None = None


class Outcome(NamedTuple):
    """Wall seconds, and by resource the seconds for which its units were in use."""

    wall_s: float
    busy_s: dict[str, float]


def simulate(stages: Mapping[str, Stage], capacity: Mapping[str, int]) -> Outcome:
    """Run the stages as soon as what they need is done, those with most work behind them first.

    Args:
        stages: by name, each after those that it needs.
        capacity: units by resource; a resource that is not listed has no limit.
    """
    behind: dict[str, float] = defaultdict(float)
    for name in reversed(list(stages)):
        behind[name] += sum(seconds for _, seconds in stages[name].steps)
        for upstream in stages[name].needs:
            behind[upstream] = max(behind[upstream], behind[name])
    followers: dict[str, list[str]] = defaultdict(list)
    for name, stage in stages.items():
        for upstream in stage.needs:
            followers[upstream].append(name)
    left = {name: len(stage.needs) for name, stage in stages.items()}
    order = itertools.count()  # first come, first served among equals, and no comparison of names
    free = dict(capacity)
    lines: dict[str, list[tuple[float, int, str, int]]] = defaultdict(list)
    events: list[tuple[float, int, str, int]] = []  # when step `number` of a stage ends
    busy: dict[str, float] = defaultdict(float)
    started: dict[str, float] = {}
    now = 0.0

    def start(name: str, number: int) -> None:
        """Begin a step, -1 being to take what the stage holds; its resource is free."""
        seconds = 0.0
        if number < 0:
            started[name] = now
        else:
            used, seconds = stages[name].steps[number]
            busy[used] += seconds
        heapq.heappush(events, (now + seconds, next(order), name, number))

    def take(name: str, number: int) -> None:
        used = stages[name].holds if number < 0 else stages[name].steps[number][0]
        if used is None or used not in free:
            start(name, number)
        elif free[used] > 0:
            free[used] -= 1
            start(name, number)
        else:
            heapq.heappush(lines[used], (-behind[name], next(order), name, number))

    def give(used: str | None) -> None:
        if used is not None and used in free:
            if lines[used]:
                _, _, name, number = heapq.heappop(lines[used])
                start(name, number)
            else:
                free[used] += 1

    for name in stages:
        if not left[name]:
            take(name, -1)
    while events:
        now, _, name, number = heapq.heappop(events)
        if number >= 0:
            give(stages[name].steps[number][0])
        if number + 1 < len(stages[name].steps):
            take(name, number + 1)
            continue
        if stages[name].holds:
            busy[stages[name].holds] += now - started[name]
        give(stages[name].holds)
        for follower in followers[name]:
            left[follower] -= 1
            if not left[follower]:
                take(follower, -1)
    if any(left.values()):
        raise ValueError("the stages need each other in a circle, or one that is not listed")
    return Outcome(now, dict(busy))


def plan(
    points: int,
    folds: int,
    rows: int,
    epochs: int,
    one_workspace: bool,
    costs: Costs,
    speed: float = 1.0,
    bandwidth: float = 10e9,
    row_bytes: int = 784,
) -> dict[str, Stage]:
    """The stages of a grid of `points`, each a whole pipeline, in one workspace or one for each.

    Args:
        points: combinations of noise level and repeat.
        folds: of each.
        rows: of training data.
        epochs: of one training.
        one_workspace: one dvc.lock, and so one DVC lock, for all points.
        costs: of one core.
        speed: of one training, against one core.
        bandwidth: bytes a second of the shared file system.
        row_bytes: of one example.
    """
    of_one = folds + 9
    in_lock = of_one * (points if one_workspace else 1)
    locked = costs.dvc_locked + costs.dvc_locked_per_stage * in_lock
    fresh = costs.task + costs.is_fresh + costs.is_fresh_per_stage * in_lock
    found: dict[str, Stage] = {}

    def add(
        point: int, name: str, needs: list[str], work: list[tuple[str, float]], holds: str | None
    ) -> None:
        lock = "DVC lock" if one_workspace else f"DVC lock {point}"
        steps = [("flow process", fresh), ("driver cores", costs.dvc_start), (lock, locked / 2)]
        found[f"{point}/{name}"] = Stage(
            tuple(f"{point}/{need}" for need in needs), (*steps, *work, (lock, locked / 2)), holds
        )

    def light(share: float = 1.0) -> list[tuple[str, float]]:
        return [("driver cores", costs.light_stage + share * rows * costs.row)]

    def training(share: float) -> list[tuple[str, float]]:
        # Predictions and embeddings go to the file system, and DVC reads them for their hash and copies them.
        bytes_read, bytes_out = rows * row_bytes, (1 - share) * rows * 4 * (10 + 64)
        return [
            ("file system", (bytes_read + 4 * bytes_out) / bandwidth),
            ("training", costs.fork + rows * share * epochs * costs.row_epoch / speed),
        ]

    held_in = (folds - 1) / folds
    for point in range(points):
        add(point, "download", [], light(), None)
        add(point, "inject_noise", ["download"], light(), None)
        add(point, "assign_folds", ["inject_noise"], light(), None)
        trained = [f"train_fold@{fold}" for fold in range(folds)]
        for name in trained:
            add(point, name, ["assign_folds"], training(held_in), "workers")
        add(point, "aggregate", trained, light(), None)
        add(point, "prune", ["aggregate"], light(), None)
        add(point, "pseudo_label", ["prune"], light(), None)
        for labels, need in (
            ("given", "inject_noise"),
            ("true", "inject_noise"),
            ("cleaned", "pseudo_label"),
        ):
            add(point, f"retrain@{labels}", [need], training(1.0), "workers")
        retrained = [f"retrain@{labels}" for labels in ("given", "true", "cleaned")]
        # `report` is small but for its light stage.
        add(point, "report", retrained, light(0.1), None)
    return found


def table(
    title: str, stages: Mapping[str, Stage], machines: list[int], per_machine: int, cores: int
) -> Table:
    """Machines against wall time, their use, and the resource that is busiest."""
    shown = Table(title=title)
    for column in ("machines", "hours", "speed-up", "workers train", "busiest"):
        shown.add_column(column, justify="left" if column == "busiest" else "right")
    first = None
    for n in machines:
        workers = n * per_machine
        locks = {
            used: 1 for stage in stages.values() for used, _ in stage.steps if used.startswith("DVC lock")
        }
        capacity = {"workers": workers, "flow process": 1, "driver cores": cores, "file system": 1, **locks}
        outcome = simulate(stages, capacity)
        first = first or outcome.wall_s
        shares = {
            used: outcome.busy_s.get(used, 0.0) / units / outcome.wall_s for used, units in capacity.items()
        }
        busiest = max(shares, key=lambda used: shares[used])
        training = outcome.busy_s["training"] / workers / outcome.wall_s
        shown.add_row(
            str(n),
            f"{outcome.wall_s / 3600:.2f}",
            f"{first / outcome.wall_s:.1f}",
            f"{training:.0%}",
            f"{busiest} ({shares[busiest]:.0%})",
        )
    return shown


# --- measured -----------------------------------------------------------------------------------------------


def cpu_s(command: list[str], folder: Path) -> float:
    """Seconds of one core that a command takes; wall time would measure whoever else uses the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_dvc(n_stages: int, repeats: int = 2) -> tuple[float, float]:
    """Core seconds of one forced `dvc repro --single-item`, and of one question whether a stage is fresh."""
    from flows.dvc_api.graph import is_fresh

    md5 = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "out").mkdir()
        (folder / "in").write_text("x")
        numbers = ", ".join(map(str, range(n_stages)))
        (folder / "dvc.yaml").write_text(
            f"stages:\n  s:\n    matrix:\n      i: [{numbers}]\n    cmd: cp in out/${{item.i}}\n"
            "    deps:\n    - in\n    outs:\n    - out/${item.i}\n"
        )
        file = f"      hash: md5\n      md5: {md5}\n      size: 1\n"
        lock = ["schema: '2.0'\nstages:\n"]
        for number in range(n_stages):
            (folder / "out" / str(number)).write_text("x")
            lock.append(
                f"  s@{number}:\n    cmd: cp in out/{number}\n    deps:\n    - path: in\n{file}"
                f"    outs:\n    - path: out/{number}\n{file}"
            )
        (folder / "dvc.lock").write_text("".join(lock))
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        dvc = [sys.executable, "-m", "dvc"]
        subprocess.run([*dvc, "init", "--quiet"], cwd=folder, check=True)
        forced = [*dvc, "repro", "--single-item", "--force", "s@0"]
        run_s = min(cpu_s(forced, folder) for _ in range(repeats))
        asked = []
        for _ in range(repeats + 1):  # the first imports DVC
            started = time.process_time()
            is_fresh(folder, "s@1")
            asked.append(time.process_time() - started)
        return run_s, min(asked)


def measure_tasks(engine: str, n_tasks: int = 40) -> float:
    """Core seconds of the flow's process for one empty Prefect task on a thread, or by an engine."""
    from benchmarks.doors import prefect_server
    from flows.engines.clusters import open_engine

    from prefect import flow, task  # isort: skip  # after flows, which sets Prefect's settings
    from prefect.settings import PREFECT_API_URL, temporary_settings

    @task
    def nothing(number: int) -> int:
        return number

    figures = []

    @flow
    def several(root: str) -> None:
        with open_engine(engine, None, Path(root), 2) as opened:
            for _ in range(2):  # the first warms up
                started = time.process_time()
                if opened is None:
                    futures = [nothing.submit(number) for number in range(n_tasks)]
                else:
                    futures = [
                        opened.task_runner.submit(nothing, parameters={"number": number})
                        for number in range(n_tasks)
                    ]
                for future in futures:
                    future.result()
                figures.append((time.process_time() - started) / n_tasks)

    with prefect_server() as url, temporary_settings({PREFECT_API_URL: url}):
        several(str(Path.cwd()))
    return figures[-1]


def measure() -> None:
    """Print the costs of this machine."""
    for n_stages in (11, 100, 1000):
        run_s, fresh_s = measure_dvc(n_stages)
        print(
            f"{n_stages:5} stages: dvc repro --single-item {run_s:.2f} s, is_fresh {fresh_s:.3f} s",
            flush=True,
        )
    start_s = cpu_s([sys.executable, "-c", "import dvc.cli, dvc.commands.repro, dvc.repo.reproduce"], Path())
    print(f"start of dvc: {start_s:.2f} s")
    imports_s = cpu_s([sys.executable, "-c", "import tasks.training.torch_model, dvc.repo"], Path())
    print(f"imports of a training stage: {imports_s:.2f} s")
    for engine in ("local", "dask", "ray"):
        print(f"Prefect task, {engine}: {1000 * measure_tasks(engine):.0f} ms", flush=True)


def check() -> None:
    """Predict a run of 5 folds of digits by 2 workers from the same run by 1 worker, and measure it."""
    from benchmarks.chaos import SETTINGS
    from benchmarks.doors import FLOW, prefect_server, seconds
    from benchmarks.workspaces import make_workspace

    changes = {"train_fold.folds": [0, 1, 2, 3, 4], "train_fold.epochs": 20}
    with tempfile.TemporaryDirectory() as made, prefect_server() as url:
        folder, environment = Path(made).resolve() / "workspace", {"PREFECT_API_URL": url}
        make_workspace(folder, SETTINGS | changes)
        until = [*FLOW, "--until", "train_fold"]
        seconds(until, folder, environment)
        idle_s = seconds(until, folder, environment)
        one_s = seconds([*until, "--force", "train_fold", "--workers", "1"], folder, environment)
        two_s = seconds([*until, "--force", "train_fold", "--workers", "2"], folder, environment)
    costs = Costs()
    # What is the same for each fold, and the imports of the stage server, which the first of them waits for.
    imports_s = min(7.0, one_s - idle_s)
    fold_s = (one_s - idle_s - imports_s) / 5
    overhead = (("flow process", costs.task + costs.is_fresh), ("cores", costs.dvc_start))
    lock = ("DVC lock", costs.dvc_locked)
    rest_s = max(0.0, fold_s - sum(seconds for _, seconds in (*overhead, lock)))
    stages = {f"fold {fold}": Stage((), (*overhead, lock, ("cores", rest_s)), "workers") for fold in range(5)}
    capacity = {"workers": 2, "cores": os.cpu_count() or 1, "DVC lock": 1, "flow process": 1}
    predicted_s = idle_s + imports_s + simulate(stages, capacity).wall_s
    print(
        f"5 folds: {one_s:.1f} s by 1 worker; by 2 predicted {predicted_s:.1f} s, measured {two_s:.1f} s "
        f"({two_s / predicted_s:.2f} of it)"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=100, help="noise levels times repeats (default: 100)")
    parser.add_argument("--folds", type=int, default=10, help="of each point (default: 10)")
    parser.add_argument("--per-machine", type=int, default=16, help="trainings at a time (default: 16)")
    parser.add_argument("--cores", type=int, default=16, help="of the flow's machine (default: 16)")
    parser.add_argument("--measure", action="store_true", help="measure the costs of this machine")
    parser.add_argument("--check", action="store_true", help="predict a real run, and run it")
    chosen = parser.parse_args()
    if chosen.measure:
        measure()
        return 0
    if chosen.check:
        check()
        return 0
    machines = [1, 2, 5, 10, 20, 50, 100, 200]
    console = Console(width=100)
    n_folds = f"{chosen.points * chosen.folds:,} folds"
    for rows, speed, per_machine, name in (
        (60_000, 1.0, chosen.per_machine, "60,000 rows, a core each"),
        (100_000_000, 10.0, 1, "100 million rows, a machine of 10 times a core each"),
    ):
        for one_workspace, where in ((True, "one workspace"), (False, "a workspace for each point")):
            stages = plan(chosen.points, chosen.folds, rows, 8, one_workspace, Costs(), speed)
            title = f"{n_folds}, {name}, {where}"
            console.print(table(title, stages, machines, per_machine, chosen.cores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
