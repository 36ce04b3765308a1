"""Versions of the pipeline, read through DVC: the work tree, git's index and dvc.lock stay as they are.

A file is read from git or DVC's cache, else from DVC's remote, which puts it into the cache. `DVCFileSystem`
is DVC's documented door to a revision; its option `cache` and what `info` says of a file are not documented,
and used here alone.
"""

import difflib
import hashlib
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from io import BufferedIOBase
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from ruamel.yaml.error import YAMLError

from flows import FlowError
from flows.dvc_api.record import every_experiment, experiments, kept_runs, run_name
from flows.dvc_api.remotes import remote_settings
from flows.dvc_api.repository import check_parameters
from tasks import ArtifactError
from tasks.small_files import MOST_BYTES, parse_yaml
from tasks.tables.portions import TableReader
from tasks.tables.schemas import Artifact

WORKSPACE, LAST = "workspace", "last"
Read = TypeVar("Read")


class RevisionError(FlowError):
    """A version, or a file of it, cannot be had; the message says which and what to do."""


@dataclass(frozen=True)
class Revision:
    """A version of the pipeline.

    Attributes:
        name: a commit, branch or tag, a DVC experiment, or `workspace`, as it was asked for.
        root: of the DVC repository.
        commit: what the name stands for; None for the workspace.
        is_experiment: whether that is a DVC experiment.
        settings: of DVC's cache and remote, today's: an old version may name a remote that is gone.
        advice: how to do without a file that cannot be had, as its error says last.
    """

    name: str
    root: Path
    commit: str | None
    is_experiment: bool
    settings: Mapping[str, Mapping[str, object]]
    advice: str = "--no-rows compares without it"

    @property
    def title(self) -> str:
        """The name, with the commit where the name does not say it."""
        if self.commit is None or self.commit.startswith(self.name):
            return self.name
        return f"{self.name} ({self.commit[:7]})"

    def has(self, path: str) -> bool:
        """Whether the version has a file of this name, wherever its bytes are."""
        info = self._info(path)
        # If no stage has made an output yet, DVC knows only its name.
        return info is not None and ("fs_info" in info or "md5" in info)

    def digest(self, path: str) -> str | None:
        """The MD5 of a file that stages make, as dvc.lock has it; None where dvc.lock does not have it."""
        info = self._info(path) or {}
        found = info.get("dvc_info", info).get("md5")
        return None if found is None else str(found)

    def digest_on_disk(self, path: str) -> str | None:
        """The MD5 of a file as it is in the work tree; None where it is not there, or for other versions."""
        file = self.root / path
        if self.commit is not None or not file.is_file():
            return None
        with file.open("rb") as opened:
            return _md5(opened)

    def names(self, pattern: str) -> list[str]:
        """The files that match, such as `metrics/*.json`, in order."""
        found = self._ask(lambda: self._files.glob(self._place(pattern)))
        return sorted(name.removeprefix(self._place("")) for name in found)

    def tracked(self, path: str) -> dict[str, str] | None:
        """The MD5 of a file that git keeps, as "", or of each in a folder, by path there; empty of others.

        None where the version has neither a file nor a folder of this name, and knows of none that DVC keeps.
        """
        info = self._info(path)
        if info is None:
            return None
        found = {path: info}
        if info.get("type") == "directory":
            place = self._place(path)
            listed = self._ask(lambda: self._files.find(place, detail=True))
            found = {f"{path}/{name.removeprefix(f'{place}/')}": each for name, each in listed.items()}
        kept = [name for name, each in found.items() if "fs_info" in each and "dvc_info" not in each]
        digests = {}
        for name in kept:
            with self._reading(name), self._files.open(self._place(name), mode="rb") as file:
                digests[name.removeprefix(path).removeprefix("/")] = _md5(file)
        return digests

    def is_kept(self, path: str) -> bool:
        """Whether git would keep a file of this name, by the work tree's .gitignore."""
        return not _git(self.root, "check-ignore", "--no-index", "--", path)

    def text(self, path: str) -> str | None:
        """The text of a small file that git keeps; None where the version has none.

        Raises:
            RevisionError: it is not UTF-8, too large, or no file.
        """
        place = self.root / path
        if self.commit is None and (place.is_symlink() or place.exists()) and not place.is_file():
            # A pipe that nobody writes to would block.
            raise RevisionError(
                f"{self.name}: {path}: expected a file, found a folder, pipe, device or loop."
            )
        if not self.has(path):
            return None
        try:
            with self._reading(path), self._files.open(self._place(path), mode="rb") as file:
                content: bytes = file.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise RevisionError(
                    f"{self.name}: {path}: expected at most {MOST_BYTES >> 20} MB of text, found more."
                )
            return content.decode()
        except UnicodeDecodeError as error:
            raise RevisionError(
                f"{self.name}: {path}: expected text in UTF-8, found bytes that are none."
            ) from error

    def yaml(self, path: str) -> dict[str, Any]:
        """A YAML file as plain values; empty where the version has none."""
        try:
            content = parse_yaml(self.text(path) or "")
        except (YAMLError, ValueError) as error:
            raise RevisionError(
                f"{self.name}: {path}: expected YAML, found text that does not parse."
            ) from error
        return content if isinstance(content, dict) else {}

    def file(self, path: str) -> Path:
        """A file with the content of `path`, here or in DVC's cache, to be read and left alone.

        Raises:
            RevisionError: neither the cache nor the remote has it, or the version has none.
        """
        if not self.has(path):
            raise RevisionError(f"{self.name} has no {path}: no stage of that version made it.")
        with (
            self._reading(path, f"; {self.advice}"),
            self._files.open(self._place(path), mode="rb", cache=True) as file,
        ):
            found = getattr(file, "name", None)
        if not isinstance(found, str) or not Path(found).is_file():
            raise RevisionError(
                f"{self.name}: {path}: expected a file that DVC keeps, found one that git keeps."
            )
        return Path(found)

    def table(self, artifact: Artifact, needed: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
        """Columns of a Parquet artifact, in order of `example_id`, with its metadata.

        What an older version has otherwise, columns that are not asked for and widths of numbers, is no
        fault; `optional` columns come where the file has them.

        Raises:
            RevisionError: the file cannot be had or read, or a column is missing or of another kind.
        """
        with self._checked():
            reader = self._reader(artifact, needed, optional)
            return pa.concat_tables([reader.nothing(), *reader.portions()])

    def portions(self, artifact: Artifact, needed: Sequence[str]) -> Iterator[pa.Table]:
        """The same, some rows at a time: what it takes in memory is one portion.

        A file in another order, which no stage writes, is sorted in memory.

        Raises:
            RevisionError: see `table`.
        """
        with self._checked():
            yield from self._reader(artifact, needed).portions()

    def _reader(self, artifact: Artifact, needed: Sequence[str], optional: Sequence[str] = ()) -> TableReader:
        file, where = self.file(artifact.path), f"{self.name}: {artifact.path}"
        advised = replace(artifact, advice=f"{self.advice[0].upper()}{self.advice[1:]}.")
        return TableReader(file, advised, needed, optional, any_layout=True, where=where)

    @contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except ArtifactError as error:
            raise RevisionError(str(error)) from error

    @cached_property
    def _files(self) -> Any:
        from dvc.api import DVCFileSystem
        from dvc.repo import Repo

        if self.commit is not None:
            committed = _start_of(self.root, f"{self.commit}:./params.yaml")
            if len(committed) > MOST_BYTES:
                raise RevisionError(
                    f"{self.name}: params.yaml: expected at most {MOST_BYTES >> 20} MB of text, found more."
                )
            check_parameters(committed, f"{self.name}: params.yaml")
        # DVC reads the remote's settings from the work tree, but its name from the revision.
        config = None if self.commit is None else {key: dict(value) for key, value in self.settings.items()}
        options: dict[str, object] = {"config": config}
        if self._prefix:
            options = {"subrepos": True, "repo_factory": partial(Repo, config=config)}
        return self._ask(lambda: DVCFileSystem(str(self.root), rev=self.commit, **options))

    @cached_property
    def _prefix(self) -> str:
        """Where the DVC repository lies in the tree that `_files` shows: of a commit that is all of git's."""
        return "" if self.commit is None else _git(self.root, "rev-parse", "--show-prefix")

    def _place(self, path: str) -> str:
        return f"/{self._prefix}{path}"

    def _info(self, path: str) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = self._ask(lambda: self._files.info(self._place(path)))
        except FileNotFoundError:
            return None
        return info

    def _ask(self, question: Callable[[], Read]) -> Read:
        from dvc.exceptions import DvcException
        from dvc.scm import SCMError

        try:
            return question()
        except (DvcException, SCMError) as error:
            raise RevisionError(f"{self.name}: DVC cannot read that version: {_line(error)}") from error

    @contextmanager
    def _reading(self, path: str, hint: str = "") -> Iterator[None]:
        try:
            yield
        except Exception as error:  # every kind of remote has errors of its own
            if self.commit is None:
                remedy = "`dvc pull` brings it, `dvc repro` makes it"
            elif self.is_experiment:
                remedy = f"`dvc exp pull GIT_REMOTE {self.name}` brings it where it was pushed"
            else:
                remedy = "`dvc fetch --all-commits` brings it where it was pushed"
            said = "" if isinstance(error, FileNotFoundError) else f" ({_line(error)})"
            raise RevisionError(
                f"{self.name}: {path} is neither in DVC's cache nor in its remote{said}: {remedy}{hint}."
            ) from error


def open_revisions(
    root: Path, names: Sequence[str], advice: str = Revision.advice, schedule: str | None = None
) -> list[Revision]:
    """The versions of these names; `last` is the last kept run (of `schedule`). `advice`: see `Revision`.

    Raises:
        RevisionError: a name stands for nothing, or for several experiments.
        FlowError: `root` is no DVC repository.
    """
    settings = remote_settings(root)
    found = []
    for asked in names:
        name = last_version(root, schedule) if asked == LAST else asked
        commit, is_experiment = (None, False) if name == WORKSPACE else _resolve(root, name)
        found.append(Revision(name, root, commit, is_experiment, settings, advice))
    return found


def last_version(root: Path, schedule: str | None = None) -> str:
    """The last kept run of this branch of work: HEAD, or an experiment that a run of the flow kept since.

    A run of the flow names what it keeps itself, so experiments that a person or a sweep made on the side
    are not taken. It may start from an older commit, where what came after changed no results.

    Args:
        root: of the repository.
        schedule: take the last one that this schedule kept, if there is any.
    """
    if not _git(root, "rev-parse", "--verify", "--quiet", "HEAD"):
        raise RevisionError(
            f"{LAST}: expected a git repository with a commit, found none in {root}: no version is kept yet."
        )
    committed = int(_git(root, "log", "-1", "--format=%ct", "--", "dvc.lock") or 0)
    kept = [name for name, time in kept_runs(root) if time >= committed]
    of_schedule = [name for name in kept if schedule and name.startswith(run_name(schedule, ""))]
    return next(iter(of_schedule or kept), "HEAD")


def _resolve(root: Path, name: str) -> tuple[str, bool]:
    """The commit of a name, and whether that is an experiment's. git's own names go first, as in DVC."""
    if _git(root, "rev-parse", "--git-dir") == "":
        raise RevisionError(
            f"{name}: a version is git's to know; expected a git repository, found none in {root}."
        )
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit:
        return commit, False
    by_name: dict[str, list[str]] = {}
    for each in every_experiment(root):
        by_name.setdefault(each.name, []).append(each.commit)
    here = experiments(root) if _git(root, "rev-parse", "--verify", "--quiet", "HEAD") else {}
    if name in here:
        return here[name], True
    if len(found := by_name.get(name, [])) == 1:
        return found[0], True
    if found:
        commits = ", ".join(commit[:7] for commit in found)
        raise RevisionError(
            f"{name}: experiments of this name start from several commits; take one of theirs: {commits}."
        )
    short = _git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes")
    known = sorted({*short.splitlines(), *by_name, WORKSPACE, LAST, "HEAD"})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = (
        f"is it {' or '.join(near)}?"
        if near
        else "see `git branch --all`, `git tag` and `dvc exp list --all`."
    )
    if _git(root, "rev-parse", "--is-shallow-repository") == "true":
        hint = f"this is a shallow clone, and `git fetch --unshallow --tags` brings the rest; {hint}"
    raise RevisionError(
        f"{name}: expected a git revision, a tag, a DVC experiment, `{LAST}` or `{WORKSPACE}`, found "
        f"nothing of that name; {hint}"
    )


def _git(root: Path, *arguments: str) -> str:
    """What git says, empty where it has nothing to say."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _start_of(root: Path, name: str) -> bytes:
    """The first bytes of what git calls `name`, one more than a small file may have; none where it is not."""
    command = ["git", "show", name]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as shown:
        assert shown.stdout is not None  # noqa: S101  # it is a pipe
        found = shown.stdout.read(MOST_BYTES + 1)
        shown.kill()
    return found


def _md5(file: BufferedIOBase) -> str:
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
