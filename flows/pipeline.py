"""What the flow knows of DVC: the graph of stages, which of them are fresh, and how to run one.

`Repo.index.graph`, `Stage.changed`, `plan_repro` and dvc.lock's layout are not documented API; they are used
here alone. Measured with DVC 3.67: `dvc repro --single-item` may run beside others, as DVC lets go of its
repository lock while a stage's command runs.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from flows import FlowError
from tasks.dvc_lock import mend

Outcome = Literal["Completed", "Restored"]
Answer = TypeVar("Answer")

# What DVC says when another process of DVC holds a file that it needs.
_BUSY = re.compile(r"is busy|[Uu]nable to acquire lock")
_HOLDER = re.compile(r"\s*\((PID \d+)\): ")
# What it says after each stage about git and remotes.
_HINT = re.compile(
    r"\s*(To (track|enable)|git add|dvc config core.autostage|Use `dvc push`|(Generating|Updating) lock|$)"
)
# What it says around the words of a stage that failed without a message of its own.
_NO_REASON = re.compile(r"> |Running stage|ERROR: failed to reproduce")
_INPUTS = "inputs/"
_WAITS_S = (1, 2, 5, 10, 30)


class StageError(FlowError):
    """A stage failed; the message is what the stage said."""


def stage_graph(root: Path, until: str | None = None) -> dict[str, tuple[str, ...]]:
    """The stages upstream of each stage, by name, in the order in which `dvc repro` runs them.

    An input that is under DVC itself is a stage as well: `inputs/labels/labels.csv.dvc`.

    Args:
        root: of the DVC repository.
        until: a stage, or a group such as `train_fold`; only what it needs is listed.

    Raises:
        FlowError: there is no DVC repository, dvc.yaml does not load, or there is no such stage.
    """
    with _repository(root) as repo:
        return {_name(stage): upstream for stage, upstream in _graph(repo, until).items()}


def plan(root: Path, until: str | None = None) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """`stage_graph`, and the stages that are up to date and so is all upstream of them, by DVC's judgement.

    Raises:
        FlowError: see `stage_graph`.
    """
    with _repository(root) as repo:
        graph = _graph(repo, until)
        fresh: set[str] = set()
        for stage, upstream in graph.items():
            if fresh.issuperset(upstream) and not _changed(repo, stage):
                fresh.add(_name(stage))
        return {_name(stage): upstream for stage, upstream in graph.items()}, fresh


def _graph(repo: Any, until: str | None) -> dict[Any, tuple[str, ...]]:
    """By DVC's stage objects. Inputs that a person put under DVC are stages too, named after their file."""
    from dvc.repo.reproduce import get_active_graph, plan_repro

    def read() -> tuple[Any, list[Any]]:
        # `dvc repro` starts from the stages in the order of dvc.yaml.
        return get_active_graph(repo.index.graph), _pipeline_stages(repo)

    graph, targets = _while_locked(repo, read, read)
    if until:
        names = matching(_names(targets), until)
        targets = [stage for stage in targets if _name(stage) in names]
    return {stage: tuple(_names(graph.successors(stage))) for stage in plan_repro(graph, targets)}


def matching(graph: Collection[str], name: str) -> list[str]:
    """The stages that `name` stands for: itself, or all of a group (`train_fold` for `train_fold@0`, ...).

    Raises:
        FlowError: there is none.
    """
    found = [stage for stage in graph if stage == name or stage.split("@")[0] == name]
    if not found:
        raise FlowError(
            f"Stage {name!r}: expected one of {', '.join(graph)}, or a group before the @; found none. "
            "Look at `dvc stage list`."
        )
    return found


def is_fresh(root: Path, name: str) -> bool:
    """Whether DVC would leave the stage alone, given that what is upstream of it is done."""
    with _repository(root) as repo:
        stages = _while_locked(
            repo, lambda: [each for each in repo.index.stages if _name(each) == name], list
        )
        return bool(stages) and not any(_changed(repo, stage) for stage in stages)


