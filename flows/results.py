"""What a run found, as markdown for its page: figures before and after, and the most suspect labels."""

import csv
import shlex
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from flows.markdown import plain, table
from tasks.tables.cells import unescape_cell

REPORT = Path("report", "index.html")
_PORT = 8001
SUMMARY = Path("report", "summary.txt")


class LabelIssues(BaseModel):
    """What metrics/label_issues.json says of the issues; None where the true labels are not known."""

    n_rows: int
    n_issues: int
    n_errors_estimated: int | None
    n_errors_low: int | None = None
    n_errors_high: int | None = None
    n_errors: int | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None

    def wrong_labels(self, gate: "Gate") -> str:
        """How many labels are wrong. If none is known to be, as they come all of them are in question."""
        if self.n_errors:
            return f"{self.n_errors:,}"
        if gate.is_too_weak or self.n_errors_estimated is None:
            return "cannot be estimated: the classifier is too weak"
        if self.n_errors_low is None or self.n_errors_high is None:
            return f"about {self.n_errors_estimated:,}"
        return f"about {self.n_errors_low:,} to {self.n_errors_high:,}"

    def scores(self) -> Iterator[tuple[str, str]]:
        """How well the wrong labels were found, where that is known."""
        if self.n_errors:
            for name, value in (("precision", self.precision), ("recall", self.recall), ("F1", self.f1)):
                if value is not None:
                    yield name, f"{value:.4f}"


class Gate(BaseModel):
    """Why labels are left as given, None where they are not; whether the classifier is too weak to tell."""

    sentence: str | None
    is_too_weak: bool


class Repair(BaseModel):
    """What metrics/training_set.json says of the repair: how many rows met which fate."""

    actions: dict[str, int]
    gate: Gate


class Accuracy(BaseModel):
    """The share of rows that a model classifies right."""

    accuracy: float


class Retraining(BaseModel):
    """What metrics/retrain_*.json says of a model; `test` is None where no row measures it."""

    test: Accuracy | None = None


class TopIssue(BaseModel):
    """A line of report/top_issues.csv."""

    key: str
    given: str
    suggested: str
    suggested_prob: float
    now: str


def describe_results(root: Path) -> str:
    """The markdown of the report of a workspace in which every stage ran: figures, and the top issues."""
    metrics = root / "metrics"
    found = LabelIssues.model_validate_json((metrics / "label_issues.json").read_bytes())
    repair = Repair.model_validate_json((metrics / "training_set.json").read_bytes())
    rows = [
        ("training rows", f"{found.n_rows:,}"),
        ("wrong labels", found.wrong_labels(repair.gate)),
        ("label issues", f"{found.n_issues:,}"),
        *found.scores(),
        *((f"labels {name}", f"{count:,}") for name, count in repair.actions.items() if count),
        *([("gate", repair.gate.sentence)] if repair.gate.sentence else []),
    ]
    for path in sorted(metrics.glob("retrain_*.json")):
        if test := Retraining.model_validate_json(path.read_bytes()).test:
            name = path.stem.removeprefix("retrain_")
            rows.append((f"test accuracy, trained on {name} labels", f"{test.accuracy:.2%}"))
    with (root / "report" / "top_issues.csv").open(encoding="utf-8", newline="") as file:
        lines = [
            TopIssue.model_validate({name: unescape_cell(cell) for name, cell in line.items()})
            for line in csv.DictReader(file)
        ]
    issues = [(row.key, row.given, row.suggested, f"{row.suggested_prob:.2%}", row.now) for row in lines]
    parts = [
        table(("what", "figure"), _escaped(rows)),
        f"The whole report: `{root / REPORT}`",
        "The most suspect labels:" if issues else "No label issues were found.",
        table(("row", "given", "suggested", "probability", "now"), _escaped(issues)) if issues else "",
    ]
    return "\n\n".join(part for part in parts if part)


def say_where_the_report_is(root: Path) -> str:
    """Where the report of a workspace lies and what to type to see it, as markdown.

    A page of the web may not open files (`file://`), so that a link to it would be dead.
    """
    folder = (root / REPORT).parent
    serve = f"python -m http.server {_PORT} --bind 127.0.0.1 --directory {shlex.quote(str(folder))}"
    return (
        f"The report is a file on the machine {plain(socket.gethostname())}:\n\n"
        f"    {root / REPORT}\n\n"
        "Open it there in a browser. Or type there:\n\n"
        f"    {serve}\n\n"
        f"and open http://127.0.0.1:{_PORT}/ (from another machine first `ssh -L {_PORT}:127.0.0.1:{_PORT}`)."
    )


def _escaped(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[plain(cell) for cell in row] for row in rows]
