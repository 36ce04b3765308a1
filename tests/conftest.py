"""Fixtures that several test files share."""

import fcntl
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from doors import Door, make_waited
from playwright.sync_api import Browser, sync_playwright
from small_runs import ENVIRONMENT, ROOT, SETTINGS, dvc, run_pipeline, write_params
from threadpoolctl import threadpool_limits
from warm import end_of_run, lasting, open_place, run_warm, warm_python

from benchmarks.doors import start_prefect_server
from benchmarks.workspaces import make_workspace
from tasks import plugins

# A shared machine may stall at any moment: no example has a deadline. CI draws the same examples each time.
hypothesis.settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("project")

# There is a worker for each core. Threads of BLAS and OpenMP would wait for one another, at full speed.
os.environ["OMP_NUM_THREADS"] = "1"
threadpool_limits(1)

# A run in the background inherits SIGINT ignored and would hand that on to what the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


# In memory, where there is enough, nobody waits for a disk. Workers are told where by whoever starts them.
_MEMORY, _ENOUGH_BYTES = Path("/dev/shm"), 2**32
if (
    "PYTEST_DEBUG_TEMPROOT" not in os.environ
    and os.access(_MEMORY, os.W_OK)
    and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
    and min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available // 2) > _ENOUGH_BYTES
):
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(_MEMORY)

# Before workers start: they share what it is for.
open_place()

# Packages of the checkout, and what tests share.
_OWN = ("benchmarks", "flows", "review", "tasks", "small_runs", "small_trainings", "warm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files go first: begun last, one would run alone while the other worker has nothing to do."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


def _state() -> dict[str, str]:
    """What tests may change and must set back: folder, environment, and constants of our own modules."""
    found = {f"${name}": value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in _OWN:
            for constant, value in vars(module).items():
                if constant.isupper() and isinstance(value, dict | list | set):
                    found[f"{name}.{constant}"] = repr(value)
    return found | {"folder": str(Path.cwd())}


@pytest.fixture(autouse=True, scope="module")
def nothing_left_changed() -> Iterator[None]:
    """A file of tests leaves its process as it was: the order of files then says nothing."""
    before = _state()
    yield
    after = _state()
    assert {name: after.get(name) for name in before if after.get(name) != before[name]} == {}


@pytest.fixture
def add_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], None]]:
    """A function that adds a file to a kind of plug-ins, which is found by its name until the test ends."""
    added = []

    def add(kind: str, name: str, source: str) -> None:
        package = importlib.import_module(plugins.PACKAGES[kind])
        folder = tmp_path / "plugins" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(source)
        if str(folder) not in package.__path__:
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        importlib.invalidate_caches()
        added.append(f"{package.__name__}.{name}")

    yield add
    for module in added:
        sys.modules.pop(module, None)


LabelCase = tuple[npt.NDArray[np.int64], npt.NDArray[Any]]