def mend_locks(root: Path) -> None:
    """Remove what DVCs that were killed, or a full disk, left in DVC's list of locks; say so.

    Raises:
        DamagedLockError: the list is damaged, and a DVC is at work.
    """
    for mended in mend(root):
        print(mended, file=sys.stderr)


def new_inputs(root: Path) -> list[str]:
    """What in inputs/ stages read and is not what the last run read, by DVC's own judgement."""
    with _repository(root) as repo, repo.lock:
        found = {
            str(dep.def_path)
            for stage in _pipeline_stages(repo)
            for dep in stage.deps
            if str(dep.def_path).startswith(_INPUTS) and dep.workspace_status()
        }
    return sorted(found)


def written_within(root: Path, inputs: Iterable[str], seconds: float) -> bool:
    """Whether one of the files, or a file in one of the folders, changed in the last `seconds`.

    Somebody may still be writing.
    """
    places = [root / name for name in inputs]
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*"))]
    for path in files:
        # `dvc update` writes its .dvc file anew each time. What rsync renames is gone a moment later.
        with suppress(FileNotFoundError):
            if path.suffix != ".dvc" and 0 <= time.time() - path.lstat().st_mtime < seconds:
                return True
    return False


def begun(root: Path) -> Path:
    """The file that stands while a run for new data is not done: dvc.lock knows the data after one stage."""
    path = root / ".dvc" / "tmp" / "relabel" / "new_data"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def update_imports(root: Path) -> None:
    """Bring inputs that `dvc import-url` or `dvc import` made up to date with their source.

    Raises:
        FlowError: a source does not answer.
    """
    with _repository(root) as repo:
        imported = [stage.relpath for stage in repo.index.stages if stage.is_import]
    if not imported:
        return
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "update", "--quiet", *imported]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise FlowError(f"`dvc update {' '.join(imported)}` said: {' '.join(done.stderr.split())}")


def check_remote(root: Path, option: str) -> None:
    """Check that there is a default remote for `option`, which needs one.

    Raises:
        FlowError: DVC has none.
    """
    with _repository(root) as repo:
        if not repo.config["core"].get("remote"):
            raise FlowError(
                f"{option}: expected a default DVC remote, found none. Make one with "
                "`dvc remote add --default NAME URL`."
            )


def pull(root: Path) -> None:
    """Fetch what DVC's default remote has of this version, run-cache included; what it lacks will be run.

    Raises:
        FlowError: the remote gave nothing though something is missing here.
    """
    command = ["pull", "--run-cache", "--allow-missing", "--force"]
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *command],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    missing = len(re.findall(r"^md5: ", done.stdout, flags=re.MULTILINE))
    said = " ".join(re.findall(r"^ERROR: (.*)", done.stdout, flags=re.MULTILINE))
    if missing and "Everything is up to date." in done.stdout:
        # DVC takes a remote that does not answer for one that lacks the files, and would now train for hours.
        said = f"none of the {missing} files that are missing here"
    elif done.returncode == 0:
        return
    raise FlowError(
        f"--pull: expected data from DVC's remote, found {said or 'nothing'}. See that it can be reached "
        "(`dvc remote list`), or run without --pull to compute them."
    )


