"""What a run found, as markdown for its page: figures before and after, and the most suspect labels."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flows.markdown import plain, table

REPORT = Path("report", "index.html")


def describe_results(root: Path) -> str:
    """The markdown of the report of a workspace in which every stage ran: figures, and the top issues."""
    found = json.loads((root / "metrics" / "label_issues.json").read_text(encoding="utf-8"))
    repair = json.loads((root / "metrics" / "training_set.json").read_text(encoding="utf-8"))
    rows = [
        ("training rows", f"{found['n_rows']:,}"),
        ("wrong labels", _wrong_labels(found, repair)),
        ("label issues", f"{found['n_issues']:,}"),
        *((name.title() if name == "f1" else name, f"{found[name]:.4f}") for name in _known(found)),
        *((f"labels {name}", f"{count:,}") for name, count in repair["actions"].items() if count),
        *([("gate", repair["gate"]["sentence"])] if repair["gate"]["sentence"] else []),
    ]
    for path in sorted((root / "metrics").glob("retrain_*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if "test" in run:
            name = path.stem.removeprefix("retrain_")
            rows.append((f"test accuracy, trained on {name} labels", f"{run['test']['accuracy']:.2%}"))
    with (root / "report" / "top_issues.csv").open(encoding="utf-8", newline="") as file:
        issues = [
            (
                issue["key"],
                issue["given"],
                issue["suggested"],
                f"{float(issue['suggested_prob']):.2%}",
                issue["now"],
            )
            for issue in csv.DictReader(file)
        ]
    parts = [
        table(("what", "figure"), _escaped(rows)),
        f"The whole report: `{root / REPORT}`",
        "The most suspect labels:" if issues else "No label issues were found.",
        table(("row", "given", "suggested", "probability", "now"), _escaped(issues)) if issues else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _wrong_labels(found: dict[str, Any], repair: dict[str, Any]) -> str:
    if _is_known(found):
        return f"{found['n_errors']:,}"
    if repair["gate"]["is_too_weak"]:
        return "cannot be estimated: the classifier is too weak"
    return f"about {found['n_errors_estimated']:,}"


def _is_known(found: dict[str, Any]) -> bool:
    """Whether some labels are known to be wrong; if none is, as they come all of them are in question."""
    return bool(found.get("n_errors"))


def _known(found: dict[str, Any]) -> list[str]:
    names = ("precision", "recall", "f1") if _is_known(found) else ()
    return [name for name in names if found.get(name) is not None]


def _escaped(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[plain(cell) for cell in row] for row in rows]
