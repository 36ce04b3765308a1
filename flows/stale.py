"""Which results of a version are not of what the version holds, by dvc.lock and git: nothing is run."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flows.revisions import Revision

_SHOWN = 3
Entry = Mapping[str, Any]


def behind(stages: Mapping[str, Entry]) -> list[str]:
    """The stages of dvc.lock that ran on other results than those the stages before have there."""
    made = {out["path"]: out for stage in stages.values() for out in _entries(stage, "outs")}
    return [
        name for name, stage in stages.items() if any(_is_other(dep, made) for dep in _entries(stage, "deps"))
    ]


def changed_since(revision: Revision, stages: Mapping[str, Entry]) -> Iterator[str]:
    """What git keeps and stages read, code or decisions, where the version has other bytes than they read.

    A sentence for all stages that read the same changed files.
    """
    made = [out["path"] for stage in stages.values() for out in _entries(stage, "outs")]
    now: dict[str, tuple[str, int] | None] = {}
    found: dict[tuple[str, ...], list[str]] = {}
    for name, stage in stages.items():
        changed = []
        for dep in _entries(stage, "deps"):
            path = dep["path"]
            if dep.get("hash") != "md5" or any(_is_in(out, path) for out in made):
                continue
            if path not in now:
                now[path] = _digest_of(revision.tracked(path))
            # A folder may hold what git ignores, as inputs/ does: with more files than git's it is no news.
            here = now[path]
            if here and here[1] == dep.get("nfiles", 1) and here[0] != dep.get("md5"):
                changed.append(path)
        if changed:
            found.setdefault(tuple(changed), []).append(name)
    for paths, names in found.items():
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        ran = ", ".join(f"`{name}`" for name in names)
        yield (
            f"{revision.name}: {', '.join(paths[:_SHOWN])}{more} changed since {ran} ran; `dvc repro` brings "
            "them together."
        )


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


def _digest_of(files: Mapping[str, str]) -> tuple[str, int] | None:
    """The digest that DVC has for a file (named "") or a folder, and the number of files."""
    if not files:
        return None
    return files[""] if "" in files else folder_digest(files), len(files)


def folder_digest(files: Mapping[str, str]) -> str:
    """What dvc.lock has for a folder: the MD5 of the JSON list of its files, by path, with theirs."""
    listed = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    digest = hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False)
    return f"{digest.hexdigest()}.dir"
