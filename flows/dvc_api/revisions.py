"""Versions of the pipeline: the work tree, git's index and dvc.lock stay as they are.

What git keeps is read by git, and a table from DVC's cache, where dvc.lock says it is. Only what the cache
lacks is asked of DVC, whose remote puts it there. `DVCFileSystem` is DVC's documented door to a revision; its
option `cache` is not documented, and used here alone.
"""

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from ruamel.yaml.error import YAMLError

from flows import FlowError
from flows.dvc_api.git_files import ask_git, digest_files, list_files, md5_of, read_start
from flows.dvc_api.kept import Cache, digests_of
from flows.dvc_api.record import every_experiment, experiments, kept_runs, run_name
from flows.dvc_api.remotes import remote_settings
from flows.dvc_api.repository import check_parameters
from tasks import ArtifactError
from tasks.small_files import MOST_BYTES, parse_yaml
from tasks.tables.portions import TableReader
from tasks.tables.schemas import Artifact

WORKSPACE, LAST = "workspace", "last"
# They say what stages make.
_BY_DVC = ("dvc.lock", "dvc.yaml")


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
        cache: of DVC, on this machine.
        advice: how to do without a file that cannot be had, as its error says last.
    """

    name: str
    root: Path
    commit: str | None
    is_experiment: bool
    cache: Cache
    advice: str = "--no-rows compares without it"
    _parsed: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def title(self) -> str:
        """The name, with the commit where the name does not say it."""
        if self.commit is None or self.commit.startswith(self.name):
            return self.name
        return f"{self.name} ({self.commit[:7]})"

    def has(self, path: str) -> bool:
        """Whether the version has a file of this name, wherever its bytes are."""
        return self._is_here(path) or (path not in _BY_DVC and path in self._made)

    def digest(self, path: str) -> str | None:
        """The MD5 of a file that stages make, as dvc.lock has it; None where dvc.lock does not have it."""
        return self._made.get(path)

    def digest_on_disk(self, path: str) -> str | None:
        """The MD5 of a file as it is in the work tree; None where it is not there, or for other versions.

        Raises:
            RevisionError: it cannot be read.
        """
        file = self.root / path
        try:
            return md5_of(file) if self.commit is None and file.is_file() else None
        except OSError as error:
            raise self._unreadable(path, error) from error

    def names(self, pattern: str) -> list[str]:
        """The files that match and are on this machine, such as `metrics/*.json`, in order.

        Of the workspace these are the files that are there: one that was deleted says nothing.
        """
        if self.commit is None:
            return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))
        found = {name for name, digest in self._made.items() if self.cache.file(digest)}
        return sorted(
            name for name in found.union(self._tree) if PurePosixPath("/", name).match(f"/{pattern}")
        )

    def tracked(self, paths: Iterable[str]) -> dict[str, dict[str, str] | None]:
        """Of each of `paths` the MD5 of the file, as "", or of each file in the folder, by path there.

        None where there is neither. Of a commit these are the files that git keeps, of the workspace all that
        are there: DVC reads them. What the work tree's .dvcignore names is left out.
        """
        files = {path: self._files_at(path) for path in paths}
        wanted = {name for found in files.values() for name in found or ()}
        if self.commit is None:
            # A pipe, or a link to nothing, has no content, so it never is what a stage read.
            digests = {name: self.digest_on_disk(name) or "" for name in wanted}
        else:
            digests = digest_files(self.root, {name: self._tree[name] for name in sorted(wanted)})
        return {
            path: None
            if found is None
            else {name.removeprefix(path).removeprefix("/"): digests[name] for name in found}
            for path, found in files.items()
        }

    def is_kept(self, path: str) -> bool:
        """Whether git would keep a file of this name, by the work tree's .gitignore."""
        return not ask_git(self.root, "check-ignore", "--no-index", "--", path)

    def text(self, path: str) -> str | None:
        """The text of a small file; None where the version has none.

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
        if path in self._tree:
            content = read_start(self.root, f"{self.commit}:./{path}", MOST_BYTES + 1)
        else:
            try:
                with self.file(path).open("rb") as file:
                    content = file.read(MOST_BYTES + 1)
            except OSError as error:
                raise self._unreadable(path, error) from error
        if len(content) > MOST_BYTES:
            raise RevisionError(
                f"{self.name}: {path}: expected at most {MOST_BYTES >> 20} MB of text, found more."
            )
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise RevisionError(
                f"{self.name}: {path}: expected text in UTF-8, found bytes that are none."
            ) from error

    def _unreadable(self, path: str, error: OSError) -> RevisionError:
        return RevisionError(f"{self.name}: {path}: expected a readable file, found none: {error.strerror}.")

    def yaml(self, path: str) -> dict[str, Any]:
        """A YAML file as plain values, to be left as they are; empty where the version has none."""
        if path not in self._parsed:
            try:
                content = parse_yaml(self.text(path) or "")
            except YAMLError as error:
                raise RevisionError(
                    f"{self.name}: {path}: expected YAML, found text that does not parse."
                ) from error
            except ValueError as error:
                raise RevisionError(
                    f"{self.name}: {path}: expected YAML, found what cannot be read: {error}."
                ) from error
            if path in _BY_DVC and content is not None:
                self._check_schema(path, content)
            if not isinstance(content or {}, dict):
                raise RevisionError(
                    f"{self.name}: {path}: expected names and values, found neither; of a link, "
                    "git keeps only where it leads to."
                )
            self._parsed[path] = content or {}
        return self._parsed[path]

    def _check_schema(self, path: str, content: object) -> None:
        """Let DVC say whether its file has the form that is read here."""
        from dvc.schema import COMPILED_LOCKFILE_SCHEMA, COMPILED_MULTI_STAGE_SCHEMA
        from dvc.utils.strictyaml import YAMLValidationError, validate

        schema = COMPILED_LOCKFILE_SCHEMA if path == "dvc.lock" else COMPILED_MULTI_STAGE_SCHEMA
        try:
            validate(content, schema, path=path)
        except YAMLValidationError as error:
            raise RevisionError(f"{self.name}: DVC cannot read that version: {_line(error)}.") from error

    def file(self, path: str) -> Path:
        """A file with the content of `path`, here or in DVC's cache, to be read and left alone.

        Raises:
            RevisionError: neither the cache nor the remote has it, or the version has none.
        """
        if not self.has(path):
            raise RevisionError(f"{self.name} has no {path}: no stage of that version made it.")
        if path in self._tree:
            raise RevisionError(
                f"{self.name}: {path}: expected a file that DVC keeps, found one that git keeps."
            )
        if self._is_here(path):
            return self.root / path
        if cached := self.cache.file(self._made[path]):
            return cached
        with (
            self._reading(path, f"; {self.advice}"),
            self._by_dvc.open(f"/{self._prefix}{path}", mode="rb", cache=True) as file,
        ):
            return Path(file.name)

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
    def _tree(self) -> dict[str, str]:
        """What git calls the content of each file of the commit, by path; of the workspace nothing."""
        return {} if self.commit is None else list_files(self.root, self.commit)

    @cached_property
    def _made(self) -> dict[str, str]:
        """The MD5 of each file that the stages made, by path. dvc.lock keeps stages that are gone."""
        stages = self.yaml("dvc.lock").get("stages") or {}
        defined = self.yaml("dvc.yaml").get("stages") or [name.split("@")[0] for name in stages]
        return digests_of({name: stages[name] for name in stages if name.split("@")[0] in defined})

    @cached_property
    def _ignores(self) -> Any:
        """DVC's own reading of .dvcignore."""
        from dvc.ignore import DvcIgnorePatterns

        path = self.root / ".dvcignore"
        patterns = path.read_text("utf-8", "replace").splitlines() if path.is_file() else []
        return DvcIgnorePatterns(patterns, "/", "/")

    def _is_here(self, path: str) -> bool:
        return path in self._tree or (self.commit is None and (self.root / path).is_file())

    def _files_at(self, path: str) -> list[str] | None:
        """The file, or the files in the folder, of this name, without what DVC ignores; None of neither."""
        if self._is_here(path):
            found = [path]
        elif self.commit is not None:
            found = [name for name in self._tree if name.startswith(f"{path}/")]
        else:
            walked = os.walk(self.root / path)
            found = [os.path.relpath(f"{at}/{name}", self.root) for at, _, names in walked for name in names]
        read = [name for name in found if not self._ignores.matches(*f"/{name}".rsplit("/", 1))]
        return read if found else None

    @cached_property
    def _by_dvc(self) -> Any:
        from dvc.api import DVCFileSystem
        from dvc.repo import Repo

        check_parameters((self.text("params.yaml") or "").encode(), f"{self.name}: params.yaml")
        # DVC reads the remote's settings from the work tree, but its name from the revision.
        config = None if self.commit is None else remote_settings(self.root)
        options: dict[str, object] = {"config": config}
        if self._prefix:
            options = {"subrepos": True, "repo_factory": partial(Repo, config=config)}
        return DVCFileSystem(str(self.root), rev=self.commit, **options)

    @cached_property
    def _prefix(self) -> str:
        """Where the DVC repository lies in the tree that DVC shows: of a commit that is all of git's."""
        return "" if self.commit is None else ask_git(self.root, "rev-parse", "--show-prefix")

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
    cache = Cache(root)
    found = []
    for asked in names:
        name = last_version(root, schedule) if asked == LAST else asked
        commit, is_experiment = (None, False) if name == WORKSPACE else _resolve(root, name)
        found.append(Revision(name, root, commit, is_experiment, cache, advice))
    return found


