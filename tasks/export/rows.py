"""What became of every row of the data set, under the names that its owner knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks import ArtifactError
from tasks.decisions.log import PATH, Decision, read_decisions, standing
from tasks.repair import DROPPED
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, LABEL_ISSUES, SPLIT_ROWS, TRAINING_SET
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import read_table
from tasks.tables.schemas import Artifact, column_array

LABEL, ACTION, SUGGESTED, ERROR_PROB, DECIDED_BY = COLUMNS = (
    "relabel_label",
    "relabel_action",
    "suggested",
    "error_prob",
    "decided_by",
)
"""The columns that an export adds to those of the owner."""
NOT_JUDGED = "not judged"
_NO_LABEL = -1


@dataclass(frozen=True)
class Written:
    """What an export wrote.

    Attributes:
        rows: all rows of the owner, as `collect_rows` has them, and those that were left out.
        said: which files hold them.
    """

    rows: pa.Table
    said: str


def collect_rows(workspace: Path) -> tuple[pa.Table, DatasetFacts]:
    """A table of all rows: `key`, `given_label`, `COLUMNS`, `split` and `why`; classes by their names.

    `relabel_label` is null where a row is dropped, and where it has no label. `relabel_action` is what the
    repair did, `not judged` for rows that no fold judged, as those of a test split. `why` says why a row is
    dropped. Memory follows the rows, not their content.

    Raises:
        ArtifactError: the pipeline has not come to the end, or a table is not what it should be.
    """
    given = _read(workspace, GIVEN_LABELS, ["key", "split", "given_label"])
    facts = read_facts(given, str(GIVEN_LABELS.at(workspace)))
    named = given.select(["example_id", "key", "split"])
    if EXAMPLES.at(workspace).exists():
        examples = _read(workspace, EXAMPLES, ["key", "split"])
        named = examples.select(["example_id", "key", "split"])
        if SPLIT_ROWS.at(workspace).exists():
            splits = _read(workspace, SPLIT_ROWS, ["split"])
            named = named.set_column(2, "split", _of(splits, "split", named, None))
    issues = _read(workspace, LABEL_ISSUES, ["suggested_label", "suggested_prob", "error_prob", "is_issue"])
    repaired = _read(workspace, TRAINING_SET, ["label", "action", "source", "weight"])
    names = np.array(facts.class_names, dtype=object)

    def named_classes(column: pa.Array) -> pa.Array:
        index = column.fill_null(_NO_LABEL).to_numpy(zero_copy_only=False)
        return pa.array(np.where(index == _NO_LABEL, None, names[index]), pa.string())

    given_label = _of(given, "given_label", named, _NO_LABEL).fill_null(_NO_LABEL)
    action = _of(repaired, "action", named, NOT_JUDGED)
    is_judged = np.array([value != NOT_JUDGED for value in action.to_pylist()])
    label = np.where(
        is_judged,
        _of(repaired, "label", named, _NO_LABEL).to_numpy(zero_copy_only=False),
        given_label.to_numpy(zero_copy_only=False),
    )
    is_left_out = is_judged & (_of(repaired, "weight", named, 1).to_numpy(zero_copy_only=False) == 0)
    # A row that never had a label, and did not join, has nothing that could be dropped.
    is_dropped = is_left_out & (given_label.to_numpy() != _NO_LABEL)
    suggested = named_classes(_of(issues, "suggested_label", named, _NO_LABEL))
    decided = _decided(workspace, column_array(named, "example_id"))
    prob = _of(issues, "suggested_prob", named, None)
    table = pa.table(
        {
            "key": named.column("key"),
            "given_label": named_classes(given_label),
            LABEL: named_classes(pa.array(np.where(is_left_out, _NO_LABEL, label))),
            ACTION: action,
            SUGGESTED: suggested,
            ERROR_PROB: _of(issues, "error_prob", named, None),
            DECIDED_BY: pa.array([each.reviewer if each else None for each in decided], pa.string()),
            "split": named.column("split"),
            "why": pa.array(_why(is_dropped, decided, suggested, prob), pa.string()),
        }
    )
    return table, facts


def _read(workspace: Path, artifact: Artifact, columns: Sequence[str]) -> pa.Table:
    return read_table(artifact.at(workspace), artifact, columns=list(columns))


def _of(table: pa.Table, name: str, rows: pa.Table, missing: object) -> pa.Array:
    """A column (N,) of `table` for the rows of another, `missing` where the table lacks the row."""
    place = pa.compute.index_in(
        rows.column("example_id").combine_chunks(), value_set=table.column("example_id").combine_chunks()
    )
    found = table.column(name).combine_chunks().take(place)
    if missing is None:
        return found
    absent = pa.compute.is_null(place)
    return pa.compute.if_else(absent, pa.scalar(missing, found.type), found)


def _decided(workspace: Path, ids: npt.NDArray[np.int64]) -> list[Decision | None]:
    """(N,) the decision of a person that stands about each row."""
    path = workspace / PATH
    if not path.exists():
        return [None] * len(ids)
    of: Mapping[int, Decision] = {each.example_id: each for each in standing(read_decisions(path))}
    return [of.get(each) for each in ids.tolist()]


def _why(
    is_dropped: npt.NDArray[np.bool_], decided: Sequence[Decision | None], suggested: pa.Array, prob: pa.Array
) -> list[str | None]:
    """(N,) why a row is dropped; None where it is not."""
    why: list[str | None] = [None] * len(is_dropped)
    for row in np.flatnonzero(is_dropped).tolist():
        decision = decided[row]
        if decision is not None and decision.decision == "drop":
            why[row] = f"{decision.reviewer} dropped it on {decision.time[:10]}"
        else:
            why[row] = (
                "its label is probably wrong, and no other is sure enough: "
                f"{suggested[row].as_py()} has a probability of {prob[row].as_py():.1%}"
            )
    return why


def require_results(workspace: Path) -> None:
    """Check that the pipeline has come as far as the repaired labels.

    Raises:
        ArtifactError: it has not.
    """
    path = TRAINING_SET.at(workspace)
    if not path.exists():
        raise ArtifactError(f"{path}: expected the repaired labels, found no file. Run `dvc repro` first.")


def drop_of(rows: pa.Table) -> pa.Table:
    """The dropped rows, each with why."""
    is_dropped = pa.compute.equal(rows.column(ACTION), DROPPED)
    return rows.filter(is_dropped).select(["key", "given_label", SUGGESTED, ERROR_PROB, DECIDED_BY, "why"])
