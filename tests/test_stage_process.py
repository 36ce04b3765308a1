"""A stage server that starts before Prefect is imported: when it does, who takes it, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_stage_server import is_running, until

from flows import stage_process
from flows.prefect_page import Page
from flows.runner import StageRunner
from flows.terminal_progress import RunProgress
from tasks.stage_server import OF_SKLEARN

ROOT = Path(__file__).parents[1]
AHEAD = """
import sys
from pathlib import Path
from flows import stage_process
assert "prefect" not in sys.modules
stage_process.start_ahead(Path(sys.argv[1]), [])
address, process = stage_process.take_ahead()
print(address, process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def started(monkeypatch) -> list[Path]:
    """The folders in which a server was started; none really is."""
    folders: list[Path] = []
    monkeypatch.setattr(stage_process, "start_process", lambda root, *_: folders.append(root))
    monkeypatch.setattr(stage_process, "_ahead", None)
    monkeypatch.delenv("RELABEL_STAGE_SERVER", raising=False)
    return folders


@pytest.mark.parametrize("options", [[], ["--summary"]])
def test_a_first_run_starts_it_and_the_runner_takes_it(tmp_path: Path, started, options: list[str]) -> None:
    (tmp_path / "dvc.yaml").touch()
    stage_process.start_ahead(tmp_path, options)
    assert started == [tmp_path]
    assert stage_process._ahead is not None
    address, _ = stage_process._ahead
    without = StageRunner(tmp_path, (), (), None, RunProgress([]), Page())
    assert without.socket != address
    first, second = (
        StageRunner(tmp_path, (), (), None, RunProgress([]), Page(), imports=OF_SKLEARN) for _ in range(2)
    )
    assert first.socket == address
    assert second.socket != address
    assert (tmp_path / ".dvc" / "tmp" / "relabel" / "stages").readlink() == second.socket


@pytest.mark.parametrize(
    ("files", "options", "inherited"),
    [
        ([], [], ""),
        (["dvc.yaml", "dvc.lock"], [], ""),
        (["dvc.yaml"], ["--until", "download"], ""),
        (["dvc.yaml"], [], "socket"),
    ],
)
def test_no_other_run_starts_it(tmp_path: Path, started, monkeypatch, files, options, inherited: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setenv("RELABEL_STAGE_SERVER", inherited)
    stage_process.start_ahead(tmp_path, options)
    assert started == []
    assert stage_process.take_ahead() is None


@pytest.mark.parametrize("when", ["it imports", "it serves"])
def test_it_ends_with_a_program_that_is_killed(tmp_path: Path, when: str) -> None:
    (tmp_path / "dvc.yaml").touch()
    program = subprocess.Popen(
        [sys.executable, "-c", AHEAD, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RELABEL_STAGE_SERVER": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    address, pid = program.stdout.readline().split()
    if when == "it serves":
        until(Path(address).exists, within_s=120)
    program.kill()
    program.communicate()
    until(lambda: not is_running(int(pid)), within_s=120)
    assert not list(Path(address).parent.glob(f"{Path(address).name}*"))
