"""Schedules: what parses, what is refused, and a real run that starts by itself and leaves a version."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from doors import Door

from benchmarks.workspaces import set_params
from flows import FlowError
from flows.record import save_version
from flows.serve import main, parse_schedule

SERVE = [sys.executable, "-m", "flows.serve"]


def test_cron_and_interval_carry_their_time_zone() -> None:
    schedule = parse_schedule("0 3 * * *", None, "Europe/Berlin")
    assert (schedule.cron, schedule.timezone) == ("0 3 * * *", "Europe/Berlin")
    schedule = parse_schedule(None, "6h", "UTC")
    assert schedule.interval is not None
    assert schedule.interval.total_seconds() == 6 * 3600


@pytest.mark.parametrize(
    ("cron", "every", "timezone", "said"),
    [
        ("every night", None, "UTC", "--cron: expected five fields"),
        ("0 3 * * * * * *", None, "UTC", "--cron: expected five fields"),
        (None, "soon", "UTC", "--every: expected a whole number and s, m, h or d"),
        (None, "0s", "UTC", "--every: expected"),
        ("0 3 * * *", None, "Mars/Olympus", "--timezone: expected an IANA name"),
        (None, None, "UTC", "one of --cron and --every"),
        ("0 3 * * *", "6h", "UTC", "one of --cron and --every"),
    ],
)
def test_a_schedule_that_does_not_parse_is_one_sentence(cron, every, timezone, said) -> None:
    with pytest.raises(FlowError) as found:
        parse_schedule(cron, every, timezone)
    assert said in str(found.value)


def test_a_schedule_without_a_server_says_how_to_start_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.serve.server_answers", lambda: False)
    assert main(["--every", "1h"]) == 1
    assert "prefect server start --host 127.0.0.1" in capsys.readouterr().err


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_a_run_falls_due_starts_by_itself_and_leaves_an_experiment(done: Door) -> None:
    git(done.folder, "add", "--all")
    git(done.folder, "commit", "--quiet", "--no-gpg-sign", "-m", "Ran")
    set_params(done.folder / "params.yaml", {"report.top_issues": 9})
    served = done.start("--every", "5s", "--record", "experiment", command=SERVE)
    try:
        deadline = time.monotonic() + 120
        while "relabel-" not in (names := done.dvc("exp", "list", "--name-only")):
            assert served.poll() is None
            assert time.monotonic() < deadline
            time.sleep(1)
        # The next runs find everything up to date and leave no version.
        time.sleep(8)
        assert done.dvc("exp", "list", "--name-only") == names
    finally:
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=60)
    shown = done.dvc("exp", "show", "--csv")
    assert "report.top_issues" in shown
    assert names.strip() in shown
    done.assert_no_orphans()


@pytest.mark.slow
def test_a_version_as_commit_holds_the_lock_and_nothing_else(done: Door) -> None:
    git(done.folder, "config", "user.name", "test")
    git(done.folder, "config", "user.email", "test@localhost")
    (done.folder / "notes.txt").write_text("mine")
    git(done.folder, "add", "notes.txt")
    assert "Kept as commit" in (save_version(done.folder, "commit", "Nightly") or "")
    changed = git(done.folder, "show", "--name-only", "--format=%s", "HEAD").split()
    assert changed[0] == "Nightly"
    assert "dvc.lock" in changed
    assert "notes.txt" not in changed
    assert "A  notes.txt" in git(done.folder, "status", "--porcelain")
    # Nothing changed since, so there is nothing to keep.
    assert save_version(done.folder, "commit", "Nightly") is None


@pytest.mark.slow
def test_versions_are_sent_with_their_data(done: Door, tmp_path: Path) -> None:
    for name in ("user.name", "user.email"):
        git(done.folder, "config", name, "test@localhost")
    log = done.flow("--record", "commit", "--push", status=1)
    assert "clean_labels: --push: expected a git remote `origin`, found none." in log
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(done.folder, "remote", "add", "origin", str(tmp_path / "origin.git"))
    done.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    git(done.folder, "commit", "--quiet", "--no-gpg-sign", "-am", "Remote")
    log = done.flow("--set", "report.top_issues=9", "--record", "commit", "--push")
    assert git(done.folder, "rev-parse", "--short", "HEAD").strip() in log
    clone = Door(tmp_path / "clone", done.environment)
    git(tmp_path, "clone", "--quiet", "origin.git", "clone")
    # All that the commit names is in the store: nothing is run.
    assert "Everything is up to date." in clone.flow("--pull")
    log = done.flow("--set", "report.top_issues=8", "--record", "experiment", "--push")
    (name,) = re.findall(r"Kept as experiment (\S+)\.", log)
    assert name in clone.dvc("exp", "list", "origin", "--name-only")


@pytest.mark.slow
def test_a_version_that_git_refuses_is_one_sentence(done: Door) -> None:
    (done.folder / ".git" / "index.lock").touch()
    with pytest.raises(FlowError, match="The version could not be kept: `git add` said: "):
        save_version(done.folder, "commit", "Nightly")
