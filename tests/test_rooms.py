"""How the code is divided: no circles, no file that is too long, one tree of errors."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import tasks

ROOT = Path(__file__).parents[1]


def modules() -> dict[str, Path]:
    found = {}
    for folder in ("tasks", "flows", "review"):
        for path in (ROOT / folder).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The own modules that a file imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & known.keys()
            if not all(f"{node.module}.{alias.name}" in known for alias in node.names):
                found.add(node.module or "")
    return found & known.keys()


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    waiting = {name: imported(path, known) - {name} for name, path in known.items()}
    # What imports nothing that is left cannot be in a circle; when no such module is there, what is left is.
    while free := {name for name, used in waiting.items() if not used & waiting.keys()}:
        for name in free:
            del waiting[name]
    assert waiting.keys() == set()


def test_no_file_is_too_long_to_read_in_one_go() -> None:
    for folder in ("tasks", "flows", "review", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            assert len(path.read_text().splitlines()) <= 450, name


def test_rooms_have_names_of_their_own() -> None:
    paths = [path for path in modules().values() if path.stem not in ("__init__", "__main__")]
    ours = [path for path in paths if path.relative_to(ROOT).parts[0] in ("flows", "review")]
    for path in ours:
        assert [other for other in paths if other.stem == path.stem] == [path]
        assert not (path.parent / path.stem).is_dir()


def test_all_errors_stem_from_one_root_and_are_drawn_there() -> None:
    assert tasks.__doc__ is not None
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in tasks.__doc__.splitlines():
        if found := re.match(r"    ([ │├└─]*)(\w+Error)\b", line):
            depth = len(found[1]) // 4
            above = [*above[:depth], found[2]]
            drawn[found[2]] = above[depth - 1] if depth else "Exception"
    defined: dict[str, str] = {}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                error = getattr(importlib.import_module(name), node.name)
                defined[node.name] = error.__mro__[1].__name__
    assert defined == drawn


@pytest.mark.parametrize("folder", ["tasks", "review"])
def test_only_the_flow_knows_dvcs_insides(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        used = {
            node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert not any(str(name).split(".")[0] == "dvc" for name in used), path
