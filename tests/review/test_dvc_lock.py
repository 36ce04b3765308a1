"""Appends wait while DVC reads the decisions for a stage: a real `dvc repro`, and a real page."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import review.server
from benchmarks.review import write_suspects
from review.dvc_lock import wait_until_unread
from review.server import Decide, Review, ReviewError
from tasks.decisions.log import PATH, read_decisions

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


def test_dead_holders_other_files_and_no_dvc_hold_nobody_up(tmp_path: Path) -> None:
    assert wait_until_unread(tmp_path, PATH, 0)
    lock = tmp_path / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    for path, pid, expected in (
        (PATH, os.getpid(), False),
        (PATH, ended.pid, True),
        (Path("params.yaml"), os.getpid(), True),
    ):
        holder = {"pid": pid, "cmd": "dvc repro"}
        lock.write_text(json.dumps({"write": {}, "read": {str(tmp_path.resolve() / path): [holder]}}))
        assert wait_until_unread(tmp_path, PATH, 0) == expected
    lock.write_text('{"write": {}, "re')
    assert not wait_until_unread(tmp_path, PATH, 0.1)
    lock.write_text("{}")
    assert wait_until_unread(tmp_path, PATH, 0)
