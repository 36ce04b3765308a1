"""How a person's CSV is written: what stands between cells and in fractions, quotes, and gzip around it."""

import csv
import gzip
import io
import re
from codecs import getincrementaldecoder
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from tasks import DatasetError

SAMPLE_BYTES = 2**20
"""So much of a file tells how it is written, and no row of it may be longer."""
_SAMPLE_ROWS = 1000
_QUOTED_LINES = 10**6
# A small gzip file can hold a thousand times its size.
_GZIP_MAGIC, _GZIP_LEAST, _GZIP_RATIO = b"\x1f\x8b", 2**28, 100
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_WITH_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")
_WITH_POINT = re.compile(r"\s*[+-]?\d*\.\d+(?:[eE][+-]?\d+)?\s*")
# 1,234 may be a thousand and something, or one and something.
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+\s*")


@dataclass(frozen=True)
class Dialect:
    """How a CSV is written: what stands between cells and in fractions, and lines before the headings.

    Without `has_quotes` a quotation mark is a character like others, as in much text between tabs.
    """

    separator: str
    decimal: str
    lines_before: int
    has_quotes: bool = True

    def __str__(self) -> str:
        separator = _SEPARATORS.get(self.separator, self.separator)
        point = " and decimal commas" if self.decimal == "," else ""
        return f"csv file with a {separator} between cells{point}"


class _BoundedGzip(gzip.GzipFile):
    """A gzip file that ends in an error where it holds far more than its size lets expect."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path, self._most = path, max(_GZIP_LEAST, _GZIP_RATIO * path.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if self.tell() > self._most:
            raise DatasetError(
                f"{self._path}: expected at most {self._most / 2**20:,.0f} MB packed in this file, found "
                "more. If it is what you mean, unpack it with gunzip and give the .csv."
            )
        return content


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a text file, unpacked if they are packed, whatever the suffix says.

    Raises:
        DatasetError: far more is packed than the size lets expect, once that much is read.
    """
    file = path.open("rb")
    if file.read(2) == _GZIP_MAGIC:
        file.close()
        return _BoundedGzip(path)  # type: ignore[return-value]  # it has all that a BinaryIO needs to be read
    file.seek(0)
    return file


def find_dialect(path: Path) -> Dialect:
    """How a CSV is written, from its first rows.

    Raises:
        DatasetError: it is not in UTF-8, or two separators fit equally well.
    """
    with open_bytes(path) as stream:
        head = stream.read(SAMPLE_BYTES)
    if b"\0" in head:
        raise DatasetError(
            f"{path}: expected a table as text in UTF-8, found zero bytes, as in UTF-16 or in a "
            "spreadsheet. Save it as CSV UTF-8."
        )
    text = getincrementaldecoder("utf-8-sig")().decode(head)
    if len(head) == SAMPLE_BYTES:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    # Excel reads and writes this line.
    said = re.match(r"sep=([^\w\"\s]|\t)\r?\n", text)
    if said:
        text = text[said.end() :]
    separator = said[1] if said else _find_separator(text, path)
    has_quotes = separator != "\t" or _has_quotes(path, separator)
    if has_quotes:
        _check_quotes(path, separator)
    cells = [cell for row in _rows(text, separator)[1:] for cell in row]
    commas = [cell for cell in cells if _WITH_COMMA.fullmatch(cell)]
    is_certain = any(not _THOUSANDS.fullmatch(cell) for cell in commas)
    has_points = any(_WITH_POINT.fullmatch(cell) for cell in cells)
    decimal = "," if is_certain and not has_points else "."
    return Dialect(separator, decimal, 1 if said else 0, has_quotes)


def _has_quotes(path: Path, separator: str) -> bool:
    """Whether quotation marks stand around cells. They do not where each line is a row, and one opens alone.

    Read as if they did, all that follows up to the next one would be one cell, and its rows lost.
    """
    mark = b'"'
    with open_bytes(path) as stream:
        is_open, widths = False, set()
        for line in islice(stream, _QUOTED_LINES):
            if not line.strip():
                continue
            cells = line.rstrip(b"\r\n").split(separator.encode())
            widths.add(len(cells))
            is_open |= any(cell.startswith(mark) and cell.count(mark) % 2 for cell in cells)
    return not (is_open and len(widths) == 1) or _are_quoted(path, separator, widths.pop())


def _are_quoted(path: Path, separator: str, width: int) -> bool:
    """Whether all rows have this width with quotes around cells, and no such cell looks like rows swallowed.

    A cell in which a program put quotes holds a separator or a line break; swallowed rows hold both.
    """
    with open_bytes(path) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
        try:
            for row in islice(csv.reader(text, delimiter=separator, strict=True), _QUOTED_LINES):
                if row and (len(row) != width or any(separator in cell and "\n" in cell for cell in row)):
                    return False
        except csv.Error:
            return False
    return True


def _check_quotes(path: Path, separator: str) -> None:
    """Refuse a cell in quotes that goes on after the closing one: pyarrow drops that quote.

    Raises:
        DatasetError: there is one; names the line.
    """
    with open_bytes(path) as stream:
        # Most large files have no quote, and are read much faster so.
        if not any(b'"' in part for part in iter(lambda: stream.read(SAMPLE_BYTES), b"")):
            return
    with open_bytes(path) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
        rows = csv.reader(text, delimiter=separator, strict=True)
        try:
            for _ in rows:
                pass
        except csv.Error as error:
            if "expected after" in str(error):
                raise DatasetError(
                    f"{path}: expected the end of a cell after its closing quote, found more of it in line "
                    f"{rows.line_num}. Write a quote inside of quotes twice."
                ) from error


def _find_separator(text: str, path: Path) -> str:
    lengths = {separator: [len(row) for row in _rows(text, separator)] for separator in _SEPARATORS}
    possible = [separator for separator, found in lengths.items() if found and found[0] > 1]
    if len(possible) < 2:
        return possible[0] if possible else ","
    even = [separator for separator in possible if len(set(lengths[separator])) == 1]
    if "\t" in possible and ".tsv" in path.name.lower():
        even = ["\t"]
    if len(even) != 1:
        found = " or ".join(_SEPARATORS[separator] for separator in possible)
        raise DatasetError(
            f"{path}: expected cells with one separator between them, found lines that a {found} may cut. "
            "Save the table as CSV UTF-8, with quotes around cells that hold a separator."
        )
    return even[0]


def _rows(text: str, separator: str) -> list[list[str]]:
    """The first rows that are not empty."""
    rows: list[list[str]] = []
    # The last cell of the sample may lack its end.
    with suppress(csv.Error):
        for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=separator), _SAMPLE_ROWS):
            if row:
                rows.append(row)
    return rows
