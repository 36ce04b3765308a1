"""Compare versions: `python -m flows.compare [REV ...]` says what changed, down to single labels.

A version is a git revision, a tag, a DVC experiment, `workspace`, or `last`, the newest that is kept. The
first one is the base. Without a name they are the last two. Nothing of the work tree is touched.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from flows.comparison.printing import markdown, page, print_tables, printable
from flows.comparison.result import Comparison
from flows.comparison.versions import compare_versions
from tasks import RelabelError
from tasks.command_line import readers_may_leave
from tasks.tables.files import write_text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.compare", description="What changed between versions, down to single labels."
    )
    parser.add_argument(
        "revisions",
        nargs="*",
        metavar="REV",
        help="a git revision, tag, DVC experiment, `last` or `workspace`; the first is the base (with none: "
        "the last kept run and the workspace; with one: that and the workspace)",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page, with pictures")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--md", action="store_true", help="print markdown, for a pull request")
    shown.add_argument("--json", action="store_true", help="print JSON, with the ids of all changed rows")
    parser.add_argument(
        "--no-rows", action="store_true", help="parameters and metrics alone, which needs no data"
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="as a Prefect flow, with the comparison as an artifact of its run",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare versions from the command line; return the exit status."""
    chosen = _parser().parse_intermixed_args(arguments)
    try:
        asked = Path.cwd(), chosen.revisions, not chosen.no_rows, chosen.html is not None
        if chosen.publish:
            # Prefect takes seconds to import, and only this needs it.
            from flows.publish import run_flow

            found = run_flow(*asked)
        else:
            found = compare_versions(*asked)
        if chosen.html:
            _write(chosen.html, found)
    except RelabelError as error:
        print(f"compare: {printable(str(error))}", file=sys.stderr)
        return 1
    with readers_may_leave():
        _print(found, chosen.md, chosen.json)
    return 0


def _write(path: Path, comparison: Comparison) -> None:
    try:
        write_text(path, page(comparison))
    except OSError as error:
        raise RelabelError(f"--html: expected a file that can be written ({error}).") from error
    print(f"The page: {path}", file=sys.stderr)


def _print(comparison: Comparison, as_markdown: bool, as_json: bool) -> None:
    if as_markdown:
        print(markdown(comparison), end="")
    elif as_json:
        print(comparison.json())
    else:
        console = Console()
        if not console.is_terminal:  # a file is as wide as a table needs
            console = Console(width=160)
        print_tables(console, comparison)


if __name__ == "__main__":
    sys.exit(main())
