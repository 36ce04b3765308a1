"""Cells that a spreadsheet would run: escaped in what is written, and the same text when it is read back."""

import csv
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.decisions.log import HEADER_LINE, Decision, format_decisions, parse_decisions
from tasks.reporting.measured import read_plot
from tasks.tables.cells import escape_cell, escape_texts, unescape_cell
from tasks.tables.files import write_csv

FORMULAS = ("=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=x", "''-a", "-", "=")
HARMLESS = ("", "cat", "-5", "+1.5e3", "-0.25", "a=b", "'quoted'", "e-mail@home")
texts = st.text(st.sampled_from("'=+-@\t\r1.ea"), max_size=6) | st.text(max_size=6)


@given(texts)
def test_what_is_escaped_runs_nowhere_and_comes_back(text: str) -> None:
    cell = escape_cell(text)
    assert unescape_cell(cell) == text
    is_number = text[1:].replace(".", "", 1).isdecimal()
    assert cell[:1] not in tuple("=@\t\r")
    assert cell[:1] not in ("+", "-") or is_number or "e" in text.lower()


@given(st.lists(texts, min_size=1))
def test_tables_are_escaped_as_cells_are(values: list[str]) -> None:
    table = escape_texts(pa.table({"=name": values, "n": range(len(values))}))
    assert table.column_names == ["'=name", "n"]
    assert table.column(0).to_pylist() == [escape_cell(value) for value in values]


@pytest.mark.parametrize("text", HARMLESS)
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert escape_cell(text) == unescape_cell(text) == text


def test_tables_that_are_written_and_read_again_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "joints.csv"
    write_csv(path, pa.table({"given": [*FORMULAS, *HARMLESS], "n": range(len(FORMULAS) + len(HARMLESS))}))
    with path.open(newline="") as file:
        cells = [row["given"] for row in csv.DictReader(file)]
    assert all(cell.startswith("'") for cell in cells[: len(FORMULAS)])
    assert [row["given"] for row in read_plot(path, ["given"], ["n"])] == [*FORMULAS, *HARMLESS]


@pytest.mark.parametrize("name", FORMULAS)
def test_decisions_about_such_classes_read_back_as_themselves(name: str) -> None:
    line = Decision(name, "choose", name, name, f"{name}()", "2026-01-31T12:00:00Z", "none")
    content = HEADER_LINE + format_decisions([line]).encode()
    assert parse_decisions(content, Path("decisions.csv")) == [line]
    assert not any(cell in content.decode() for cell in (f",{name},", f',"{name}",'))