def run_stage(
    root: Path,
    name: str,
    options: Sequence[str],
    environment: Mapping[str, str],
    say: Callable[[str], None],
    register: Callable[[subprocess.Popen[str]], None],
    timeout_s: float | None = None,
) -> Outcome:
    """`dvc repro --single-item` of one stage, waiting as long as another process of DVC is in the way.

    Args:
        root: of the DVC repository.
        name: the stage.
        options: more arguments of `dvc repro`: `--force`, or further stages, upstream first.
        environment: variables for the stage.
        say: takes each line that DVC and the stage print.
        register: takes the process, leader of a process group of its own, as soon as it runs.
        timeout_s: after so many seconds the stage is ended, its children too.

    Returns:
        Whether the stage ran, or DVC restored its outputs from the run-cache.

    Raises:
        StageError: the stage or DVC failed, or the stage outran `timeout_s`.
    """
    record = root / ".dvc" / "tmp" / "relabel" / f"{name.replace(os.sep, '_')}.jsonl"
    record.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(sys.maxsize):
        record.unlink(missing_ok=True)
        lines: list[str] = []
        timed_out = threading.Event()
        with subprocess.Popen(
            [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name, *options],
            cwd=root,
            # dvc.yaml says `python`: the one that runs this, in an activated environment or not.
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
                **environment,
                "RELABEL_STAGE_RECORD": str(record),
            },
            # Never written to: it ends when this process does, and the stage then ends too.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            register(process)

            def give_up(process: subprocess.Popen[str] = process, late: threading.Event = timed_out) -> None:
                late.set()
                end_process_group(process)

            timer = threading.Timer(timeout_s or threading.TIMEOUT_MAX, give_up)
            timer.daemon = True
            timer.start()
            try:
                for line in process.stdout or ():
                    lines.append(line.rstrip())
                    if not _HINT.match(lines[-1]):
                        say(lines[-1])
            finally:
                timer.cancel()
        facts = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
        if process.returncode == 0:
            return "Completed" if facts else "Restored"
        if timed_out.is_set():
            raise StageError(f"{name} ran longer than timeout_s ({timeout_s:g} s) and was ended.")
        failure = next((fact["failure"] for fact in facts if fact["failure"]), None)
        if failure is None and process.returncode > 0 and any(_BUSY.search(line) for line in lines):
            if mended := mend(root):
                say(" ".join(mended))
                continue
            wait_s = _WAITS_S[min(attempt, len(_WAITS_S) - 1)]
            holders = "; ".join(dict.fromkeys(found[1] for line in lines if (found := _HOLDER.match(line))))
            who = f"Another process of DVC ({holders})" if holders else "Another process of DVC"
            say(f"{who} is at work on the files of {name}; trying again in {wait_s} s.")
            time.sleep(wait_s)
            continue
        last = [line for line in lines if line.strip() and not _NO_REASON.match(line)][-3:]
        raise StageError(
            failure or f"{name} ended with status {process.returncode}: {' '.join(last) or 'no output'}"
        )
    raise AssertionError("unreachable")


def end_process_group(process: subprocess.Popen[str], grace_s: float = 5.0) -> None:
    """End a process that leads a group, and the group: asked first, killed after `grace_s` seconds."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        if process.poll() is not None and number == signal.SIGTERM:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)


def set_params(root: Path, overrides: Sequence[str], option: str = "--set") -> None:
    """Change params.yaml as `dvc exp run -S` does: `train_fold.epochs=2`.

    Args:
        root: of the DVC repository.
        overrides: the changes.
        option: what they came from, for the message.

    Raises:
        FlowError: an override is malformed or its value refused; params.yaml stays as it was.
    """
    from dvc.utils.hydra import apply_overrides

    from tasks import RelabelError
    from tasks.params import load_params

    path = root / "params.yaml"
    before = path.read_bytes()
    try:
        apply_overrides(path, list(overrides))
        # DVC wants to see the options of each chosen plug-in, if there are none.
        unlisted = load_params(path).unlisted()
        if unlisted:
            apply_overrides(path, [f"+{name}={{}}" for name in unlisted])
    except RelabelError:
        path.write_bytes(before)
        raise
    except Exception as error:  # Hydra's, OmegaConf's and ruamel's own hierarchies
        path.write_bytes(before)
        raise FlowError(
            f"{option}: expected SECTION.NAME=VALUE for values of params.yaml, found {' '.join(overrides)} "
            f"({str(error.__cause__ or error).splitlines()[0].rstrip('.')})."
        ) from error


def grid_values(grid: str) -> tuple[str, list[str]]:
    """The name and the overrides of one `--grid`, in the syntax of `dvc exp run -S` with several values.

    `inject_noise.rate=0.1,0.2` gives the name and `inject_noise.rate=0.1`, `inject_noise.rate=0.2`; lists
    (`[0,1],[0,1,2]`), `choice(...)` and `range(...)` are Hydra's.

    Raises:
        FlowError: it does not parse.
    """
    from dvc.utils.hydra import get_hydra_sweeps, to_hydra_overrides

    try:
        (override,) = to_hydra_overrides([grid])
        overrides = [point["params.yaml"][0] for point in get_hydra_sweeps({"params.yaml": [grid]})]
        name = str(override.key_or_group)
        # Adding and deleting names is Hydra's syntax too, but a grid varies what params.yaml has.
        if not name or not overrides or not grid.startswith(f"{name}=") or grid == f"{name}=":
            raise ValueError("not a name and its values")
    except Exception as error:  # Hydra's own hierarchy
        raise FlowError(
            f"--grid: expected SECTION.NAME=VALUE,VALUE,..., found {grid!r} ({str(error).splitlines()[0]})."
        ) from error
    return name, overrides


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a workspace as a sweep sees it.

    Attributes:
        upstream: the stages whose outputs it reads.
        signature: a digest of all that decides its outputs. Equal ones give equal bytes, in any workspace.
        metrics: the metrics files that it writes and git keeps.
    """

    upstream: tuple[str, ...]
    signature: str
    metrics: tuple[str, ...]


