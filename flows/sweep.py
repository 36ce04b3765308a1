"""Sweeps: `python -m flows.sweep --grid inject_noise.rate=0.1,0.2 --seeds 3` compares parameters over seeds.

Every point (grid values and a seed) runs in a workspace of its own, a copy of this one that shares its DVC
cache, and becomes a DVC experiment. A stage that is equal in several points runs once: the first of them runs
it, the others restore it from DVC's run-cache. Every stage that runs is one Prefect task, `POINT/STAGE`.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import FlowError
from flows.clean_labels import StageRunner, check_options, needs_torch, remove_socket, run_all
from flows.dvc_api.graph import stage_graph
from flows.dvc_api.lock_file import order_lock
from flows.dvc_api.overrides import grid_values, set_params
from flows.dvc_api.record import experiments, keep_experiment, read_committed
from flows.dvc_api.remotes import share_cache
from flows.dvc_api.run import run_stage
from flows.dvc_api.signatures import PlannedStage, plan_stages, source_hashes, uncached_outputs
from flows.one_at_a_time import only_flow
from flows.prefect_server import open_server
from flows.program import run_program
from flows.progress import RunProgress
from flows.sweep_table import (
    CAPTION,
    Column,
    Run,
    choose_columns,
    markdown_table,
    read_metrics,
    runs_csv,
    save_plot,
    short_names,
    show,
    slug,
    summarise,
    table_csv,
    terminal_table,
)
from tasks import ParamsError
from tasks.params import STAGES, Params, load_params

from prefect import flow  # isort: skip  # after flows, which sets Prefect's settings
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

PLOTS = (".png", ".svg", ".pdf")
_FOLDER = Path(".dvc", "tmp", "relabel", "sweep")
_BASE = "base"
_SAVE = "save"


@dataclass(frozen=True)
class Point:
    """One run of the pipeline in a sweep.

    Attributes:
        name: its values and seed, readable: `rate=0.1-seed=0`.
        experiment: the name of its DVC experiment. It ends with a digest of all that decides the outputs
            (parameters, code, inputs), so an experiment of this name has this point's results.
        values: the grid's parameters, as in params.yaml.
        seed: what every `seed` in params.yaml is set to; None to leave them.
        overrides: the changes to params.yaml.
        stages: its stages in the order of `dvc repro`.
        threads: CPU threads of one training.
        needs_torch: whether a stage server that imports torch pays.
    """

    name: str
    experiment: str
    values: Mapping[str, Any]
    seed: int | None
    overrides: tuple[str, ...]
    stages: Mapping[str, PlannedStage]
    threads: int
    needs_torch: bool

    @property
    def metrics(self) -> list[str]:
        """The metrics files that its stages write."""
        return [file for stage in self.stages.values() for file in stage.metrics]


def plan_points(
    root: Path,
    grids: Sequence[str] = (),
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    until: str | None = None,
) -> list[Point]:
    """The points of a sweep: every combination of the grids' values, the last grid fastest, for all seeds.

    Args:
        root: of a DVC repository whose params.yaml is changed meanwhile, and left as it was.
        grids: `inject_noise.rate=0.1,0.2`.
        overrides: `train_fold.epochs=2`, for all points.
        seeds: how many; each `seed` of params.yaml is set to 0, 1, ... in turn. None leaves them as they are.
        until: the last stage, or group of stages; all where None.

    Raises:
        RelabelError: a grid, value or stage is refused, a name is given twice, or two points are equal.
    """
    if not grids and seeds is None:
        raise FlowError("Give --grid or --seeds: what is to be compared?")
    if seeds is not None and seeds < 1:
        raise FlowError(f"--seeds: expected at least 1, found {seeds}.")
    axes = [grid_values(grid) for grid in grids]
    names = [name for name, _ in axes]
    varied = _seed_names() if seeds is not None else []
    for name in names:
        if names.count(name) > 1:
            raise FlowError(f"--grid: {name} is given twice; list all its values in one --grid.")
        if name in varied:
            raise FlowError(f"--grid: --seeds sets {name} too; leave out one of them.")
    sources = source_hashes(root)
    path = root / "params.yaml"
    before = path.read_bytes()
    points = []
    try:
        if overrides:
            _set(root, overrides, "--set")
        for values in itertools.product(*(values for _, values in axes)):
            for seed in range(seeds) if seeds is not None else [None]:
                path.write_bytes(before)
                changes = (*overrides, *values, *(f"{name}={seed}" for name in varied))
                _set(root, changes, "--grid")
                params = load_params(path)
                stages = plan_stages(root, sources, until)
                found = {name: _value(params, name) for name in names}
                points.append(_point(found, seed, changes, stages, params))
    finally:
        path.write_bytes(before)
    return _told_apart(points)


def owners(points: Sequence[Point]) -> dict[str, str]:
    """Where each distinct stage runs, `POINT/STAGE` by signature: in the first point that has it."""
    found: dict[str, str] = {}
    for point in points:
        for name, stage in point.stages.items():
            found.setdefault(stage.signature, f"{point.name}/{name}")
    return found


def task_graph(points: Sequence[Point]) -> dict[str, tuple[str, ...]]:
    """The tasks upstream of each task: every distinct stage once, and `POINT/save` after all of its point."""
    place = owners(points)
    graph: dict[str, tuple[str, ...]] = {}
    for point in points:
        for name, stage in point.stages.items():
            if place[stage.signature] == f"{point.name}/{name}":
                graph[f"{point.name}/{name}"] = tuple(
                    place[point.stages[upstream].signature] for upstream in stage.upstream
                )
        graph[f"{point.name}/{_SAVE}"] = tuple(place[stage.signature] for stage in point.stages.values())
    return graph


class SweepRunner(StageRunner):
    """Runs the tasks of a sweep, each in its point's workspace, with one stage server for all.

    Args:
        root: of the repository that gets the experiments.
        base: the copy that each workspace is a copy of.
        points: of the sweep.
        timeout_s: seconds after which a stage is ended.
        progress: what the terminal shows.
    """

    def __init__(
        self,
        root: Path,
        base: Path,
        points: Sequence[Point],
        timeout_s: float | None,
        progress: RunProgress,
    ) -> None:
        with_server = any(point.needs_torch for point in points)
        super().__init__(base, set(), {}, timeout_s, progress, with_server=with_server)
        self.repository = root
        self.points = {point.name: point for point in points}
        self.made: dict[str, set[str]] = {point.name: set() for point in points}
        self.locks = {point.name: threading.Lock() for point in points}

    def run(self, name: str) -> State[str]:
        """Run one task: a stage, after those before it that other points ran, or what keeps the point."""
        point_name, _, stage = name.partition("/")
        point = self.points[point_name]
        needed = list(point.stages) if stage == _SAVE else _upstream_of(point.stages, stage)
        try:
            # One stage of a point at a time restores what several need.
            with self.locks[point_name]:
                workspace = self._workspace(point)
                self._restore(point, workspace, needed, name)
            if stage == _SAVE:
                order_lock(workspace, [], list(point.stages))
                keep_experiment(workspace, self.repository, point.experiment, ["dvc.lock", *point.metrics])
                shutil.rmtree(workspace)
                return Completed(
                    name="Saved", message=f"Kept as experiment {point.experiment}.", data="Saved"
                )
        except FlowError as error:
            return Failed(message=str(error))
        state = self.run_in(workspace, stage, name)
        if state.is_completed():
            self.made[point_name].add(stage)
        return state

    def _workspace(self, point: Point) -> Path:
        workspace = self.root.parent / point.name
        if not workspace.exists():
            copy_workspace(self.root, workspace)
            set_params(workspace, point.overrides)
        return workspace

    def _restore(self, point: Point, workspace: Path, needed: Sequence[str], label: str) -> None:
        """Bring in by one `dvc repro`, from the run-cache, what ran in other points."""
        missing = [name for name in needed if name not in self.made[point.name]]
        if missing:
            run_stage(
                workspace,
                missing[0],
                missing[1:],
                {"RELABEL_STAGE_SERVER": str(self.socket)},
                lambda line: self.progress.say(label, line),
                self._register,
            )
            self.made[point.name].update(missing)


def snapshot(root: Path, base: Path) -> None:
    """Copy the workspace `root` to the new folder `base`, a clone with its uncommitted changes and its cache.

    What git tracks is copied as it is on disk, and so is all that stages read, tracked or not. Metrics and
    dvc.lock are left out: a point has what it made itself.

    Raises:
        FlowError: `root` is not the root of a git repository with a commit.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if Path(top).resolve() != root:
        raise FlowError(f"A sweep starts at the root of the git repository, {top}; found {root}.")
    _git(root, "rev-parse", "HEAD")
    _git(root, "clone", "--quiet", "--shared", "--no-checkout", str(root), str(base))
    left_out = {"dvc.lock", *uncached_outputs(root)}
    tracked = {name for name in _tracked(root) if (root / name).is_symlink() or (root / name).is_file()}
    tracked -= left_out
    for name in sorted(tracked | _read_files(root)):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, base / name, follow_symlinks=False)
    files = ["--pathspec-from-file=-", "--pathspec-file-nul"]
    _git(base, "add", "--force", *files, given="\0".join(sorted(tracked)))
    share_cache(root, base, base.parent / "site")


