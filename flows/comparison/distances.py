"""How far the probabilities of each row moved between two versions, read in portions."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flows.dvc_api.revisions import Revision, RevisionError
from tasks.label_quality.changes import Columns, common_rows, total_variation
from tasks.tables.catalog import PRED_PROBS
from tasks.tables.joins import locate
from tasks.tables.schemas import column_array

Floats = npt.NDArray[np.float64]


def distances(
    base: Revision,
    other: Revision,
    ids: npt.NDArray[np.int64],
    old: Columns,
    new: Columns,
    notes: list[str],
) -> Floats:
    """Total variation between the probabilities of each row of `ids`, which ascend."""
    if not (base.has(PRED_PROBS.path) and other.has(PRED_PROBS.path)):
        notes.append(
            f"{other.name} and {base.name}: one of them has no {PRED_PROBS.path}; the most changed rows "
            "go by the probability of the given label alone."
        )
        same = old["given_label"] == new["given_label"]
        return np.where(same, np.abs(old["self_confidence"] - new["self_confidence"]), 0.0)
    digests = [each.digest_on_disk(PRED_PROBS.path) or each.digest(PRED_PROBS.path) for each in (base, other)]
    if digests[0] is not None and digests[0] == digests[1]:
        return np.zeros(len(ids))
    for revision in (base, other):
        found = revision.table(PRED_PROBS, [])  # each id once
        locate(column_array(found, "example_id"), ids, f"{revision.name}: {PRED_PROBS.path}")
    distance = np.empty(len(ids))
    portions = (revision.portions(PRED_PROBS, ["pred_probs"]) for revision in (base, other))
    for pair in _in_step(*portions):
        one, two = (column_array(part, "pred_probs") for part in pair)
        if one.shape[1] != two.shape[1]:
            raise RevisionError(
                f"{other.name}: {PRED_PROBS.path}: expected {one.shape[1]} probabilities a row as in "
                f"{base.name}, found {two.shape[1]}."
            )
        own = [column_array(part, "example_id") for part in pair]
        of_one, of_two = common_rows(*own)
        of_both, places = rows_among(ids, own[0][of_one])
        distance[places] = total_variation(one[of_one[of_both]], two[of_two[of_both]])
    return distance


def _in_step(one: Iterator[pa.Table], other: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Pairs of portions such that rows of one id are together in one of them; ids ascend in either table."""
    first, second = next(one, None), next(other, None)
    while first is not None and second is not None:
        yield first, second
        ends = [column_array(part, "example_id")[-1] for part in (first, second)]
        if ends[0] <= ends[1]:
            first = next(one, None)
        if ends[1] <= ends[0]:
            second = next(other, None)


def rows_among(
    ids: npt.NDArray[np.int64], own: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which of the ids of a portion, `own`, are among `ids`, and where they stand there; both ascend."""
    # Only the stretch of `ids` that the portion spans, or each portion would sort them all.
    low, high = np.searchsorted(ids, [own[0], own[-1] + 1]) if len(own) else (0, 0)
    rows, places = common_rows(own, ids[low:high])
    return rows, places + low


def probabilities_of(revision: Revision, ids: npt.NDArray[np.int64]) -> dict[int, Floats]:
    """The probabilities of a few rows, by id; empty where the version has none."""
    found: dict[int, Floats] = {}
    ids = np.sort(ids)
    for part in revision.portions(PRED_PROBS, ["pred_probs"]) if revision.has(PRED_PROBS.path) else ():
        rows, places = rows_among(ids, column_array(part, "example_id"))
        found |= dict(zip(ids[places].tolist(), column_array(part, "pred_probs")[rows], strict=True))
    return found
