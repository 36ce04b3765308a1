"""`python -m flows.history KEY`: the label of one row over versions; also `relabel explain KEY --history`.

It reads the tables of old versions in DVC's cache, without a checkout, and changes nothing.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.comparison.printing import printable
from flows.comparison.row_history import History, Seen, read_history
from tasks import RelabelError
from tasks.command_line import readers_may_leave
from tasks.storage import sentence_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the history of a row; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.history",
        description="The label of one row over commits and DVC experiments: given, suggested, decided.",
        epilog="e.g. python -m flows.history cats/17.jpg",
    )
    parser.add_argument("key", metavar="KEY", help="what you call the row: a path, a name, a number")
    parser.add_argument("--all", action="store_true", help="all branches, not only what led to HEAD")
    parser.add_argument("--json", action="store_true", help="as JSON, with every version")
    chosen = parser.parse_args(arguments)
    try:
        found = read_history(Path.cwd(), chosen.key, chosen.all)
    except (RelabelError, OSError) as error:
        print(f"history: {sentence_of(error)}", file=sys.stderr)
        return 1
    with readers_may_leave():
        if chosen.json:
            print(json.dumps(asdict(found), indent=1, default=lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}"))
        else:
            _print(found)
    return 0


def _print(history: History) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(max_width=44, overflow="fold")
    table.add_column(overflow="fold")
    events = [(seen.time, 0, lines) for seen, lines in _fold(history.versions)]
    events += [
        (each.time, 1, [("decided", f"by {each.reviewer}: {each.said} (of {each.given}): {each.outcome}")])
        for each in history.decisions
    ]
    for time, _, lines in sorted(events, key=lambda event: event[:2]):
        for place, (what, said) in enumerate(lines):
            table.add_row("" if place else _when(time), Text(printable(what)), Text(printable(said)))
    in_all = _versions(len(history.versions) + len(history.left_out))
    console.print(f"{printable(history.key)} in {in_all}; times are UTC", highlight=False, markup=False)
    console.print(table)
    if history.left_out:
        named = ", ".join(history.left_out[:5]) + (", ..." if len(history.left_out) > 5 else "")
        said = (
            f"Left out: {_versions(len(history.left_out))} whose tables are not in DVC's cache ({named}). "
            "`dvc fetch --all-commits` brings them where they were pushed."
        )
        console.print(printable(said), highlight=False, markup=False)


def _fold(versions: Sequence[Seen]) -> Iterator[tuple[Seen, list[tuple[str, str]]]]:
    """Each version that differs from the one before it, with its lines; those that do not are one line."""
    place = 0
    while place < len(versions):
        first = versions[place]
        end = place + 1
        while end < len(versions) and versions[end].is_like(first):
            end += 1
        lines = [(first.title, describe(first))]
        if same := versions[place + 1 : end]:
            probs = [each.suggested_prob for each in same if each.suggested_prob is not None]
            ends = dict.fromkeys(f"{of(probs):.1%}" for of in (min, max)) if probs else {}
            moved = f", suggested at {' to '.join(ends)}" if ends else ""
            count = "the next version" if len(same) == 1 else f"the next {len(same)} versions"
            lines.append(("", f"{count} the same{moved}; the last {_when(same[-1].time)}, {same[-1].title}"))
        yield first, lines
        place = end


def describe(seen: Seen) -> str:
    """What a version said of the row, in a line."""
    if not seen.is_there:
        return "the row was not in it"
    parts = [f"given {seen.given}"]
    if seen.suggested is not None and seen.suggested_prob is not None:
        suspect = "suspect" if seen.is_issue else "not suspect"
        parts.append(f"{suspect}, suggested {seen.suggested} ({seen.suggested_prob:.1%})")
    if seen.action is not None:
        label = "" if seen.label is None else f": {seen.label}"
        parts.append(f"{seen.action}{label}{f', by {seen.reviewer}' if seen.reviewer else ''}")
    by = ", ".join(name for name in (seen.model, seen.filter_by) if name)
    return "; ".join(parts) + (f" [{by}]" if by else "")


def _versions(count: int) -> str:
    return f"{count} version{'' if count == 1 else 's'}"


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


if __name__ == "__main__":
    sys.exit(main())
