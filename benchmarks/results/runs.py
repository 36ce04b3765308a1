"""Workspaces of the results: a preset in a folder of its own, run with these values and then with others."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.presets import bring_inputs, read_preset
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.schemas import column_array
from tasks.workspace import CHECKOUT, make_workspace

FOLDER = Path(".cache/results").resolve()


def open_workspace(name: str, preset: str, settings: Mapping[str, object]) -> Path:
    """The folder of this name with the code of now, a preset and `settings`; what it has computed stays."""
    folder = FOLDER / name
    make_workspace(folder, {**read_preset(preset), **settings})
    bring_inputs(CHECKOUT, folder)
    return folder


def reproduce(folder: Path, target: str | None = None) -> None:
    """Bring a workspace up to date by `dvc repro`, to the end or up to `target`.

    Raises:
        SystemExit: a stage failed.
    """
    command = [sys.executable, "-m", "dvc", "repro", *([target] if target else [])]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with (folder / "log").open("a") as log:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise SystemExit(f"{folder} failed; see {folder}/log")


def read_metrics(folder: Path, name: str) -> dict[str, Any]:
    """metrics/NAME.json."""
    found: dict[str, Any] = json.loads((folder / "metrics" / f"{name}.json").read_text("utf-8"))
    return found


def read_issues(folder: Path, columns: list[str]) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """data/label_issues.parquet with these columns, and (N,) which of its rows are wrong.

    Raises:
        ArtifactError: the truth is not known of each.
    """
    issues = read_table(LABEL_ISSUES.at(folder), LABEL_ISSUES, columns=columns)
    given = read_table(GIVEN_LABELS.at(folder), GIVEN_LABELS, columns=["is_noisy"])
    return issues, column_array(join(given, column_array(issues, "example_id")), "is_noisy")
