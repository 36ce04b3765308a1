"""Filters: which rows are label issues. All but `noise_posterior` give the rows of cleanlab 2.9.

Ties are stable here (score, then row order), where cleanlab leaves them to an unstable sort. `find_issues`
takes rows that need not fit in memory, and passes over them three times: thresholds, confident joint,
selection. `find_label_issues` is the same for arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.label_quality import confident_joint as cj
from tasks.label_quality.noise_posterior import NoisePosterior, fit_noise_posterior, fit_rows
from tasks.label_quality.rows import ArrayRows, Batch, Rows
from tasks.label_quality.scores import Score, ranking_score
from tasks.label_quality.selection import Candidates, LowestOfGroups, take

Flags = npt.NDArray[np.bool_]

FILTERS = (
    "prune_by_class",
    "prune_by_noise_rate",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
    "noise_posterior",
)
PRUNE_FILTERS = ("prune_by_class", "prune_by_noise_rate", "both")
"""The filters that take a counted number of rows from each class, and skip classes too small for it."""

# Batches are worked on in pieces that stay in the processor's cache.
_PIECE_ENTRIES = 2**18
# Margins are counted in so many equal steps at most, a power of two, and in so many counters over all pairs.
_MARGIN_STEPS = 256
_MARGIN_COUNTERS = 2**22


@dataclass(frozen=True)
class Flagged:
    """The rows that a filter flags: `rows` (M,) ascending, and the score (M,) that ranks them, or 0."""

    rows: cj.Ints
    scores: cj.Floats


@dataclass(frozen=True)
class IssueRows:
    """What `find_issues` found.

    Attributes:
        flagged: by filter name.
        totals: rows and own probabilities of each class.
        thresholds: (K,) confident thresholds.
        raw: (K, K) raw confident joint, [given, true].
        calibrated: (K, K) calibrated confident joint, [given, true].
        n_errors: estimated number of wrong labels, by the calibrated joint.
        n_off_diagonal: the same by the raw joint: the rows that `confident_learning` flags.
        skipped_classes: classes with too few rows for the three prune filters.
        noise_posterior: the fitted noise model behind the filter of that name, if it was asked for.
    """

    flagged: dict[str, Flagged]
    totals: cj.ClassTotals
    thresholds: cj.Floats
    raw: cj.Ints
    calibrated: cj.Ints
    n_errors: int
    n_off_diagonal: int
    skipped_classes: tuple[int, ...]
    noise_posterior: NoisePosterior | None


@dataclass(frozen=True)
class LabelIssues(IssueRows):
    """What `find_label_issues` found: the same, and `flags`, by filter name, (N,) bool."""

    flags: dict[str, Flags]


def find_label_issues(
    labels: npt.NDArray[Any],
    pred_probs: npt.NDArray[Any],
    *,
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
    filters: Sequence[str] = FILTERS,
    batch_rows: int = 2**17,
) -> LabelIssues:
    """Run filters over arrays: labels (N,), given class indices, and out-of-fold probabilities (N, K).

    Rows that do not sum to 1 are taken as they are, as in cleanlab.
    See `find_issues` for the rest.
    """
    indices = cj.whole_labels(labels)
    cj.check_inputs(indices, pred_probs)
    rows = ArrayRows(indices, pred_probs, batch_rows)
    found = find_issues(
        rows, frac_noise=frac_noise, min_examples_per_class=min_examples_per_class, filters=filters
    )
    flags = {name: np.zeros(len(labels), dtype=bool) for name in filters}
    for name, flagged in found.flagged.items():
        flags[name][flagged.rows] = True
    return LabelIssues(**vars(found), flags=flags)


def find_issues(
    rows: Rows,
    *,
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
    filters: Sequence[str] = FILTERS,
    rank_by: str | None = "self_confidence",
    adjust_pred_probs: bool = False,
) -> IssueRows:
    """Run filters over rows in batches.

    The result does not depend on the batches, to the last bit. Memory: one batch, O(K^2) numbers, and some
    tens of bytes for each row that a filter chooses; `noise_posterior` adds its sample of the rows.

    Args:
        rows: the data set.
        frac_noise: share of the estimated errors that the prune filters flag, in (0, 1].
        min_examples_per_class: classes with at most so many rows, or with one, are not pruned; at least 0.
        filters: which to run.
        rank_by: the score that comes with each flagged row (`scores.SCORES`), or none.
        adjust_pred_probs: whether that score is of probabilities less their class's threshold
            (`scores.adjust_pred_probs`).

    Raises:
        ValueError: there are no rows, an option is none of these, or see `confident_joint.check_inputs` and
            `scores.ranking_score`.
    """
    _check_options(frac_noise, min_examples_per_class, filters)
    if not rows.n_rows:
        raise ValueError("expected at least one row, found none")
    totals, sample = _first_pass(rows, with_sample="noise_posterior" in filters)
    thresholds = totals.thresholds()
    score = ranking_score(rank_by, thresholds if adjust_pred_probs else None) if rank_by else None
    fitted = fit_noise_posterior(*sample) if sample else None
    del sample
    raw, by_row, margins = _second_pass(rows, thresholds, fitted, score, filters)
    calibrated = cj.calibrate_joint(raw, totals.counts)
    # Like the reference, a class's only row is never pruned, whatever the minimum; and counts come after
    # the veto.
    prunable = totals.counts > max(min_examples_per_class, 1)
    n_off_diagonal = len(by_row["confident_learning"].rows)
    counts = cj.prune_counts(calibrated, min_examples_per_class, frac_noise)
    selectors: dict[str, Selector] = {}
    if {"prune_by_class", "both"} & set(filters):
        selectors["prune_by_class"] = ByClass(counts, totals.counts, prunable)
    if {"prune_by_noise_rate", "both"} & set(filters):
        selectors["prune_by_noise_rate"] = ByNoiseRate(counts, prunable, margins)
    if "low_normalized_margin" in filters:
        selectors["low_normalized_margin"] = LowNormalizedMargin(n_off_diagonal)
    if "low_self_confidence" in filters:
        selectors["low_self_confidence"] = LowSelfConfidence(n_off_diagonal)
    selected = _third_pass(rows, score, selectors)
    flagged = by_row | selected
    if "both" in filters:
        shared = np.isin(
            selected["prune_by_class"].rows, selected["prune_by_noise_rate"].rows, assume_unique=True
        )
        flagged["both"] = Flagged(
            selected["prune_by_class"].rows[shared], selected["prune_by_class"].scores[shared]
        )
    return IssueRows(
        flagged={name: flagged[name] for name in filters},
        totals=totals,
        thresholds=thresholds,
        raw=raw,
        calibrated=calibrated,
        n_errors=cj.estimate_n_errors(calibrated),
        n_off_diagonal=n_off_diagonal,
        skipped_classes=tuple(int(k) for k in np.flatnonzero((totals.counts > 0) & ~prunable)),
        noise_posterior=fitted,
    )


def _check_options(frac_noise: float, min_examples_per_class: int, filters: Sequence[str]) -> None:
    # Comparisons are false for NaN.
    if not 0 < frac_noise <= 1:
        raise ValueError(f"frac_noise must be in (0, 1], found {frac_noise}")
    if not min_examples_per_class >= 0:
        raise ValueError(f"min_examples_per_class must be at least 0, found {min_examples_per_class}")
    unknown = sorted(set(filters) - set(FILTERS))
    if unknown:
        raise ValueError(f"filters must be among {', '.join(FILTERS)}, found {unknown[0]}")


# -- First pass: counts, thresholds, and the rows that the noise model is fitted on.


def _first_pass(
    rows: Rows, with_sample: bool
) -> tuple[cj.ClassTotals, tuple[cj.Ints, npt.NDArray[Any]] | None]:
    sampled = fit_rows(rows.n_rows, rows.n_classes) if with_sample else np.zeros(0, dtype=np.int64)

    def look_at(batch: Batch) -> tuple[cj.ClassTotals, cj.Ints, npt.NDArray[Any]]:
        cj.check_inputs(batch.labels, batch.pred_probs, batch.start)
        first, last = np.searchsorted(sampled, (batch.start, batch.stop))
        chosen = sampled[first:last] - batch.start
        return (
            cj.ClassTotals.of(batch.labels, batch.pred_probs),
            batch.labels[chosen],
            batch.pred_probs[chosen],
        )

    nothing = np.zeros(rows.n_classes, dtype=np.int64)
    totals = cj.ClassTotals(nothing, nothing, nothing)
    labels: cj.Ints = np.empty(len(sampled), dtype=np.int64)
    pred_probs, filled = None, 0
    for part, some_labels, some_probs in rows.map(look_at):
        totals = totals + part
        if pred_probs is None:
            pred_probs = np.empty((len(sampled), rows.n_classes), dtype=some_probs.dtype)
        labels[filled : filled + len(some_labels)] = some_labels
        pred_probs[filled : filled + len(some_labels)] = some_probs
        filled += len(some_labels)
    return totals, (labels, pred_probs) if with_sample and pred_probs is not None else None


# -- Second pass: the confident joint, the filters that look at one row alone, and counts of margins.


def _second_pass(
    rows: Rows,
    thresholds: cj.Floats,
    fitted: NoisePosterior | None,
    score: Score | None,
    filters: Sequence[str],
) -> tuple[cj.Ints, dict[str, Flagged], cj.Ints | None]:
    n_classes = rows.n_classes
    by_pair = {"prune_by_noise_rate", "both"} & set(filters)
    n_steps = margin_steps(n_classes)
    margins = np.zeros((n_classes, n_classes, n_steps), dtype=np.int64) if by_pair else None

    def look_at(batch: Batch) -> tuple[cj.Ints, cj.Ints, cj.Floats, dict[str, Flags], cj.Ints | None]:
        confident, doubtful = [], []
        for piece in batch.cut(_PIECE_ENTRIES):
            confident.append(cj.confident_classes(piece.pred_probs, thresholds))
            certain = certain_of_given(piece.labels, piece.pred_probs)
            doubtful.append(piece.start - batch.start + np.flatnonzero(~certain))
        predicted, chosen = np.concatenate(confident), np.concatenate(doubtful)
        pairs = cj.confident_pairs(batch.labels, predicted, n_classes)
        # Where the label is not vetoed, another class is more probable: no filter looks beyond these rows.
        labels, probs = batch.labels[chosen], batch.pred_probs[chosen]
        flags = {
            "confident_learning": (predicted[chosen] >= 0) & (predicted[chosen] != labels),
            "predicted_neq_given": np.ones(len(chosen), dtype=bool),
        }
        if fitted:
            flags["noise_posterior"] = fitted.posterior(labels, probs) < 0.5
        scores = score(labels, probs) if score else np.zeros(len(chosen))
        counters = margin_counters(labels, probs, n_steps) if by_pair else None
        return pairs, batch.start + chosen, scores, flags, counters

    names = {"confident_learning", *(set(filters) & {"predicted_neq_given", "noise_posterior"})}
    total = np.zeros((n_classes, n_classes), dtype=np.int64)
    found: dict[str, list[Flagged]] = {name: [] for name in sorted(names)}
    for pairs, chosen, scores, flags, counters in rows.map(look_at):
        np.add.at(total.reshape(-1), pairs, 1)
        if margins is not None and counters is not None:
            np.add.at(margins.reshape(-1), counters, 1)
        for name, parts in found.items():
            parts.append(Flagged(chosen[flags[name]], scores[flags[name]]))
    return cj.raw_confident_joint(total), {name: _joined(parts) for name, parts in found.items()}, margins


def margin_steps(n_classes: int) -> int:
    """Steps that margins in (0, 1] are counted in: a power of two, fewer where there are many pairs."""
    steps = min(_MARGIN_STEPS, max(_MARGIN_COUNTERS // n_classes**2, 1))
    return 1 << (steps.bit_length() - 1)


def margin_counters(labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any], n_steps: int) -> cj.Ints:
    """(M,) for each row (given k) and class j with P_j > P_k, where to count it in (K, K, n_steps), flat.

    Step s of pair [k, j] holds the rows whose margin P_j - P_k is at least s / n_steps.
    """
    n_classes = pred_probs.shape[1]
    own = pred_probs[np.arange(len(labels)), labels]
    rows, others = np.divmod(np.flatnonzero(pred_probs > own[:, None]), n_classes)
    margins = pred_probs[rows, others].astype(np.float64) - own[rows]
    # Times a power of two is exact, so that no row counts for more than its margin.
    step = np.minimum((margins * n_steps).astype(np.int64), n_steps - 1)
    return np.asarray((labels[rows] * n_classes + others) * n_steps + step)


def _joined(parts: Sequence[Flagged]) -> Flagged:
    rows, scores = [part.rows for part in parts], [part.scores for part in parts]
    return Flagged(
        np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64),
        np.concatenate(scores) if scores else np.zeros(0),
    )


def certain_of_given(labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any]) -> Flags:
    """Rows whose most likely class is the given one, which wins ties closer than 1e-6: never an issue."""
    own, others = own_and_others(labels, pred_probs)
    raised = own + 1e-6
    certain = raised > others
    # At a tie the lower class wins.
    tied = np.flatnonzero(raised == others)
    if len(tied):
        probs = pred_probs[tied].astype(np.float64)
        probs[np.arange(len(tied)), labels[tied]] += 1e-6
        certain[tied] = probs.argmax(axis=1) == labels[tied]
    return np.asarray(certain)


def own_and_others(labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any]) -> tuple[cj.Floats, cj.Floats]:
    """(N,) the probability of the given label, and (N,) the highest of the other classes."""
    rows = np.arange(len(labels))
    own = pred_probs[rows, labels].astype(np.float64)
    others = pred_probs.copy()
    others[rows, labels] = -np.inf
    if others.shape[1] <= 64:
        # Few classes: column by column, since a reduction along a short axis is all overhead.
        highest = others[:, 0].copy()
        for k in range(1, others.shape[1]):
            np.maximum(highest, others[:, k], out=highest)
    else:
        highest = others.max(axis=1)
    return own, highest.astype(np.float64)


# -- Third pass: the filters that take the lowest so many rows of a ranking.


@dataclass(frozen=True)
class Piece:
    """A piece of a batch, and the probability of each row's given label."""

    labels: cj.Ints
    pred_probs: npt.NDArray[Any]
    own: cj.Floats

    def margins(self, bounds: npt.NDArray[Any] | np.floating[Any]) -> tuple[cj.Ints, cj.Floats]:
        """Rows, among them all whose margin over the other classes is below their bound, and the margins."""
        # No class has more than 1, give or take what `check_inputs` allows: most rows are sure to be above.
        rows = np.flatnonzero(self.own < bounds + 1.00001)
        own, others = own_and_others(self.labels[rows], self.pred_probs[rows])
        return rows, own - others


