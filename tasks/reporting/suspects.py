"""Which issues the report shows, what became of them, and how many there are of each split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.page import Card
from tasks.tables.catalog import UNLABELED
from tasks.tables.facts import DatasetFacts
from tasks.tables.files import write_csv
from tasks.tables.joins import join
from tasks.tables.schemas import column_array

Rows = npt.NDArray[np.intp]

# The issues with the most probable suggestions, among which those of the larger grid are drawn.
_CONFIDENT = 5_000


def suspects(issues: pa.Table) -> Rows:
    """(M,) positions of the issues in data/label_issues.parquet, the most suspect first."""
    rank = issues.column("rank").fill_null(-1).to_numpy()
    found = np.flatnonzero(rank >= 0)
    return found[np.argsort(rank[found], kind="stable")]


def confident_suspects(issues: pa.Table, found: Rows, n: int) -> Rows:
    """(n,) issues drawn evenly from the 5,000 whose suggestion is most probable, the most probable first.

    These are the ones that a model would relabel without asking; few of them should look right as given.

    Args:
        issues: data/label_issues.parquet.
        found: (M,) see `suspects`.
        n: how many; fewer where there are fewer.
    """
    prob = column_array(issues, "suggested_prob")[found]
    differs = column_array(issues, "suggested_label")[found] != column_array(issues, "given_label")[found]
    order = np.argsort(-prob, kind="stable")
    pool: Rows = found[order[differs[order]]][:_CONFIDENT]
    places = np.linspace(0, len(pool) - 1, min(n, len(pool))).round().astype(np.intp)
    return np.asarray(pool[places])


def changed_right_labels(issues: pa.Table, given: pa.Table, training_set: pa.Table, found: Rows) -> Rows:
    """The issues whose label was right and is another now, in the order of `found`; where the truth is known.

    Args:
        issues: data/label_issues.parquet.
        given: data/given_labels.parquet.
        training_set: data/training_set.parquet.
        found: (M,) see `suspects`.
    """
    ids = column_array(issues, "example_id")[found]
    true = join(given, ids).column("true_label").fill_null(-1).to_numpy()
    now = join(training_set, ids)
    is_used = ~np.isin(np.array(now.column("action").to_pylist(), dtype=str), ("dropped", UNLABELED))
    was_right = column_array(issues, "given_label")[found] == true
    became_wrong: Rows = found[was_right & is_used & (column_array(now, "label") != true)]
    return became_wrong


def of_each_pair(issues: pa.Table, found: Rows, n: int) -> Rows:
    """(n,) issues by class pair (given, suggested): the most suspect of each, then the second, and so on.

    Args:
        issues: data/label_issues.parquet.
        found: (M,) see `suspects`.
        n: how many; fewer where there are fewer.

    Returns:
        positions in the order of `found`.
    """
    given = column_array(issues, "given_label")[found].astype(np.int64)
    pair = given * 2**16 + column_array(issues, "suggested_label")[found]
    order = np.argsort(pair, kind="stable")
    place = np.arange(len(found))
    first = np.flatnonzero(np.diff(pair[order], prepend=-1))
    turn = np.empty(len(found), dtype=np.int64)
    turn[order] = place - np.repeat(first, np.diff(first, append=len(found)))
    return found[np.sort(np.lexsort((place, turn))[:n])]


@dataclass(frozen=True)
class Split:
    """Label issues among the training rows that the data set came with as rows of one split.

    Attributes:
        name: of the split.
        n_rows: its rows.
        n_issues: those whose label is an issue.
        n_wrong: those of the issues whose label is truly wrong; None where the truth is not known.
    """

    name: str
    n_rows: int
    n_issues: int
    n_wrong: int | None


def issues_by_split(
    issues: pa.Table, splits: pa.Table, found: Rows, wrong: npt.NDArray[np.bool_] | None
) -> list[Split]:
    """The issues of each split that `download.pool` put together; nothing where it did not.

    Args:
        issues: data/label_issues.parquet.
        splits: data/splits.parquet.
        found: (M,) see `suspects`.
        wrong: (M,) whether the label of each of them is wrong, where that is known of all.
    """
    judged = join(splits, column_array(issues, "example_id"))
    names, split = np.unique(column_array(judged, "original_split").astype(str), return_inverse=True)
    if len(names) == 1:
        return []
    n_rows = np.bincount(split)
    n_issues = np.bincount(split[found], minlength=len(names))
    n_wrong = None if wrong is None else np.bincount(split[found], weights=wrong, minlength=len(names))
    return [
        Split(str(name), int(n_rows[k]), int(n_issues[k]), None if n_wrong is None else int(n_wrong[k]))
        for k, name in enumerate(names)
    ]


def labels_now(
    issues: pa.Table, training_set: pa.Table, facts: DatasetFacts, rows: npt.NDArray[np.intp]
) -> list[str]:
    """What became of each of some rows of `issues`: its label now, `dropped`, or `unlabeled`."""
    now = join(training_set, column_array(issues, "example_id")[rows])
    actions, labels = now.column("action").to_pylist(), column_array(now, "label").tolist()
    return [_now(facts.class_names[label], action) for label, action in zip(labels, actions, strict=True)]


def _now(label: str, action: str) -> str:
    if action in ("dropped", UNLABELED):
        return action
    return f"{label} (reviewed)" if action == "reviewed" else label


def known_wrong(
    issues: pa.Table, given: pa.Table, rows: npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_] | None:
    """(M,) whether the labels of some rows are wrong, if that is known of all of them."""
    wrong = join(given, column_array(issues, "example_id")[rows]).column("is_noisy")
    return None if wrong.null_count else wrong.to_numpy().astype(bool)


def write_top_issues(path: Path, rows: list[tuple[Card, str]]) -> None:
    """Write the most suspect labels as a table: what was given and suggested, and what became of them."""
    columns: dict[str, list[object]] = {
        "example_id": [card.example_id for card, _ in rows],
        "key": [card.key for card, _ in rows],
        "given": [card.given for card, _ in rows],
        "suggested": [card.suggested for card, _ in rows],
        "suggested_prob": [card.suggested_prob for card, _ in rows],
        "true": [card.true for card, _ in rows],
        "now": [now for _, now in rows],
    }
    write_csv(path, pa.table(columns))
