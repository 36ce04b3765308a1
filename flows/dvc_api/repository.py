"""DVC's own objects for a workspace: the open repository, its stages and their names."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ruamel.yaml.error import YAMLError

from flows import FlowError
from tasks.small_files import parse_yaml, read_small

Answer = TypeVar("Answer")
# DVC publishes no types.
Repository: TypeAlias = Any
Stage: TypeAlias = Any
WAITS_S = (1, 2, 5, 10, 30)


@contextmanager
def open_repository(root: Path) -> Iterator[Repository]:
    """The DVC repository at `root`; what DVC cannot read is one sentence.

    Raises:
        FlowError: there is no repository, or a file of it does not load.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError

    path = root / "params.yaml"
    try:
        content = read_small(path)
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise FlowError(f"{path}: expected a readable file, found none: {error.strerror}.") from error
    check_parameters(content, str(path))
    try:
        with Repo(str(root)) as repo:
            yield repo
    except (DvcException, SCMError) as error:
        # DVC's message is one or two lines. Of an error in a schema, DVC itself would print a page.
        raise FlowError(f"DVC in {root}: {' '.join(str(error).split())}") from error


def check_parameters(content: bytes, where: str) -> None:
    """Look at a params.yaml before DVC reads it, which sets no bound to time, memory or depth.

    Raises:
        FlowError: it goes too deep, its aliases stand for too much, or a value does not exist.
    """
    try:
        parse_yaml(content.decode("utf-8-sig"))
    except YAMLError:  # of what does not parse DVC says where
        return
    except ValueError as error:
        raise FlowError(f"{where}: expected YAML, found what cannot be read: {error}.") from error


def pipeline_stages(repo: Repository) -> list[Stage]:
    """The stages of the root's dvc.yaml, in its order."""
    path = str(Path(repo.root_dir) / "dvc.yaml")
    # The index has read the file, which takes DVC long. Where it has none of its stages, DVC says why.
    return [stage for stage in repo.index.stages if stage.path == path] or list(repo.stage.collect(path))


def stage_name(stage: Stage) -> str:
    """As `dvc repro` takes it at the root; DVC's own `addressing` is relative to the current folder."""
    return str(getattr(stage, "name", None) or stage.path_in_repo)


def stage_names(stages: Iterable[Stage]) -> list[str]:
    """The names of several stages, in their order."""
    return [stage_name(stage) for stage in stages]


def while_locked(repo: Repository, ask: Callable[[], Answer], otherwise: Callable[[], Answer]) -> Answer:
    """Ask DVC while nobody writes: it rewrites dvc.lock in place, and half of it does not load."""
    from dvc.lock import LockError

    for wait_s in (*WAITS_S[:3], None):
        try:
            with repo.lock:
                return ask()
        except LockError:
            if wait_s is None:
                return otherwise()
            time.sleep(wait_s)
    raise AssertionError("unreachable")