class ByClass(LowestOfGroups):
    """`prune_by_class`: in each class k the n_k - counts[k, k] rows with the lowest P_k."""

    def __init__(self, counts: cj.Ints, class_counts: cj.Ints, prunable: Flags) -> None:
        super().__init__(np.where(prunable, class_counts - counts.diagonal(), 0))

    def candidates(self, piece: Piece) -> tuple[cj.Ints, cj.Ints, cj.Floats]:
        """Rows of the piece, their groups and keys: those that the cutoffs let through."""
        rows = np.flatnonzero(piece.own < self.cutoffs[piece.labels])
        return rows, piece.labels[rows], piece.own[rows]


class ByNoiseRate(LowestOfGroups):
    """`prune_by_noise_rate`: of given k and each other j, counts[j, k] rows with the largest P_j - P_k.

    `margins` (K, K, steps) counts rows by P_j - P_k, as `margin_counters` has it: where enough rows have a
    margin at least so large, no other is looked at. Without it every row would be a candidate for every
    class until the first cutoffs are known.
    """

    def __init__(self, counts: cj.Ints, prunable: Flags, margins: cj.Ints | None = None) -> None:
        pairs = counts.T * prunable[:, None]  # [given k, other j]
        np.fill_diagonal(pairs, 0)
        given, self._others = np.nonzero(pairs > 0)
        n_pairs = np.bincount(given, minlength=len(counts))
        self._n_pairs, self._first = n_pairs, np.cumsum(n_pairs) - n_pairs
        self._given = given
        super().__init__(pairs[given, self._others])
        if margins is not None:
            n_steps = margins.shape[2]
            at_least = np.cumsum(margins[given, self._others][:, ::-1], axis=1)
            n_sure = (at_least >= self.sizes[:, None]).sum(axis=1)
            sure = np.flatnonzero(n_sure)
            # Keys up to the cutoff itself are let through, hence the next number.
            self.cutoffs[sure] = np.nextafter((1 - n_sure[sure]) / n_steps, np.inf)
        self._lower_reach()

    def keep(self) -> Candidates | None:
        """See `LowestOfGroups.keep`."""
        kept = super().keep()
        self._lower_reach()
        return kept

    def _lower_reach(self) -> None:
        # The highest cutoff of each given class: most rows fail it, and their pairs need not be looked at.
        reach = np.full(len(self._n_pairs), -np.inf)
        np.maximum.at(reach, self._given, self.cutoffs)
        self._reach = reach

    def candidates(self, piece: Piece) -> tuple[cj.Ints, cj.Ints, cj.Floats]:
        """See `ByClass.candidates`; here a row comes once for each of its pairs."""
        rows, margins = piece.margins(self._reach[piece.labels])
        near = rows[margins < self._reach[piece.labels[rows]]]
        given = piece.labels[near]
        n_pairs = self._n_pairs[given]
        rows = np.repeat(near, n_pairs)
        ends = np.cumsum(n_pairs)
        pairs = np.arange(len(rows)) + np.repeat(self._first[given] - (ends - n_pairs), n_pairs)
        keys = piece.own[rows] - piece.pred_probs[rows, self._others[pairs]]
        useful = np.flatnonzero(keys < self.cutoffs[pairs])
        return rows[useful], pairs[useful], keys[useful]


