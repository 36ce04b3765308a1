"""`init --into`: a workspace of its own, by real git and DVC."""

import subprocess
from pathlib import Path

import own_forms
import pytest
from small_runs import ROOT, dvc

from tasks.intake.command import init
from tasks.tables.catalog import EXAMPLES
from tasks.tables.io import read_table


@pytest.mark.slow
def test_a_workspace_of_its_own_has_the_data_versioned_and_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (ROOT / "params.yaml").read_bytes()
    folder = tmp_path / "its own"
    path = own_forms.class_folders(tmp_path)
    init(ROOT, [str(path), "--into", str(folder), "--dvc-add"])
    assert (ROOT / "params.yaml").read_bytes() == before
    assert not (ROOT / "inputs" / "examples" / path.name).exists()
    assert f"cd '{folder}' && relabel run" in capsys.readouterr().out
    assert (folder / "inputs" / "examples" / f"{path.name}.dvc").is_file()
    dvc(folder, "repro", "--single-item", "download")
    assert read_table(EXAMPLES.at(folder), EXAMPLES, ["split"]).num_rows == own_forms.N
    # The data and their version are no surprise to git.
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert {line[3:] for line in status.stdout.splitlines()} <= {
        f"inputs/examples/{path.name}.dvc",
        "dvc.lock",
    }
