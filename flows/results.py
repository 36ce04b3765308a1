"""What a run found, as markdown for its page: figures before and after, and the most suspect labels."""

import shlex
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flows.markdown import plain, table
from tasks.label_quality.metrics import FLAG_QUALITY, IssueMetrics
from tasks.reporting.measured import Detection, Repair, read_metrics, read_plot
from tasks.small_files import parse_json

REPORT = Path("report", "index.html")
_PORT = 8001
SUMMARY = Path("report", "summary.txt")


def describe_results(root: Path) -> str:
    """The markdown of the report of a workspace in which every stage ran: figures, and the top issues.

    Raises:
        ArtifactError: a file of figures is missing, or not what it should be.
    """
    metrics = root / "metrics"
    found = read_metrics(metrics / "label_issues.json", Detection)
    repair = read_metrics(metrics / "training_set.json", Repair)
    gate = repair["gate"]
    rows = [
        ("training rows", f"{found['n_rows']:,}"),
        ("wrong labels", _wrong_labels(found, gate["is_too_weak"])),
        ("label issues", f"{found['n_issues']:,}"),
        *_scores(found),
        *((f"labels {name}", f"{count:,}") for name, count in repair["actions"].items() if count),
        *([("gate", gate["sentence"])] if gate["sentence"] else []),
    ]
    for path in sorted(metrics.glob("retrain_*.json")):
        if test := parse_json(path.read_bytes()).get("test"):
            name = path.stem.removeprefix("retrain_")
            rows.append((f"test accuracy, trained on {name} labels", f"{test['accuracy']:.2%}"))
    words = ("key", "given", "suggested", "now")
    lines = read_plot(root / "report" / "top_issues.csv", [*words, "true"], ["suggested_prob"])
    issues = [
        [*(row[name] for name in words[:3]), f"{row['suggested_prob']:.2%}", row["now"]] for row in lines
    ]
    parts = [
        table(("what", "figure"), _escaped(rows)),
        f"The whole report: `{root / REPORT}`",
        "The most suspect labels:" if issues else "No label issues were found.",
        table(("row", "given", "suggested", "probability", "now"), _escaped(issues)) if issues else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _wrong_labels(found: IssueMetrics, is_too_weak: bool) -> str:
    """How many labels are wrong. If none is known to be, as they come all of them are in question."""
    if found.get("n_errors"):
        return f"{found['n_errors']:,}"
    if is_too_weak or found["n_errors_estimated"] is None:
        return "cannot be estimated: the classifier is too weak"
    return f"about {found['n_errors_low']:,} to {found['n_errors_high']:,}"


def _scores(found: IssueMetrics) -> Iterator[tuple[str, str]]:
    """How well the wrong labels were found, where that is known."""
    for name in FLAG_QUALITY:
        if found.get("n_errors") and found[name] is not None:
            yield name.replace("f1", "F1"), f"{found[name]:.4f}"


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
