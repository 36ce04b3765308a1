"""Rows that stand in the data set more than once, or almost: with labels that differ, or in two splits."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array


@dataclass(frozen=True)
class Member:
    """One row of a group: what its owner calls it, its split, and its given label, if it has one."""

    key: str
    split: str
    given: str | None


@dataclass(frozen=True)
class Repeats:
    """What `split_rows` found.

    Attributes:
        n_groups: groups of at least two rows.
        n_rows: the rows in them.
        n_contradicting: groups whose rows are given different labels.
        contradicting: some of these groups, the smallest ids first.
        n_across: groups with rows of more than one split, by pair of splits, `test and train`, say.
        across: some of these groups.
    """

    n_groups: int
    n_rows: int
    n_contradicting: int
    contradicting: list[list[Member]]
    n_across: dict[str, int]
    across: list[list[Member]]


# Groups, and rows of a group, that a page names.
_NAMED_GROUPS = 10
_NAMED_ROWS = 6


def find_repeats(
    splits: pa.Table, given: pa.Table, examples: TableReader, class_names: Sequence[str]
) -> Repeats:
    """The groups of data/splits.parquet with more than one row.

    Args:
        splits: data/splits.parquet.
        given: data/given_labels.parquet, at least `given_label`.
        examples: data/examples.parquet, for what the owner calls the rows.
        class_names: (K,) by class index.
    """
    ids, group = column_array(splits, "example_id"), column_array(splits, "group")
    # A group is named after its lowest id, so only members of larger groups differ from their own.
    repeated = np.isin(group, group[group != ids])
    rows = np.flatnonzero(repeated)
    rows = rows[np.argsort(group[rows], kind="stable")]
    labelled = column_array(given, "example_id")
    wanted = np.isin(labelled, ids[rows])
    known = given.filter(pa.array(wanted))
    labels = dict(zip(labelled[wanted].tolist(), column_array(known, "given_label").tolist(), strict=True))
    split = column_array(splits, "original_split")
    groups = np.split(rows, np.flatnonzero(np.diff(group[rows])) + 1) if len(rows) else []

    def describe(chosen: Sequence[npt.NDArray[np.integer]]) -> list[list[Member]]:
        shown = [members[:_NAMED_ROWS] for members in chosen[:_NAMED_GROUPS]]
        named = ids[np.concatenate(shown)] if shown else ids[:0]
        named_keys = examples.rows(named, ["key"]).column("key").to_pylist()
        keys = dict(zip(named.tolist(), named_keys, strict=True))
        return [
            [
                Member(
                    keys[int(ids[row])],
                    str(split[row]),
                    class_names[labels[int(ids[row])]] if int(ids[row]) in labels else None,
                )
                for row in members
            ]
            for members in shown
        ]

    def given_labels(members: npt.NDArray[np.integer]) -> set[int]:
        return {labels[example_id] for example_id in ids[members].tolist() if example_id in labels}

    contradicting = [members for members in groups if len(given_labels(members)) > 1]
    across = [members for members in groups if len(set(split[members].tolist())) > 1]
    pairs = Counter(
        " and ".join(pair)
        for members in across
        for pair in combinations(sorted(set(split[members].tolist())), 2)
    )
    return Repeats(
        n_groups=len(groups),
        n_rows=len(rows),
        n_contradicting=len(contradicting),
        contradicting=describe(contradicting),
        n_across=dict(sorted(pairs.items())),
        across=describe(across),
    )
