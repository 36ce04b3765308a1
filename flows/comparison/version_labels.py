"""What a version says of each row: its labels, issues and actions."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flows.comparison.distances import rows_among
from flows.comparison.parameters import of_other_classes, of_other_data_sets
from flows.dvc_api.revisions import Revision
from tasks.label_quality.changes import ACTIONS, NO_LABEL, Columns, action_indices, derive_actions
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES, TRAINING_SET, UNLABELED
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.joins import locate
from tasks.tables.schemas import column_array


@dataclass(frozen=True)
class Labels:
    """The labels of one version, in order of `ids`; `columns` as `find_changes` reads them."""

    revision: Revision
    facts: DatasetFacts
    ids: npt.NDArray[np.int64]
    columns: Columns

    def of(self, places: npt.NDArray[np.intp]) -> Columns:
        """The columns of these rows."""
        return {name: values[places] for name, values in self.columns.items()}


def read_labels(revision: Revision, notes: list[str]) -> Labels | None:
    """The labels of a version; None, and a note, where `prune` has not run in it."""
    if not revision.has(LABEL_ISSUES.path):
        notes.append(
            f"{revision.name} has no {LABEL_ISSUES.path}: `prune` has not run in it, so it has no rows "
            "to compare."
        )
        return None
    needed = ["given_label", "suggested_label", "suggested_prob", "self_confidence", "is_issue"]
    table = revision.table(LABEL_ISSUES, needed)
    ids = column_array(table, "example_id")
    columns = {name: column_array(table, name) for name in needed}
    columns |= {name: columns[name].astype(np.int64) for name in ("given_label", "suggested_label")}
    columns["truth"] = np.full(len(ids), NO_LABEL, dtype=np.int64)
    if revision.has(GIVEN_LABELS.path):
        given = revision.table(GIVEN_LABELS, [], optional=["true_label"])
        if "true_label" in given.column_names:
            places = locate(column_array(given, "example_id"), ids, f"{revision.name}: {GIVEN_LABELS.path}")
            columns["truth"] = (
                given.column("true_label").fill_null(NO_LABEL).to_numpy()[places].astype(np.int64)
            )
    if revision.has(TRAINING_SET.path):
        columns |= _read_actions(revision, ids, columns["is_issue"])
    else:
        notes.append(
            f"{revision.name} has no {TRAINING_SET.path}: what became of its label issues is not compared."
        )
    return Labels(revision, read_facts(table, f"{revision.name}: {LABEL_ISSUES.path}"), ids, columns)


def _read_actions(revision: Revision, ids: npt.NDArray[np.int64], is_issue: npt.NDArray[np.bool_]) -> Columns:
    """What became of each row: `action`, an index in `ACTIONS`, and `label`, `NO_LABEL` of one without."""
    table = revision.table(TRAINING_SET, ["label"], optional=["action"])
    of_table, places = rows_among(ids, column_array(table, "example_id"))
    label = np.full(len(ids), NO_LABEL, dtype=np.int64)
    label[places] = column_array(table, "label")[of_table]
    if "action" in table.column_names:
        action = np.full(len(ids), ACTIONS.index("dropped"), dtype=np.int64)
        names = column_array(table, "action")[of_table]
        action[places] = action_indices(names)
        label[action == ACTIONS.index("dropped")] = NO_LABEL
        label[places[names == UNLABELED]] = NO_LABEL
        return {"label": label, "action": action}
    # The first edition wrote no action, and no row for what was dropped.
    source = np.full(len(ids), "", dtype=object)
    there, is_soft = np.zeros((2, len(ids)), dtype=bool)
    for part in revision.portions(TRAINING_SET, ["source", "soft_label"]):
        of_part, places = rows_among(ids, column_array(part, "example_id"))
        there[places] = True
        source[places] = column_array(part, "source")[of_part]
        is_soft[places] = column_array(part, "soft_label").max(axis=1)[of_part] < 1
    return {"label": label, "action": derive_actions(is_issue, there, source, is_soft)}


def incomparable(old: Labels, new: Labels) -> str | None:
    """Why the rows of two versions are not the same things, if they are not."""
    if old.facts.dataset != new.facts.dataset:
        return of_other_data_sets(old.facts.dataset, new.facts.dataset)
    if old.facts.class_names != new.facts.class_names:
        return of_other_classes(old.facts.class_names, new.facts.class_names)
    if not np.intersect1d(old.ids, new.ids).size:
        return "they have no example_id in common"
    return None
