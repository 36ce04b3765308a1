"""The flow's Prefect: what keeps a server from starting, and of what a run failed, is said in a sentence."""

import errno
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows import FlowError
from flows.clean_labels import describe_failure
from flows.prefect_server import open_server


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """No server is there; home and temporary folder are this test's."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("flows.prefect_server.server_answers", lambda: False)
    with temporary_settings({PREFECT_API_URL: None, PREFECT_HOME: tmp_path / "home"}):
        yield


@pytest.mark.parametrize(("name", "folder"), [("PREFECT_HOME", "home"), ("TMPDIR", "tmp")])
def test_a_folder_without_room_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    def full(dir: Path) -> io.BytesIO:  # as tempfile calls it
        if dir == tmp_path / folder:
            raise OSError(errno.ENOSPC, "No space left on device")
        return io.BytesIO()

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(FlowError, match=f"{name}, {tmp_path / folder}: .*No space left"), open_server("run"):
        pass


def test_a_server_that_ends_at_once_is_not_called_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.prefect_server.sys.executable", shutil.which("false"))
    with pytest.raises(FlowError, match="ended with status 1"), open_server("run"):
        pass


def test_what_the_disk_refuses_the_flow_is_a_sentence() -> None:
    prefect_says = "Flow run encountered an exception: ..."
    of_disk = PermissionError(errno.EACCES, "Permission denied", ".dvc/tmp/relabel")
    assert describe_failure(of_disk, prefect_says).startswith(".dvc/tmp/relabel: expected to write here")
    assert describe_failure(FlowError("Mend it."), prefect_says) == "Mend it."
    assert describe_failure(ValueError("strange"), prefect_says) == prefect_says