class LowSelfConfidence(LowestOfGroups):
    """`low_self_confidence`: the n_low rows with the lowest P_y."""

    def __init__(self, n_low: int) -> None:
        super().__init__(np.array([n_low], dtype=np.int64))

    def candidates(self, piece: Piece) -> tuple[cj.Ints, cj.Ints, cj.Floats]:
        """See `ByClass.candidates`."""
        return self._below(np.arange(len(piece.own)), piece.own)

    def _below(self, rows: cj.Ints, keys: cj.Floats) -> tuple[cj.Ints, cj.Ints, cj.Floats]:
        useful = np.flatnonzero(keys < self.cutoffs[0])
        return rows[useful], np.zeros(len(useful), dtype=np.int64), keys[useful]


class LowNormalizedMargin(LowSelfConfidence):
    """`low_normalized_margin`: the n_low rows with the lowest margin."""

    def candidates(self, piece: Piece) -> tuple[cj.Ints, cj.Ints, cj.Floats]:
        """See `ByClass.candidates`."""
        rows, margins = piece.margins(2 * self.cutoffs[0] - 1)
        return self._below(rows, (margins + 1) / 2)


Selector = ByClass | ByNoiseRate | LowSelfConfidence


def _third_pass(rows: Rows, score: Score | None, selectors: Mapping[str, Selector]) -> dict[str, Flagged]:
    if not selectors:
        return {}
    for found in rows.map(lambda batch: _candidates(batch, score, selectors)):
        for name, parts in found.items():
            for part in parts:
                selectors[name].add(part)
    return {
        name: _flagged(selector.keep(), veto=not name.startswith("low_"))
        for name, selector in selectors.items()
    }


