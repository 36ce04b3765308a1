"""The versions that git keeps of a workspace, read all at once: commits that changed dvc.lock, experiments.

`Revision` reads all of one version. Here two processes of git read all versions, and of dvc.lock only the
stages that make the files in question.
"""

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows import FlowError
from flows.dvc_api.git_files import ask_git
from flows.dvc_api.record import every_experiment
from flows.dvc_api.remotes import dvc_folder, read_settings

_LOCK, _DECISIONS = "dvc.lock", "reviews/decisions.csv"
# How DVC writes dvc.lock: each stage begins with its name, two blanks before it.
_STAGE = re.compile(r"^  (?=\S)", re.MULTILINE)


@dataclass(frozen=True)
class Kept:
    """A version.

    Attributes:
        commit: of git.
        name: of the DVC experiment; empty for a commit on a branch.
        tags: of the commit.
        time: when it was committed, in UTC.
        subject: the first line of its message.
        lock: its dvc.lock, as text.
        decisions: its file of people's decisions.
    """

    commit: str
    name: str
    tags: tuple[str, ...]
    time: datetime
    subject: str
    lock: str
    decisions: bytes


def list_kept(root: Path, every_branch: bool = False) -> list[Kept]:
    """The versions that lead to HEAD and the experiments made from them, the oldest first.

    Args:
        root: the folder with dvc.lock.
        every_branch: take the commits of all branches and tags, and all experiments.

    Raises:
        FlowError: `root` is in no git repository with a commit.
    """
    if not ask_git(root, "rev-parse", "--verify", "--quiet", "HEAD"):
        raise FlowError(
            f"The history is git's: expected a git repository with a commit, found none in {root}."
        )
    of = ["--branches", "--tags", "--remotes", "HEAD"] if every_branch else ["HEAD"]
    bases = set(_lines(root, "rev-list", "HEAD"))
    experiments = {
        each.commit: each.name for each in every_experiment(root) if every_branch or each.baseline in bases
    }
    form = "--format=%H%x00%ct%x00%s"
    lines = _lines(root, "log", "--full-history", form, *of, "--", _LOCK)
    if experiments:
        lines += _lines(root, "log", "--no-walk=unsorted", form, *experiments)
    facts = list(dict.fromkeys(tuple(line.split("\0", 2)) for line in lines))
    prefix = ask_git(root, "rev-parse", "--show-prefix")
    wanted = [f"{commit}:{prefix}{file}" for commit, _, _ in facts for file in (_LOCK, _DECISIONS)]
    texts = _read_blobs(root, wanted)
    tags: dict[str, list[str]] = {}
    for line in _lines(
        root, "for-each-ref", "--format=%(objectname) %(*objectname) %(refname:short)", "refs/tags"
    ):
        one, peeled, tag = line.split(" ", 2)
        tags.setdefault(peeled or one, []).append(tag)
    found = [
        Kept(
            commit,
            experiments.get(commit, ""),
            tuple(tags.get(commit, ())),
            datetime.fromtimestamp(int(time), UTC),
            subject,
            lock.decode(errors="replace"),
            decisions or b"",
        )
        for (commit, time, subject), lock, decisions in zip(facts, texts[::2], texts[1::2], strict=True)
        if lock is not None
    ]
    found.reverse()  # git names the newest first, also of one second
    return sorted(found, key=lambda kept: kept.time)


class LockedStage(TypedDict, total=False):
    """What is read of a stage of a dvc.lock: parameters by file, and the files that it makes."""

    params: dict[str, dict[str, object]]
    outs: list[dict[str, object]]


def find_stages(lock: str, wanted: Iterable[str]) -> dict[str, LockedStage]:
    """The stages of a dvc.lock, by name, of which the name or a file that they make is among `wanted`."""
    found: dict[str, LockedStage] = {}
    names = frozenset(wanted)
    blocks = _STAGE.split(lock.partition("\nstages:\n")[2])
    for block in [f"  {block}" for block in blocks[1:]] or [lock]:
        for name, stage in _parse(block).items() if _may_have(block, names) else ():
            made = {out.get("path") for out in stage.get("outs") or ()}
            if name in names or made & names:
                found[name] = stage
    return found


def digests_of(stages: Mapping[str, LockedStage]) -> dict[str, str]:
    """The MD5 of each file that the stages make, by path."""
    return {
        str(out["path"]): str(out["md5"])
        for stage in stages.values()
        for out in stage.get("outs") or ()
        if "path" in out and "md5" in out
    }


class Cache:
    """DVC's cache on this machine."""

    def __init__(self, root: Path) -> None:
        """Find it.

        Raises:
            FlowError: `root` is no DVC repository.
        """
        settings = read_settings(root)
        cache = settings["cache"]
        if "local" in cache:  # the name of a remote
            place = Path(settings["remote"][cache["local"]]["url"])
        else:
            place = Path(cache.get("dir", dvc_folder(root) / "cache"))
        # The second is where DVC 2 put them.
        self._stores = (place / "files" / "md5", place)

    def file(self, digest: str) -> Path | None:
        """The file with this MD5, to be read and left alone; None where the cache does not have it."""
        paths = (store / digest[:2] / digest[2:] for store in self._stores)
        return next((path for path in paths if path.is_file()), None)


def _may_have(block: str, names: frozenset[str]) -> bool:
    """Whether a stage is worth parsing, which takes most of the time: its name or outputs are in question."""
    head, outs, made = block.partition("\n    outs:")
    name = head.partition(":")[0].strip()
    return not outs or name in names or any(path in made for path in names)


@lru_cache(4096)
def _parse(block: str) -> dict[str, LockedStage]:
    """Stages of a dvc.lock, of which `block` is one, or the whole; one that does not parse has none."""
    try:
        content = YAML(typ="safe").load(block)
    except YAMLError:
        return {}
    if not isinstance(content, dict):
        return {}
    stages: Mapping[str, LockedStage | None] = content.get("stages", content) or {}
    return {str(name): stage for name, stage in stages.items() if isinstance(stage, dict)}


def _read_blobs(root: Path, names: Sequence[str]) -> list[bytes | None]:
    """The content of each `COMMIT:PATH`, None where there is none, by one process of git."""
    command = ["git", "cat-file", "--batch"]
    asked = "".join(f"{name}\n" for name in names).encode()
    said = subprocess.run(command, cwd=root, input=asked, capture_output=True, check=True).stdout
    found: list[bytes | None] = []
    place = 0
    for _ in names:
        end = said.index(b"\n", place)
        head = said[place:end].rsplit(b" ", 2)
        place = end + 1
        if head[-1] == b"missing":
            found.append(None)
            continue
        size = int(head[-1])
        found.append(said[place : place + size])
        place += size + 1
    return found


def _lines(root: Path, *arguments: str) -> list[str]:
    return ask_git(root, *arguments).splitlines()
