"""The stage server: what it runs is what runs without it, and nobody outlives anybody."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tasks.stage_server import KILLED

# A server whose "stages" are commands that show what reached them.
SERVER = """
import os, subprocess, sys, time
from pathlib import Path
from tasks.stage_server import serve

def run(arguments):
    if arguments[0] == "show":
        print("out", os.getcwd(), os.environ["COLOUR"], *arguments)
        print("err", file=sys.stderr)
        return 7
    if arguments[0] == "server":
        print(os.getppid())
        return 0
    if arguments[0] == "raise":
        raise RuntimeError("lost")
    if arguments[0] == "exit":
        sys.exit(3)
    sleeper = subprocess.Popen(["sleep", "600"])
    Path(arguments[1]).write_text(f"{os.getpid()} {sleeper.pid}")
    time.sleep(600)

serve(sys.argv[1], ["json"], run, later=sys.argv[2:])
"""
# A server that runs DVC, and no stage.
DVC_SERVER = """
import sys
from flows.dvc_api.dvc_by_server import PRELOAD
from tasks.stage_server import _run, serve

serve(sys.argv[1], PRELOAD, _run)
"""
ROOT = Path(__file__).parents[1]


def until(condition: Callable[[], bool], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start(place: Path, program: str, *later: str) -> tuple[Path, subprocess.Popen[bytes]]:
    """A server and its address, once it answers."""
    address = place / "socket"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(address), *later],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{place}"},
    )
    until(address.exists)
    return address, process


@pytest.fixture(params=["alone", "taken over"])
def server(tmp_path: Path, request) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A server; one of which a fork has imported more and taken the address."""
    later = ["colorsys"] if request.param == "taken over" else []
    address, process = start(tmp_path, SERVER, *later)
    if later:
        until(lambda: call(address, "server").communicate()[0].strip() not in ("", str(process.pid)))
    yield address, process
    # It may be gone already.
    process.stdin.close()
    process.wait(30)


