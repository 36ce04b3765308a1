"""Progress of a flow run on the terminal: a bar for the run and one for each running stage."""

import re
from collections.abc import Collection

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

_EPOCH = re.compile(r"epoch (\d+)/(\d+)")


def epoch_of(line: str) -> tuple[int, int] | None:
    """The epoch that a line of a training tells, and of how many; None of other lines."""
    found = _EPOCH.search(line)
    return None if found is None else (int(found[1]), int(found[2]))


class RunProgress:
    """Bars on a terminal, plain lines elsewhere. Safe to use from several threads.

    Without `lines` what stages print is left to Prefect's page, and only epochs move bars.
    """

    def __init__(self, stages: Collection[str], lines: bool = True) -> None:
        self.console = Console(stderr=True)
        self.lines = lines
        self.width = max(map(len, stages), default=0)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.whole = self.bars.add_task("stages".ljust(self.width), total=len(stages))
        self.running: dict[str, TaskID] = {}

    def __enter__(self) -> "RunProgress":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def say(self, stage: str, line: str) -> None:
        """Show a line that a stage printed; a line with its epoch moves its bar."""
        if not line.strip():
            return
        found = epoch_of(line)
        if found and self.console.is_terminal:
            if stage not in self.running:
                self.running[stage] = self.bars.add_task(stage.ljust(self.width))
            self.bars.update(self.running[stage], completed=found[0], total=found[1])
        elif self.lines:
            self.console.print(
                f"{stage.ljust(self.width)}  {line}", highlight=False, markup=False, soft_wrap=True
            )

    def summary(self, rows: Collection[tuple[str, str, float]]) -> None:
        """A table of what ran: stage, outcome and seconds."""
        table = Table("stage", "outcome", Column("seconds", justify="right"), box=SIMPLE_HEAD)
        for stage, outcome, seconds in rows:
            table.add_row(stage, outcome, f"{seconds:.1f}")
        self.console.print(table)

    def ended(self, stage: str, outcome: str) -> None:
        """A stage is over."""
        if stage in self.running:
            self.bars.remove_task(self.running.pop(stage))
        self.bars.advance(self.whole)
        if outcome != "Cached":
            self.console.print(f"{stage.ljust(self.width)}  {outcome}", highlight=False)