def _draw_label_case(seed: int, most_classes: int = 30, most_rows: int = 1000) -> LabelCase:
    """Labels (N,) and pred_probs (N, K), in float32 or float64: skewed, tied, classes missing or hopeless."""
    rng = np.random.default_rng(seed)
    n_classes = int(rng.integers(2, most_classes + 1))
    n = int(np.exp(rng.uniform(np.log(2), np.log(most_rows + 1))))
    true = rng.choice(n_classes, n, p=rng.dirichlet(np.full(n_classes, rng.choice([0.2, 1.0, 10.0]))))
    labels = np.where(rng.random(n) < rng.uniform(0, 0.5), rng.integers(n_classes, size=n), true)
    if rng.random() < 0.3:  # a class without rows
        labels = np.where(labels == labels[0], (labels + 1) % n_classes, labels)
    if n > n_classes and rng.random() < 0.2:  # a class with one row
        labels = np.where(labels == labels[0], (labels + 1) % n_classes, labels)
        labels[0] = true[0]
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), true] += rng.choice([0.0, 1.0, 3.0, 6.0])
    if rng.random() < 0.2:  # a class that is never predicted
        logits[:, rng.integers(n_classes)] -= 30
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    kind = rng.integers(4)
    if kind == 1:  # equal values within and between rows, also of exactly 0 and 1
        probs = np.clip(np.round(probs * rng.choice([2, 4, 10])) / 10, 0, 1)
    if kind == 2:  # equal rows
        probs = probs[rng.integers(max(n // 3, 1), size=n)]
    return labels.astype(np.int64), probs.astype(rng.choice([np.float32, np.float64]))


@pytest.fixture(scope="session")
def draw_label_case() -> Callable[..., LabelCase]:
    """Draws the random labels and probabilities of a seed."""
    return _draw_label_case


@pytest.fixture(scope="session")
def stable_argsort() -> Callable[[], AbstractContextManager[None]]:
    """A context in which every `np.argsort` is stable, cleanlab's too: then ties fall in row order."""
    unstable = np.argsort

    def sort(values: Any, axis: int = -1, kind: Any = None, **options: Any) -> Any:
        return unstable(values, axis=axis, kind="stable", **options)

    @contextmanager
    def context() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np, "argsort", sort)
            yield

    return context


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage ran on digits, in this process. Read it; copy it to change it."""
    folder = tmp_path_factory.mktemp("finished")
    write_params(folder)
    run_pipeline(folder)
    return folder


@pytest.fixture
def workspace_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], AbstractContextManager[Path]]:
    """A context with the path of a folder that all workers of the test run share, and its lock."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    @contextmanager
    def hold(name: str) -> Iterator[Path]:
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield base / name

    return hold


@pytest.fixture(scope="session")
def reproduced(shared: Callable[[str], AbstractContextManager[Path]]) -> Path:
    """A fresh repository in which `dvc repro` ran. Read it; copy it to change it."""
    with shared("reproduced") as folder:
        if not folder.exists():
            make_workspace(folder, SETTINGS, source=ROOT)
            dvc(folder, "repro")
    return folder


@pytest.fixture(scope="session")
def new_home(
    shared: Callable[[str], AbstractContextManager[Path]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Path]:
    """Makes a home of Prefect; to make its database takes longer than to start a server, so one is copied."""
    with shared("prefect") as first:
        if not first.exists():
            command = ["prefect", "server", "database", "upgrade", "--yes"]
            status, said, _ = run_warm(command, ROOT, {**ENVIRONMENT, "PREFECT_HOME": str(first)})
            assert status == 0, said
    return lambda: Path(shutil.copytree(first, tmp_path_factory.mktemp("prefect") / "home"))


# Starts what its arguments say, by another Python, which follows, and ends it when its stdin ends.
_WITH_STDIN = 'exec 3<&0; shift; "$0" "$@" 3<&- & run=$!; { read -r end; kill $run; } <&3 & wait $run'


@pytest.fixture(scope="session")
def prefect_folder(
    shared: Callable[[str], AbstractContextManager[Path]], new_home: Callable[[], Path]
) -> Path:
    """Where the Prefect server that all workers share has its log, `server.log`, and the file `url`."""
    with shared("prefect_server") as folder:
        if not (folder / "url").exists():
            folder.mkdir()
            with end_of_run() as end:
                starter = ("sh", "-c", _WITH_STDIN, str(warm_python()))
                server, url = start_prefect_server(folder / "server.log", new_home(), starter, end)
            lasting.append(server)
            (folder / "url").write_text(url)
    return folder


@pytest.fixture(scope="session")
def environment(prefect_folder: Path, new_home: Callable[[], Path]) -> dict[str, str]:
    """What a flow run needs: a Prefect server on loopback, and a home of its own."""
    url = (prefect_folder / "url").read_text()
    return {**ENVIRONMENT, "PREFECT_HOME": str(new_home()), "PREFECT_API_URL": url}


@pytest.fixture
def done(reproduced: Path, environment: dict[str, str], tmp_path: Path) -> Door:
    """A workspace in which `dvc repro` ran."""
    folder = tmp_path / "workspace"
    shutil.copytree(reproduced, folder, symlinks=True)
    return Door(folder, environment)


@pytest.fixture
def waited(
    shared: Callable[[str], AbstractContextManager[Path]], environment: dict[str, str], tmp_path: Path
) -> Door:
    """A workspace of one stage that ran, and that waits where it runs again: a copy of `make_waited`'s."""
    with shared("waited") as made:
        if not made.exists():
            make_waited(made)
    return Door(shutil.copytree(made, tmp_path / "workspace", symlinks=True), environment)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium, without a window. A module's, as it holds the thread's event loop."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        # Inside a container, as root, Chromium's own sandbox does not start.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
