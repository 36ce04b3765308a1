"""What became of the stages of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from flows.markdown import table

UP_TO_DATE = "Everything is up to date."


@dataclass(frozen=True)
class RunResult:
    """What became of the stages of a run.

    Attributes:
        graph: the stages upstream of each stage, in the order of `dvc repro`.
        outcomes: of the stages that ended well: Cached, Restored or Completed.
        failures: what the stages that failed said.
        seconds: how long each stage took that ended.
    """

    graph: Mapping[str, Sequence[str]]
    outcomes: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, outcome: str, message: str, seconds: float) -> None:
        """A stage has ended."""
        self.seconds[name] = seconds
        if outcome == "Failed":
            self.failures[name] = message
        else:
            self.outcomes[name] = outcome

    @property
    def share_done(self) -> float:
        """The share of stages that ended well, in [0, 1]."""
        return len(self.outcomes) / len(self.graph)

    @property
    def left(self) -> list[str]:
        """The stages that wait for one that failed."""
        return [name for name in self.graph if name not in self.seconds]

    @property
    def ran(self) -> list[tuple[str, str, float]]:
        """Name, outcome and seconds of the stages that were not up to date."""
        ended = {name: self.outcomes.get(name, "Failed") for name in self.graph if name in self.seconds}
        return [(name, outcome, self.seconds[name]) for name, outcome in ended.items() if outcome != "Cached"]

    @property
    def is_whole(self) -> bool:
        """Whether all stages ended well."""
        return not self.failures and not self.left

    def table(self) -> str:
        """The stages as a table of markdown, and what failed below it."""
        lines = []
        for name in self.graph:
            outcome = "Failed" if name in self.failures else self.outcomes.get(name, "not run")
            lines.append((name, outcome, f"{self.seconds[name]:.1f}" if name in self.seconds else ""))
        said = (f"**{name}**: {said}" for name, said in self.failures.items())
        return "\n".join([table(("stage", "outcome", "seconds"), lines), "", *said])

    def message(self) -> str:
        """The run in one or two sentences."""
        if self.failures:
            more = f" {len(self.failures) - 1} more failed." if len(self.failures) > 1 else ""
            waiting = f" {len(self.left)} stage(s) wait for it." if self.left else ""
            first = next(iter(self.failures.values()))
            return f"{first}{more}{waiting} Mend it and run again: what is done is kept."
        return f"{len(self.ran)} of {len(self.graph)} stages were out of date." if self.ran else UP_TO_DATE

    def data(self) -> dict[str, object]:
        """The same as plain values, for the state of the flow run."""
        return asdict(self) | {"left": self.left}
