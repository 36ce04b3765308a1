"""MNIST as it is: 70,000 rows, no label made wrong. What is suspect, and where the tutorial's 15 ids fall."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.results.page import describe_origin, table
from benchmarks.results.pictures import draw_digits
from benchmarks.results.runs import open_workspace, read_metrics, reproduce
from tasks.tables.catalog import LABEL_ISSUES
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array

GRID = Path("docs/mnist_suspects.png")
ONE_SET = {"given": {"table": "given_labels", "checkpoint": "classifier_given"}}
"""Where all rows are trained on, none is left to measure a retraining on."""
RECIPES = {"cross-entropy": 0.0, "label smoothing 0.1": 0.1}
"""The label smoothing of each; cleanlab's tutorial has plain cross-entropy."""
IDS_OF_TUTORIAL = (
    *(59915, 24798, 26405, 8729, 30049, 34404, 32342, 43454, 53216, 15434, 33388, 10994),
    *(34920, 39184, 2720),
)
"""The ids that cleanlab's tutorial prints as the most likely errors of 149, the most likely first."""
FILTERS = ("auto", "prune_by_noise_rate")


def measure() -> dict[str, object]:
    """Accuracy out of fold, issues, and the place of the tutorial's ids, with and without label smoothing."""
    recipes = {}
    for place, (name, smoothing) in enumerate(RECIPES.items()):
        folder = open_workspace(f"mnist_pooled_{place}", "mnist", settings(smoothing))
        reproduce(folder, "prune")
        columns = ["key", "self_confidence", "error_prob", "is_issue", "rank", *FILTERS]
        issues = read_table(LABEL_ISSUES.at(folder), LABEL_ISSUES, columns=columns)
        recipes[name] = {
            "accuracy": read_metrics(folder, "cross_validation")["given"]["accuracy"],
            "n_rows": len(issues),
            "issues": {each: int(column_array(issues, each).sum()) for each in FILTERS},
            "worst": worst_keys(issues, 15),
            "places": places_of(issues, IDS_OF_TUTORIAL),
        }
        if place == 0:
            draw_digits(GRID, folder, recipes[name]["worst"], (3, 5))
    return {"n": 1, "recipes": recipes}


def settings(smoothing: float) -> dict[str, object]:
    """All 70,000 rows with the labels that they come with, and a loss of clean labels."""
    return {
        "download.pool": ["test"],
        "inject_noise.kind": "none",
        "train_fold.gce_q": 0.0,
        "train_fold.label_smoothing": smoothing,
        "retrain.label_sets": ONE_SET,
    }


def worst_keys(issues: pa.Table, n_rows: int) -> list[str]:
    """The keys of the most suspect issues, the most suspect first."""
    ranked = issues.filter(issues.column("rank").is_valid())
    order = np.argsort(column_array(ranked, "rank"), kind="stable")[:n_rows]
    found: list[str] = ranked.column("key").take(pa.array(order)).to_pylist()
    return found


def places_of(issues: pa.Table, ids: tuple[int, ...]) -> list[dict[str, object]]:
    """Where rows stand among all, counted from 1, by the probability of their label to be wrong."""
    keys = {key: row for row, key in enumerate(issues.column("key").to_pylist())}
    rows = np.array([keys[str(each)] for each in ids])
    place = {
        "error_prob": place_in(-column_array(issues, "error_prob"))[rows],
        "self_confidence": place_in(column_array(issues, "self_confidence"))[rows],
    }
    flagged = column_array(issues, "is_issue")[rows]
    return [
        {
            "id": each,
            "is_issue": bool(flagged[number]),
            **{name: int(found[number]) for name, found in place.items()},
        }
        for number, each in enumerate(ids)
    ]


def place_in(values: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """(N,) the place of each value (N,) in ascending order, from 1; ties keep the order of rows."""
    place = np.empty(len(values), dtype=np.int64)
    place[np.argsort(values, kind="stable")] = np.arange(1, len(values) + 1)
    return place


def describe(found: dict[str, Any]) -> list[str]:
    """What each recipe reaches and flags; where the tutorial's ids fall."""
    recipes = found["recipes"]
    rows = [
        [
            name,
            f"{each['n_rows']:,}",
            f"{each['accuracy']:.2%}",
            *(f"{each['issues'][filter_name]:,}" for filter_name in FILTERS),
            str(sum(place["is_issue"] for place in each["places"])),
        ]
        for name, each in recipes.items()
    ]
    first = next(iter(recipes.values()))
    places = [
        [
            str(place["id"]),
            f"{place['error_prob']:,}",
            f"{place['self_confidence']:,}",
            "yes" if place["is_issue"] else "no",
        ]
        for place in first["places"]
    ]
    return [
        *table(
            [
                "loss",
                "rows",
                "accuracy out of fold",
                "issues, `auto`",
                "issues, `prune_by_noise_rate`",
                "of the tutorial's 15 flagged by `auto`",
            ],
            rows,
        ),
        "",
        f"![The 15 most suspect digits: id, given label, suggested label]({GRID.name})",
        "",
        f"The 15 ids that the tutorial prints, and their places among the {first['n_rows']:,} rows here "
        f"({next(iter(recipes))}; 1 is the most suspect):",
        "",
        *table(["id", "place by `error_prob`", "place by `self_confidence`", "flagged"], places),
        "",
        describe_origin(found),
    ]
