"""What changed row by row between two versions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from flows.comparison.distances import Floats, distances, probabilities_of
from flows.comparison.result import ChangedRow, Judgement, RowChanges, Truth
from flows.comparison.version_labels import Labels, incomparable, read_labels
from flows.dvc_api.revisions import Revision, RevisionError
from tasks import ArtifactError
from tasks.label_quality.changes import (
    ACTIONS,
    NO_LABEL,
    OUTCOMES,
    Columns,
    common_rows,
    find_changes,
    flow_matrix,
    jaccard,
    judge_labels,
    most_changed,
)
from tasks.page import read_contents
from tasks.tables.catalog import EXAMPLES, LABEL_ISSUES
from tasks.tables.joins import locate

MOST_CHANGED = 25
# At least this far, the probability of some set of classes moved by a percentage point or more.
MIN_DISTANCE = 0.01
_OF_CLASS = (
    *("newly flagged", "no longer flagged", "suggested differently"),
    *("newly relabelled", "newly dropped", "trained on another label"),
)
_SHOWN_CLASSES = 3


def compare_rows(
    revisions: Sequence[Revision], with_contents: bool, notes: list[str]
) -> tuple[list[RowChanges], dict[str, str]]:
    """What changed against the first; and by version why its rows are not those of the first, if so."""
    found = [read_labels(revision, notes) for revision in revisions]
    base, others = found[0], [labels for labels in found[1:] if labels is not None]
    if base is None:
        return [], {}
    rows, reasons = [], {}
    for labels in others:
        reason = incomparable(base, labels)
        if reason:
            reasons[labels.revision.name] = reason
            notes.append(
                f"The rows of {labels.revision.name} and {base.revision.name} cannot be compared: {reason}."
            )
        else:
            rows.append(_compare_labels(base, labels, with_contents, notes))
    return rows, reasons


def _compare_labels(base: Labels, other: Labels, with_contents: bool, notes: list[str]) -> RowChanges:
    of_base, of_other = common_rows(base.ids, other.ids)
    ids = base.ids[of_base]
    old, new = base.of(of_base), other.of(of_other)
    names = base.facts.class_names
    title = f"{other.revision.name} and {base.revision.name}"
    if lost := len(base.ids) + len(other.ids) - 2 * len(ids):
        notes.append(f"{title}: {lost:,} rows are in one of them alone and left out.")
    files = [
        each.revision.digest_on_disk(EXAMPLES.path) or each.revision.digest(EXAMPLES.path)
        for each in (base, other)
    ]
    if None not in files and files[0] != files[1]:
        notes.append(
            f"{title}: {EXAMPLES.path} is not the same file; rows are taken to be the same by example_id."
        )
    known = (old["truth"] != NO_LABEL) & (new["truth"] != NO_LABEL)
    if n_other := int((known & (old["truth"] != new["truth"])).sum()):
        notes.append(
            f"{title}: {n_other:,} rows have another true label; which version is right is not asked there."
        )
    known &= old["truth"] == new["truth"]
    truth = np.where(known, old["truth"], NO_LABEL)

    masks = find_changes(old, new)
    with_actions = "action" in old and "action" in new
    judgement = masks["newly flagged"] | masks["no longer flagged"]
    fate = (
        judgement if not with_actions else (old["action"] != new["action"]) | (old["label"] != new["label"])
    )
    judgement = judgement | masks["suggested differently"] | masks["given differently"]
    distance = distances(base.revision, other.revision, ids, old, new, notes)
    least = np.minimum(old["self_confidence"], new["self_confidence"])
    changed = most_changed(fate, judgement, distance, least, MIN_DISTANCE)
    rows = _describe(base, other, ids, changed[:MOST_CHANGED], old, new, truth, distance)
    if with_contents or base.facts.content == "text":
        rows = _with_contents(other.revision, base.revision, rows, notes)
    agreement = jaccard(old["is_issue"], new["is_issue"])
    return RowChanges(
        base.revision.name,
        other.revision.name,
        len(ids),
        len(base.ids) - len(ids),
        len(other.ids) - len(ids),
        (int(old["is_issue"].sum()), int(new["is_issue"].sum())),
        None if math.isnan(agreement) else agreement,
        {name: tuple(ids[mask].tolist()) for name, mask in masks.items()},
        _nested(flow_matrix(old["action"], new["action"])) if with_actions else None,
        _by_class(masks, old["given_label"], new["given_label"], names),
        _judge(ids, old["label"], new["label"], truth) if with_actions and known.any() else None,
        len(changed),
        tuple(rows),
    )


def _nested(matrix: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def _by_class(
    masks: Mapping[str, npt.NDArray[np.bool_]],
    old_given: npt.NDArray[np.int64],
    new_given: npt.NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    for change in (change for change in _OF_CLASS if change in masks):
        given = old_given if change == "no longer flagged" else new_given
        counts = np.bincount(given[masks[change]], minlength=len(names)).tolist()
        for name, count in zip(names, counts, strict=True):
            found[name][change] = count
    return found


def _judge(
    ids: npt.NDArray[np.int64],
    old: npt.NDArray[np.int64],
    new: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int64],
) -> Truth:
    known = truth != NO_LABEL
    of_old, of_new = (judge_labels(labels[known], truth[known]) for labels in (old, new))
    table = flow_matrix(of_old, of_new, len(OUTCOMES))
    right, wrong = OUTCOMES.index("right"), OUTCOMES.index("wrong")
    p_value = _sign_test(int(table[right, wrong]), int(table[wrong, right]))
    cells = {
        was: {
            now: tuple(ids[known][(of_old == i) & (of_new == j)].tolist())
            for j, now in enumerate(OUTCOMES)
            if i != j
        }
        for i, was in enumerate(OUTCOMES)
    }
    return Truth(int(known.sum()), _nested(table), p_value, cells)


def _sign_test(n_old: int, n_new: int) -> float:
    """The two-sided p-value of McNemar's exact test (McNemar 1947, by the binomial distribution).

    If both versions were equally good, each row that only one has right would be a throw of a fair coin.
    """
    # It takes a second to import, and only versions whose truth is known need it.
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    return float(binomtest(n_old, n_old + n_new).pvalue) if n_old + n_new else 1.0


def _describe(
    base: Labels,
    other: Labels,
    ids: npt.NDArray[np.int64],
    rows: npt.NDArray[np.intp],
    old: Columns,
    new: Columns,
    truth: npt.NDArray[np.int64],
    distance: Floats,
) -> list[ChangedRow]:
    names = base.facts.class_names
    before, after = (probabilities_of(labels.revision, ids[rows]) for labels in (base, other))
    found = []
    for row, key in zip(rows.tolist(), _keys(other, ids[rows]), strict=True):
        example_id = int(ids[row])
        probs = [each.get(example_id) for each in (before, after)]
        ranked = [np.argsort(-each, kind="stable")[:_SHOWN_CLASSES] for each in probs if each is not None]
        shown = [int(version["given_label"][row]) for version in (old, new)]
        shown += [int(version["suggested_label"][row]) for version in (old, new)]
        classes = dict.fromkeys([*shown, *(int(k) for k in np.concatenate(ranked))] if ranked else [])
        found.append(
            ChangedRow(
                example_id,
                key,
                None if truth[row] == NO_LABEL else names[truth[row]],
                float(distance[row]),
                _judgement(old, row, names),
                _judgement(new, row, names),
                {
                    names[k]: (
                        None if probs[0] is None else float(probs[0][k]),
                        None if probs[1] is None else float(probs[1][k]),
                    )
                    for k in classes
                },
            )
        )
    return found


def _keys(labels: Labels, ids: npt.NDArray[np.int64]) -> list[str]:
    """What the owner calls these rows; the ids in a version that has no keys."""
    if not len(ids):
        return []
    table = labels.revision.table(LABEL_ISSUES, [], ["key"])
    names = table.column("key" if "key" in table.column_names else "example_id")
    return [str(name) for name in names.take(locate(labels.ids, ids, labels.revision.name)).to_pylist()]


def _judgement(columns: Columns, row: int, names: Sequence[str]) -> Judgement:
    label = int(columns["label"][row]) if "label" in columns else NO_LABEL
    return Judgement(
        names[columns["given_label"][row]],
        names[columns["suggested_label"][row]],
        float(columns["suggested_prob"][row]),
        bool(columns["is_issue"][row]),
        ACTIONS[columns["action"][row]] if "action" in columns else None,
        None if label == NO_LABEL else names[label],
    )


def _with_contents(
    newer: Revision, base: Revision, rows: Sequence[ChangedRow], notes: list[str]
) -> list[ChangedRow]:
    """The rows with their contents, of the newer version where it has them."""
    source = next((revision for revision in (newer, base) if revision.has(EXAMPLES.path)), None)
    if source is None or not rows:
        return list(rows)
    try:
        contents = read_contents(source.file(EXAMPLES.path), np.array([row.example_id for row in rows]))
    except (RevisionError, ArtifactError) as error:
        notes.append(f"The most changed rows are shown without their contents. {error}")
        return list(rows)
    return [replace(row, content=contents[row.example_id]) for row in rows]
