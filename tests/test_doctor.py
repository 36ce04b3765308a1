"""What the doctor finds, and what it says to type."""

import subprocess
from pathlib import Path

import pytest
from small_runs import ROOT

from flows.doctor import (
    examine_disk,
    examine_dvc,
    examine_git,
    examine_gpu,
    examine_memory,
    examine_packages,
    examine_params,
    examine_prefect,
    examine_proxies,
)


def test_packages_as_pinned_are_right_and_others_are_named(tmp_path: Path) -> None:
    assert examine_packages(ROOT).verdict == "ok"
    lines = '[project]\ndependencies = ["numpy<1", "no-such-package>=2", "pydantic>=2"]\n'
    (tmp_path / "pyproject.toml").write_text(lines)
    found = examine_packages(tmp_path)
    assert found.verdict == "wrong"
    assert "numpy" in found.found
    assert "no-such-package is missing" in found.found
    assert "pydantic" not in found.found


def test_git_needs_a_repository_a_commit_and_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "git init" in examine_git(tmp_path).remedy
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert examine_git(tmp_path).verdict == "wrong"
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *author, "commit", "-qm", "x", "--allow-empty"], cwd=tmp_path, check=True)
    assert examine_git(tmp_path).verdict == "note"
    subprocess.run(["git", "config", "user.name", "Anna"], cwd=tmp_path, check=True)
    assert examine_git(tmp_path).verdict == "ok"


def test_dvc_needs_a_workspace(tmp_path: Path) -> None:
    assert examine_dvc(tmp_path).verdict == "wrong"
    (tmp_path / "dvc.yaml").touch()
    assert "dvc init" in examine_dvc(tmp_path).remedy
    (tmp_path / ".dvc").mkdir()
    assert examine_dvc(tmp_path).verdict == "ok"


def test_params_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    assert examine_params(ROOT).verdict == "ok"
    (tmp_path / "params.yaml").write_text("train_fold: {epohcs: 3}\n")
    found = examine_params(tmp_path)
    assert found.verdict == "wrong"
    assert "epohcs" in found.found


def test_little_disk_is_wrong_and_little_memory_a_note() -> None:
    assert examine_disk(2**30).verdict == "wrong"
    assert examine_disk(2**40).verdict == "ok"
    assert examine_memory(2**30).verdict == "note"
    assert examine_memory(2**35).verdict == "ok"


def test_a_driver_that_fails_is_a_note(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Failed to initialize NVML'\nexit 9\n")
    program.chmod(0o755)
    assert "NVML" in examine_gpu(str(program)).found
    program.write_text("#!/bin/sh\necho 'NVIDIA X, 80 GiB'\n")
    assert examine_gpu(str(program)).found == "NVIDIA X, 80 GiB"
    assert examine_gpu(None).verdict == "ok"


def test_proxies_are_named_without_their_passwords() -> None:
    found = examine_proxies({"HTTPS_PROXY": "http://anna:secret@proxy:3128"})
    assert "HTTPS_PROXY" in found.found
    assert "secret" not in found.found


def test_prefect_needs_a_home_and_a_named_server_should_answer(tmp_path: Path) -> None:
    assert examine_prefect(tmp_path / "new", None, lambda: False).verdict == "ok"
    assert examine_prefect(tmp_path, "http://127.0.0.1:1/api", lambda: True).verdict == "ok"
    found = examine_prefect(tmp_path, "http://anna:secret@127.0.0.1:1/api", lambda: False)
    assert found.verdict == "note"
    assert "secret" not in found.found
    (tmp_path / "file").touch()
    assert examine_prefect(tmp_path / "file" / "home", None, lambda: False).verdict == "wrong"
