"""Stage `report`: the proof of the repair, as one self-contained page, as plots, and on the terminal."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
from rich.console import Console
from rich.table import Table

from tasks import ArtifactError
from tasks.artifacts import (
    GIVEN_LABELS,
    LABEL_ISSUES,
    TRAINING_SET,
    atomic_path,
    column_array,
    read_facts,
    read_table,
    write_json,
    write_text,
)
from tasks.label_quality.confusions import count_confusions, most_and_least_important, worst_confused
from tasks.page import Card, describe_rows, environment
from tasks.params import Params

# What the page shows of the worst-confused classes: so many pairs, and rows at each end of importance.
_PAIRS = 3
_SAMPLES = 6
# Classes above which a table by class would be longer than anyone reads; the files have them all.
_MOST_CLASSES = 20
_CURVES = ("train/loss", "train/accuracy", "validation/loss", "validation/accuracy")


def report(params: Params, workspace: Path) -> None:
    """Write report/index.html, metrics/report.json and the plots, and print the summary.

    Raises:
        ArtifactError: an input is missing or not what it should be.
    """
    data = workspace / "data"
    issues = read_table(data / "label_issues.parquet", LABEL_ISSUES)
    facts = read_facts(issues, str(data / "label_issues.parquet"))
    training_set = read_table(data / "training_set.parquet", TRAINING_SET, columns=["label", "source"])
    given = read_table(data / "given_labels.parquet", GIVEN_LABELS, columns=["true_label", "is_noisy"])
    cross_validation = _read_json(workspace / "metrics" / "cross_validation.json")
    detection = _read_json(workspace / "metrics" / "label_issues.json")
    health = _read_json(workspace / "metrics" / "health.json")
    repair = _read_json(workspace / "metrics" / "training_set.json")
    runs: dict[str, dict[str, Any]] = {
        name: _read_json(workspace / "metrics" / f"retrain_{name}.json") for name in params.retrain.label_sets
    }

    gain = summarise_gain({name: run["test"]["accuracy"] for name, run in runs.items() if "test" in run})
    write_json(workspace / "metrics" / "report.json", gain)
    confusion = count_confusions(
        column_array(issues, "given_label"), column_array(issues, "suggested_label"), facts.n_classes
    )
    write_plots(workspace / "plots", facts.class_names, issues, repair, params)
    curves = learning_curves(workspace / "plots", params)

    pictures = Pictures(issues, given, data / "examples.parquet")
    top = top_issues(issues, training_set, pictures, params.report.top_issues)
    with (workspace / "plots" / "filters.csv").open(encoding="utf-8", newline="") as file:
        filters = list(csv.DictReader(file))
    matrices = noise_matrices(workspace / "plots" / "noise_matrices.csv", facts.class_names)
    page = (
        environment(Path(__file__).parent / "templates")
        .get_template("report.html")
        .render(
            facts=facts,
            params=params,
            cross_validation=cross_validation,
            detection=detection,
            repair=repair,
            runs=runs,
            gain=gain,
            filters=filters,
            confusion=confusion.tolist(),
            off_diagonal_max=int(max(1, _off_diagonal_max(confusion))),
            curves=curves,
            top=top,
            health=health,
            worst_classes=worst_classes(health["classes"]),
            confused=confused_pairs(issues, confusion, pictures),
            matrices=matrices,
            most_noise=max([_off_diagonal_max(np.array(matrix)) for matrix in matrices.values()], default=0),
        )
    )
    write_text(workspace / "report" / "index.html", page)
    print_summary(Console(), facts.dataset, params, cross_validation, detection, repair, runs, gain)


def summarise_gain(accuracy: dict[str, float]) -> dict[str, float]:
    """What the repair was worth, from test accuracies by label set.

    `gain` is cleaned minus given; `gap_recovered` is that gain as a share of true minus given (1: as good
    as the true labels; NaN where training on the true labels was no better than on the given ones).
    """
    found: dict[str, float] = {}
    if {"given", "cleaned"} <= accuracy.keys():
        found["gain"] = accuracy["cleaned"] - accuracy["given"]
        if "true" in accuracy:
            gap = accuracy["true"] - accuracy["given"]
            found["gap"] = gap
            found["gap_recovered"] = found["gain"] / gap if gap > 0 else float("nan")
    return found


def worst_classes(classes: dict[str, dict[str, float]]) -> list[tuple[str, dict[str, float]]]:
    """The classes of lowest label quality, the worst first, as many as the page has room for."""
    return sorted(classes.items(), key=lambda item: item[1]["label_quality"])[:_MOST_CLASSES]


def noise_matrices(path: Path, class_names: tuple[str, ...]) -> dict[str, list[list[float]]]:
    """The noise matrices by name, each (K, K) [given][true]; none where they are too large for the page."""
    if len(class_names) > _MOST_CLASSES:
        return {}
    index = {name: k for k, name in enumerate(class_names)}
    matrices: dict[str, npt.NDArray[np.float64]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            given, true = index[row.pop("given")], index[row.pop("true")]
            for name, value in row.items():
                matrix = matrices.setdefault(name, np.zeros((len(index), len(index))))
                matrix[given, true] = float(value)
    return {name: matrix.tolist() for name, matrix in matrices.items()}


def confused_pairs(
    issues: pa.Table, confusion: npt.NDArray[np.int64], pictures: "Pictures"
) -> list[dict[str, Any]]:
    """The worst-confused pairs, with the most and the least important rows given the class predicted.

    Rows are shown once, with the first pair that leads to their class, and only where they have importance.
    """
    importance = issues.column("importance").fill_null(0).to_numpy()
    measured = issues.column("importance").is_valid().to_numpy()
    given = column_array(issues, "given_label")
    names = read_facts(issues).class_names
    seen: set[int] = set()
    found = []
    for pair in worst_confused(confusion, _PAIRS):
        of_class = measured & (given == pair.predicted)
        members = np.flatnonzero(of_class) if pair.predicted not in seen else np.arange(0)
        seen.add(pair.predicted)
        most, least = most_and_least_important(importance, members, _SAMPLES)
        found.append(
            {
                "label": names[pair.label],
                "predicted": names[pair.predicted],
                "n_rows": pair.n_rows,
                "share": pair.share,
                "most": pictures.describe(most),
                "least": pictures.describe(least),
            }
        )
    return found


def write_plots(
    folder: Path,
    class_names: tuple[str, ...],
    issues: pa.Table,
    repair: dict[str, Any],
    params: Params,
) -> None:
    """Write the data of `dvc plots`: confusion.csv, funnel.csv and learning_curves.csv."""
    names = np.array(class_names)
    given, suggested = column_array(issues, "given_label"), column_array(issues, "suggested_label")
    _write_csv(
        folder / "confusion.csv", {"given": names[given].tolist(), "suggested": names[suggested].tolist()}
    )
    steps = {
        "training rows": issues.num_rows,
        "label issues": int(column_array(issues, "is_issue").sum()),
        **{name: count for name, count in repair["actions"].items() if name != "trusted"},
        "rows to train on": repair["n_rows_after"],
    }
    _write_csv(folder / "funnel.csv", {"step": list(steps), "rows": list(steps.values())})
    folds = [_read_curves(folder / "train_fold" / f"fold_{fold}") for fold in params.train_fold.folds]
    mean = {
        name.replace("/", "_"): np.mean([curves[name] for curves in folds], axis=0).tolist()
        for name in _CURVES
    }
    _write_csv(
        folder / "learning_curves.csv", {"epoch": list(range(1, params.train_fold.epochs + 1)), **mean}
    )


def learning_curves(folder: Path, params: Params) -> dict[str, Any]:
    """The accuracy of every run by epoch, laid out for the page's line chart."""
    runs = {f"fold {k}": _read_curves(folder / "train_fold" / f"fold_{k}") for k in params.train_fold.folds}
    runs |= {
        f"retrained on {name} labels": _read_curves(folder / "retrain" / name)
        for name in params.retrain.label_sets
    }
    lines = [
        {"name": name, "kind": kind, "values": values[f"{kind}/accuracy"]}
        for name, values in runs.items()
        for kind in ("train", "validation")
        if f"{kind}/accuracy" in values
    ]
    lowest = min(min(line["values"]) for line in lines)
    return {"lines": lines, "low": np.floor(lowest * 20) / 20, "epochs": params.train_fold.epochs}


