"""Changing values of a `params.yaml` and nothing else: comments and other lines stay as they are."""

import difflib
import io
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from tasks import ParamsError, plugins
from tasks.params import parse_params
from tasks.tables.files import write_text

Settings = Mapping[str, object]
"""New values by their path: {"train_fold.epochs": 3}."""


def set_params(path: Path, settings: Settings) -> None:
    """Change values of a params.yaml in place.

    Raises:
        ParamsError: a name or a value does not fit; the file stays as it was.
    """
    write_text(path, change_params(path.read_text(encoding="utf-8"), settings, path))


def change_params(text: str, settings: Settings, where: Path) -> str:
    """The text of a params.yaml with other values; sections for the options of chosen plug-ins are added.

    Args:
        text: a whole params.yaml.
        settings: the new values.
        where: what messages call the file.

    Raises:
        ParamsError: a name is none of params.yaml, or its value is refused.
    """
    yaml = YAML()
    yaml.width = 200
    params = yaml.load(text)
    for name, value in settings.items():
        *sections, last = name.split(".")
        section = params
        for depth, part in enumerate(sections):
            if depth == 1 and sections[0] in plugins.KINDS:
                section.setdefault(part, {})  # options of a plug-in that had none
            section = _inside(section, part, name, where)
        if not sections or sections[0] not in plugins.KINDS:
            _inside(section, last, name, where)
        section[last] = _in_place_of(section.get(last), value)
        if value == [] and isinstance(section, CommentedMap) and last in section.ca.items:
            # Lines that stood between a name and its list would come before the empty one.
            section.ca.items[last] = [*section.ca.items[last][:3], None]
    changed = _dump(yaml, params)
    missing = parse_params(changed, where).unlisted()
    # DVC wants to see the options of each chosen plug-in, if there are none.
    for name in missing:
        kind, plug_in = name.split(".")
        params[kind][plug_in] = {}
    return _dump(yaml, params) if missing else changed


def _in_place_of(before: object, value: object) -> object:
    """The new value with the comments of the old one, those after the end of a list or map too."""
    if isinstance(before, CommentedSeq | CommentedMap) and before == value:
        return before
    if isinstance(before, CommentedSeq) and isinstance(value, list | tuple):
        sequence = CommentedSeq(value)
        _keep_end(before.ca.items, len(before) - 1, sequence.ca.items, len(sequence) - 1)
        return sequence
    if isinstance(before, CommentedMap) and isinstance(value, Mapping) and before and value:
        mapping = CommentedMap({key: _in_place_of(before.get(key), each) for key, each in value.items()})
        mapping.ca.items.update({key: comment for key, comment in before.ca.items.items() if key in mapping})
        _keep_end(before.ca.items, list(before)[-1], mapping.ca.items, list(mapping)[-1])
        return mapping
    return value


def _keep_end(
    before: dict[object, object], last: object, now: dict[object, object], new_last: object
) -> None:
    """Move the comment at the end of a list or map to its new end."""
    if last in before and new_last != -1:
        now.setdefault(new_last, before[last])


def _inside(section: object, part: str, name: str, where: Path) -> object:
    if isinstance(section, Mapping) and part in section:
        return section[part]
    known = [str(each) for each in section] if isinstance(section, Mapping) else []
    near = difflib.get_close_matches(part, known, n=1)
    raise ParamsError(
        f"{where}: expected the name of a value, found {name}: there is no `{part}`"
        + (f"; did you mean `{near[0]}`?" if near else ".")
    )


def _dump(yaml: YAML, params: object) -> str:
    text = io.StringIO()
    yaml.dump(params, text)
    return text.getvalue()
