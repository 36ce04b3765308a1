"""Runs the tasks of a sweep, each in the workspace of its point."""

import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import FlowError
from flows.dvc_api.lock_file import order_lock
from flows.dvc_api.overrides import override_params
from flows.dvc_api.record import keep_experiment
from flows.dvc_api.signatures import PlannedStage
from flows.dvc_api.single_stage import run_stage
from flows.prefect_page import Page
from flows.runner import StageRunner
from flows.sweeping.copies import copy_workspace
from flows.sweeping.points import SAVE, Point
from flows.terminal_progress import RunProgress
from tasks.stage_server import OF_TORCH


class SweepRunner(StageRunner):
    """Runs the tasks of a sweep, each in its point's workspace, with one stage server for all.

    Args:
        root: of the repository that gets the experiments.
        base: the copy that each workspace is a copy of.
        points: of the sweep.
        timeout_s: seconds after which a stage is ended.
        progress: what the terminal shows.
        page: what Prefect's page shows.
    """

    def __init__(
        self,
        root: Path,
        base: Path,
        points: Sequence[Point],
        timeout_s: float | None,
        progress: RunProgress,
        page: Page,
    ) -> None:
        imports = {point.imports for point in points if point.imports}
        most = OF_TORCH if OF_TORCH in imports else next(iter(imports), None)
        super().__init__(base, (), (), timeout_s, progress, page, imports=most)
        self.repository = root
        self.points = {point.name: point for point in points}
        self.made: dict[str, set[str]] = {point.name: set() for point in points}
        self.locks = {point.name: threading.Lock() for point in points}

    def run(self, name: str) -> State[str]:
        """Run one task: a stage, after those before it that other points ran, or what keeps the point."""
        point_name, _, stage = name.partition("/")
        point = self.points[point_name]
        needed = list(point.stages) if stage == SAVE else _upstream_of(point.stages, stage)
        try:
            # What several stages of a point need is restored once, by one of them.
            with self.locks[point_name]:
                workspace = self._workspace(point)
                self._restore(point, workspace, needed, name)
            if stage == SAVE:
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
            override_params(workspace, point.overrides)
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