@dataclass(frozen=True)
class Pictures:
    """Rows of `issues` with the truth and the content joined by id."""

    issues: pa.Table
    given: pa.Table
    examples: Path

    def describe(self, rows: npt.NDArray[np.intp]) -> list[Card]:
        """See `tasks.page.describe_rows`."""
        return describe_rows(self.issues, self.given, self.examples, rows)


def top_issues(issues: pa.Table, training_set: pa.Table, pictures: Pictures, n: int) -> list[dict[str, Any]]:
    """The `n` most suspect issues: see `Pictures.describe`, and what was done."""
    rank = issues.column("rank").fill_null(-1).to_numpy()
    chosen = np.flatnonzero((rank >= 0) & (rank < n))
    found = pictures.describe(chosen[np.argsort(rank[chosen])])
    kept_label = dict(
        zip(
            column_array(training_set, "example_id").tolist(),
            column_array(training_set, "label").tolist(),
            strict=True,
        )
    )
    names = read_facts(issues).class_names
    now = [kept_label.get(card.example_id) for card in found]
    return [
        {"card": card, "now": "dropped" if label is None else names[label]}
        for card, label in zip(found, now, strict=True)
    ]


def print_summary(
    console: Console,
    dataset: str,
    params: Params,
    cross_validation: dict[str, Any],
    detection: dict[str, Any],
    repair: dict[str, Any],
    runs: dict[str, dict[str, Any]],
    gain: dict[str, float],
) -> None:
    """Print what was wrong, what was found, what was done, and what it was worth."""
    table = Table(title=f"Relabel: {dataset}, {detection['n_rows']:,} training rows", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    if "n_errors" in detection:
        share = detection["n_errors"] / detection["n_rows"]
        table.add_row("wrong labels", f"{detection['n_errors']:,} ({share:.1%}), known")
    else:
        table.add_row("wrong labels", f"about {detection['n_errors_estimated']:,}, estimated")
    table.add_row("label issues found", f"{detection['n_issues']:,} by {params.prune.filter_by}")
    if detection.get("f1") is not None:
        table.add_row(
            "how well",
            f"precision {detection['precision']:.4f}, recall {detection['recall']:.4f}, "
            f"F1 {detection['f1']:.4f}",
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
    if "gain" in gain:
        line = f"{gain['gain'] * 100:+.2f} percentage points"
        recovered = gain.get("gap_recovered", float("nan"))
        if np.isfinite(recovered):
            line += f", {recovered:.0%} of what the true labels would give"
        table.add_row("worth of the repair", line)
    console.print(table)
    console.print("The whole story: report/index.html")


def _off_diagonal_max(matrix: npt.NDArray[Any]) -> float:
    return float((matrix - np.diag(matrix.diagonal())).max())


def _cross_validated(metrics: dict[str, Any]) -> str:
    line = f"{metrics['given']['accuracy']:.2%} against given labels"
    return line + (f", {metrics['true']['accuracy']:.2%} against true" if "true" in metrics else "")


def _read_curves(folder: Path) -> dict[str, list[float]]:
    """The values by epoch that DVCLive wrote, by metric name."""
    curves = {}
    for name in _CURVES:
        path = folder / "plots" / "metrics" / f"{name}.tsv"
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
            curves[name] = [float(row[name.rsplit("/", 1)[-1]]) for row in rows]
    return curves


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: expected the metrics of an earlier stage ({error}). Rebuild them with `dvc repro`."
        ) from error
    return content


def _write_csv(path: Path, columns: dict[str, list[Any]]) -> None:
    with atomic_path(path) as temporary:
        pacsv.write_csv(pa.table(columns), temporary)
