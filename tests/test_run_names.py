"""What a run is called on Prefect's page."""

from pathlib import Path

import numpy as np
import pytest
from hand_made import write_run
from small_runs import write_params

from flows.results import say_where_the_report_is
from flows.run_names import data_set_name, outcome_of, suspect_ids
from flows.run_result import RunResult


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path, np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    return tmp_path


def result(**outcomes: str) -> RunResult:
    """A run in which the stages ended so."""
    found = RunResult(dict.fromkeys(outcomes, ()))
    for name, outcome in outcomes.items():
        found.add(name, outcome, f"{name} broke", 1.0)
    return found


def test_the_outcome_counts_suspects_that_were_none_before(run_folder: Path) -> None:
    now = suspect_ids(run_folder)
    assert now is not None
    assert len(now) > 2
    done = result(download="Cached", prune="Completed")
    assert outcome_of(done, None, run_folder) == f"{len(now)} suspects"
    assert outcome_of(done, now, run_folder) == "no new suspects"
    assert outcome_of(done, now[1:], run_folder) == "1 new suspect"
    assert outcome_of(done, np.append(now[2:], -1), run_folder) == "2 new suspects"


def test_the_outcome_of_a_run_that_failed_or_had_nothing_to_do(run_folder: Path, tmp_path: Path) -> None:
    assert outcome_of(result(download="Completed", prune="Failed"), None, run_folder) == "failed at prune"
    assert outcome_of(result(download="Cached"), None, run_folder) == "up to date"
    (run_folder / "data" / "label_issues.parquet").write_bytes(b"no table")
    assert suspect_ids(run_folder) is None
    assert outcome_of(result(download="Completed"), None, run_folder) == "1 stage done"


def test_a_data_set_is_called_as_its_owner_calls_it(tmp_path: Path) -> None:
    write_params(tmp_path)
    assert data_set_name(tmp_path) == "digits"
    write_params(tmp_path, download__dataset="folder", datasets__folder__name="pets")
    assert data_set_name(tmp_path) == "pets"


def test_what_to_type_for_the_report_fits_odd_paths() -> None:
    said = say_where_the_report_is(Path("/data/my pets"))
    assert "--directory '/data/my pets/report'" in said
    assert "    /data/my pets/report/index.html" in said
