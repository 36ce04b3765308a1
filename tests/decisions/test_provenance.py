import getpass
import hashlib
import subprocess
from pathlib import Path

import pytest

from tasks.decisions.provenance import current_revision, default_reviewer


def test_a_revision_is_dirty_where_the_issues_are_not_those_of_its_lock_file(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false"]
        command = ["git", *author, *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    issues = tmp_path / "data" / "label_issues.parquet"
    issues.parent.mkdir()
    issues.write_bytes(b"issues")
    md5 = hashlib.md5(b"issues").hexdigest()
    out = f"{{path: data/label_issues.parquet, md5: {md5}}}"
    lock = f"schema: '2.0'\nstages:\n  prune:\n    outs: [{out}]\n"
    assert current_revision(tmp_path) == "none"
    git("init", "-q")
    (tmp_path / "dvc.lock").write_text(lock)
    git("add", "dvc.lock")
    git("commit", "-qm", "Results")
    commit = git("rev-parse", "HEAD")[:12]
    assert current_revision(tmp_path) == commit
    issues.write_bytes(b"others")
    assert current_revision(tmp_path) == f"{commit}-dirty"
    issues.unlink()
    assert current_revision(tmp_path) == commit
    issues.write_bytes(b"issues")
    assert current_revision(tmp_path) == commit
    for other in (lock + "# edited\n", "stages: [1]\n", "{"):
        (tmp_path / "dvc.lock").write_text(other)
        assert current_revision(tmp_path) == f"{commit}-dirty"


def test_an_account_without_a_name_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for error in (KeyError("uid not found"), OSError("no name")):

        def fail(error: Exception = error) -> str:
            raise error

        monkeypatch.setattr(getpass, "getuser", fail)
        assert default_reviewer(tmp_path) == "unknown"