def copy_workspace(base: Path, workspace: Path) -> None:
    """Copy a snapshot to a point's folder. Files that git does not track, the data, become links."""
    tracked = {base / name for name in _tracked(base)}

    def copy(source: str, target: str) -> None:
        if Path(source) in tracked or Path(source).relative_to(base).parts[0] in (".git", ".dvc"):
            shutil.copy2(source, target, follow_symlinks=False)
        else:
            Path(target).symlink_to(source)

    partial = workspace.with_name(f"{workspace.name}.new")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(base, partial, symlinks=True, ignore=_ignore_dvc_tmp, copy_function=copy)
    partial.rename(workspace)


def run_points(
    root: Path,
    base: Path,
    points: Sequence[Point],
    columns: Sequence[Column],
    everyone: Sequence[Point],
    options: Mapping[str, Any],
) -> dict[str, str]:
    """Run `points` as the Prefect flow `sweep`; returns the tasks that failed, with what they said.

    Args:
        root: of the repository that gets the experiments.
        base: a snapshot of it.
        points: what is to run.
        columns: of the table that the flow leaves as an artifact.
        everyone: the points in that table, those that ran earlier too.
        options: the command line, shown on the flow's page; `workers` and `timeout_s` are read from it.
    """
    graph = task_graph(points)
    threads = max(point.threads for point in points)
    failures: dict[str, str] = {}
    n_workers = options["workers"] or max(1, (os.cpu_count() or 1) // threads)
    # Points in their order, so that one is saved, and its workspace removed, before many are begun.
    urgency = {name: -place for place, name in enumerate(graph)}

    # Within, for a plan is no parameter that Prefect's page could show.
    @flow(name="sweep", persist_result=False, validate_parameters=False)
    def sweep(options: Mapping[str, Any]) -> State[Any]:
        with RunProgress(graph, lines=False) as progress:
            runner = SweepRunner(root, base, points, options["timeout_s"], progress)
            try:
                for name, outcome, message, _ in run_all(graph, runner, n_workers, urgency):
                    progress.ended(name, outcome)
                    if outcome == "Failed":
                        failures[name] = message
            finally:
                runner.end()
        rows = summarise(read_runs(root, everyone, columns), columns)
        table = markdown_table(rows, columns)
        runner.page.show(create_markdown_artifact, key="sweep", markdown=table, description="Sweep")
        if failures:
            return Failed(message=f"{len(failures)} of {len(graph)} tasks failed.")
        return Completed(message=f"{len(points)} points ran.")

    state: State[Any] = sweep(options, return_state=True)
    if not failures:
        state.result()  # raises what went wrong outside the tasks
    return failures


def read_runs(root: Path, points: Sequence[Point], columns: Sequence[Column]) -> list[Run]:
    """The finished points, with their metrics as their experiments have them."""
    kept = experiments(root)
    files = sorted({column.file for column in columns})
    return [
        Run(
            point.experiment,
            point.values,
            point.seed,
            read_metrics(columns, read_committed(root, kept[point.experiment], files)),
        )
        for point in points
        if point.experiment in kept
    ]


def explain(points: Sequence[Point], failures: Mapping[str, str]) -> list[str]:
    """What failed, why, and which points lack it: a line for each failed task."""
    place = owners(points)
    lines = []
    for task, message in failures.items():
        name, _, stage = task.partition("/")
        waiting = [
            point.name
            for point in points
            if (point.name == name and stage == _SAVE)
            or any(place[planned.signature] == task for planned in point.stages.values())
        ]
        others = f" ({len(waiting)} points wait for it: {', '.join(waiting)})" if len(waiting) > 1 else ""
        lines.append(f"{task} failed{others}: {message}")
    return lines


@contextmanager
def _folder(root: Path) -> Iterator[Path]:
    """A folder for the workspaces of this sweep, removed with them; what a killed sweep left goes first."""
    folder = root / _FOLDER
    for base in folder.glob(f"*/{_BASE}"):
        remove_socket(base)
    # A stage that a killed sweep left may write there for some seconds more; the next sweep has the rest.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    run = Path(tempfile.mkdtemp(dir=folder))
    try:
        yield run
    finally:
        shutil.rmtree(run, ignore_errors=True)


def _point(
    values: Mapping[str, Any],
    seed: int | None,
    overrides: tuple[str, ...],
    stages: Mapping[str, PlannedStage],
    params: Params,
) -> Point:
    names = short_names(values)
    parts = [f"{names[name]}={show(value)}" for name, value in values.items()]
    name = slug("-".join([*parts, *([] if seed is None else [f"seed={seed}"])]))[:100]
    signatures = json.dumps({stage: planned.signature for stage, planned in stages.items()})
    experiment = f"sweep-{name}-{hashlib.sha256(signatures.encode()).hexdigest()[:8]}"
    threads, with_torch = params.train_fold.threads, needs_torch(stages, params)
    return Point(name, experiment, values, seed, overrides, stages, threads, with_torch)


def _told_apart(points: Sequence[Point]) -> list[Point]:
    """The points, each with a name of its own.

    Raises:
        FlowError: two points have the same results.
    """
    names = [point.name for point in points]
    found: dict[str, Point] = {}
    for point in points:
        digest = point.experiment.rsplit("-", 1)[1]
        if digest in found:
            raise FlowError(
                f"--grid: {' '.join(found[digest].overrides)} and {' '.join(point.overrides)} are one point: "
                "they differ in nothing that a stage of this sweep reads."
            )
        alone = names.count(point.name) == 1
        found[digest] = point if alone else replace(point, name=f"{point.name}-{digest}")
    return list(found.values())


def _set(root: Path, overrides: Sequence[str], option: str) -> None:
    try:
        set_params(root, overrides, option)
    except ParamsError as error:
        # One line, and not the path of the copy that was changed.
        faults = " ".join(str(error).split(":\n", 1)[-1].split())
        raise FlowError(f"{option}: {' '.join(overrides)}: params.yaml refuses {faults}.") from error


def _seed_names() -> list[str]:
    sections = {name: Params.model_fields[name].annotation for name in STAGES}
    return [f"{name}.seed" for name, section in sections.items() if "seed" in section.model_fields]  # type: ignore[union-attr]


def _value(params: Params, name: str) -> Any:
    value: Any = params.model_dump(mode="json")
    for part in name.split("."):
        value = value[part]
    return value


def _upstream_of(stages: Mapping[str, PlannedStage], name: str) -> list[str]:
    """All stages upstream of one, in the order of `stages`."""
    found: set[str] = set()
    waiting = list(stages[name].upstream)
    while waiting:
        stage = waiting.pop()
        if stage not in found:
            found.add(stage)
            waiting += stages[stage].upstream
    return [stage for stage in stages if stage in found]


def _read_files(root: Path) -> set[str]:
    """Every file in what stages read and no stage writes, by its path from `root`."""
    found: set[str] = set()
    for name in source_hashes(root):
        path = root / name
        files = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
        found.update(str(file.relative_to(root)) for file in files if "__pycache__" not in file.parts)
    return found


def _tracked(root: Path) -> list[str]:
    return [name for name in _git(root, "ls-files", "-z").split("\0") if name]


def _ignore_dvc_tmp(folder: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name == "tmp" and Path(folder).name == ".dvc"]


def _git(root: Path, *arguments: str, given: str = "") -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, input=given, check=False)
    if done.returncode != 0:
        raise FlowError(
            f"A sweep needs a git repository with at least one commit in {root}: `git {arguments[0]}` said: "
            f"{' '.join(done.stderr.split())}"
        )
    return done.stdout.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.sweep", description="Compare parameters: a DVC experiment a point, one table."
    )
    parser.add_argument(
        "--grid", action="append", default=[], dest="grids", metavar="SECTION.NAME=V1,V2", help="vary it"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="run each with every seed set to 0 ... N-1")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="SECTION.NAME=VALUE", help="for all"
    )
    parser.add_argument("--until", metavar="STAGE", help="stop after this stage")
    parser.add_argument(
        "--metric", action="append", default=[], dest="wanted", metavar="FILE:KEY", help="a column"
    )
    parser.add_argument("--workers", type=int, help="stages at a time (default: as the cores can serve)")
    parser.add_argument("--timeout-s", type=float, help="end a stage that runs longer")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the table here too")
    parser.add_argument("--md", type=Path, metavar="FILE", help="the table as markdown here too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the plot here too (.png, .svg, .pdf)")
    parser.add_argument("--dry-run", action="store_true", help="say what would run")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sweep from the command line; return the exit status."""
    chosen = _parser().parse_args(arguments)
    return run_program("sweep", "the same command goes on from here", lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    root = Path.cwd().resolve()
    check_options(chosen.workers, chosen.timeout_s)
    if chosen.plot and chosen.plot.suffix not in PLOTS:
        raise FlowError(f"--plot: expected a file name in {', '.join(PLOTS)}, found {chosen.plot}.")
    stage_graph(root, chosen.until)
    with only_flow(root, what="sweep"), _folder(root) as folder:
        base = folder / _BASE
        snapshot(root, base)
        points = plan_points(base, chosen.grids, chosen.overrides, chosen.seeds, chosen.until)
        columns = choose_columns(chosen.wanted, (file for point in points for file in point.metrics))
        kept = experiments(root)
        waiting = [point for point in points if point.experiment not in kept]
        _say_plan(points, waiting, chosen.dry_run)
        if chosen.dry_run:
            return 0
        failures: dict[str, str] = {}
        if waiting:
            options = {name: value for name, value in vars(chosen).items() if not isinstance(value, Path)}
            with open_server("sweep"):
                failures = run_points(root, base, waiting, columns, points, options)
    _write(root, chosen, points, columns)
    if failures:
        for line in explain(waiting, failures):
            print(f"sweep: {line}", file=sys.stderr)
        print("sweep: the same command runs the rest again.", file=sys.stderr)
        return 1
    return 0


def _say_plan(points: Sequence[Point], waiting: Sequence[Point], with_names: bool) -> None:
    """How much there is to do, on stderr; the points, on stdout, where that is the question."""
    for point in points if with_names else ():
        print(f"{'to run' if point in waiting else 'kept  '}  {point.experiment}")
    n_stages = sum(len(point.stages) for point in waiting)
    print(
        f"{len(points)} points, {len(points) - len(waiting)} of them kept already. To run: "
        f"{len(owners(waiting))} distinct stages for {len(waiting)} points ({n_stages} without sharing).",
        file=sys.stderr,
    )


def _write(
    root: Path, chosen: argparse.Namespace, points: Sequence[Point], columns: Sequence[Column]
) -> None:
    """Print the table, and write it, the runs and the plot to a folder of `sweeps/`."""
    runs = read_runs(root, points, columns)
    if not runs:
        return
    rows = summarise(runs, columns)
    command = json.dumps([chosen.grids, chosen.overrides, chosen.seeds, chosen.until])
    names = [*short_names(points[0].values).values(), *(["seed"] if chosen.seeds is not None else [])]
    folder = root / "sweeps" / f"{slug('-'.join(names))}-{hashlib.sha256(command.encode()).hexdigest()[:6]}"
    texts = {
        folder / "runs.csv": runs_csv(runs, columns),
        **dict.fromkeys([folder / "table.csv", *filter(None, [chosen.csv])], table_csv(rows, columns)),
        **dict.fromkeys([folder / "table.md", *filter(None, [chosen.md])], markdown_table(rows, columns)),
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in filter(None, [folder / "plot.png", chosen.plot]):
        save_plot(path, rows, columns)
    table = terminal_table(rows, columns)
    console = Console()
    if not console.is_terminal:  # a file is as wide as the table
        console = Console(width=Console(width=10_000).measure(table).maximum)
    console.print(table)
    print(CAPTION)
    print(f"{len(runs)} of {len(points)} points; tables and plot in {folder.relative_to(root)}/")


if __name__ == "__main__":
    # Prefect finds the flow's tasks again by the module's name, which must not be __main__.
    from flows.sweep import main as run

    sys.exit(run())
