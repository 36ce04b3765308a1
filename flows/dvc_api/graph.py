"""The graph of stages, in the order of `dvc repro`, and which of them are fresh."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from flows import FlowError
from flows.dvc_api.repository import (
    Repository,
    Stage,
    open_repository,
    pipeline_stages,
    stage_name,
    stage_names,
    while_locked,
)


def stage_graph(root: Path, until: str | None = None) -> dict[str, tuple[str, ...]]:
    """The stages upstream of each stage, by name, in the order in which `dvc repro` runs them.

    An input that is under DVC itself is a stage as well: `inputs/labels/labels.csv.dvc`.

    Args:
        root: of the DVC repository.
        until: a stage, or a group such as `train_fold`; only what it needs is listed.

    Raises:
        FlowError: there is no DVC repository, dvc.yaml does not load, or there is no such stage.
    """
    with open_repository(root) as repo:
        return {stage_name(stage): upstream for stage, upstream in read_graph(repo, until).items()}


def plan(root: Path, until: str | None = None) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """`stage_graph`, and the stages that DVC finds up to date, with all that is upstream of them.

    Raises:
        FlowError: see `stage_graph`.
    """
    with open_repository(root) as repo:
        graph = read_graph(repo, until)
        fresh: set[str] = set()
        for stage, upstream in graph.items():
            if fresh.issuperset(upstream) and not _changed(repo, stage):
                fresh.add(stage_name(stage))
        return {stage_name(stage): upstream for stage, upstream in graph.items()}, fresh


def read_graph(repo: Repository, until: str | None = None) -> dict[Stage, tuple[str, ...]]:
    """`stage_graph` of an open repository, by DVC's stage objects.

    Inputs that a person put under DVC are stages too, named after their file.
    """
    from dvc.repo.reproduce import get_active_graph, plan_repro

    def read() -> tuple[Any, list[Stage]]:
        # `dvc repro` starts from the stages in the order of dvc.yaml.
        return get_active_graph(repo.index.graph), pipeline_stages(repo)

    graph, targets = while_locked(repo, read, read)
    if until:
        names = matching(stage_names(targets), until)
        targets = [stage for stage in targets if stage_name(stage) in names]
    return {stage: tuple(stage_names(graph.successors(stage))) for stage in plan_repro(graph, targets)}


def matching(graph: Collection[str], name: str) -> list[str]:
    """The stages that `name` stands for: itself, or all of a group (`train_fold` for `train_fold@0`, ...).

    Raises:
        FlowError: there is none.
    """
    found = [stage for stage in graph if stage == name or stage.split("@")[0] == name]
    if not found:
        raise FlowError(
            f"Stage {name!r}: expected one of {', '.join(graph)}, or a group before the @; found none. "
            "Look at `dvc stage list`."
        )
    return found


def is_fresh(root: Path, name: str) -> bool:
    """Whether DVC would leave the stage alone, given that what is upstream of it is done."""
    with open_repository(root) as repo:
        stages = while_locked(repo, lambda: _find(repo, name), list)
        return bool(stages) and not any(_changed(repo, stage) for stage in stages)


def _find(repo: Repository, name: str) -> list[Stage]:
    """The stages of that name. One of the root is read alone, as the index would resolve all stages."""
    from dvc.stage.exceptions import StageFileDoesNotExistError, StageNotFound

    path = Path(repo.root_dir) / (name if name.endswith(".dvc") else "dvc.yaml")
    try:
        return [repo.stage.load_one(str(path), None if name.endswith(".dvc") else name)]
    except (StageFileDoesNotExistError, StageNotFound):
        return [each for each in repo.index.stages if stage_name(each) == name]


def _changed(repo: Repository, stage: Stage) -> bool:
    # While another process works on its files, the stage counts as changed; its run waits for that process.
    return while_locked(repo, lambda: bool(stage.changed()), lambda: True)
