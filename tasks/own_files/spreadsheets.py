"""CSV files that people open in a spreadsheet: no cell of theirs is taken for a formula."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from tasks.tables.cells import escape_cell


def write_rows(file: TextIO, rows: Iterable[Sequence[object]], delimiter: str = ",") -> None:
    """Write rows of cells, the header among them."""
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerows([_cell(value) for value in row] for row in rows)


def write_sheet(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file: a header, and the rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        write_rows(file, [names])
        write_rows(file, rows)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    # With a decimal comma a number is one too.
    return text if escape_cell(text.replace(",", ".", 1)) == text.replace(",", ".", 1) else escape_cell(text)
