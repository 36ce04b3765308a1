"""data/label_issues.parquet: its columns, and what is counted while they are written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.label_quality.confusions import count_confusions
from tasks.label_quality.error_prob import ErrorCounts, NumberOfErrors, average
from tasks.label_quality.issues import IssueRows
from tasks.label_quality.metrics import detection_of_counts, ranking_quality
from tasks.label_quality.rows import Batch
from tasks.label_quality.scores import SCORES, Score, ranks
from tasks.label_quality.self_tests.run import SelfTests
from tasks.label_quality.suggestions import second_best
from tasks.params import Prune
from tasks.prune.doubts import Doubts
from tasks.prune.labelled_rows import PIECE_ENTRIES, LabelledRows, Part
from tasks.prune.quality import Counts, Detection
from tasks.prune.ranking import suspicion, with_contradictions
from tasks.prune.row_importance import Importance
from tasks.tables.catalog import LABEL_ISSUES
from tasks.tables.files import without_nan
from tasks.tables.io import write_stream
from tasks.tables.proofs import MARK


def write_issues(
    path: Path,
    rows: LabelledRows,
    issues: IssueRows,
    importance: Importance | None,
    contradicting: npt.NDArray[np.int64],
    tests: SelfTests | None,
    section: Prune,
    judge: bool,
) -> tuple[Counts, Detection | None, Doubts, NumberOfErrors]:
    """Write data/label_issues.parquet; `contradicting` are the ids of `read_contradictions`.

    Returns:
        rows by pair of classes; how the flags compare with the truth, where that is known of every row;
        where `judge`, what speaks against the probabilities; and how many labels are wrong, estimated.
    """
    score = suspicion(issues, section)
    chosen = with_contradictions(issues.flagged[section.filter_by], rows, contradicting, score)
    ranked = ranks(chosen.scores)

    def describe(
        part: Part,
    ) -> tuple[Part, dict[str, Any], npt.NDArray[np.float64], Doubts, ErrorCounts]:
        batch = part.batch
        flags = {name: _flags(flagged.rows, batch) for name, flagged in issues.flagged.items()}
        rank = np.full(len(part.ids), -1, dtype=np.int64)
        first, last = np.searchsorted(chosen.rows, (batch.start, batch.stop))
        rank[chosen.rows[first:last] - batch.start] = ranked[first:last]
        suggested = batch.pred_probs.argmax(axis=1)
        second, second_prob = second_best(batch.pred_probs)
        right = np.concatenate(
            [
                issues.error_model.right_by_sharpness(piece.labels, piece.pred_probs)
                for piece in batch.cut(PIECE_ENTRIES)
            ],
            axis=1,
        )
        columns = {
            "example_id": part.ids,
            "key": part.keys,
            "given_label": batch.labels,
            "suggested_label": suggested,
            "suggested_prob": batch.pred_probs[np.arange(len(suggested)), suggested],
            "second_label": second,
            "second_prob": second_prob,
            "error_prob": 1 - average(right),
            **{name: _scores(score, batch) for name, score in SCORES.items()},
            **_importance(importance, batch),
            "contradicts": np.isin(part.ids, contradicting, assume_unique=True),
            "second_opinion": _second_opinion(tests, batch),
            "is_issue": flags[section.filter_by],
            "rank": pa.array(rank, pa.int64(), mask=rank < 0),
            **flags,
        }
        return (
            part,
            columns,
            _scores(score, batch),
            Doubts.of(part) if judge else Doubts(),
            ErrorCounts.of(right),
        )

    truth: list[npt.NDArray[np.bool_]] | None = []
    scores: list[npt.NDArray[np.float64]] = []
    n_hits = dict.fromkeys(issues.flagged, 0)
    n_classes = rows.n_classes
    suggested_counts: npt.NDArray[np.int64] = np.zeros((n_classes, n_classes), dtype=np.int64)
    true_counts: npt.NDArray[np.int64] | None = np.zeros_like(suggested_counts)
    doubts, expected = Doubts(), ErrorCounts.none()
    extra = {"filter_by": section.filter_by}
    if section.filter_by in issues.rules:
        extra["rule"] = issues.rules[section.filter_by]
    if tests:
        extra["self_tests"] = json.dumps(without_nan(tests.entries(rows.given.facts.class_names)))
    if mark := rows.given.metadata(MARK):
        extra[MARK] = mark
    with write_stream(path, LABEL_ISSUES, rows.given.facts, extra) as append:
        for part, columns, part_scores, found, errors in rows.map_parts(describe):
            append(columns)
            doubts += found
            expected += errors
            labels, is_noisy = part.batch.labels, part.is_noisy
            suggested_counts += count_confusions(labels, columns["suggested_label"], n_classes)
            if part.true is None or true_counts is None:
                true_counts = None
            else:
                true_counts += count_confusions(labels, part.true, n_classes)
            if is_noisy is None:
                truth = None
            if truth is not None and is_noisy is not None:
                truth.append(is_noisy)
                scores.append(part_scores)
                for name in n_hits:
                    n_hits[name] += int((columns[name] & is_noisy).sum())
    counts = Counts(suggested_counts, true_counts)
    if not truth:
        return counts, None, doubts, expected.estimate()
    wrong = np.concatenate(truth)
    n_errors = int(wrong.sum())
    by_filter = {
        name: detection_of_counts(n_errors, len(flagged.rows), n_hits[name])
        for name, flagged in issues.flagged.items()
    }
    detection = Detection(n_errors, by_filter, ranking_quality(wrong, 1 - np.concatenate(scores)))
    return counts, detection, doubts, expected.estimate()


def _importance(importance: Importance | None, batch: Batch) -> dict[str, Any]:
    """The columns of a batch; nulls for what was not measured."""
    rows = slice(batch.start, batch.stop)
    nothing = pa.nulls(batch.stop - batch.start, pa.float64())
    if importance is None:
        return dict.fromkeys(("importance", "importance_percentile", "contrast"), nothing)
    return {
        "importance": importance.importance[rows],
        "importance_percentile": importance.percentile[rows],
        "contrast": nothing if importance.contrast is None else importance.contrast[rows],
    }


def _second_opinion(tests: SelfTests | None, batch: Batch) -> pa.Array:
    """The column of a batch; nulls where nobody was asked."""
    if tests is None:
        return pa.nulls(batch.stop - batch.start, pa.int16())
    opinion = tests.second_opinion(batch.start, batch.stop)
    return pa.array(opinion, pa.int16(), mask=opinion < 0)


def _flags(rows: npt.NDArray[np.int64], batch: Batch) -> npt.NDArray[np.bool_]:
    """(n,) True for the rows of the batch that are among `rows`, which ascend."""
    flags = np.zeros(batch.stop - batch.start, dtype=bool)
    first, last = np.searchsorted(rows, (batch.start, batch.stop))
    flags[rows[first:last] - batch.start] = True
    return flags


def _scores(score: Score, batch: Batch) -> npt.NDArray[np.float64]:
    return np.concatenate([score(piece.labels, piece.pred_probs) for piece in batch.cut(PIECE_ENTRIES)])