def call(address: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tasks", *arguments],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RELABEL_STAGE_SERVER": str(address),
            "COLOUR": "green",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def status(caller: subprocess.Popen[str]) -> int:
    caller.communicate()
    return caller.returncode


def start_sleeping(address: Path, tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    note = tmp_path / "pids"
    caller = call(address, "sleep", str(note))
    until(lambda: note.exists() and len(note.read_text().split()) == 2)
    return caller, [int(pid) for pid in note.read_text().split()]


def test_folder_environment_arguments_streams_and_status_pass_through(server, tmp_path: Path) -> None:
    caller = call(server[0], "show", "a b", cwd=tmp_path)
    out, err = caller.communicate()
    assert (out, err, caller.returncode) == (f"out {tmp_path} green show a b\n", "err\n", 7)


def test_an_exception_or_exit_of_the_stage_is_its_own(server) -> None:
    caller = call(server[0], "raise")
    _, err = caller.communicate()
    assert caller.returncode == 1
    assert "RuntimeError: lost" in err
    assert status(call(server[0], "exit")) == 3
    assert status(call(server[0], "show")) == 7


def test_a_stage_of_a_server_whose_stdout_is_closed_has_its_status(tmp_path: Path) -> None:
    # `relabel flow >&-` starts such a server.
    address, process = start(tmp_path, f"import os\nos.close(1)\nimport sys\nsys.stdout = None\n{SERVER}")
    assert status(call(address, "show")) == 7
    process.communicate()


def test_stages_run_side_by_side(server, tmp_path: Path) -> None:
    caller, _ = start_sleeping(server[0], tmp_path)
    assert status(call(server[0], "show")) == 7
    caller.kill()
    caller.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_stage_ends_with_its_caller(server, tmp_path: Path, number: int) -> None:
    caller, pids = start_sleeping(server[0], tmp_path)
    caller.send_signal(number)
    caller.communicate()
    until(lambda: not any(map(is_running, pids)))


def test_stages_end_when_who_started_the_server_is_gone(server, tmp_path: Path) -> None:
    address, process = server
    caller, pids = start_sleeping(address, tmp_path)
    process.stdin.close()
    process.wait(30)
    _, err = caller.communicate()
    assert (caller.returncode, err) == (1, f"{KILLED}\n")
    until(lambda: not any(map(is_running, pids)))


def test_a_killed_stage_is_a_failure_that_says_so(server, tmp_path: Path) -> None:
    caller, pids = start_sleeping(server[0], tmp_path)
    os.kill(pids[0], signal.SIGKILL)
    _, err = caller.communicate()
    assert (caller.returncode, err) == (1, f"{KILLED}\n")
    until(lambda: not any(map(is_running, pids)))


def test_without_a_server_the_stage_runs_here(tmp_path: Path) -> None:
    caller = call(tmp_path / "nothing", "download", cwd=tmp_path)
    _, err = caller.communicate()
    assert caller.returncode == 1
    assert "params.yaml" in err


def ask_dvc(address: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.dvc_api.dvc_by_server", "dvc", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RELABEL_DVC_SERVER": str(address)},
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
    )


def test_a_server_answers_while_its_fork_imports_and_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(
        f"import os, pathlib, time; pathlib.Path({str(tmp_path)!r}, 'fork').write_text(str(os.getpid())); "
        "time.sleep(600)"
    )
    address, process = start(tmp_path, SERVER, "endless")
    note = tmp_path / "fork"
    until(lambda: note.exists() and note.read_text() != "")
    assert status(call(address, "show")) == 7
    process.stdin.close()
    assert process.wait(30) == 0
    assert not is_running(int(note.read_text()))
    assert not address.exists()


def test_a_server_whose_fork_cannot_import_goes_on(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ImportError('of the fork')")
    address, process = start(tmp_path, SERVER, "broken")
    until(lambda: not any(map(is_running, (each.pid for each in psutil.Process(process.pid).children()))))
    assert status(call(address, "show")) == 7
    process.stdin.close()
    assert process.wait(30) == 0


def test_dvc_by_a_server_says_and_writes_what_dvc_does(tmp_path: Path) -> None:
    by_server, process = start(tmp_path, DVC_SERVER)
    said, folders = [], [tmp_path / "by_server", tmp_path / "itself"]
    for folder, address in zip(folders, (by_server, tmp_path / "nothing"), strict=True):
        (folder / ".dvc").mkdir(parents=True)
        (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
        stages = {"a": {"cmd": "echo made > a", "outs": ["a"]}, "b": {"cmd": "exit 7"}}
        (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))
        done = [ask_dvc(address, folder, "repro", "--single-item", name) for name in ("a", "b", "a")]
        said.append([(each.returncode, each.stdout, each.stderr) for each in done])
    assert said[0] == said[1]
    assert [status for status, _, _ in said[0]] == [0, 255, 0]
    assert "failed to reproduce 'b'" in said[0][1][2]
    assert len({(folder / "dvc.lock").read_bytes() for folder in folders}) == 1
    process.communicate()


@pytest.mark.parametrize("module", ["tasks.__main__", "flows.dvc_api.dvc_by_server"])
def test_asking_a_server_imports_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}; heavy = {{'numpy', 'pyarrow', 'pydantic', 'torch', 'tasks.params', 'dvc'}}; "
        "import json; print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []


def test_a_stage_ends_when_what_started_it_is_killed() -> None:
    code = (
        "import time, os; from tasks.stage_server import end_with_parent; end_with_parent(); "
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run([{sys.executable!r}, '-c', {code!r}])"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    until(lambda: not is_running(pid))


def test_a_stage_ends_when_its_flow_is_killed_though_dvc_lives() -> None:
    code = (
        "import time, os; from tasks.stage_server import end_with_parent; end_with_parent(); "
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    # Its stdin is the flow's end of a pipe, as DVC hands it on.
    stage = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "RELABEL_STAGE_SERVER": "nobody"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(stage.stdout.readline())
    time.sleep(0.3)
    assert is_running(pid)
    stage.communicate(timeout=30)
    assert stage.returncode == 1


def test_a_stage_of_make_repro_runs_though_stdin_is_at_its_end() -> None:
    code = "import time; from tasks.stage_server import end_with_parent; end_with_parent(); time.sleep(1)"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "RELABEL_STAGE_RECORD": "record.jsonl"},
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
