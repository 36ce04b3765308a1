"""Which results of a version are not of what the version holds, by dvc.lock and git: nothing is run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from flows.dvc_api.revisions import Revision
from tasks.reporting.provenance import folder_digest

_SHOWN = 3
_TEMPLATE = re.compile(r"\$\{[^}]*\}")
_NEW = "any-new-file"
Entry: TypeAlias = Mapping[str, Any]


def behind(stages: Mapping[str, Entry]) -> list[str]:
    """The stages of dvc.lock that ran on other results than those the stages before have there."""
    made = {out["path"]: out for stage in stages.values() for out in _entries(stage, "outs")}
    return [
        name for name, stage in stages.items() if any(_is_other(dep, made) for dep in _entries(stage, "deps"))
    ]


def changed_since(revision: Revision, stages: Mapping[str, Entry]) -> Iterator[str]:
    """What stages read or do, where the version has it otherwise: code, decisions and dvc.yaml's entries.

    A sentence for all stages of which the same was changed.
    """
    made = [out["path"] for stage in stages.values() for out in _entries(stage, "outs")]
    defined: Mapping[str, Entry] = revision.yaml("dvc.yaml").get("stages") or {}
    read = {
        str(dep["path"])
        for stage in stages.values()
        for dep in _entries(stage, "deps")
        if dep.get("hash") == "md5"
        and not any(_is_in(out, dep["path"]) or _is_in(dep["path"], out) for out in made)
    }
    tracked = revision.tracked(read)
    now: dict[tuple[object, ...], str | None] = {}
    found: dict[tuple[str, ...], list[str]] = {}
    for name, stage in stages.items():
        definition = defined.get(name.split("@")[0])
        if defined and definition is None:  # dvc.lock keeps stages that are gone
            continue
        changed = []
        for dep in _entries(stage, "deps"):
            path = dep["path"]
            if dep.get("hash") != "md5" or path not in tracked:
                continue
            key = (path, dep.get("md5"), dep.get("nfiles"))
            if key not in now:
                now[key] = _changed(revision, dep, tracked[path])
            if said := now[key]:
                changed.append(said)
        changed += _redefined(definition or {}, stage)
        if changed:
            found.setdefault(tuple(changed), []).append(name)
    for paths, names in found.items():
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        ran = ", ".join(f"`{name}`" for name in names)
        yield (
            f"{revision.name}: {', '.join(paths[:_SHOWN])}{more} changed since {ran} ran; `dvc repro` brings "
            "them together."
        )


def _changed(revision: Revision, dep: Entry, files: Mapping[str, str] | None) -> str | None:
    """The path of what a stage read and git keeps, if the version has other bytes there, or none."""
    path = str(dep["path"])
    if files is None:
        return f"{path} (gone)" if revision.is_kept(path) else None
    if not files:
        return None
    known, there = len(files), dep.get("nfiles", 1)
    if known == there:
        digest = files[""] if "" in files else folder_digest(files)
        return None if digest == dep.get("md5") else path
    # A folder such as inputs/ may hold files that git ignores. Then more files than git's mean nothing.
    return path if known > there or revision.is_kept(f"{path}/{_NEW}") else None


def _redefined(definition: Entry, stage: Entry) -> list[str]:
    """What of a stage's command and dependencies dvc.yaml has otherwise; what it fills in may be anything."""
    inner = definition.get("do") or definition  # of a `foreach`
    wanted = [dep for dep in inner.get("deps") or () if isinstance(dep, str)]
    if not wanted and not inner.get("cmd"):
        return []
    patterns = {dep: _pattern(dep) for dep in wanted}
    read = [str(dep["path"]) for dep in _entries(stage, "deps")]
    added = [dep for dep, pattern in patterns.items() if not any(map(pattern.fullmatch, read))]
    gone = [dep for dep in read if not any(pattern.fullmatch(dep) for pattern in patterns.values())]
    commands = [_lines(inner.get("cmd")), _lines(stage.get("cmd"))]
    is_other = not _pattern(commands[0]).fullmatch(commands[1])
    return [
        *(f"{dep} (new in dvc.yaml)" for dep in added),
        *(f"{dep} (no longer in dvc.yaml)" for dep in gone),
        *(["the command in dvc.yaml"] if is_other else []),
    ]


def _pattern(text: str) -> re.Pattern[str]:
    """A text of dvc.yaml as dvc.lock may have it: `${...}` is filled in there."""
    return re.compile(".*".join(map(re.escape, _TEMPLATE.split(text))), re.DOTALL)


def _lines(command: object) -> str:
    return "\n".join(map(str, command)) if isinstance(command, list) else str(command or "")


def _entries(stage: Entry, kind: str) -> Sequence[Entry]:
    return stage.get(kind) or ()


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _is_other(dep: Entry, made: Mapping[str, Entry]) -> bool:
    """Whether a stage read what dvc.lock no longer says was made: a file, or a folder of outputs."""
    path = dep["path"]
    if path in made:
        return bool(made[path].get("md5") != dep.get("md5"))
    below = {name.removeprefix(f"{path}/"): out for name, out in made.items() if _is_in(name, path)}
    # dvc.lock keeps stages that are gone, whose outputs may be too.
    if sum(out.get("nfiles", 1) for out in below.values()) != dep.get("nfiles"):
        return False
    if any("nfiles" in out for out in below.values()):  # folders in it, of whose files dvc.lock is silent
        return bool(sum(out.get("size", 0) for out in below.values()) != dep.get("size"))
    return folder_digest({name: str(out.get("md5")) for name, out in below.items()}) != dep.get("md5")
