"""The report on the terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from tasks.label_quality.metrics import FLAG_QUALITY, CrossValidationMetrics, IssueMetrics
from tasks.params import Params
from tasks.repair import RepairMetrics
from tasks.reporting.suspects import Split
from tasks.reporting.worth import RunMetrics


def print_summary(
    console: Console,
    dataset: str,
    params: Params,
    cross_validation: CrossValidationMetrics,
    detection: IssueMetrics,
    splits: list[Split],
    repair: RepairMetrics,
    runs: Mapping[str, RunMetrics],
    worth: str | None,
    self_tests: list[str],
    altered: str | None,
) -> None:
    """Print what was wrong, what was found, what was done, and what it was worth."""
    table = Table(title=f"Relabel: {dataset}, {detection['n_rows']:,} training rows", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    if "n_errors" in detection:
        share = detection["n_errors"] / detection["n_rows"]
        table.add_row("wrong labels", f"{detection['n_errors']:,} ({share:.1%}), known")
    elif repair["gate"]["is_too_weak"] or detection["n_errors_estimated"] is None:
        table.add_row("wrong labels", "cannot be estimated: the classifier or the second opinion is too weak")
    else:
        low, high = detection["n_errors_low"], detection["n_errors_high"]
        table.add_row("wrong labels", f"about {low:,} to {high:,}, estimated")
    table.add_row("label issues found", f"{detection['n_issues']:,} by {params.prune.filter_by}")
    for split in splits:
        share = split.n_issues / split.n_rows
        table.add_row(f"of the {split.name} split", f"{split.n_issues:,} of {split.n_rows:,} ({share:.1%})")
    if detection.get("f1") is not None:
        table.add_row(
            "how well",
            ", ".join(f"{name.replace('f1', 'F1')} {_decimals(detection[name])}" for name in FLAG_QUALITY),
        )
    done = [f"{count:,} {name}" for name, count in repair["actions"].items() if count]
    table.add_row("what was done", ", ".join(done))
    if "label_accuracy" in repair:
        accuracy = repair["label_accuracy"]
        table.add_row("right labels", f"{accuracy['before']:.2%} before, {accuracy['after']:.2%} after")
    table.add_row("out-of-fold accuracy", _cross_validated(cross_validation))
    for name, run in runs.items():
        if "test" in run:
            table.add_row(f"test, trained on {name}", f"{run['test']['accuracy']:.2%}")
    if worth:
        table.add_row("worth of the repair", worth)
    for sentence in self_tests:
        table.add_row("self-test", sentence)
    if repair["gate"]["sentence"]:
        table.add_row("gate", repair["gate"]["sentence"])
    if altered:
        table.add_row("inputs", altered)
    console.print(table)
    console.print("The whole story: report/index.html")


def _decimals(value: float | None) -> str:
    """A ratio, or what stands for one without a base."""
    return "-" if value is None else f"{value:.4f}"


def _cross_validated(metrics: CrossValidationMetrics) -> str:
    line = f"{metrics['given']['accuracy']:.2%} against given labels"
    return line + (f", {metrics['true']['accuracy']:.2%} against true" if "true" in metrics else "")
