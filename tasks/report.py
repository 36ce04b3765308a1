"""Stage `report`: the proof of the repair, as one self-contained page, as plots, and on the terminal."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from tasks.decisions.log import PATH, parse_decisions, standing, with_whole
from tasks.label_quality.confusions import count_confusions, most_and_least_important, worst_confused
from tasks.label_quality.review_budget import Budget, review_budgets, round_sizes
from tasks.label_quality.self_tests.words import describe
from tasks.page import Card, describe_rows, environment
from tasks.page.charts import Chart
from tasks.params import LabelSetName, Params
from tasks.reporting.figures import (
    ScoreHistogram,
    budget_chart,
    curves_chart,
    reliability_chart,
    score_histogram,
)
from tasks.reporting.matrices import MOST_CLASSES, heat_maps, issue_pairs, read_entries, worst_classes
from tasks.reporting.measured import (
    CrossValidation,
    Detection,
    Health,
    Repair,
    SelfTests,
    not_a_plot,
    read_metrics,
    read_plot,
)
from tasks.reporting.provenance import fingerprints, package_versions, parameters
from tasks.reporting.repeats import find_repeats
from tasks.reporting.suspects import Split, confident_suspects, issues_by_split, of_each_pair, suspects
from tasks.reporting.worth import (
    Measured,
    choose_yardstick,
    describe_worth,
    measure,
    summarise_gain,
    wrong_share,
)
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, LABEL_ISSUES, SPLIT_ROWS, TRAINING_SET, UNLABELED
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.files import write_csv, write_json, write_text
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array

# The grid of the most suspect labels: 3 rows of 5.
_MOST_SUSPECT = 15
# Issues that the page embeds to be filtered by class pair: with MNIST's pictures about half a megabyte.
_BY_PAIR = 400
# What the page shows of the worst-confused classes: so many pairs, and rows at each end of importance.
_PAIRS = 3
_SAMPLES = 6
# Points of the curve over review budgets.
_BUDGET_POINTS = 120
_DETECTION = {"precision": "precision", "recall": "recall", "f1": "F1"}
_METRICS: dict[str, type[BaseModel]] = {
    "cross_validation": CrossValidation,
    "label_issues": Detection,
    "health": Health,
    "training_set": Repair,
    "self_tests": SelfTests,
}
_CURVES = ("train/loss", "train/accuracy", "validation/loss", "validation/accuracy")
_INPUTS = (
    "data/given_labels.parquet",
    "data/label_issues.parquet",
    "metrics/cross_validation.json",
    "metrics/training_set.json",
)


def report(params: Params, workspace: Path) -> None:
    """Write report/index.html, report/top_issues.csv, metrics/report.json and the plots; print the summary.

    Raises:
        ArtifactError: an input is missing or not what it should be, or people decide faster than this runs.
    """
    with_whole(workspace / PATH, lambda decided: _write_report(params, workspace, decided))()


def _write_report(params: Params, workspace: Path, decided: bytes) -> Callable[[], None]:
    """Write all files; `decided` is what reviews/decisions.csv holds. Returns what prints the summary."""
    plots = workspace / "plots"
    path = LABEL_ISSUES.at(workspace)
    issues = read_table(
        path,
        LABEL_ISSUES,
        columns=[
            *("key", "given_label", "suggested_label", "suggested_prob", "self_confidence", "error_prob"),
            *("importance", "contradicts", "is_issue", "rank"),
        ],
    )
    facts = read_facts(issues, str(path))
    training_set = read_table(TRAINING_SET.at(workspace), TRAINING_SET, columns=["label", "action"])
    given = read_table(
        GIVEN_LABELS.at(workspace), GIVEN_LABELS, columns=["split", "given_label", "true_label", "is_noisy"]
    )
    split_rows = read_table(SPLIT_ROWS.at(workspace), SPLIT_ROWS)
    metrics = {
        name: read_metrics(workspace / "metrics" / f"{name}.json", form) for name, form in _METRICS.items()
    }
    detection, health, repair = metrics["label_issues"], metrics["health"], metrics["training_set"]
    filters = read_plot(plots / "filters.csv", ["filter"], ["n_issues"])
    decisions = standing(parse_decisions(decided, workspace / PATH))
    yardstick = choose_yardstick(given, split_rows, decisions, facts.class_names)
    measured = {str(name): measure(workspace, name, yardstick) for name in params.retrain.label_sets}
    runs = {name: found.metrics for name, found in measured.items()}
    write_runs(workspace, measured)

    gain = summarise_gain(measured)
    wrong_labels = wrong_share(detection, repair["gate"]["is_too_weak"])
    write_json(workspace / "metrics" / "report.json", gain)
    write_plots(plots, facts.class_names, issues, repair, params)

    found = suspects(issues)
    confusion = count_confusions(
        column_array(issues, "given_label"), column_array(issues, "suggested_label"), facts.n_classes
    )
    confused = confused_pairs(issues, confusion)
    shown = {
        "suspect": found[:_MOST_SUSPECT],
        "confident": confident_suspects(issues, found, params.report.top_issues),
        "by_pair": of_each_pair(issues, found, _BY_PAIR),
    }
    # One pass over the examples for all that the page shows.
    rows = np.unique(np.concatenate([*shown.values(), *(pair.rows for pair in confused)]))
    described = describe_rows(issues, given, EXAMPLES.at(workspace), rows)
    cards = dict(zip(rows.tolist(), described, strict=True))
    now = dict(zip(rows.tolist(), labels_now(issues, training_set, facts, rows), strict=True))
    write_top_issues(
        workspace / "report" / "top_issues.csv",
        [(cards[row], now[row]) for row in shown["suspect"].tolist()],
    )

    wrong = known_wrong(issues, given, found) if "n_errors" in detection else None
    splits = issues_by_split(issues, split_rows, found, wrong)
    examples = TableReader(EXAMPLES.at(workspace), EXAMPLES, ["key"])
    repeats = find_repeats(split_rows, given, examples, facts.class_names)
    joints = read_entries(plots / "joints.csv", facts.class_names)
    matrices = read_entries(plots / "noise_matrices.csv", facts.class_names)
    classes = worst_classes(joints["confident_joint"])
    confused_classes = worst_classes(confusion)
    page = (
        environment(Path(__file__).parent / "templates")
        .get_template("report.html")
        .render(
            facts=facts,
            params=params,
            cross_validation=metrics["cross_validation"],
            detection=detection,
            repair=repair,
            health=health,
            runs=runs,
            gain=gain,
            worth=before_and_after(repair, runs),
            filters=filters,
            cards=cards,
            now=now,
            shown=shown,
            shown_given={cards[row].given for row in shown["by_pair"].tolist()},
            shown_suggested={cards[row].suggested for row in shown["by_pair"].tolist()},
            splits=splits,
            repeats=repeats,
            gate=repair["gate"],
            self_tests=list(describe(metrics["self_tests"])),
            yardstick=yardstick,
            wrong_share=wrong_labels,
            pairs=issue_pairs(
                column_array(issues, "given_label")[found],
                column_array(issues, "suggested_label")[found],
                wrong,
                facts.class_names,
                MOST_CLASSES,
            ),
            histograms=histograms(issues),
            budget=review_budget(issues, found, wrong, detection),
            worst_classes=sorted(health["classes"], key=lambda entry: entry["label_quality"])[:MOST_CLASSES],
            confused=confused,
            classes=[facts.class_names[k] for k in classes],
            joints=heat_maps(joints, classes),
            matrices=heat_maps(matrices, classes),
            confused_classes=[facts.class_names[k] for k in confused_classes],
            confusion=heat_maps({"given against suggested": confusion}, confused_classes)[0],
            reliability=reliability_charts(plots / "reliability"),
            curves=learning_curves(plots, params),
            versions=package_versions(),
            parameters=parameters(params),
            fingerprints=fingerprints(workspace, _INPUTS),
        )
    )
    write_text(workspace / "report" / "index.html", page)
    worth = describe_worth(gain, yardstick, wrong_labels)
    sentences = list(describe(metrics["self_tests"]))
    return lambda: print_summary(
        Console(),
        facts.dataset,
        params,
        metrics["cross_validation"],
        detection,
        splits,
        repair,
        runs,
        worth,
        sentences,
    )


def write_runs(workspace: Path, measured: Mapping[str, Measured]) -> None:
    """Write metrics/retrain_LABELS.json of every label set there may be, and plots/reliability/test.csv.

    dvc.yaml lists these files by name, so a label set that is not trained on has an empty one.
    """
    for name in get_args(LabelSetName):
        content = measured[name].metrics if name in measured else {}
        write_json(workspace / "metrics" / f"retrain_{name}.json", content)
    bins = {name: found.counts.reliability() for name, found in measured.items() if found.counts}
    tables = [pa.table({"labels": [name] * len(found["rows"]), **found}) for name, found in bins.items()]
    nothing = pa.table(
        {name: pa.nulls(0) for name in ("labels", "low", "high", "rows", "confidence", "accuracy")}
    )
    write_csv(
        workspace / "plots" / "reliability" / "test.csv", pa.concat_tables(tables) if tables else nothing
    )


@dataclass(frozen=True)
class Measure:
    """One line of the table before and after.

    `before` is what the given labels give, `after` the cleaned ones, `bound` the true ones; None where there
    is no such figure. `unit` is `share`, `number` or `rows`. A change upwards is good, unless `lower` is.
    """

    name: str
    before: float | None
    after: float | None
    bound: float | None
    unit: str
    lower: bool = False

    @property
    def change(self) -> float | None:
        """After minus before."""
        return None if self.before is None or self.after is None else self.after - self.before


def before_and_after(repair: dict[str, Any], runs: dict[str, dict[str, Any]]) -> list[Measure]:
    """What the repair changed: right labels, rows, and the test figures of the same recipe."""
    measures = []
    if "label_accuracy" in repair:
        accuracy = repair["label_accuracy"]
        measures.append(Measure("right labels", accuracy["before"], accuracy["after"], 1.0, "share"))

    def of_each(*path: str) -> tuple[float | None, float | None, float | None]:
        figures = []
        for name in ("given", "cleaned", "true"):
            value: Any = runs.get(name, {})
            for key in path:
                value = value.get(key, {})
            figures.append(None if value == {} else value)
        return figures[0], figures[1], figures[2]

    measures.append(Measure("training rows", *of_each("n_rows"), unit="rows"))
    if any("test" in run for run in runs.values()):
        measures += [
            Measure("test accuracy", *of_each("test", "accuracy"), unit="share"),
            Measure("test log-loss (nats)", *of_each("test", "log_loss"), unit="number", lower=True),
            Measure(
                "test calibration error",
                *of_each("test", "expected_calibration_error"),
                unit="number",
                lower=True,
            ),
        ]
    return measures


@dataclass(frozen=True)
class Confused:
    """A worst-confused pair of classes, and rows given the class predicted.

    `most` and `least` are positions of its most and least important rows; `spread` is the histogram of the
    importance of all of them, None where that was not measured or is shown with an earlier pair.
    """

    label: str
    predicted: str
    n_rows: int
    share: float
    most: npt.NDArray[np.int64]
    least: npt.NDArray[np.int64]
    spread: ScoreHistogram | None

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """All of these rows."""
        return np.concatenate([self.most, self.least])


def confused_pairs(issues: pa.Table, confusion: npt.NDArray[np.int64]) -> list[Confused]:
    """The worst-confused pairs, with the most and the least important rows given the class predicted.

    Rows are shown once, with the first pair that leads to their class, and only where they have importance.
    """
    importance = issues.column("importance").fill_null(0).to_numpy()
    measured = issues.column("importance").is_valid().to_numpy()
    given, is_issue = column_array(issues, "given_label"), column_array(issues, "is_issue")
    names = read_facts(issues).class_names
    seen: set[int] = set()
    found = []
    for pair in worst_confused(confusion, _PAIRS):
        of_class = measured & (given == pair.predicted)
        members = np.flatnonzero(of_class) if pair.predicted not in seen else np.arange(0)
        seen.add(pair.predicted)
        most, least = most_and_least_important(importance, members, _SAMPLES)
        label = f"importance of the rows given {names[pair.predicted]}"
        spread = score_histogram(label, importance[members], is_issue[members]) if len(members) else None
        classes = names[pair.label], names[pair.predicted]
        found.append(Confused(*classes, pair.n_rows, pair.share, most, least, spread))
    return found


def labels_now(
    issues: pa.Table, training_set: pa.Table, facts: DatasetFacts, rows: npt.NDArray[np.intp]
) -> list[str]:
    """What became of each of some rows of `issues`: its label now, `dropped`, or `unlabeled`."""
    now = join(training_set, column_array(issues, "example_id")[rows])
    actions, labels = now.column("action").to_pylist(), column_array(now, "label").tolist()
    return [_now(facts.class_names[label], action) for label, action in zip(labels, actions, strict=True)]


def _now(label: str, action: str) -> str:
    if action in ("dropped", UNLABELED):
        return action
    return f"{label} (reviewed)" if action == "reviewed" else label


def known_wrong(
    issues: pa.Table, given: pa.Table, rows: npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_] | None:
    """(M,) whether the labels of some rows are wrong, if that is known of all of them."""
    wrong = join(given, column_array(issues, "example_id")[rows]).column("is_noisy")
    return None if wrong.null_count else wrong.to_numpy().astype(bool)


@dataclass(frozen=True)
class ReviewBudget:
    """What looking at the issues finds; `measured` against the truth, or estimated.

    Attributes:
        measured: whether the truth is known.
        n_errors: wrong labels in all.
        table: some budgets.
        example: the one to name in a sentence.
        chart: all of them.
    """

    measured: bool
    n_errors: int
    table: list[Budget]
    example: Budget
    chart: Chart


def review_budget(
    issues: pa.Table,
    found: npt.NDArray[np.intp],
    wrong: npt.NDArray[np.bool_] | None,
    detection: dict[str, Any],
) -> ReviewBudget | None:
    """Precision and recall by review budget, or the errors expected; None where there is nothing to review.

    An estimate takes each row's probability to be wrong (`error_prob`).
    """
    n_errors = detection["n_errors_estimated"] if wrong is None else detection["n_errors"]
    if not len(found) or n_errors is None:
        return None
    likely = column_array(issues, "error_prob")[found] if wrong is None else wrong
    table = review_budgets(likely, n_errors, round_sizes(len(found)))
    points = np.unique(np.linspace(1, len(found), min(_BUDGET_POINTS, len(found))).astype(np.int64))
    return ReviewBudget(
        measured=wrong is not None,
        n_errors=n_errors,
        table=table,
        example=next((budget for budget in table if budget.n_rows >= 200), table[-1]),
        chart=budget_chart(review_budgets(likely, n_errors, points), wrong is not None),
    )


def histograms(issues: pa.Table) -> dict[str, ScoreHistogram]:
    """The histogram of each score that the table has."""
    is_issue = column_array(issues, "is_issue")
    found = {}
    if issues.num_rows:
        label = "self-confidence: probability of the given label"
        found["self_confidence"] = score_histogram(label, column_array(issues, "self_confidence"), is_issue)
    measured = issues.column("importance").is_valid().to_numpy()
    if measured.any():
        values = issues.column("importance").fill_null(0).to_numpy()[measured]
        found["importance"] = score_histogram("importance (sensitivity bound)", values, is_issue[measured])
    return found


def reliability_charts(folder: Path) -> dict[str, Chart]:
    """The reliability diagrams: on test rows by label set, and out-of-fold against given and true labels."""
    charts = {}
    for name in ("out_of_fold", "test"):
        bins: dict[str, dict[str, list[float]]] = {}
        path = folder / f"{name}.csv"
        for row in read_plot(path, ["labels"], ["confidence", "accuracy"]):
            if row["labels"] not in get_args(LabelSetName):
                raise not_a_plot(path, f"labels called {row['labels']}")
            columns = bins.setdefault(row["labels"], {"confidence": [], "accuracy": []})
            for column, values in columns.items():
                values.append(row[column])
        if bins or name == "out_of_fold":
            charts[name] = reliability_chart(bins)
    return charts


def write_top_issues(path: Path, rows: list[tuple[Card, str]]) -> None:
    """Write the most suspect labels as a table: what was given and suggested, and what became of them."""
    columns: dict[str, list[Any]] = {
        "example_id": [card.example_id for card, _ in rows],
        "key": [card.key for card, _ in rows],
        "given": [card.given for card, _ in rows],
        "suggested": [card.suggested for card, _ in rows],
        "suggested_prob": [card.suggested_prob for card, _ in rows],
        "true": [card.true for card, _ in rows],
        "now": [now for _, now in rows],
    }
    write_csv(path, pa.table(columns))


def write_plots(
    folder: Path,
    class_names: tuple[str, ...],
    issues: pa.Table,
    repair: dict[str, Any],
    params: Params,
) -> None:
    """Write the data of `dvc plots`: confusion.csv, funnel.csv and learning_curves.csv."""
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
    folds = [_read_curves(folder / "train_fold" / f"fold_{fold}") for fold in params.train_fold.folds]
    # Models without epochs draw no curve, and a fold without held-out rows only half of one.
    known = [name for name in _CURVES if all(name in curves for curves in folds)]
    mean = {
        name.replace("/", "_"): np.mean([curves[name] for curves in folds], axis=0).tolist() for name in known
    }
    n_epochs = len(next(iter(mean.values()), ()))
    empty = {name.replace("/", "_"): [float("nan")] * n_epochs for name in _CURVES}
    columns = {"epoch": list(range(1, n_epochs + 1)), **empty, **mean}
    write_csv(folder / "learning_curves.csv", pa.table(columns))


def learning_curves(folder: Path, params: Params) -> Chart | None:
    """The chart of accuracy by epoch, of every training that left it."""
    folds = {f"fold {k}": _read_curves(folder / "train_fold" / f"fold_{k}") for k in params.train_fold.folds}
    retrained = {
        f"{name} labels": _read_curves(folder / "retrain" / name) for name in params.retrain.label_sets
    }
    return curves_chart(folds, retrained)


def print_summary(
    console: Console,
    dataset: str,
    params: Params,
    cross_validation: dict[str, Any],
    detection: dict[str, Any],
    splits: list[Split],
    repair: dict[str, Any],
    runs: dict[str, dict[str, Any]],
    worth: str | None,
    self_tests: list[str],
) -> None:
    """Print what was wrong, what was found, what was done, and what it was worth."""
    table = Table(title=f"Relabel: {dataset}, {detection['n_rows']:,} training rows", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    if "n_errors" in detection:
        share = detection["n_errors"] / detection["n_rows"]
        table.add_row("wrong labels", f"{detection['n_errors']:,} ({share:.1%}), known")
    elif repair["gate"]["is_too_weak"] or detection["n_errors_estimated"] is None:
        table.add_row("wrong labels", "cannot be estimated: the classifier is too weak")
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
            ", ".join(f"{title} {_decimals(detection[name])}" for name, title in _DETECTION.items()),
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
    console.print(table)
    console.print("The whole story: report/index.html")


def _decimals(value: float | None) -> str:
    """A ratio, or what stands for one without a base."""
    return "-" if value is None else f"{value:.4f}"


def _cross_validated(metrics: dict[str, Any]) -> str:
    line = f"{metrics['given']['accuracy']:.2%} against given labels"
    return line + (f", {metrics['true']['accuracy']:.2%} against true" if "true" in metrics else "")


def _read_curves(folder: Path) -> dict[str, list[float]]:
    """The values by epoch that DVCLive wrote, by metric name."""
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
