"""The pseudo-label article: 70,000 digits, 10 % of the labels drawn anew, predicted labels in their place.

Rows whose prediction is not their label get the predicted label, as in the article, whatever its probability.
Then the same folds are trained again on the new labels, and predict all rows once more.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.results.mnist import ONE_SET
from benchmarks.results.page import describe_origin, table
from benchmarks.results.pictures import draw_digits
from benchmarks.results.runs import open_workspace, read_issues, read_metrics, reproduce
from tasks.tables.catalog import GIVEN_LABELS, TRAINING_SET
from tasks.tables.facts import read_facts
from tasks.tables.files import write_csv
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.schemas import column_array

FOLDS = (2, 5)
SUREST = 5_000
GRID = Path("docs/mnist_surest.png")
GRID_SHAPE = (5, 5)
LABELS = "relabelled.csv"


def measure() -> dict[str, object]:
    """Rows that were relabelled, how many rightly, and what models learn from the new labels."""
    runs = {}
    for n_folds in FOLDS:
        first = open_workspace(f"article_{n_folds}_folds", "mnist", settings(n_folds))
        reproduce(first, "pseudo_label")
        again = {**settings(n_folds), "inject_noise.kind": "file", "inject_noise.path": LABELS}
        second = open_workspace(f"article_{n_folds}_folds_again", "mnist", again)
        write_new_labels(first, second / "inputs" / "labels" / LABELS)
        reproduce(second, "aggregate")
        surest, is_right = find_surest(first)
        drawn = np.random.default_rng(0).choice(
            len(surest), min(len(surest), GRID_SHAPE[0] * GRID_SHAPE[1]), replace=False
        )
        repair = read_metrics(first, "training_set")
        runs[str(n_folds)] = {
            "n_rows": repair["n_rows_before"],
            "labels": repair["label_accuracy"],
            "n_changed": repair["actions"]["relabelled"],
            "is_closed": repair["gate"]["is_closed"],
            "n_surest": len(surest),
            "surest_right": float(is_right.mean()),
            "grid_right": int(is_right[drawn].sum()),
            "accuracy": {
                name: read_metrics(folder, "cross_validation")["true"]["accuracy"]
                for name, folder in (("before", first), ("after", second))
            },
        }
        if n_folds == FOLDS[0]:
            draw_digits(GRID, first, [surest[place] for place in drawn], GRID_SHAPE)
    return {"n": 1, "runs": runs}


def settings(n_folds: int) -> dict[str, object]:
    """All 70,000 rows, a tenth with a label drawn from all classes, and all disagreements relabelled."""
    return {
        "download.pool": ["test"],
        "inject_noise.kind": "uniform",
        "inject_noise.rate": 0.1,
        "train_fold.folds": list(range(n_folds)),
        "prune.filter_by": "predicted_neq_given",
        "pseudo_label.min_confidence": 0.0,
        "retrain.label_sets": ONE_SET,
    }


def write_new_labels(folder: Path, path: Path) -> None:
    """A table of keys and the labels that the repair of a workspace gave them."""
    repaired = read_table(TRAINING_SET.at(folder), TRAINING_SET, columns=["label"])
    names = np.array(read_facts(repaired, str(folder)).class_names)
    given = read_table(GIVEN_LABELS.at(folder), GIVEN_LABELS, columns=["key"])
    keys = join(given, column_array(repaired, "example_id")).column("key")
    write_csv(path, pa.table({"key": keys, "given_label": names[column_array(repaired, "label")]}))


def find_surest(folder: Path) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """The keys (M,) of the 5,000 surest rows whose prediction is not their label, the surest first, and (M,)
    whether the prediction is right.
    """
    columns = ["key", "given_label", "suggested_label", "suggested_prob"]
    issues, _ = read_issues(folder, columns)
    true = read_table(GIVEN_LABELS.at(folder), GIVEN_LABELS, columns=["true_label"])
    given, suggested, prob = (column_array(issues, name) for name in columns[1:])
    differ = np.flatnonzero(given != suggested)
    chosen = differ[np.argsort(-prob[differ], kind="stable")[:SUREST]]
    truth = column_array(join(true, column_array(issues, "example_id")[chosen]), "true_label")
    return issues.column("key").take(pa.array(chosen)).to_pylist(), suggested[chosen] == truth


def describe(found: dict[str, Any]) -> list[str]:
    """A line for each number of folds."""
    rows = [
        [
            n_folds,
            f"{run['n_changed']:,} of {run['n_rows']:,}" + "*" * run["is_closed"],
            f"{run['labels']['before']:.2%}",
            f"{run['labels']['after']:.2%}",
            f"{run['surest_right']:.2%} of {run['n_surest']:,}",
            f"{run['grid_right']} of {GRID_SHAPE[0] * GRID_SHAPE[1]}",
            f"{run['accuracy']['before']:.2%}",
            f"{run['accuracy']['after']:.2%}",
        ]
        for n_folds, run in found["runs"].items()
    ]
    header = [
        "folds",
        "relabelled",
        "labels right before",
        "after",
        "right among the surest",
        "right in the grid",
        "accuracy out of fold, trained on given labels",
        "trained on new labels",
    ]
    return [
        *table(header, rows),
        "",
        f"![25 digits drawn from the surest disagreements, {FOLDS[0]} folds]({GRID.name})",
        "",
        *(
            ["\\* The gate refused it.", ""]
            if any(run["is_closed"] for run in found["runs"].values())
            else []
        ),
        describe_origin(found),
    ]
