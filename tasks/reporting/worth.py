"""The worth of the repair: the retrained classifiers on the same rows, which none of them was trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.decisions.apply import match_decisions
from tasks.decisions.log import Decision
from tasks.label_quality.metrics import IssueMetrics, PredictionCounts, Quality
from tasks.label_quality.paired import Difference, paired_difference
from tasks.params import LabelSetName
from tasks.repair import RepairMetrics
from tasks.tables.catalog import HELD_OUT, TEST_PROBS
from tasks.tables.files import write_csv, write_json
from tasks.tables.joins import locate
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array

# The splits that the worth is measured on: the first that has labelled rows.
_MEASURED = ("test", "valid", HELD_OUT)
# Bins of confidence of the reliability diagram.
_BINS = 15
_NOT_KNOWN = -1


@dataclass(frozen=True)
class Yardstick:
    """The rows that classifiers are measured on, and the labels that count as right there.

    Attributes:
        split: of these rows.
        ids: (M,) example_id, ascending.
        label: (M,) class indices.
        labels: `true` where all are known to be right; `given` where people gave them, some wrong ones too.
        n_reviewed: rows of `given` labels that a person confirmed or corrected.
        n_beside_training: rows left out because a training row is their duplicate, or almost.
        n_dropped: rows left out because a person said so.
    """

    split: str
    ids: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    labels: str
    n_reviewed: int = 0
    n_beside_training: int = 0
    n_dropped: int = 0


def choose_yardstick(
    given: pa.Table, splits: pa.Table, decisions: list[Decision], class_names: tuple[str, ...]
) -> Yardstick | None:
    """The labelled rows of the first of test, valid and held-out rows that there are; None without such.

    Where all of their true labels are known, these count. Else given labels do, or what a person said in
    their place; rows of which a training row is almost a copy would measure memory, and are left out.

    Args:
        given: data/given_labels.parquet, at least `split`, `given_label` and `true_label`.
        splits: data/splits.parquet.
        decisions: those that stand.
        class_names: (K,) by class index.
    """
    split = column_array(given, "split")
    name = next((name for name in _MEASURED if (split == name).any()), None)
    if name is None:
        return None
    rows = given.filter(pa.array(split == name))
    ids = column_array(rows, "example_id")
    true = rows.column("true_label").fill_null(_NOT_KNOWN).to_numpy().astype(np.int64)
    if (true != _NOT_KNOWN).all():
        return Yardstick(name, ids, true, "true")
    group = column_array(splits, "group")
    trained = np.unique(group[column_array(splits, "split") == "train"])
    beside = np.isin(group[locate(column_array(splits, "example_id"), ids)], trained)
    label = column_array(rows, "given_label").astype(np.int64)
    verdicts = match_decisions(decisions, ids, label, class_names)
    dropped = verdicts.decision == "drop"
    kept, reviewed = ~beside & ~dropped, verdicts.label >= 0
    label = np.select([reviewed, true != _NOT_KNOWN], [verdicts.label, true], label)
    if not kept.any():
        return None
    return Yardstick(
        name,
        ids[kept],
        label[kept],
        "given",
        n_reviewed=int((reviewed & kept).sum()),
        n_beside_training=int(beside.sum()),
        n_dropped=int((dropped & ~beside).sum()),
    )


class RunMetrics(TypedDict):
    """metrics/retrain_LABELS.json: the last three where there are rows to measure on."""

    n_rows: int
    n_test_rows: int
    test_split: NotRequired[str]
    test_labels: NotRequired[str]
    test: NotRequired[Quality]


@dataclass(frozen=True)
class Measured:
    """What a retrained classifier reached on the rows of a yardstick.

    Attributes:
        metrics: plain values for metrics/retrain_LABELS.json.
        counts: see `PredictionCounts`; None where there are no such rows.
        right: (M,) which rows it predicts as their label.
    """

    metrics: RunMetrics
    counts: PredictionCounts | None
    right: npt.NDArray[np.bool_]


def measure(workspace: Path, label_set: str, yardstick: Yardstick | None) -> Measured:
    """Measure the probabilities that `retrain` left.

    Raises:
        ArtifactError: data/test_probs/LABEL_SET.parquet is missing or not what it should be.
    """
    reader = TableReader(TEST_PROBS.at(workspace, labels=label_set), TEST_PROBS)
    n_rows = int(reader.metadata("n_rows") or 0)
    if yardstick is None:
        return Measured({"n_rows": n_rows, "n_test_rows": 0}, None, np.zeros(0, dtype=bool))
    # A row without its probabilities is an error here, not later in a figure.
    locate(reader.column("example_id"), yardstick.ids, reader.where)
    (n_classes,) = reader.shape_of("pred_probs")
    counts = PredictionCounts.of(np.zeros(0, np.int64), np.zeros((0, n_classes)), _BINS)
    right = np.zeros(len(yardstick.ids), dtype=bool)
    for table in reader.portions(["pred_probs"]):
        part = table.filter(pa.array(np.isin(column_array(table, "example_id"), yardstick.ids)))
        if part.num_rows:
            places = locate(yardstick.ids, column_array(part, "example_id"))
            probs, label = column_array(part, "pred_probs"), yardstick.label[places]
            counts += PredictionCounts.of(label, probs, _BINS)
            right[places] = probs.argmax(axis=1) == label
    metrics: RunMetrics = {
        "n_rows": n_rows,
        "n_test_rows": len(yardstick.ids),
        "test_split": yardstick.split,
        "test_labels": yardstick.labels,
        "test": counts.quality(),
    }
    return Measured(metrics, counts, right)


def summarise_gain(measured: Mapping[str, Measured]) -> dict[str, float]:
    """What the repair was worth, from the classifiers by label set.

    `gain` is the accuracy of cleaned minus that of given, and lies between `gain_low` and `gain_high` with
    95 % confidence, as far as the draw of the rows goes; `gap_recovered` is the gain as a share of true minus
    given (1: as good as the true labels; NaN where the true labels were no better than the given ones).
    """
    known = {name: found for name, found in measured.items() if found.counts is not None}
    if not {"given", "cleaned"} <= known.keys():
        return {}
    gain = _difference(known["given"], known["cleaned"])
    found = {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
    if "true" in known:
        gap = _difference(known["given"], known["true"]).value
        found |= {"gap": gap, "gap_recovered": gain.value / gap if gap > 0 else float("nan")}
    return found


def _difference(first: Measured, second: Measured) -> Difference:
    better, worse = second.right & ~first.right, first.right & ~second.right
    return paired_difference(int(better.sum()), int(worse.sum()), len(first.right))


def wrong_share(detection: IssueMetrics, is_too_weak: bool) -> float | None:
    """The estimated share of wrong labels; None where the classifier is too weak for an estimate.

    Args:
        detection: metrics/label_issues.json.
        is_too_weak: whether the classifier agrees with the given labels little more than chance does.
    """
    n_errors = detection["n_errors_estimated"]
    if is_too_weak or n_errors is None or not detection["n_rows"]:
        return None
    return float(n_errors / detection["n_rows"])


def describe_worth(gain: Mapping[str, float], yardstick: Yardstick | None, share: float | None) -> str | None:
    """The worth in one line, with its error bar and what it was measured against; None without a figure.

    Args:
        gain: of `summarise_gain`.
        yardstick: what was measured on.
        share: of `wrong_share`.
    """
    if "gain" not in gain or yardstick is None:
        return None
    line = (
        f"{gain['gain'] * 100:+.2f} percentage points (95 % interval of these {len(yardstick.ids):,} rows: "
        f"{gain['gain_low'] * 100:+.2f} to {gain['gain_high'] * 100:+.2f})"
    )
    recovered = gain.get("gap_recovered", float("nan"))
    if np.isfinite(recovered):
        line += f", {recovered:.0%} of what the true labels would give"
    if yardstick.labels == "given":
        wrong = "an unknown share" if share is None else f"about {share:.1%} (estimated)"
        line += f"; against given labels, of which {wrong} are wrong too"
    return line


def write_runs(workspace: Path, measured: Mapping[str, Measured]) -> None:
    """Write metrics/retrain_LABELS.json of every label set there may be, and plots/reliability/test.csv.

    dvc.yaml lists these files by name, so a label set that is not trained on has an empty one.
    """
    for name in get_args(LabelSetName):
        content: Mapping[str, object] = measured[name].metrics if name in measured else {}
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


def before_and_after(repair: RepairMetrics, runs: Mapping[str, RunMetrics]) -> list[Measure]:
    """What the repair changed: right labels, rows, and the test figures of the same recipe."""
    measures = []
    if "label_accuracy" in repair:
        accuracy = repair["label_accuracy"]
        measures.append(Measure("right labels", accuracy["before"], accuracy["after"], 1.0, "share"))

    def of_each(figure: Callable[[RunMetrics], float]) -> tuple[float | None, float | None, float | None]:
        before, after, bound = (
            figure(runs[name]) if name in runs else None for name in ("given", "cleaned", "true")
        )
        return before, after, bound

    if runs:
        measures.append(Measure("training rows", *of_each(lambda run: run["n_rows"]), "rows"))
    if any("test" in run for run in runs.values()):
        measures += [
            Measure("test accuracy", *of_each(lambda run: run["test"]["accuracy"]), "share"),
            Measure(
                "test log-loss (nats)", *of_each(lambda run: run["test"]["log_loss"]), "number", lower=True
            ),
            Measure(
                "test calibration error",
                *of_each(lambda run: run["test"]["expected_calibration_error"]),
                "number",
                lower=True,
            ),
        ]
    return measures
