"""Sweeps: `python -m flows.sweep --grid inject_noise.rate=0.1,0.2 --seeds 3` compares parameters over seeds.

Every point (grid values and a seed) runs in a workspace of its own, a copy of this one that shares its DVC
cache, and becomes a DVC experiment. A stage that is equal in several points runs once: the first of them runs
it, the others restore it from DVC's run-cache. Every stage that runs is one Prefect task, `POINT/STAGE`.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from rich.console import Console

from flows import FlowError
from flows.dvc_api.graph import stage_graph
from flows.dvc_api.record import experiments, read_committed
from flows.one_at_a_time import only_flow
from flows.prefect_page import Page
from flows.prefect_server import open_server
from flows.program import run_program
from flows.runner import check_options, default_workers
from flows.scheduler import run_all
from flows.sweeping.copies import BASE, snapshot, sweep_folder
from flows.sweeping.finished import Column, Run, choose_columns, read_metrics, summarise
from flows.sweeping.points import SAVE, Point, owners, plan_points, task_graph
from flows.sweeping.sweep_plot import save_plot
from flows.sweeping.sweep_runner import SweepRunner
from flows.sweeping.tables_of_rows import (
    CAPTION,
    markdown_table,
    runs_csv,
    short_names,
    slug,
    table_csv,
    terminal_table,
)
from flows.terminal_progress import RunProgress


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
    n_workers = options["workers"] or default_workers(threads)
    # Points go in their order. So the first is saved, and its workspace removed, before the last begins.
    urgency = {name: -place for place, name in enumerate(graph)}

    # It is defined here, as Prefect's page could not show a plan as a parameter.
    @flow(name="sweep", persist_result=False, validate_parameters=False)
    def sweep(options: Mapping[str, Any]) -> State[Any]:
        page = Page()
        with (
            RunProgress(graph, lines=False) as progress,
            SweepRunner(root, base, points, options["timeout_s"], progress, page) as runner,
        ):
            for name, outcome, message, _ in run_all(graph, runner, n_workers, urgency):
                progress.ended(name, outcome)
                if outcome == "Failed":
                    failures[name] = message
        rows = summarise(read_runs(root, everyone, columns), columns)
        table = markdown_table(rows, columns)
        page.show(create_markdown_artifact, key="sweep", markdown=table, description="Sweep")
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
            if (point.name == name and stage == SAVE)
            or any(place[planned.signature] == task for planned in point.stages.values())
        ]
        others = f" ({len(waiting)} points wait for it: {', '.join(waiting)})" if len(waiting) > 1 else ""
        lines.append(f"{task} failed{others}: {message}")
    return lines


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
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the charts here too, a page (.html)")
    parser.add_argument("--dry-run", action="store_true", help="say what would run")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sweep from the command line; return the exit status."""
    chosen = _parser().parse_args(arguments)
    return run_program("sweep", "the same command goes on from here", lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    root = Path.cwd().resolve()
    check_options(chosen.workers, chosen.timeout_s)
    if chosen.plot and chosen.plot.suffix != ".html":
        raise FlowError(f"--plot: expected a file name that ends with .html, found {chosen.plot}.")
    stage_graph(root, chosen.until)
    with only_flow(root, what="sweep"), sweep_folder(root) as folder:
        base = folder / BASE
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
    for path in filter(None, [folder / "plot.html", chosen.plot]):
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
