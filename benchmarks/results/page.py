"""docs/results.md: each table lies between two marks, and a run replaces what lies there."""

import datetime
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.tables.files import write_text

PAGE = Path("docs/results.md")


def replace_table(text: str, name: str, lines: Iterable[str]) -> str:
    """The text of the page with `lines` between the marks of the table `name`.

    Raises:
        SystemExit: the page has no such marks.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    found = re.search(f"{re.escape(begin)}\n.*?{re.escape(end)}", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"{PAGE}: expected the lines {begin} and {end}, found none. Write them first.")
    middle = "\n".join(lines)
    return f"{text[: found.start()]}{begin}\n\n{middle}\n\n{end}{text[found.end() :]}"


def write_table(name: str, lines: Iterable[str], page: Path = PAGE) -> None:
    """Write the table into the page."""
    write_text(page, replace_table(page.read_text("utf-8"), name, lines))


def origin(name: str) -> dict[str, str]:
    """Where and when values were measured, and by which command."""
    machine = f"{os.cpu_count()} cores"
    return {
        "command": f"python -m benchmarks.results {name}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine,
    }


def describe_origin(found: dict[str, object]) -> str:
    """The line below a table."""
    return f"`{found['command']}`, {found['date']}, {found['machine']}, n = {found['n']}."


def share_cell(value: float | None) -> str:
    """A share in [0, 1] in the cell of a table; nothing where there is none."""
    return "" if value is None else f"{value:.3f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