def source_hashes(root: Path) -> dict[str, str | None]:
    """DVC's hash of each path that stages read and no stage writes: code and inputs; None where absent."""
    found: dict[str, str | None] = {}
    with _repository(root) as repo:
        stages = _pipeline_stages(repo)
        outs = [Path(out.def_path) for stage in stages for out in stage.outs]
        params = {id(param) for stage in stages for param in stage.params}
        for dep in (dep for stage in stages for dep in stage.deps if id(dep) not in params):
            path = Path(dep.def_path)
            made = any(path == out or path in out.parents or out in path.parents for out in outs)
            if not made and dep.def_path not in found:
                found[dep.def_path] = str(dep.get_hash()) if dep.exists else None
    return found


def plan_stages(
    root: Path, sources: Mapping[str, str | None], until: str | None = None
) -> dict[str, PlannedStage]:
    """The stages that `stage_graph` lists, in its order, with what their outputs depend on."""
    graph = stage_graph(root, until)
    found: dict[str, PlannedStage] = {}
    with _repository(root) as repo:
        # Inputs that are under DVC are stages too, but no stage of a sweep: it has their files as they are.
        stages = {_name(stage): stage for stage in _pipeline_stages(repo)}
        for name in (name for name in graph if name in stages):
            stage, upstream = stages[name], tuple(before for before in graph[name] if before in stages)
            decides = {
                "cmd": stage.cmd,
                "params": {str(param.def_path): param.read_params() for param in stage.params},
                "sources": {dep.def_path: sources.get(dep.def_path) for dep in stage.deps},
                "outs": [out.def_path for out in stage.outs],
                "upstream": [found[before].signature for before in upstream],
            }
            text = json.dumps(decides, sort_keys=True, default=str)
            found[name] = PlannedStage(
                upstream,
                hashlib.sha256(text.encode()).hexdigest(),
                tuple(out.def_path for out in stage.outs if out.metric and not out.use_cache),
            )
    return found


def uncached_outputs(root: Path) -> list[str]:
    """The outputs that git keeps and not DVC's cache: the metrics."""
    with _repository(root) as repo:
        return [out.def_path for stage in _pipeline_stages(repo) for out in stage.outs if not out.use_cache]


def remote_settings(root: Path) -> dict[str, dict[str, Any]]:
    """DVC's settings of its cache and of its default remote, as its configuration files have them today."""
    with _repository(root) as repo:
        name = repo.config["core"].get("remote")
        found = {"cache": {key: value for key, value in repo.config["cache"].items() if key == "dir"}}
        if name:
            found |= {"core": {"remote": name}, "remote": {name: dict(repo.config["remote"][name])}}
        return found


