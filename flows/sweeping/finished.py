"""What a sweep found: its columns, a row per run, means and spreads over the seeds."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows import FlowError


@dataclass(frozen=True)
class Column:
    """A metric: the key `true.accuracy`, say, in a metrics file. `group` names its row of the plot."""

    title: str
    file: str
    key: str
    group: str = ""
    is_share: bool = False

    @property
    def metric(self) -> str:
        """The name by which `--metric` and the CSV files know it."""
        return f"{self.file}:{self.key}"


_ISSUES, _LABELS, TEST = "label issues", "right, against the true labels", "test accuracy, trained on"
COLUMNS = (
    Column("wrong labels", "metrics/label_issues.json", "n_errors"),
    Column("label issues", "metrics/label_issues.json", "n_issues"),
    Column("precision", "metrics/label_issues.json", "precision", _ISSUES, True),
    Column("recall", "metrics/label_issues.json", "recall", _ISSUES, True),
    Column("F1", "metrics/label_issues.json", "f1", _ISSUES, True),
    Column("labels before", "metrics/training_set.json", "label_accuracy.before", _LABELS, True),
    Column("labels after", "metrics/training_set.json", "label_accuracy.after", _LABELS, True),
    Column("out-of-fold", "metrics/cross_validation.json", "true.accuracy", _LABELS, True),
    Column("given", "metrics/retrain_given.json", "test.accuracy", TEST, True),
    Column("cleaned", "metrics/retrain_cleaned.json", "test.accuracy", TEST, True),
    Column("true", "metrics/retrain_true.json", "test.accuracy", TEST, True),
)


@dataclass(frozen=True)
class Run:
    """A finished point of a sweep: its grid values, its seed and its metrics by `Column.metric`."""

    experiment: str
    values: Mapping[str, object]
    seed: int | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Cell:
    """A metric of one grid point: the mean over `n` runs, and their standard deviation if there are two."""

    mean: float
    spread: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """A grid point: its values, how many runs it has, and a cell for each column that any run knows."""

    values: Mapping[str, object]
    n_runs: int
    cells: Mapping[str, Cell]


def choose_columns(wanted: Sequence[str], files: Iterable[str]) -> tuple[Column, ...]:
    """The columns of a table.

    Args:
        wanted: `metrics/label_issues.json:f1`, or `label_issues:f1`; none for the usual ones.
        files: the metrics files that the sweep writes.

    Raises:
        FlowError: a name does not parse or names a file that the sweep does not write, or no file is written.
    """
    known = sorted(set(files))
    if not known:
        raise FlowError("No stage of this sweep writes a metric, so there is nothing to compare.")
    if not wanted:
        return tuple(column for column in COLUMNS if column.file in known)
    found = []
    for name in wanted:
        path, _, key = name.rpartition(":")
        files_of = [file for file in known if path in (file, Path(file).stem)]
        if not files_of or not key:
            raise FlowError(
                f"--metric: expected FILE:KEY, such as metrics/label_issues.json:f1, with one of "
                f"{', '.join(known)}; found {name!r}."
            )
        usual = next((column for column in COLUMNS if (column.file, column.key) == (files_of[0], key)), None)
        found.append(usual or Column(f"{Path(path).stem} {key}", files_of[0], key, name))
    return tuple(dict.fromkeys(found))


def read_metrics(columns: Sequence[Column], texts: Mapping[str, str]) -> dict[str, float]:
    """The numbers that `texts`, the metrics files as JSON text by name, have for the columns."""
    found = {}
    for column in columns:
        value: object = json.loads(texts.get(column.file, "{}"))
        for part in column.key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, int | float) and math.isfinite(value):
            found[column.metric] = float(value)
    return found


def summarise(runs: Sequence[Run], columns: Sequence[Column]) -> list[Row]:
    """Mean and sample standard deviation (n - 1) over the runs of each grid point, in their order."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(run.values, default=str), []).append(run)
    rows = []
    for group in groups.values():
        cells = {}
        for column in columns:
            found = [run.metrics[column.metric] for run in group if column.metric in run.metrics]
            if found:
                spread = float(np.std(found, ddof=1)) if len(found) > 1 else None
                cells[column.metric] = Cell(float(np.mean(found)), spread, len(found))
        rows.append(Row(group[0].values, len(group), cells))
    return rows
