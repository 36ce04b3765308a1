"""Classes of damage: each turns the bytes of a good file into those of a bad or odd one.

`MEANS_THE_SAME` keep the content; the others may change it.
"""

import gzip
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Damage = Callable[[bytes, random.Random], bytes]


def cut_short(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def flip_bits(content: bytes, draw: random.Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 8])):
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def flip_last_bits(content: bytes, draw: random.Random) -> bytes:
    """Where formats with a table of contents have it."""
    flipped = bytearray(content)
    flipped[-1 - draw.randrange(min(400, len(flipped)))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def zero_block(content: bytes, draw: random.Random) -> bytes:
    size = draw.randrange(1, max(len(content) // 3, 2))
    start = draw.randrange(max(len(content) - size, 1))
    return content[:start] + bytes(size) + content[start + size :]


def random_block(content: bytes, draw: random.Random) -> bytes:
    size = draw.randrange(1, max(len(content) // 3, 2))
    start = draw.randrange(max(len(content) - size, 1))
    return content[:start] + draw.randbytes(size) + content[start + size :]


def repeat_block(content: bytes, draw: random.Random) -> bytes:
    start, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[start:end] + content[end:]


def lose_block(content: bytes, draw: random.Random) -> bytes:
    start, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[:start] + content[end:]


def nothing(content: bytes, draw: random.Random) -> bytes:
    return b""


def noise(content: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice([1, 4, 100, 10_000]))


def only_zeros(content: bytes, draw: random.Random) -> bytes:
    """What a file system may leave after a power cut."""
    return bytes(len(content))


def tail_added(content: bytes, draw: random.Random) -> bytes:
    return content + draw.choice([b"\0", b"\n\n", b"garbage", draw.randbytes(50)])


ANY: dict[str, Damage] = {
    "cut short": cut_short,
    "bits flipped": flip_bits,
    "bits of the end flipped": flip_last_bits,
    "a block of zeros": zero_block,
    "a block of noise": random_block,
    "a block twice": repeat_block,
    "a block lost": lose_block,
    "empty": nothing,
    "noise": noise,
    "zeros alone": only_zeros,
    "something after the end": tail_added,
}


# -- Text.


def with_mark(content: bytes, draw: random.Random) -> bytes:
    return b"\xef\xbb\xbf" + content


def other_line_ends(content: bytes, draw: random.Random) -> bytes:
    return content.replace(b"\n", b"\r\n")


def utf_16(content: bytes, draw: random.Random) -> bytes:
    return content.decode().encode("utf-16")


def latin_1(content: bytes, draw: random.Random) -> bytes:
    text = content.decode()
    place = draw.randrange(len(text) + 1)
    return (text[:place] + "é\xff" + text[place:]).encode("latin-1", errors="replace")


def zero_bytes(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    return content[:place] + b"\0" + content[place:]


def huge_line(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.choice([b"x", b"9", b'"', b"[", b" "]) * 3_000_000 + content[place:]


TEXT: dict[str, Damage] = {
    "a byte-order mark": with_mark,
    "other line ends": other_line_ends,
    "UTF-16": utf_16,
    "Latin-1": latin_1,
    "a zero byte": zero_bytes,
    "3 MB in one line": huge_line,
}

ODD_CELLS = (
    *(
        "",
        " ",
        "NaN",
        "nan",
        "None",
        "null",
        "inf",
        "-inf",
        "1e999",
        "-1",
        "99999999999999999999",
        "0x10",
        "1_0",
    ),
    *(
        "=cmd|'/c calc'!A1",
        "+1",
        "-1+1",
        "@SUM(1)",
        "\tx",
        "é",
        "e\u0301",
        "\u202e",
        "\ud7ff",
        "<script>",
        "true",
        "1,5",
    ),
    *("3.0", "3.5", "x" * 70_000, '"', "'", "2026-13-45"),
)


def odd_cell(content: bytes, draw: random.Random) -> bytes:
    lines = content.decode().split("\n")
    place = draw.randrange(len(lines))
    cells = re.split(r"([,\t;])", lines[place])
    cells[2 * draw.randrange((len(cells) + 1) // 2)] = draw.choice(ODD_CELLS)
    lines[place] = "".join(cells)
    return "\n".join(lines).encode(errors="replace")


def lose_line(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[draw.randrange(len(lines))]
    return b"".join(lines)


def line_twice(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    place = draw.randrange(len(lines))
    return b"".join([*lines[:place], lines[place], *lines[place:]])


def lose_column(content: bytes, draw: random.Random) -> bytes:
    separator = b"\t" if b"\t" in content.split(b"\n")[0] else b","
    rows = [line.split(separator) for line in content.split(b"\n")]
    place = draw.randrange(max(map(len, rows)))
    return b"\n".join(separator.join(row[:place] + row[place + 1 :]) for row in rows)


def open_quote(content: bytes, draw: random.Random) -> bytes:
    places = [found.end() for found in re.finditer(rb"[,\t\n]", content)] or [0]
    place = draw.choice(places)
    return content[:place] + b'"' + content[place:]


TABLE: dict[str, Damage] = {
    "an odd cell": odd_cell,
    "a line lost": lose_line,
    "a line twice": line_twice,
    "a column lost": lose_column,
    "a quote that stays open": open_quote,
}


# -- JSON and YAML.

ODD_VALUES: tuple[object, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1e308,
        10**400,
        "",
        "x",
        "NaN",
        [],
        {},
        [[]],
        {"a": {}},
        "x" * 70_000,
        float("nan"),
        "=cmd",
    ),
    *(-(2**63), 2**63, float("inf")),
)


def odd_value(content: bytes, draw: random.Random) -> bytes:
    """Another value in one place."""
    found = json.loads(content)
    parent, key = draw.choice(list(_places(found)))
    parent[key] = draw.choice(ODD_VALUES)
    return json.dumps(found).encode()


def lose_key(content: bytes, draw: random.Random) -> bytes:
    found = json.loads(content)
    parent, key = draw.choice(list(_places(found)))
    del parent[key]
    return json.dumps(found).encode()


def other_json(content: bytes, draw: random.Random) -> bytes:
    return json.dumps(draw.choice(ODD_VALUES)).encode()


def deep_json(content: bytes, draw: random.Random) -> bytes:
    opening, closing = draw.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return opening * 200_000 + b"1" + closing * 200_000


def _places(value: object) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


JSON: dict[str, Damage] = {
    "another value in JSON": odd_value,
    "a key of JSON lost": lose_key,
    "other JSON": other_json,
    "deeply nested": deep_json,
}


def yaml_bomb(content: bytes, draw: random.Random) -> bytes:
    levels = [b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    levels += [b"a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9)]
    return b"\n".join([*levels, _yaml_with(content, b"*a8", draw)])


def _yaml_with(content: bytes, value: bytes, draw: random.Random) -> bytes:
    """Another value in one place."""
    lines = content.split(b"\n")
    place = draw.choice([n for n, line in enumerate(lines) if re.match(rb" +[\w-]+: \S", line)])
    lines[place] = lines[place].split(b":")[0] + b": " + value
    return b"\n".join(lines)


def deep_yaml(content: bytes, draw: random.Random) -> bytes:
    n = draw.choice([2_000, 50_000])
    return (
        content + b"\nextra: " + draw.choice([b"[" * n + b"]" * n, b"{a: " * n + b"}" * n, b"- " * n + b"1"])
    )


YAML_TAGS = (
    b"!!python/object/apply:os.system ['true']",
    b"!!binary x",
    b"!!timestamp 2026-99-99",
    b"!x y",
)
YAML_VALUES = (
    *("-1", "1e400", ".nan", ".inf", "null", "[]", "{}", "'x'", "2026-99-99", "0o17", "yes", "1_000", "*x"),
    *("&a *a", "9" * 5_000, "x" * 70_000, "0x" + "f" * 5000, "[" * 40 + "]" * 40),
)


def yaml_tag(content: bytes, draw: random.Random) -> bytes:
    return _yaml_with(content, draw.choice(YAML_TAGS), draw)


def yaml_value(content: bytes, draw: random.Random) -> bytes:
    return _yaml_with(content, draw.choice(YAML_VALUES).encode(), draw)


def yaml_key_twice(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    place = draw.choice([n for n, line in enumerate(lines) if re.match(rb" +[\w-]+: \S", line)])
    return b"\n".join([*lines[: place + 1], lines[place], *lines[place + 1 :]])


def more_documents(content: bytes, draw: random.Random) -> bytes:
    return content + b"\n---\nx: 1\n" + content


YAML: dict[str, Damage] = {
    "aliases that multiply": yaml_bomb,
    "deeply nested": deep_yaml,
    "a tag": yaml_tag,
    "another value in YAML": yaml_value,
    "a key twice": yaml_key_twice,
    "several documents": more_documents,
    "a line lost": lose_line,
}

GZIP: dict[str, Damage] = {
    # Every byte is there, packed; the same content.
    "packed by gzip": lambda content, draw: gzip.compress(content),
    "3 MB that unpack to 3 GB": lambda content, draw: _bomb(),
}

_BOMB: list[bytes] = []


def _bomb() -> bytes:
    if not _BOMB:
        part = gzip.compress(bytes(2**28), 9)
        # Members one after the other are one file.
        _BOMB.append(part * 12)
    return _BOMB[0]


# -- In place of a file.


def put_folder(path: Path, draw: random.Random) -> None:
    path.mkdir()


def put_pipe(path: Path, draw: random.Random) -> None:
    os.mkfifo(path)


def put_nothing(path: Path, draw: random.Random) -> None:
    """No file at all."""


def put_loop(path: Path, draw: random.Random) -> None:
    path.symlink_to(path.name)


def put_endless(path: Path, draw: random.Random) -> None:
    path.symlink_to("/dev/zero")


PLACES: dict[str, Callable[[Path, random.Random], None]] = {
    "a folder": put_folder,
    "a pipe": put_pipe,
    "missing": put_nothing,
    "a link to itself": put_loop,
    "a link to /dev/zero": put_endless,
}
