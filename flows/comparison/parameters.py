"""The parameters that made the results of a version, and those that differ."""

import json
from collections.abc import Iterable, Mapping, Sequence

from flows.comparison.result import Param, finite
from flows.dvc_api.revisions import WORKSPACE, Revision
from flows.dvc_api.stale import Entry, behind, changed_since
from tasks.plugins import KINDS
from tasks.tables.catalog import LABEL_ISSUES, TRAINING_SET


def params_of(revision: Revision, notes: list[str]) -> dict[str, object]:
    """The parameters that made the results, as dvc.lock has them; of stages that never ran, params.yaml's.

    The limits of `relabel check` make no result.
    """
    wanted = flatten({key: value for key, value in revision.yaml("params.yaml").items() if key != "check"})
    stages: Mapping[str, Entry] = revision.yaml("dvc.lock").get("stages") or {}
    used: dict[str, object] = {}
    for name, stage in stages.items():
        found = flatten((stage.get("params") or {}).get("params.yaml") or {})
        own = {key: value for key, value in found.items() if key.split(".")[0] == name.split("@")[0]}
        used = found | used | own  # of its own section, the stage's values go first
    if not stages:
        notes.append(
            f"{revision.name} has no dvc.lock: no stage ran in that version, or its results "
            "were not committed (dvc.lock, metrics and params.yaml)."
        )
        return wanted
    sections = {key.split(".")[0] for key in used}
    stale = sorted(key for key in wanted.keys() | used.keys() if key.split(".")[0] in sections)
    stale = [key for key in stale if key not in used or key not in wanted or used[key] != wanted[key]]
    # Options of plug-ins that no stage used decide nothing.
    plug_ins = {_plug_in(key) for key in used}
    stale = [key for key in stale if _plug_in(key) is None or _plug_in(key) in plug_ins]
    if stale:
        said = ", ".join(f"{key} {show(used.get(key))}, now {show(wanted.get(key))}" for key in stale[:3])
        more = f" and {len(stale) - 3} more" if len(stale) > 3 else ""
        notes.append(
            f"{revision.name}: params.yaml was changed after the results were made ({said}{more}); results "
            "and parameters shown are those of the last run. `dvc repro` brings them together."
        )
    if late := behind(stages):
        notes.append(
            f"{revision.name}: {', '.join(late)} ran on older results than those of the stages before; "
            "`dvc repro` brings them together."
        )
    notes.extend(changed_since(revision, stages))
    made = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs") or ()}
    figures = sorted(path for path in made if path.startswith("metrics/"))
    for path in (LABEL_ISSUES.path, TRAINING_SET.path, *figures) if revision.name == WORKSPACE else ():
        here, locked = revision.digest_on_disk(path), made.get(path)
        if here and locked and here != locked:
            notes.append(
                f"{WORKSPACE}: {path} is not the file that dvc.lock names; what is shown is the file's. "
                "`dvc checkout` restores the one of dvc.lock, `dvc repro` makes a new one."
            )
    return {key: value for key, value in wanted.items() if key.split(".")[0] not in sections} | used


def _plug_in(key: str) -> str | None:
    """`models.convnet` of `models.convnet.max_lr`; None where a parameter is no option of a plug-in."""
    kind, name, *_ = [*key.split("."), ""]
    return f"{kind}.{name}" if kind in KINDS else None


def flatten(content: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings as one, keys joined by dots; lists are values."""
    found: dict[str, object] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def show(value: object) -> str:
    """A parameter's value as params.yaml would have it. A text that looks like a number is in quotes."""
    if not isinstance(value, str):
        found = finite(value)
        return (
            found if isinstance(value, float) and isinstance(found, str) else json.dumps(found, default=str)
        )
    try:
        json.loads(value)
    except ValueError:
        return value if value.strip() else json.dumps(value)
    return json.dumps(value)


def differing(params: Mapping[str, Mapping[str, object]]) -> Iterable[Param]:
    """The parameters that are not the same in all versions, or missing in one."""
    for name in dict.fromkeys(name for found in params.values() for name in found):
        values = {version: found[name] for version, found in params.items() if name in found}
        if len(values) < len(params) or len({show(value) for value in values.values()}) > 1:
            yield Param(name, values)


def why_other_data(base: Mapping[str, object], other: Mapping[str, object]) -> str | None:
    """Why the data of two versions are not the same by their parameters, if they are not."""
    old, new = (each.get("download.dataset") for each in (base, other))
    if None not in (old, new) and old != new:
        return of_other_data_sets(old, new)
    old, new = (each.get("datasets.parquet.class_names") for each in (base, other))
    if isinstance(old, list) and isinstance(new, list) and old and new and old != new:
        return of_other_classes(old, new)
    return None


def of_other_data_sets(old: object, new: object) -> str:
    """Why versions of two data sets cannot be compared."""
    return f"they are of other data sets ({new} and {old})"


def of_other_classes(old: Sequence[str], new: Sequence[str]) -> str:
    """Why versions with other classes cannot be compared."""
    return f"their classes differ ({_list(new)} and {_list(old)})"


def _list(names: Sequence[str]) -> str:
    return f"{len(names)}: {', '.join(map(str, names[:5]))}{', ...' if len(names) > 5 else ''}"
