"""Which labels of a version are suspect, and which copies have different labels, after people's decisions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flows.dvc_api.revisions import Revision
from tasks.decisions.apply import Verdicts, match_decisions
from tasks.decisions.log import PATH, parse_decisions, standing
from tasks.label_quality.changes import common_rows
from tasks.label_quality.contradictions import find_contradictions
from tasks.tables.catalog import LABEL_ISSUES, SPLIT_ROWS
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.schemas import column_array

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """What a version says of its N labelled training rows, in order of `ids`.

    Attributes:
        revision: the version.
        facts: the data set and its classes.
        ids: (N,) example ids.
        keys: (N,) what the owner calls the rows; in versions without keys the ids.
        given: (N,) given class indices.
        suggested: (N,) suggested class indices.
        rank: (N,) places in the list of suspects, from 0; -1 of rows that are no suspects.
        verdicts: what people decided, as the version has their decisions.
    """

    revision: Revision
    facts: DatasetFacts
    ids: Ints
    keys: npt.NDArray[np.object_]
    given: Ints
    suggested: Ints
    rank: Ints
    verdicts: Verdicts

    @property
    def is_open(self) -> npt.NDArray[np.bool_]:
        """(N,) whether a row is suspect and nobody decided about it; `unsure` decides nothing."""
        return (self.rank >= 0) & np.isin(self.verdicts.decision, ["", "unsure"])

    @property
    def class_shares(self) -> dict[str, float]:
        """The share of each class among the given labels."""
        counts = np.bincount(self.given, minlength=self.facts.n_classes)
        return dict(zip(self.facts.class_names, (counts / max(len(self.given), 1)).tolist(), strict=True))


@dataclass(frozen=True)
class Suspect:
    """A suspect row in words: what its owner calls it, and two class names."""

    key: str
    given: str
    suggested: str


def has_results(revision: Revision) -> bool:
    """Whether `prune` ever ran in the version, wherever its table is now."""
    return revision.has(LABEL_ISSUES.path)


def read_judged(revision: Revision) -> Judged:
    """What a version says of its rows.

    Raises:
        RevisionError: a table cannot be had.
        ArtifactError: a line of the decisions is broken.
    """
    needed = ["given_label", "suggested_label", "is_issue", "rank"]
    table = revision.table(LABEL_ISSUES, needed, ["key"])
    facts = read_facts(table, f"{revision.name}: {LABEL_ISSUES.path}")
    ids = column_array(table, "example_id")
    given = column_array(table, "given_label").astype(np.int64)
    names = table.column("key") if "key" in table.column_names else table.column("example_id")
    decisions = parse_decisions((revision.text(str(PATH)) or "").encode(), Path(f"{revision.name}: {PATH}"))
    return Judged(
        revision,
        facts,
        ids,
        np.array([str(name) for name in names.to_pylist()], dtype=object),
        given,
        column_array(table, "suggested_label").astype(np.int64),
        table.column("rank").fill_null(-1).to_numpy().astype(np.int64),
        match_decisions(standing(decisions), ids, given, facts.class_names),
    )


def new_suspects(now: Judged, before: Judged) -> tuple[npt.NDArray[np.intp], int]:
    """The rows of `now` that are suspect, were not before, and wait for a decision.

    Args:
        now: the version that is checked.
        before: the version to compare with.

    Returns:
        The rows (M,), the most suspect first; and how many of them `before` does not have at all.
    """
    rows = np.flatnonzero(now.is_open)
    rows = rows[np.argsort(now.rank[rows], kind="stable")]
    rows = rows[~np.isin(now.ids[rows], before.ids[before.rank >= 0])]
    return rows, int((~np.isin(now.ids[rows], before.ids)).sum())


def describe(judged: Judged, rows: npt.NDArray[np.intp]) -> list[Suspect]:
    """These rows in words."""
    names = judged.facts.class_names
    return [
        Suspect(judged.keys[row], names[judged.given[row]], names[judged.suggested[row]])
        for row in rows.tolist()
    ]


def count_contradictions(judged: Judged, copies: Ints) -> tuple[int, list[str]]:
    """How many groups of copies have different labels, after people's decisions; and the keys of the first.

    A label that a person chose counts in place of the given one; a row that a person dropped has none.

    Args:
        judged: the version.
        copies: (2, M) ids and groups of the rows that have copies; see `read_copies`.
    """
    rows, of_copies = common_rows(judged.ids, copies[0])
    group, decided = copies[1][of_copies], judged.verdicts.label[rows]
    labels = np.where(decided >= 0, decided, judged.given[rows])
    stays = judged.verdicts.decision[rows] != "drop"
    rows, group, labels = rows[stays], group[stays], labels[stays]
    differs = find_contradictions(group, labels) if len(rows) else np.zeros(0, dtype=bool)
    found = np.unique(group[differs])
    first = rows[differs & (group == found[0])] if len(found) else rows[:0]
    return len(found), judged.keys[first].tolist()


def read_copies(revision: Revision) -> Ints | None:
    """(2, M) ids and groups of the rows that have copies; None where no stage looked for any.

    Raises:
        RevisionError: the table is known and cannot be had.
    """
    if not revision.has(SPLIT_ROWS.path):
        return None
    table = revision.table(SPLIT_ROWS, ["group"])
    ids, group = column_array(table, "example_id"), column_array(table, "group")
    # A group is called by the lowest id in it.
    is_copied = np.isin(group, group[group != ids])
    return np.stack([ids[is_copied], group[is_copied]])