def share_cache(root: Path, workspace: Path, site_cache: Path) -> None:
    """Let the DVC repository `workspace`, a copy, use the cache and the run-cache of `root`.

    What DVC remembers of the workspace's files goes to `site_cache`, so that it can be deleted with it.
    """
    with _repository(root) as repo:
        cache = str(repo.cache.local_cache_dir)
    local = root / ".dvc" / "config.local"
    if local.exists():
        shutil.copy(local, workspace / ".dvc" / "config.local")
    with _repository(workspace) as repo, repo.config.edit("local") as config:
        config.setdefault("cache", {})["dir"] = cache
        config.setdefault("core", {})["site_cache_dir"] = str(site_cache)


def lock_order(root: Path) -> list[str]:
    """The names in dvc.lock in its order, before this run or, if one was killed, before that.

    Kept in a file until `order_lock`.
    """
    path = _order_file(root)
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return [str(name) for name in json.loads(path.read_text())]
    found = _locked_stages(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return found


def order_lock(root: Path, before: Sequence[str], plan: Sequence[str]) -> None:
    """Order dvc.lock as `dvc repro` would have: known stages where they were, new ones in the order run.

    Stages that run side by side end in any order, and DVC appends a new stage when it ends.
    """
    from dvc.dvcfile import LOCK_FILE
    from dvc.utils.serialize import modify_yaml

    found = _locked_stages(root)
    new = set(found) - set(before)
    wanted = [name for name in before if name in set(found)]
    wanted += [name for name in plan if name in new]
    wanted += [name for name in found if name not in set(wanted)]
    if found != wanted:
        with _repository(root) as repo, repo.lock, modify_yaml(root / LOCK_FILE) as content:
            stages = content["stages"]
            for name in wanted:
                stages[name] = stages.pop(name)
    _order_file(root).unlink(missing_ok=True)


def _order_file(root: Path) -> Path:
    return root / ".dvc" / "tmp" / "relabel" / "lock_order.json"


def _locked_stages(root: Path) -> list[str]:
    from dvc.dvcfile import LOCK_FILE
    from dvc.utils.serialize import load_yaml

    path = root / LOCK_FILE
    return list((load_yaml(path) or {}).get("stages", {})) if path.exists() else []


@contextmanager
def only_flow(root: Path, wait: bool = False, what: str = "flow") -> Iterator[None]:
    """Hold the workspace against a second flow (or sweep); the lock ends with the process, however it ends.

    Raises:
        FlowError: another one runs in this workspace, and `wait` is false.
    """
    path = root / ".dvc" / "tmp" / f"relabel-{what}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            raise FlowError(
                f"A {what} is already running in {root} ({file.read().strip() or 'just started'}). "
                f"Wait for it{' with --wait' if what == 'flow' else ''}, or end it."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


@contextmanager
def _repository(root: Path) -> Iterator[Any]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        with Repo(str(root)) as repo:
            yield repo
    except (DvcException, SCMError) as error:
        # The message of DVC's own errors is one or two lines; a schema error prints a page more.
        raise FlowError(f"DVC in {root}: {' '.join(str(error).split())}") from error


def _pipeline_stages(repo: Any) -> list[Any]:
    """The stages of the root's dvc.yaml, in its order."""
    return list(repo.stage.collect(str(Path(repo.root_dir) / "dvc.yaml")))


def _name(stage: Any) -> str:
    """As `dvc repro` takes it at the root; DVC's own `addressing` is relative to the current folder."""
    return str(getattr(stage, "name", None) or stage.path_in_repo)


def _names(stages: Iterable[Any]) -> list[str]:
    return [_name(stage) for stage in stages]


def _changed(repo: Any, stage: Any) -> bool:
    # If somebody is at work on its files, it is not known to be fresh; the run waits its turn.
    return _while_locked(repo, lambda: bool(stage.changed()), lambda: True)


def _while_locked(repo: Any, ask: Callable[[], Answer], otherwise: Callable[[], Answer]) -> Answer:
    """Ask DVC while nobody writes: it rewrites dvc.lock in place, and half of it does not load."""
    from dvc.lock import LockError

    for wait_s in (*_WAITS_S[:3], None):
        try:
            with repo.lock:
                return ask()
        except LockError:
            if wait_s is None:
                return otherwise()
            time.sleep(wait_s)
    raise AssertionError("unreachable")
