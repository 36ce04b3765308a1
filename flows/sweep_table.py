"""What a sweep found: a row per run, means and spreads over the seeds, as tables and as a plot."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

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


_ISSUES, _LABELS, _TEST = "label issues", "right, against the true labels", "test accuracy, trained on"
COLUMNS = (
    Column("wrong labels", "metrics/label_issues.json", "n_errors"),
    Column("label issues", "metrics/label_issues.json", "n_issues"),
    Column("precision", "metrics/label_issues.json", "precision", _ISSUES, True),
    Column("recall", "metrics/label_issues.json", "recall", _ISSUES, True),
    Column("F1", "metrics/label_issues.json", "f1", _ISSUES, True),
    Column("labels before", "metrics/training_set.json", "label_accuracy.before", _LABELS, True),
    Column("labels after", "metrics/training_set.json", "label_accuracy.after", _LABELS, True),
    Column("out-of-fold", "metrics/cross_validation.json", "true.accuracy", _LABELS, True),
    Column("given", "metrics/retrain_given.json", "test.accuracy", _TEST, True),
    Column("cleaned", "metrics/retrain_cleaned.json", "test.accuracy", _TEST, True),
    Column("true", "metrics/retrain_true.json", "test.accuracy", _TEST, True),
)


@dataclass(frozen=True)
class Run:
    """A finished point of a sweep: its grid values, its seed and its metrics by `Column.metric`."""

    experiment: str
    values: Mapping[str, Any]
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

    values: Mapping[str, Any]
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
        value: Any = json.loads(texts.get(column.file, "{}"))
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


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Parameters by their last part where that is enough: `rate` for `inject_noise.rate`."""
    names = list(names)
    lasts = [name.rsplit(".", 1)[-1] for name in names]
    return {name: last if lasts.count(last) == 1 else name for name, last in zip(names, lasts, strict=True)}


def show(value: Any) -> str:
    """A parameter's value as params.yaml would have it."""
    return value if isinstance(value, str) else json.dumps(value)


