"""What tests of intake share: a workspace to bring data into, and a folder for what a person has."""

from pathlib import Path

import pytest
from small_runs import ROOT


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return folder


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder for what a person has."""
    folder = tmp_path / "given"
    folder.mkdir()
    return folder