def _candidates(
    batch: Batch, score: Score | None, selectors: Mapping[str, Selector]
) -> dict[str, list[Candidates]]:
    found: dict[str, list[Candidates]] = {name: [] for name in selectors}
    for part in batch.cut(_PIECE_ENTRIES):
        own = part.pred_probs[np.arange(len(part.labels)), part.labels].astype(np.float64)
        piece = Piece(part.labels, part.pred_probs, own)
        chosen = {name: selector.candidates(piece) for name, selector in selectors.items()}
        # A row may be a candidate many times over: look at it once.
        union = np.zeros(len(part.labels), dtype=bool)
        for rows, _, _ in chosen.values():
            union[rows] = True
        unique = np.flatnonzero(union)
        place = np.cumsum(union) - 1
        labels, probs = part.labels[unique], part.pred_probs[unique]
        known: dict[str, npt.NDArray[Any]] = {"certain": certain_of_given(labels, probs)}
        if score:
            known["score"] = score(labels, probs)
        for name, (rows, groups, keys) in chosen.items():
            columns: dict[str, npt.NDArray[Any]] = {
                "group": groups.astype(np.int32),
                "key": keys,
                "row": part.start + rows,
            }
            columns |= {column: values[place[rows]] for column, values in known.items()}
            found[name].append(columns)
    return found


def _flagged(kept: Candidates | None, veto: bool) -> Flagged:
    if kept is None:
        return _joined([])
    if veto:
        kept = take(kept, ~kept["certain"])
    # A row stands once for each pair of classes that chose it.
    rows, first = np.unique(kept["row"], return_index=True)
    return Flagged(rows, kept["score"][first] if "score" in kept else np.zeros(len(rows)))