def terminal_table(rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    """The table for a terminal: shares in percent, the spread below the mean."""
    names = short_names(rows[0].values) if rows else {}
    table = Table(show_lines=True)
    for name in names.values():
        table.add_column(name)
    table.add_column("n", justify="right")
    for column in columns:
        table.add_column(_heading(column, "\n"), justify="right")
    for row in rows:
        cells = [_texts(row.cells.get(column.metric), column) for column in columns]
        table.add_row(
            *(show(value) for value in row.values.values()),
            str(row.n_runs),
            *(f"{mean}\n± {spread}" if spread else mean for mean, spread in cells),
        )
    return table


def markdown_table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """The same in markdown, mean ± standard deviation in one cell."""
    names = list(short_names(rows[0].values).values()) if rows else []
    heading = [*names, "n", *(_heading(column, " ") for column in columns)]
    lines = [heading, [*("---" for _ in names), *("---:" for _ in heading[len(names) :])]]
    for row in rows:
        cells = [_texts(row.cells.get(column.metric), column) for column in columns]
        lines.append(
            [
                *(show(value) for value in row.values.values()),
                str(row.n_runs),
                *(f"{mean} ± {spread}" if spread else mean for mean, spread in cells),
            ]
        )
    # A bar in a value would end its cell.
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([*table, "", CAPTION, ""])


def table_csv(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """A line per grid point, with mean, sd (empty for one run) and n of each metric, as they are."""
    lines: list[list[Any]] = []
    for row in rows:
        line = [*(show(value) for value in row.values.values()), row.n_runs]
        for column in columns:
            cell = row.cells.get(column.metric)
            line += ["", "", 0] if cell is None else [cell.mean, cell.spread, cell.n]
        lines.append(line)
    statistics = [f"{column.metric} {what}" for column in columns for what in ("mean", "sd", "n")]
    return _csv([*(rows[0].values if rows else ()), "runs", *statistics], lines)


def runs_csv(runs: Sequence[Run], columns: Sequence[Column]) -> str:
    """A line per run: experiment, grid values, seed and metrics."""
    lines: list[list[Any]] = [
        [run.experiment, *(show(value) for value in run.values.values()), run.seed]
        + [run.metrics.get(column.metric) for column in columns]
        for run in runs
    ]
    names = list(runs[0].values) if runs else []
    return _csv(["experiment", *names, "seed", *(column.metric for column in columns)], lines)


def save_plot(path: Path, rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Each metric over the first numeric grid parameter, a line per value of the others.

    Error bars are one standard deviation. Counts of the usual columns are left to the table. Without a
    numeric parameter the first one's values stand side by side.

    Raises:
        FlowError: the path's ending names no format that Matplotlib writes, or it cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    groups: dict[str, list[Column]] = {}
    for column in columns:
        if column.group:
            groups.setdefault(column.group, []).append(column)
    shown = [row for row in rows if row.cells]
    names = list(shown[0].values) if shown else []
    if not names or not groups:
        return
    numeric = [name for name in names if all(_is_number(row.values[name]) for row in shown)]
    across = (numeric or names)[0]
    others = [name for name in names if name != across]
    ticks = list(dict.fromkeys(show(row.values[across]) for row in shown))
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in shown:
        lines.setdefault(tuple(show(row.values[name]) for name in others), []).append(row)

    def where(row: Row) -> float:
        value = row.values[across]
        return float(value) if numeric else ticks.index(show(value))

    width = max(map(len, groups.values()))
    figure = Figure(figsize=(1 + 3.6 * width, 0.8 + 2.8 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), width, squeeze=False, sharex=True, sharey="row")
    for (group, members), axes in zip(groups.items(), panels, strict=True):
        for column, panel in zip(members, axes, strict=False):
            for (values, line), marker in zip(lines.items(), _MARKERS * len(lines), strict=False):
                known = [row for row in line if column.metric in row.cells]
                if numeric:
                    known.sort(key=where)
                cells = [row.cells[column.metric] for row in known]
                panel.errorbar(
                    [where(row) for row in known],
                    [cell.mean for cell in cells],
                    # NaN draws no bar: one run has no spread.
                    yerr=[math.nan if cell.spread is None else cell.spread for cell in cells],
                    marker=marker,
                    markersize=4,
                    capsize=3,
                    linestyle="-" if numeric else "",
                    label=", ".join(values),
                )
            panel.set_title(column.title, fontsize=10)
            panel.grid(alpha=0.3)
            if not numeric:
                panel.set_xticks(range(len(ticks)), ticks, rotation=20, ha="right")
        axes[0].set_ylabel(group)
        for panel in axes[len(members) :]:
            panel.set_visible(False)
    figure.supxlabel(across)
    if others:
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, title=", ".join(others), loc="outside right upper")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # No date, and SVG's names from a fixed salt: equal runs give equal files.
        metadata = {"Date": None} if path.suffix == ".svg" else None
        with rc_context({"svg.hashsalt": "relabel"}):
            figure.savefig(path, dpi=150, metadata=metadata)
    except (ValueError, OSError) as error:
        raise FlowError(f"--plot: expected a file such as plot.png or plot.svg ({error}).") from error


CAPTION = "Mean ± standard deviation over n runs; shares in percent."
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def _heading(column: Column, between: str) -> str:
    """What a trained model was trained on means little without the word test."""
    if column.group == _TEST:
        return f"test,{between}{column.title}"
    return column.title.replace(" ", between)


def _texts(cell: Cell | None, column: Column) -> tuple[str, str]:
    """Mean and spread as text; the spread is empty where there is none."""
    if cell is None:
        return "", ""
    if column.is_share:
        return f"{100 * cell.mean:.2f}", "" if cell.spread is None else f"{100 * cell.spread:.2f}"
    spread = "" if cell.spread is None else f"{cell.spread:,.3g}"
    return (f"{cell.mean:,.0f}" if abs(cell.mean) >= 1000 else f"{cell.mean:.4g}"), spread


def _csv(heading: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(lines)
    return text.getvalue()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def slug(text: str) -> str:
    """`text` with what a file or a git reference may not be called replaced by hyphens."""
    return re.sub(r"\.\.+", ".", re.sub(r"[^A-Za-z0-9._=+]+", "-", text)).strip("-.")
