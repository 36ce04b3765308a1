"""Markdown of names and figures that come from data: they stay what they are."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"[\\`*{}\[\]<>#|~!&]|(?<![^\W_])_|_(?![^\W_])")


def plain(text: str) -> str:
    """A text on one line, as it is, whatever markdown would make of it; `_` within a word is no matter."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def table(heading: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = False) -> str:
    """A table of markdown; with `numbers` all columns but the first stand to the right."""
    rules = ["---", *("---:" if numbers else "---" for _ in heading[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, rules, *rows))
