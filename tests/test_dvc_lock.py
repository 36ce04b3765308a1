"""DVC's list of locks: appends wait while a real `dvc repro` reads them, and what is dead or damaged goes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dvc.lock import Lock

import review.server
from benchmarks.review import write_suspects
from review.server import Decide, Review, ReviewError
from tasks.decisions.log import PATH, read_decisions
from tasks.dvc_lock import LIST, DamagedLockError, mend, wait_until_unread

# The command says that it has started, and ends when it is told to.
STAGE = f"""
stages:
  pseudo_label:
    cmd: cp {PATH} seen && touch started && while [ ! -e go ]; do sleep 0.05; done
    deps: [{PATH}]
    outs: [seen]
"""


def test_a_decision_waits_until_dvc_has_hashed_what_the_stage_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suspects(tmp_path, 100, content="features", n_classes=3)
    (tmp_path / PATH).parent.mkdir()
    (tmp_path / PATH).write_text("example_id,decision,label,given_label,reviewer,time,revision\n")
    (tmp_path / "dvc.yaml").write_text(STAGE)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--quiet"], cwd=tmp_path, check=True)
    page = Review(tmp_path, "anna")
    asked = Decide(example_ids=[900], decision="keep", signature=page.suspects.signature)
    with subprocess.Popen([*dvc, "repro", "--quiet"], cwd=tmp_path) as process:
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            time.sleep(0.05)
        monkeypatch.setattr(review.server, "_WAIT_SECONDS", 0.2)
        with pytest.raises(ReviewError, match="DVC runs a stage that reads"):
            page.decide(asked)
        assert read_decisions(tmp_path / PATH) == []
        (tmp_path / "go").touch()
        monkeypatch.setattr(review.server, "_WAIT_SECONDS", 60.0)
        page.decide(asked)
        process.wait(60)
    assert len(read_decisions(tmp_path / PATH)) == 1
    # What DVC hashed is what the stage read: it knows that there is more now.
    said = subprocess.run(
        [*dvc, "status", "--json"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "pseudo_label" in json.loads(said.stdout)


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[int]:
    """The process id of a command that sleeps in a folder."""
    sleeper = folder.with_name(f"{folder.name}.py")
    sleeper.write_text("import time; print(1, flush=True); time.sleep(600)")
    words = [sys.executable, *(str(sleeper) if word == "SLEEPER" else word for word in command)]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@contextmanager
def zombie() -> Iterator[int]:
    """The process id of a process that has ended and for which nobody has waited."""
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process.pid


def write_list(root: Path, path: Path, pid: int) -> Path:
    lock = root / LIST
    lock.parent.mkdir(parents=True, exist_ok=True)
    holder = {"pid": pid, "cmd": "/usr/bin/dvc repro"}
    held = str(root.resolve() / path)
    lock.write_text(json.dumps({"write": {held: holder}, "read": {held: [holder]}}))
    return lock


def test_a_living_dvc_is_waited_for_and_stays_on_the_list(tmp_path: Path) -> None:
    with running(["SLEEPER", "repro"], tmp_path) as pid:
        lock = write_list(tmp_path, PATH, pid)
        before = lock.read_bytes()
        assert not wait_until_unread(tmp_path, PATH, 0)
        assert mend(tmp_path) == []
        assert lock.read_bytes() == before
        # Another file is free.
        write_list(tmp_path, Path("params.yaml"), pid)
        assert wait_until_unread(tmp_path, PATH, 0)
    # A program with DVC in it has any command line.
    with running(["SLEEPER", "repair"], tmp_path) as pid:
        write_list(tmp_path, PATH, pid)
        assert not wait_until_unread(tmp_path, PATH, 0)


def test_who_is_gone_holds_nobody_up_and_is_taken_off_the_list(tmp_path: Path) -> None:
    assert wait_until_unread(tmp_path, PATH, 0)
    assert mend(tmp_path) == []
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    elsewhere = tmp_path / "elsewhere"
    workspace = tmp_path / "workspace"
    elsewhere.mkdir()
    workspace.mkdir()
    with zombie() as dead, running(["SLEEPER", "other"], elsewhere) as other:
        for pid in (ended.pid, dead, other):
            lock = write_list(workspace, PATH, pid)
            assert wait_until_unread(workspace, PATH, 0)
            (said,) = mend(workspace)
            assert f"(PID {pid})" in said
            assert json.loads(lock.read_text()) == {"write": {}, "read": {}}
    # A number that lives again, in the workspace, since the list was written.
    with running(["SLEEPER", "other"], workspace) as again:
        lock = write_list(workspace, PATH, again)
        os.utime(lock, (0, 0))
        assert wait_until_unread(workspace, PATH, 0)


DAMAGED = ["", '{"write": {}, "re', "[]", '{"write": {"a": {"pid": "1"}}}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_list_goes_unless_a_dvc_is_at_work(tmp_path: Path, content: str) -> None:
    lock = tmp_path / LIST
    lock.parent.mkdir(parents=True)
    lock.write_text(content)
    (tmp_path / "dvc").write_text("import time; print(1, flush=True); time.sleep(600)")
    with running(["./dvc", "repro"], tmp_path) as pid:
        for ask in (lambda: wait_until_unread(tmp_path, PATH, 9), lambda: mend(tmp_path)):
            with pytest.raises(DamagedLockError, match=rf"\(PID {pid}\).*`rm \.dvc/tmp/rwlock`"):
                ask()
    assert lock.read_text() == content
    (said,) = mend(tmp_path)
    assert "was damaged" in said
    assert not lock.exists()
    lock.write_text(content)
    assert wait_until_unread(tmp_path, PATH, 9)


def test_a_list_that_dvc_is_writing_is_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / LIST
    lock.parent.mkdir(parents=True)
    lock.write_text("")
    with Lock(str(lock.with_name("rwlock.lock"))):
        assert mend(tmp_path) == []
        assert not wait_until_unread(tmp_path, PATH, 0.1)
        assert lock.exists()
        lock.write_text("{}")
        assert wait_until_unread(tmp_path, PATH, 0)
