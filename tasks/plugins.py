"""Plug-ins: a data set, a model, an objective, a pseudo-label method or a filter is one file.

The file's name is the plug-in's name in `params.yaml`. There is no list of plug-ins anywhere else. A file
whose name starts with `_` is no plug-in. A plug-in may define `Options`, a `Section`, for the values that
stand in `params.yaml` under its kind and name.
"""

import difflib
import importlib
from pathlib import Path
from types import ModuleType

from tasks.sections import Section

PACKAGES = {
    "datasets": "tasks.datasets",
    "models": "tasks.models",
    "objectives": "tasks.objectives",
    "pseudo_labels": "tasks.pseudo_labels",
    "filters": "tasks.label_quality.filters",
}
"""Where the plug-ins of each kind are."""
_DEFINED = {
    "datasets": ("read",),
    "models": ("TAKES", "USES_TORCH", "build", "restore"),
    "objectives": ("loss",),
    "pseudo_labels": ("repair",),
    "filters": ("select",),
}
KINDS = tuple(PACKAGES)


def names(kind: str) -> tuple[str, ...]:
    """The plug-ins of a kind, in alphabetical order."""
    folders = map(Path, importlib.import_module(PACKAGES[kind]).__path__)
    stems = [file.stem for folder in folders for file in folder.glob("*.py")]
    # An editor may leave files whose names no module can have.
    return tuple(sorted(stem for stem in stems if stem.isidentifier() and not stem.startswith("_")))


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
        ValueError: there is no such plug-in, it cannot be imported, or it lacks what its kind defines.
    """
    try:
        module = importlib.import_module(f"{PACKAGES[kind]}.{check_name(kind, name)}")
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"expected a file that Python can import as {name}, found: {error}") from error
    missing = [each for each in _DEFINED[kind] if not hasattr(module, each)]
    if missing:
        raise ValueError(f"expected {module.__file__} to define {', '.join(missing)}; found no such name")
    return module


class _NoOptions(Section):
    """Of a plug-in that has none."""


def read_options(kind: str, name: str, given: object = None) -> Section:
    """The checked options of a plug-in; those that are not given have their defaults.

    Raises:
        ValueError: see `load`.
        ValidationError: an option is unknown, missing or out of range.
    """
    options: type[Section] = getattr(load(kind, name), "Options", _NoOptions)
    return options.model_validate({} if given is None else given)
