"""The files of `dvc plots`: those that the report writes, and charts of those that training left."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa

from tasks.page.charts import Chart
from tasks.params import LabelSetName
from tasks.repair import RepairMetrics
from tasks.reporting.figures import Reliability, curves_chart, reliability_chart
from tasks.reporting.measured import not_a_plot, read_plot
from tasks.tables.files import write_csv
from tasks.tables.schemas import column_array

_CURVES = ("train/loss", "train/accuracy", "validation/loss", "validation/accuracy")


def write_plots(
    folder: Path,
    class_names: tuple[str, ...],
    issues: pa.Table,
    repair: RepairMetrics,
    trained: Sequence[int],
) -> None:
    """Write the data of `dvc plots`: confusion.csv, funnel.csv and, of trained folds, learning_curves.csv."""
    names = pa.array(class_names)
    labels = {name: names.take(issues.column(f"{name}_label")) for name in ("given", "suggested")}
    write_csv(folder / "confusion.csv", pa.table(labels))
    steps = {
        "training rows": issues.num_rows,
        "label issues": int(column_array(issues, "is_issue").sum()),
        **{name: count for name, count in repair["actions"].items() if name != "trusted"},
        **(
            {"rows without a label that joined": repair["unlabeled"]["n_joined"]}
            if "unlabeled" in repair
            else {}
        ),
        "rows to train on": repair["n_rows_after"],
    }
    write_csv(folder / "funnel.csv", pa.table({"step": list(steps), "rows": list(steps.values())}))
    folds = [_read_curves(folder / "train_fold" / f"fold_{fold}") for fold in trained]
    # Models without epochs draw no curve, and a fold without held-out rows only half of one.
    known = [name for name in _CURVES if folds and all(name in curves for curves in folds)]
    for fold, curves in zip(trained, folds, strict=True):
        if other := [name for name in known if len(curves[name]) != len(folds[0][name])]:
            path = folder / "train_fold" / f"fold_{fold}" / "plots" / "metrics" / f"{other[0]}.tsv"
            raise not_a_plot(
                path, f"{len(curves[other[0]])} epochs, and {len(folds[0][other[0]])} of the first fold"
            )
    mean = {
        name.replace("/", "_"): np.mean([curves[name] for curves in folds], axis=0).tolist() for name in known
    }
    n_epochs = len(next(iter(mean.values()), ()))
    empty = {name.replace("/", "_"): [float("nan")] * n_epochs for name in _CURVES}
    columns = {"epoch": list(range(1, n_epochs + 1)), **empty, **mean}
    write_csv(folder / "learning_curves.csv", pa.table(columns))


def learning_curves(folder: Path, trained: Sequence[int], label_sets: Sequence[str]) -> Chart | None:
    """The chart of accuracy by epoch, of every training of a fold or a label set that left it."""
    folds = {f"fold {k}": _read_curves(folder / "train_fold" / f"fold_{k}") for k in trained}
    retrained = {f"{name} labels": _read_curves(folder / "retrain" / name) for name in label_sets}
    return curves_chart(folds, retrained)


def reliability_charts(folder: Path) -> dict[str, Reliability]:
    """The reliability diagrams: on test rows by label set, and out-of-fold against given and true labels."""
    charts = {}
    for name in ("out_of_fold", "test"):
        bins: dict[str, dict[str, list[float]]] = {}
        path = folder / f"{name}.csv"
        for row in read_plot(path, ["labels"], ["rows", "confidence", "accuracy"]):
            if row["labels"] not in get_args(LabelSetName):
                raise not_a_plot(path, f"labels called {row['labels']}")
            columns = bins.setdefault(row["labels"], {"rows": [], "confidence": [], "accuracy": []})
            for column, values in columns.items():
                values.append(row[column])
        if bins or name == "out_of_fold":
            charts[name] = reliability_chart(bins)
    return charts


def _read_curves(folder: Path) -> dict[str, list[float]]:
    """The values by epoch of learning curves (`tasks.training.curves`), by metric name."""
    curves = {}
    for name in _CURVES:
        path = folder / "plots" / "metrics" / f"{name}.tsv"
        if path.exists():
            measure = name.rsplit("/", 1)[-1]
            rows = read_plot(path, [], ["step"])
            if any(measure not in row for row in rows):
                raise not_a_plot(path, f"no column {measure}")
            curves[name] = [math.nan if row[measure] is None else row[measure] for row in rows]
    return curves
