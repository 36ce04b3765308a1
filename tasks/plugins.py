"""Plug-ins: a data set, a model, an objective, a pseudo-label method or a filter is one file.

The file's name is the plug-in's name in `params.yaml`. There is no list of plug-ins anywhere else. A file
whose name starts with `_` is no plug-in. A plug-in may define `Options`, a `Section`, for the values that
stand in `params.yaml` under its kind and name.
"""

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from tasks.sections import Section

PACKAGES = {
    "datasets": "tasks.datasets",
    "models": "tasks.models",
    "objectives": "tasks.objectives",
    "pseudo_labels": "tasks.pseudo_labels",
    "filters": "tasks.label_quality.filters",
}
"""Where the plug-ins of each kind are."""
KINDS = tuple(PACKAGES)


def names(kind: str) -> tuple[str, ...]:
    """The plug-ins of a kind, in alphabetical order."""
    folder = Path(__file__).parents[1].joinpath(*PACKAGES[kind].split("."))
    return tuple(sorted(path.stem for path in folder.glob("*.py") if not path.name.startswith("_")))


def check_name(kind: str, name: str) -> str:
    """`name`, if there is a plug-in of this name.

    Raises:
        ValueError: there is none; lists those there are, and the nearest.
    """
    known = names(kind)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise ValueError(
            f"expected one of {', '.join(known)}, found {name}"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    return name


def load(kind: str, name: str) -> ModuleType:
    """The module of a plug-in.

    Raises:
        ValueError: see `check_name`.
    """
    return importlib.import_module(f"{PACKAGES[kind]}.{check_name(kind, name)}")


class _NoOptions(Section):
    """Of a plug-in that has none."""


def read_options(kind: str, name: str, given: Mapping[str, Any] | None) -> Section:
    """The checked options of a plug-in; those that are not given have their defaults.

    Raises:
        ValueError: there is no such plug-in, or an option is unknown, missing or out of range.
    """
    options: type[Section] = getattr(load(kind, name), "Options", _NoOptions)
    try:
        return options.model_validate(given or {})
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, (name, *fault['loc'])))}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
        raise ValueError("; ".join(faults)) from error
