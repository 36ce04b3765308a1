"""Limits on labels: `python -m flows.check` holds this version against params.yaml's section `check`.

The exit status is 0 where all limits hold, else 1, so that a pull request or a nightly run can stop there.
Limits without a value are not checked. Nothing of the work tree is touched.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.checking.limits import Checked, check_limits, summarise
from flows.dvc_api.revisions import WORKSPACE, Revision, open_revisions
from flows.markdown import plain, table
from tasks import RelabelError
from tasks.command_line import readers_may_leave
from tasks.params import load_params
from tasks.storage import sentence_of
from tasks.tables.files import write_text

_OFF = "check.enabled is false in params.yaml: nothing was checked."
_SIGNS = {"pass": "holds", "fail": "**does not hold**", "unset": "not set", "skip": "nothing to compare"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check from the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.check",
        description="Hold the labels against the limits in params.yaml (section check); exit status 0 or 1.",
        epilog="e.g. python -m flows.check --against origin/main --markdown check.md",
    )
    parser.add_argument(
        "revision",
        nargs="?",
        default=WORKSPACE,
        metavar="REV",
        help="what is checked (default: the workspace)",
    )
    parser.add_argument(
        "--against", metavar="REV", help="the version before (default: check.against of params.yaml)"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write it for a pull request")
    chosen = parser.parse_args(arguments)
    try:
        with readers_may_leave():
            return _run(Path.cwd(), chosen.revision, chosen.against, chosen.markdown)
    except (RelabelError, OSError) as error:
        print(f"check: {sentence_of(error)}", file=sys.stderr)
        return 1


def _run(root: Path, name: str, against: str | None, path: Path | None) -> int:
    limits = load_params(root / "params.yaml").check
    if not limits.enabled:
        print(_OFF)
        if path:
            write_text(path, f"### Labels\n\n{plain(_OFF)}\n")
        return 0
    now, before = open_revisions(root, [name, against or limits.against], advice="choose another version")
    checked = check_limits(limits, now, before)
    print(f"{now.title} against {before.title}")
    for each in checked.findings:
        print(f"{each.verdict:<6}{each.name:<20}{each.said}")
    for note in checked.notes:
        print(f"note  {note}")
    print(summarise(checked))
    if path:
        write_text(path, markdown(checked, now, before))
    return int(checked.has_failed)


def markdown(checked: Checked, now: Revision, before: Revision) -> str:
    """What was found as markdown: the sentence, a table of limits, and the first of the new suspects."""
    rows = [(plain(each.name), _SIGNS[each.verdict], plain(each.said)) for each in checked.findings]
    lines = [
        f"### Labels of {plain(now.title)} against {plain(before.title)}",
        summarise(checked),
        table(("limit", "", "found"), rows),
        *(f"> {plain(note)}" for note in checked.notes),
    ]
    if checked.suspects:
        shown = [(plain(each.key), plain(each.given), plain(each.suggested)) for each in checked.suspects]
        more = checked.n_suspects - len(shown)
        lines += [
            f"<details><summary>{checked.n_suspects:,} new suspects</summary>",
            table(("row", "given", "suggested"), shown),
            *([f"... and {more:,} more."] if more else []),
            "</details>",
        ]
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
