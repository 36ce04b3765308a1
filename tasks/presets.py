"""Presets: what differs from params.yaml for a data set; `python -m tasks preset imagenette`."""

import argparse
import difflib
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks import ParamsError, plugins
from tasks.params import load_params
from tasks.params_file import set_params
from tasks.workspace import CHECKOUT, make_workspace

FOLDER = CHECKOUT / "presets"


def preset(workspace: Path, arguments: Sequence[str]) -> None:
    """`python -m tasks preset NAME`: set the values of a preset in ./params.yaml, or make a folder for it.

    Raises:
        ParamsError: there is no such preset, or a value does not fit.
        WorkspaceError: the folder cannot be made.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tasks preset", description=f"Presets: {', '.join(names())}."
    )
    parser.add_argument("name", nargs="?", help="the preset; without it, all are listed")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="make a folder of its own for it")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.NAME=VALUE", help="change a value of it"
    )
    chosen = parser.parse_args(arguments)
    if chosen.name is None:
        for name in names():
            print(f"{name:15} {_title(FOLDER / f'{name}.yaml')}")
        return
    settings = read_preset(chosen.name) | dict(map(_read_setting, chosen.set))
    if chosen.into is None:
        set_params(workspace / "params.yaml", settings)
        print(f"preset: {chosen.name}, {len(settings)} values set in params.yaml. Run `dvc repro`.")
        return
    make_workspace(chosen.into, settings)
    brought = bring_inputs(CHECKOUT, chosen.into)
    print(f"preset: {chosen.name}, in {chosen.into}" + (f", with {', '.join(brought)}" if brought else ""))


def names() -> tuple[str, ...]:
    """The presets, in alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def read_preset(name: str) -> dict[str, object]:
    """The values that a preset sets, by their path in params.yaml.

    Raises:
        ParamsError: there is none of this name, or it is no YAML of sections.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        raise ParamsError(
            f"preset: expected one of {', '.join(names())}, found {name}"
            + (f"; did you mean {near[0]}?" if near else ".")
        )
    path = FOLDER / f"{name}.yaml"
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, YAMLError, ValueError) as error:
        raise ParamsError(f"{path}: expected YAML ({error}).") from error
    settings: dict[str, object] = {}
    for section, values in content.items():
        for key, value in values.items():
            if section in plugins.KINDS:
                settings |= {f"{section}.{key}.{option}": each for option, each in value.items()}
            else:
                settings[f"{section}.{key}"] = value
    return settings


def bring_inputs(source: Path, folder: Path) -> list[str]:
    """Bring the files that the chosen data set reads from inputs/examples of `source` to that of `folder`.

    They are hard links where the disk allows, else copies; DVC sees nothing in a symbolic link. Files that
    are there already and differ stay: they are their owner's.

    Returns:
        The names of those that are there now.
    """
    dataset = load_params(folder / "params.yaml").download.dataset
    patterns: Sequence[str] = getattr(plugins.load("datasets", dataset), "INPUTS", ())
    origin, target = source / "inputs" / "examples", folder / "inputs" / "examples"
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted({path for pattern in patterns for path in origin.glob(pattern) if path.is_file()}):
        if not (target / path.name).exists():
            with suppress(OSError):
                os.link(path.resolve(), target / path.name)
                continue
            shutil.copyfile(path, target / path.name)
    return sorted({path.name for pattern in patterns for path in target.glob(pattern)})


def _read_setting(text: str) -> tuple[str, object]:
    """`train_fold.epochs=2` as a name and a value, which is read as YAML."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ParamsError(f"--set: expected SECTION.NAME=VALUE, found {text}.")
    try:
        return name, YAML(typ="safe").load(value)
    except (YAMLError, ValueError) as error:
        raise ParamsError(f"--set: expected a value of YAML, found {value}.") from error


def _title(path: Path) -> str:
    """The first line of a preset, a comment that says what it is."""
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
