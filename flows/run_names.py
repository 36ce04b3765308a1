"""What a run is called on Prefect's page: after its data set and what came out."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from flows.run_result import RunResult
from tasks import ArtifactError
from tasks.params import load_params
from tasks.tables.catalog import LABEL_ISSUES
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array

Ids = npt.NDArray[np.int64]


def data_set_name(root: Path) -> str:
    """What the owner calls the data set of a workspace, else what kind it is.

    Raises:
        ParamsError: params.yaml cannot be used.
    """
    params = load_params(root / "params.yaml")
    kind = params.download.dataset
    return str(getattr(params.options("datasets", kind), "name", "") or kind)


def suspect_ids(root: Path) -> Ids | None:
    """(M,) the ids of the suspect rows of a workspace; None where there is no table of them to be read."""
    try:
        reader = TableReader(LABEL_ISSUES.at(root), LABEL_ISSUES, ["is_issue"])
        parts = [
            column_array(part, "example_id")[column_array(part, "is_issue")] for part in reader.portions()
        ]
    except ArtifactError:
        return None
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def outcome_of(result: RunResult, before: Ids | None, root: Path) -> str:
    """What came out of a run, in a few words: `12 new suspects`.

    Args:
        result: what became of the stages.
        before: the suspects before the run.
        root: the workspace after it.
    """
    if result.failures:
        return f"failed at {next(iter(result.failures))}"
    if not result.ran:
        return "up to date"
    after = suspect_ids(root)
    if after is None:
        return f"{len(result.ran)} stage{'' if len(result.ran) == 1 else 's'} done"
    if before is None:
        return _suspects(len(after))
    return _suspects(len(np.setdiff1d(after, before)), "new ")


def _suspects(count: int, kind: str = "") -> str:
    return f"{count or 'no':{',' if count else ''}} {kind}suspect{'' if count == 1 else 's'}"
