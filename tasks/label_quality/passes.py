"""The passes over the rows in which filters find theirs: counts, the confident joint, selection.

`vetoed` names the filters that leave rows alone whose most probable class is the given one, and `score` gives
the scores that come with flagged rows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.label_quality import confident_joint as cj
from tasks.label_quality.margins import certain_of_given, margin_counters, margin_steps, own_probs
from tasks.label_quality.rows import Batch, JudgedPiece, Piece, Rows
from tasks.label_quality.scores import Score
from tasks.label_quality.selection import ByRow, Candidates, Flagged, LowestOfGroups, take
from tasks.label_quality.statistics import Statistics

Columns = dict[str, npt.NDArray[Any]]

# Batches are worked on in pieces that stay in the processor's cache.
_PIECE_ENTRIES = 2**18


def first_pass(rows: Rows, sampled: cj.Ints) -> Statistics:
    """Check the rows, count, and keep the rows with the numbers `sampled`, which ascend.

    Raises:
        ValueError: see `confident_joint.check_inputs`.
    """

    def look_at(batch: Batch) -> tuple[cj.ClassTotals, cj.Ints, npt.NDArray[np.floating]]:
        totals = cj.ClassTotals.none(rows.n_classes)
        for piece in batch.cut(_PIECE_ENTRIES):
            cj.check_inputs(piece.labels, piece.pred_probs, piece.start)
            totals = totals + cj.ClassTotals.of(piece.labels, piece.pred_probs)
        first, last = np.searchsorted(sampled, (batch.start, batch.stop))
        chosen = sampled[first:last] - batch.start
        return totals, batch.labels[chosen], batch.pred_probs[chosen]

    totals = cj.ClassTotals.none(rows.n_classes)
    labels: cj.Ints = np.empty(len(sampled), dtype=np.int64)
    pred_probs: npt.NDArray[np.floating] = np.empty((0, rows.n_classes))
    filled = 0
    for part, some_labels, some_probs in rows.map(look_at):
        totals = totals + part
        if len(pred_probs) < len(sampled):
            pred_probs = np.empty((len(sampled), rows.n_classes), dtype=some_probs.dtype)
        labels[filled : filled + len(some_labels)] = some_labels
        pred_probs[filled : filled + len(some_labels)] = some_probs
        filled += len(some_labels)
    return Statistics(rows.n_rows, totals, totals.thresholds(), (labels, pred_probs))


def second_pass(
    rows: Rows,
    thresholds: cj.Floats,
    by_row: Mapping[str, ByRow],
    vetoed: Collection[str],
    score: Score | None,
    with_margins: bool,
) -> tuple[cj.Ints, int, cj.Ints, dict[str, Flagged]]:
    """Count the confident joint, and judge each row for itself.

    Returns:
        the raw confident joint (K, K); the number of rows that are confidently another class and not vetoed;
        rows by pair of classes and margin (`margin_counters`), (K, K, steps), with no steps unless asked for;
        and the rows that each selector flags.
    """
    n_classes = rows.n_classes
    n_steps = margin_steps(n_classes) if with_margins else 0

    def look_at(batch: Batch) -> tuple[cj.Ints, int, cj.Ints | None, dict[str, Flagged]]:
        confident, doubted, flagged = _judge(batch, thresholds, by_row, vetoed, score)
        pairs = cj.confident_pairs(batch.labels, confident, n_classes)
        n_off = int(((doubted.confident >= 0) & (doubted.confident != doubted.labels)).sum())
        counters = margin_counters(doubted.labels, doubted.pred_probs, n_steps) if n_steps else None
        return pairs, n_off, counters, flagged

    joint = np.zeros((n_classes, n_classes), dtype=np.int64)
    margins = np.zeros((n_classes, n_classes, n_steps), dtype=np.int64)
    n_off_diagonal = 0
    found: dict[str, list[Flagged]] = {name: [] for name in by_row}
    for pairs, n_off, counters, flagged in rows.map(look_at):
        np.add.at(joint.reshape(-1), pairs, 1)
        n_off_diagonal += n_off
        if counters is not None:
            np.add.at(margins.reshape(-1), counters, 1)
        for name, part in flagged.items():
            found[name].append(part)
    return (
        cj.raw_confident_joint(joint),
        n_off_diagonal,
        margins,
        {name: _joined(parts) for name, parts in found.items()},
    )


def third_pass(
    rows: Rows,
    thresholds: cj.Floats,
    by_row: Mapping[str, ByRow],
    ranked: Mapping[str, LowestOfGroups],
    vetoed: Collection[str],
    score: Score | None,
) -> dict[str, Flagged]:
    """The rows that each selector flags: the lowest of a ranking, or by what is known of the joint."""

    def look_at(batch: Batch) -> tuple[dict[str, Flagged], dict[str, list[Candidates]]]:
        flagged = _judge(batch, thresholds, by_row, vetoed, score)[2] if by_row else {}
        return flagged, _candidates(batch, ranked, vetoed, score)

    if not by_row and not ranked:
        return {}
    found: dict[str, list[Flagged]] = {name: [] for name in by_row}
    for flagged, candidates in rows.map(look_at):
        for name, flagged_part in flagged.items():
            found[name].append(flagged_part)
        for name, parts in candidates.items():
            for part in parts:
                ranked[name].add(part)
    judged = {name: _joined(parts) for name, parts in found.items()}
    return judged | {name: _flagged(selector.keep()) for name, selector in ranked.items()}


def _judge(
    batch: Batch,
    thresholds: cj.Floats,
    by_row: Mapping[str, ByRow],
    vetoed: Collection[str],
    score: Score | None,
) -> tuple[cj.Ints, JudgedPiece, dict[str, Flagged]]:
    """The confident class of each row, the rows that are not vetoed, and those that each selector flags."""
    classes, places = [], []
    for piece in batch.cut(_PIECE_ENTRIES):
        classes.append(cj.confident_classes(piece.pred_probs, thresholds))
        certain = certain_of_given(piece.labels, piece.pred_probs)
        places.append(piece.start - batch.start + np.flatnonzero(~certain))
    confident, doubtful = np.concatenate(classes), np.concatenate(places)
    # Where the label is not vetoed, another class is more probable. These are few rows; most filters see them
    # alone.
    doubted = _judged(batch.labels[doubtful], batch.pred_probs.take(doubtful, axis=0), confident[doubtful])
    chosen: dict[str, cj.Ints] = {}
    for name, selector in by_row.items():
        if name in vetoed:
            chosen[name] = doubtful[_flags(name, selector, doubted)]
        else:
            judged = _judged(batch.labels, batch.pred_probs, confident)
            chosen[name] = np.flatnonzero(_flags(name, selector, judged))
    known = _describe(chosen, batch, {"score": score} if score else {})
    flagged = {
        name: Flagged(batch.start + rows, known[name].get("score", np.zeros(len(rows))))
        for name, rows in chosen.items()
    }
    return confident, doubted, flagged


def _flags(name: str, selector: ByRow, piece: JudgedPiece) -> npt.NDArray[np.bool_]:
    flags, shape = np.asarray(selector.flags(piece)), piece.labels.shape
    if flags.shape != shape or flags.dtype != bool:
        raise TypeError(
            f"filter {name}: expected flags {shape} of bool, found {flags.shape} of {flags.dtype}"
        )
    return flags


def _judged(labels: cj.Ints, pred_probs: npt.NDArray[np.floating], confident: cj.Ints) -> JudgedPiece:
    return JudgedPiece(labels, pred_probs, _own(labels, pred_probs), confident)


def _own(labels: cj.Ints, pred_probs: npt.NDArray[np.floating]) -> cj.Floats:
    return own_probs(labels, pred_probs).astype(np.float64)


def _candidates(
    batch: Batch, ranked: Mapping[str, LowestOfGroups], vetoed: Collection[str], score: Score | None
) -> dict[str, list[Candidates]]:
    functions = {"score": score} if score else {}
    # The veto comes after the selection, as in the reference: a vetoed row takes the place of another.
    vetoes = any(name in vetoed for name in ranked)
    found: dict[str, list[Candidates]] = {name: [] for name in ranked}
    for part in batch.cut(_PIECE_ENTRIES):
        piece = Piece(part.labels, part.pred_probs, _own(part.labels, part.pred_probs))
        chosen = {name: selector.candidates(piece) for name, selector in ranked.items()}
        rows = {name: places for name, (places, _, _) in chosen.items()}
        known = _describe(rows, part, functions | ({"certain": certain_of_given} if vetoes else {}))
        for name, (places, groups, keys) in chosen.items():
            columns: Columns = {"group": groups.astype(np.int32), "key": keys, "row": part.start + places}
            if name not in vetoed:
                known[name].pop("certain", None)
            found[name].append(columns | known[name])
    return found


def _describe(
    chosen: Mapping[str, cj.Ints],
    batch: Batch,
    functions: Mapping[str, Callable[[cj.Ints, npt.NDArray[np.floating]], npt.NDArray[np.generic]]],
) -> dict[str, Columns]:
    """Columns of chosen rows. A row may be chosen many times over, and is looked at once."""
    union = np.zeros(len(batch.labels), dtype=bool)
    for rows in chosen.values():
        union[rows] = True
    unique = np.flatnonzero(union)
    place = np.cumsum(union) - 1
    # `take` gathers short rows in a quarter of the time of an index.
    labels, pred_probs = batch.labels[unique], batch.pred_probs.take(unique, axis=0)
    known = {column: function(labels, pred_probs) for column, function in functions.items()}
    return {
        name: {column: values[place[rows]] for column, values in known.items()}
        for name, rows in chosen.items()
    }


def _joined(parts: Sequence[Flagged]) -> Flagged:
    rows, scores = [part.rows for part in parts], [part.scores for part in parts]
    return Flagged(
        np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64),
        np.concatenate(scores) if scores else np.zeros(0),
    )


def _flagged(kept: Candidates | None) -> Flagged:
    if kept is None:
        return _joined([])
    if "certain" in kept:
        kept = take(kept, ~kept["certain"])
    # A row stands once for each pair of classes that chose it, one after the other.
    rows = kept["row"]
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    return Flagged(rows[first], kept["score"][first] if "score" in kept else np.zeros(len(first)))