def last_version(root: Path, schedule: str | None = None) -> str:
    """The last kept run of this branch of work: HEAD, or an experiment that a run of the flow kept since.

    A run of the flow names what it keeps itself, so experiments that a person or a sweep made on the side
    are not taken. It may start from an older commit, where what came after changed no results.

    Args:
        root: of the repository.
        schedule: take the last one that this schedule kept, if there is any.
    """
    if not ask_git(root, "rev-parse", "--verify", "--quiet", "HEAD"):
        raise RevisionError(
            f"{LAST}: expected a git repository with a commit, found none in {root}: no version is kept yet."
        )
    committed = int(ask_git(root, "log", "-1", "--format=%ct", "--", "dvc.lock") or 0)
    kept = [name for name, time in kept_runs(root) if time >= committed]
    of_schedule = [name for name in kept if schedule and name.startswith(run_name(schedule, ""))]
    return next(iter(of_schedule or kept), "HEAD")


def _resolve(root: Path, name: str) -> tuple[str, bool]:
    """The commit of a name, and whether that is an experiment's. git's own names go first, as in DVC."""
    if ask_git(root, "rev-parse", "--git-dir") == "":
        raise RevisionError(
            f"{name}: a version is git's to know; expected a git repository, found none in {root}."
        )
    commit = ask_git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit:
        return commit, False
    by_name: dict[str, list[str]] = {}
    for each in every_experiment(root):
        by_name.setdefault(each.name, []).append(each.commit)
    here = experiments(root) if ask_git(root, "rev-parse", "--verify", "--quiet", "HEAD") else {}
    if name in here:
        return here[name], True
    if len(found := by_name.get(name, [])) == 1:
        return found[0], True
    if found:
        commits = ", ".join(commit[:7] for commit in found)
        raise RevisionError(
            f"{name}: experiments of this name start from several commits; take one of theirs: {commits}."
        )
    short = ask_git(
        root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes"
    )
    known = sorted({*short.splitlines(), *by_name, WORKSPACE, LAST, "HEAD"})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = (
        f"is it {' or '.join(near)}?"
        if near
        else "see `git branch --all`, `git tag` and `dvc exp list --all`."
    )
    if ask_git(root, "rev-parse", "--is-shallow-repository") == "true":
        hint = f"this is a shallow clone, and `git fetch --unshallow --tags` brings the rest; {hint}"
    raise RevisionError(
        f"{name}: expected a git revision, a tag, a DVC experiment, `{LAST}` or `{WORKSPACE}`, found "
        f"nothing of that name; {hint}"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
