"""Small files of text, such as parameters and metrics: read whole, within bounds of size and depth."""

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

MOST_BYTES = 2**24
"""A larger file is none that a person or a stage wrote."""
_MOST_DEPTH = 50
# Aliases may stand for lists of aliases: some lines of text for more values than any memory holds.
_MOST_VALUES = 10**6
# Python prints no whole number of more than 4,300 digits.
_MOST_DIGITS = 1000
_NUMBER = re.compile(r"[-+]?(0[ob])?[0-9_]+|[-+]?0x[0-9a-fA-F_]+")


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """A file open for reading, and nothing else that the name may stand for.

    Raises:
        OSError: it is missing, may not be read, or is a folder, pipe or device.
    """
    # A pipe that nobody writes to would block.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123  # of a descriptor
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
            raise OSError(errno.EINVAL, f"found {kind}, not a file", str(path))
        yield file


def read_small(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a file that is expected to be small.

    Raises:
        OSError: see `open_regular`; or it is larger than `most_bytes`.
    """
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"found more than {most_bytes / 2**20:.0f} MB", str(path))
    return content


def parse_json(content: bytes) -> Any:
    """What JSON in UTF-8 says.

    Raises:
        ValueError: it is none, not in UTF-8, or lists in lists go too deep.
    """
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("lists or mappings in one another, too deep to read") from error


def parse_yaml(text: str) -> Any:
    """What YAML says, by the safe loader.

    Raises:
        YAMLError: it is none.
        ValueError: it goes too deep, its aliases stand for too many values, or a value does not exist, such
            as a date, or is a number of too many digits.
    """
    _check_size(text)
    return YAML(typ="safe").load(text)


def _check_size(text: str) -> None:
    """Check depth and number of values before anything is built: the C loader recurses without a limit."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, AliasEvent):
            if any(event.anchor == anchor for anchor, _ in open_nodes):
                raise ValueError(f"a list or mapping that holds itself, *{event.anchor}")
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, ScalarEvent):
            total += 1
            # In quotes it is text, unless a tag says otherwise.
            may_be_number = event.implicit[0] or event.tag
            if may_be_number and len(event.value) > _MOST_DIGITS and _NUMBER.fullmatch(event.value):
                raise ValueError(f"a number of {len(event.value):,} digits")
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            open_nodes.append((event.anchor, total))
            total += 1
            if len(open_nodes) > _MOST_DEPTH:
                raise ValueError(f"lists or mappings in one another, more than {_MOST_DEPTH} deep")
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        if total > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES:,} values, counted where aliases stand for them")
