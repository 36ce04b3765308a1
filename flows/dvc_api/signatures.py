"""What decides the outputs of a stage, as a digest: equal ones give equal bytes, in any workspace."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.dvc_api.graph import read_graph
from flows.dvc_api.repository import open_repository, pipeline_stages, stage_name


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a workspace as a sweep sees it.

    Attributes:
        upstream: the stages whose outputs it reads.
        signature: a digest of all that decides its outputs. Equal ones give equal bytes, in any workspace.
        metrics: the metrics files that it writes and git keeps.
    """

    upstream: tuple[str, ...]
    signature: str
    metrics: tuple[str, ...]


def source_hashes(root: Path) -> dict[str, str | None]:
    """DVC's hash of each path that stages read and no stage writes: code and inputs; None where absent."""
    found: dict[str, str | None] = {}
    with open_repository(root) as repo:
        stages = pipeline_stages(repo)
        outs = [Path(out.def_path) for stage in stages for out in stage.outs]
        params = {id(param) for stage in stages for param in stage.params}
        deps = {dep.def_path: dep for stage in stages for dep in stage.deps if id(dep) not in params}
        for name, dep in deps.items():
            path = Path(name)
            if not any(path == out or path in out.parents or out in path.parents for out in outs):
                found[name] = str(dep.get_hash()) if dep.exists else None
    return found


def plan_stages(
    root: Path, sources: Mapping[str, str | None], until: str | None = None
) -> dict[str, PlannedStage]:
    """The stages that `stage_graph` lists, in its order, with what their outputs depend on."""
    found: dict[str, PlannedStage] = {}
    with open_repository(root) as repo:
        graph = {stage_name(stage): upstream for stage, upstream in read_graph(repo, until).items()}
        # Inputs that are under DVC are stages too. A sweep does not run them; it copies their files.
        stages = {stage_name(stage): stage for stage in pipeline_stages(repo)}
        for name in (name for name in graph if name in stages):
            stage, upstream = stages[name], tuple(before for before in graph[name] if before in stages)
            decides = {
                "cmd": stage.cmd,
                "params": {str(param.def_path): param.read_params() for param in stage.params},
                "sources": {dep.def_path: sources.get(dep.def_path) for dep in stage.deps},
                "outs": [out.def_path for out in stage.outs],
                "upstream": [found[before].signature for before in upstream],
            }
            text = json.dumps(decides, sort_keys=True, default=str)
            found[name] = PlannedStage(
                upstream,
                hashlib.sha256(text.encode()).hexdigest(),
                tuple(out.def_path for out in stage.outs if out.metric and not out.use_cache),
            )
    return found


def uncached_outputs(root: Path) -> list[str]:
    """The outputs that git keeps and not DVC's cache: the metrics."""
    with open_repository(root) as repo:
        return [out.def_path for stage in pipeline_stages(repo) for out in stage.outs if not out.use_cache]
