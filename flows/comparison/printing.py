"""A comparison as people read it: on a terminal, as markdown for a pull request, and as a page."""

import html
import re
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column
from rich.table import Table as RichTable

from flows.comparison.result import Comparison
from flows.comparison.row_changes import MIN_DISTANCE
from flows.comparison.views import Table, details, fate, most_changed_table, overview, probabilities, sections
from flows.markdown import plain, table
from tasks.page import environment

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TONES = {"better": "good", "worse": "bad", "mixed": "", "same": "", "open": ""}
_STYLES = {"good": "green", "bad": "red", "best": "bold"}


def print_tables(console: Console, comparison: Comparison) -> None:
    """Print the comparison on a terminal."""
    _say(console, " · ".join(version.title for version in comparison.versions))
    for verdict in comparison.verdicts:
        _say(console, verdict.said, style=_STYLES.get(_TONES[verdict.word], "bold"), soft_wrap=True)
    for part in overview(comparison):
        _print(console, part)
    for section in sections(comparison):
        console.rule(escape(printable(section.title)))
        for each in (*section.tables, most_changed_table(section)):
            if each is not None:
                _print(console, each)
        if not section.most_changed:
            _say(console, f"{section.heading}.")
    if not comparison.params and not any(metric.differs for metric in comparison.metrics):
        console.print("No parameter and no metric differs.")
    for note in comparison.notes:
        _say(console, f"Note: {note}", soft_wrap=True)


def printable(text: str) -> str:
    """A text on one line, without the control characters that a terminal would obey (ECMA-48)."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def _say(console: Console, text: str, **options: Any) -> None:
    console.print(printable(text), highlight=False, markup=False, **options)


def _print(console: Console, part: Table) -> None:
    console.print(_rich(part))
    if part.caption:
        _say(console, part.caption, style="dim")
        console.print()


def _rich(part: Table) -> RichTable:
    found = RichTable(
        *(
            Column(
                escape(printable(name)),
                justify="right" if place and not part.words else "left",
                overflow="fold",
            )
            for place, name in enumerate(part.heading)
        ),
        title=escape(printable(part.title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for row in part.rows:
        texts = [(escape(printable(cell.text)), cell.tone) for cell in row]
        found.add_row(*(f"[{_STYLES[tone]}]{text}[/]" if tone else text for text, tone in texts))
    return found


def markdown(comparison: Comparison) -> str:
    """The comparison as markdown; what is long is folded."""
    versions = ", ".join(plain(version.title) for version in comparison.versions[1:])
    lines = [f"### {versions} against {plain(comparison.versions[0].title)}", ""]
    lines += [f"**{plain(verdict.said)}**\n" for verdict in comparison.verdicts]
    lines += [f"> {plain(note)}\n" for note in comparison.notes]
    for part in overview(comparison):
        lines += [f"**{plain(part.title)}**", "", *_markdown_table(part), ""]
    for section in sections(comparison):
        lines += [f"#### {plain(section.title)}", ""]
        for each in (most_changed_table(section), *section.tables):
            if each is not None:
                lines += _folded(each.title, each)
        if not section.most_changed:
            lines += [f"{section.heading}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _folded(title: str, part: Table) -> list[str]:
    # Within a line of HTML, markdown is not read.
    head = f"<details><summary>{html.escape(title)}</summary>"
    return [head, "", *_markdown_table(part), "", "</details>", ""]


def _markdown_table(part: Table) -> list[str]:
    rows = [[f"**{plain(c.text)}**" if c.tone == "best" else plain(c.text) for c in row] for row in part.rows]
    found = table([plain(name) for name in part.heading], rows, numbers=not part.words)
    return [found, "", plain(part.caption)] if part.caption else [found]


def page(comparison: Comparison) -> str:
    """The comparison as one HTML file without remote parts."""
    template = environment(Path(__file__).parent / "templates").get_template("comparison.html")
    return template.render(
        comparison=comparison,
        overview=overview(comparison),
        sections=sections(comparison),
        details=details(comparison),
        fate=fate,
        probabilities=probabilities,
        min_distance=MIN_DISTANCE,
        verdicts={verdict.version: verdict.said for verdict in comparison.verdicts},
        tones={verdict.version: _TONES[verdict.word] for verdict in comparison.verdicts},
    )
