"""The rows of a sweep as tables: for a terminal, in markdown and in CSV."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence

from rich.table import Table

from flows.sweeping.finished import TEST, Cell, Column, Row, Run
from tasks.tables.cells import escape_cell


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Parameters by their last part where that is enough: `rate` for `inject_noise.rate`."""
    names = list(names)
    lasts = [name.rsplit(".", 1)[-1] for name in names]
    return {name: last if lasts.count(last) == 1 else name for name, last in zip(names, lasts, strict=True)}


def show(value: object) -> str:
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
    # A vertical bar in a value would end its cell.
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([*table, "", CAPTION, ""])


def table_csv(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """A line per grid point, with mean, sd (empty for one run) and n of each metric, as they are."""
    lines: list[list[object]] = []
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
    lines: list[list[object]] = [
        [run.experiment, *(show(value) for value in run.values.values()), run.seed]
        + [run.metrics.get(column.metric) for column in columns]
        for run in runs
    ]
    names = list(runs[0].values) if runs else []
    return _csv(["experiment", *names, "seed", *(column.metric for column in columns)], lines)


CAPTION = "Mean ± standard deviation over n runs; shares in percent."


def _heading(column: Column, between: str) -> str:
    """The heading of a column. Accuracies on test rows say so."""
    if column.group == TEST:
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


def _csv(heading: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for line in (heading, *lines):
        writer.writerow([escape_cell(cell) if isinstance(cell, str) else cell for cell in line])
    return text.getvalue()


def slug(text: str) -> str:
    """`text` with what a file or a git reference may not be called replaced by hyphens."""
    return re.sub(r"\.\.+", ".", re.sub(r"[^A-Za-z0-9._=+]+", "-", text)).strip("-.")
