"""MNIST with noise like people's: the lines of `make accept`, with one seed."""

from typing import Any

from benchmarks.accept import DOUBT_RATES, settings
from benchmarks.results.mnist import ONE_SET
from benchmarks.results.page import describe_origin, share_cell, table
from benchmarks.results.runs import open_workspace, read_metrics, reproduce

_SEED = 0


def measure() -> dict[str, object]:
    """What the default filter finds at each rate, and accuracy out of fold."""
    rates = {}
    for rate in DOUBT_RATES:
        noise = settings(_SEED, rate, "doubt") | {"retrain.label_sets": ONE_SET}
        folder = open_workspace(f"doubt_{round(100 * rate)}", "mnist", noise)
        reproduce(folder, "prune")
        rates[f"{rate:.0%}"] = {
            "issues": read_metrics(folder, "label_issues"),
            "accuracy": read_metrics(folder, "cross_validation"),
        }
    return {"n": 1, "rates": rates}


def describe(found: dict[str, Any]) -> list[str]:
    """A line for each rate."""
    rows = [
        [
            rate,
            f"{each['issues']['n_errors']:,} of {each['issues']['n_rows']:,}",
            f"{each['issues']['n_issues']:,}",
            *(share_cell(each["issues"][name]) for name in ("precision", "recall", "f1")),
            f"{each['accuracy']['true']['accuracy']:.2%}",
        ]
        for rate, each in found["rates"].items()
    ]
    header = ["noise", "wrong", "flagged", "precision", "recall", "F1", "accuracy out of fold, true labels"]
    return [*table(header, rows), "", describe_origin(found)]
