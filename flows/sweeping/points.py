"""The points of a sweep, and the tasks that they share."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows import FlowError
from flows.dvc_api.overrides import grid_values, override_params
from flows.dvc_api.signatures import PlannedStage, plan_stages, source_hashes
from flows.runner import imports_of
from flows.sweeping.tables_of_rows import short_names, show, slug
from tasks import ParamsError
from tasks.params import STAGES, Params, load_params

SAVE = "save"


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
        imports: what a stage server for its stages imports late; None where none pays.
    """

    name: str
    experiment: str
    values: Mapping[str, object]
    seed: int | None
    overrides: tuple[str, ...]
    stages: Mapping[str, PlannedStage]
    threads: int
    imports: tuple[str, ...] | None

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
        graph[f"{point.name}/{SAVE}"] = tuple(place[stage.signature] for stage in point.stages.values())
    return graph


def _point(
    values: Mapping[str, object],
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
    threads, imports = params.train_fold.threads, imports_of(stages, params)
    return Point(name, experiment, values, seed, overrides, stages, threads, imports)


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
        override_params(root, overrides, option)
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
