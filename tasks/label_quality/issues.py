"""Label issues: which rows the filters flag. Seven filters give the rows of cleanlab 2.9.

Ties are stable here (score, then row order), where cleanlab leaves them to an unstable sort. `find_issues`
takes rows that need not fit in memory, and passes over them three times: thresholds, confident joint,
selection. `find_label_issues` is the same for arrays. What a filter is stands in its file in `filters`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from graphlib import TopologicalSorter
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.label_quality import confident_joint as cj
from tasks.label_quality.error_prob import ErrorModel
from tasks.label_quality.filter_files import check_filter_name, filter_names
from tasks.label_quality.noise_model import fit_noise_models
from tasks.label_quality.passes import first_pass, second_pass, third_pass
from tasks.label_quality.rows import ArrayRows, Rows
from tasks.label_quality.scores import ranking_score
from tasks.label_quality.selection import ByRow, Flagged, LowestOfGroups, Selector
from tasks.label_quality.statistics import JointStatistics, Statistics, sample_rows

Flags = npt.NDArray[np.bool_]

_NEEDS = ("sample", "noise", "joint", "margins")


@dataclass(frozen=True)
class Filter:
    """What the file of a filter says: `select`, and whatever else differs from the values here.

    Attributes:
        select: from `Statistics`, or `JointStatistics` where it needs or combines any, to a selector.
        needs: NEEDS, statistics that are made only where a filter needs them, of `_NEEDS`.
        veto: VETO, whether it leaves rows alone whose most probable class is the given one.
        skips_small_classes: SKIPS_SMALL_CLASSES, whether it leaves classes alone that are not `prunable`.
        combines: COMBINES, other filters whose rows it chooses from; it gives `Flagged`.
    """

    select: Callable[[Any], Selector]
    needs: tuple[str, ...] = ()
    veto: bool = True
    skips_small_classes: bool = False
    combines: tuple[str, ...] = ()

    @property
    def after_pass(self) -> int:
        """The pass after which all is known that it needs."""
        if self.combines:
            return 3
        return 2 if {"joint", "margins"} & set(self.needs) else 1


def load_filter(name: str) -> Filter:
    """The filter of this name.

    Raises:
        ValueError: there is none (`filter_files.check_filter_name`).
        ImportError: its file is not what `Filter` says.
    """
    module = import_module(f"tasks.label_quality.filters.{check_filter_name(name)}")
    if not callable(getattr(module, "select", None)):
        raise ImportError(f"{module.__file__}: expected a function `select`, found none")
    said: dict[str, Any] = {
        entry.name: getattr(module, entry.name.upper(), entry.default)
        for entry in fields(Filter)
        if entry.name != "select"
    }
    found = Filter(module.select, **said)
    unknown = sorted(set(found.needs) - set(_NEEDS))
    if unknown:
        raise ImportError(
            f"{module.__file__}: NEEDS was expected to be of {', '.join(_NEEDS)}, found {unknown[0]}"
        )
    return found


def _load_with_parts(names: Iterable[str]) -> dict[str, Filter]:
    """The filters of these names and those that they combine, which come before them."""
    loaded: dict[str, Filter] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in loaded:
            loaded[name] = load_filter(name)
            waiting += loaded[name].combines
    order = TopologicalSorter({name: entry.combines for name, entry in loaded.items()}).static_order()
    return {name: loaded[name] for name in order}


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
        n_off_diagonal: the same by the raw joint: rows confidently predicted as another class.
        skipped_classes: by filter name, the classes with too few rows for it.
        noise_matrices: by filter name, (K, K) P(given | true), [given, true], where a filter estimates it.
        rules: by filter name, which rule it took and why, where a filter chooses one by the data, and how
            many rows it flags.
        error_model: what gives each row's probability that its label is wrong, if it was asked for.
    """

    flagged: dict[str, Flagged]
    totals: cj.ClassTotals
    thresholds: cj.Floats
    raw: cj.Ints
    calibrated: cj.Ints
    n_errors: int
    n_off_diagonal: int
    skipped_classes: dict[str, tuple[int, ...]]
    noise_matrices: dict[str, cj.Floats]
    rules: dict[str, str]
    error_model: ErrorModel


@dataclass(frozen=True)
class LabelIssues(IssueRows):
    """What `find_label_issues` found: the same, and `flags`, by filter name, (N,) bool."""

    flags: dict[str, Flags]


def find_label_issues(
    labels: npt.NDArray[np.integer],
    pred_probs: npt.NDArray[np.floating],
    *,
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
    filters: Sequence[str] | None = None,
    batch_rows: int = 2**17,
) -> LabelIssues:
    """Run filters over arrays: labels (N,), given class indices, and out-of-fold probabilities (N, K).

    Rows that do not sum to 1 are taken as they are, as in cleanlab.
    See `find_issues` for the rest.

    >>> labels = np.array([0, 0, 0, 1, 1, 1])
    >>> pred_probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.55, 0.45]])
    >>> found = find_label_issues(labels, pred_probs)
    >>> np.flatnonzero(found.flags["predicted_neq_given"]).tolist()
    [2, 5]
    >>> np.flatnonzero(found.flags["confident_learning"]).tolist()  # 0.55 is not sure enough
    [2]
    >>> found.thresholds.tolist(), found.n_errors
    ([0.6, 0.65], 1)
    """
    indices = cj.whole_labels(labels)
    cj.check_inputs(indices, pred_probs)
    found = find_issues(
        ArrayRows(indices, pred_probs, batch_rows),
        frac_noise=frac_noise,
        min_examples_per_class=min_examples_per_class,
        filters=filters,
    )
    flags = {name: np.zeros(len(labels), dtype=bool) for name in found.flagged}
    for name, flagged in found.flagged.items():
        flags[name][flagged.rows] = True
    return LabelIssues(**vars(found), flags=flags)


def find_issues(
    rows: Rows,
    *,
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
    filters: Sequence[str] | None = None,
    rank_by: str | None = "self_confidence",
    adjust_pred_probs: bool = False,
    with_error_prob: bool = False,
) -> IssueRows:
    """Run filters over rows in batches.

    The result does not depend on the batches, to the last bit. Memory: one batch, O(K^2) numbers, and some
    tens of bytes for each row that a filter chooses; a sample of the rows, where a filter needs one.

    Args:
        rows: the data set.
        frac_noise: share of the estimated errors that the prune filters flag, in (0, 1].
        min_examples_per_class: classes with at most so many rows, or with one, are not pruned; at least 0.
        filters: which to run; all that there are where it is None.
        rank_by: the score that comes with each flagged row (`scores.SCORES`, or `error_prob`), or none.
        adjust_pred_probs: whether that score is of probabilities less their class's threshold
            (`scores.adjust_pred_probs`).
        with_error_prob: whether to fit what gives each row's probability that its label is wrong, which
            `rank_by: error_prob` does too.

    Raises:
        ValueError: there are no rows, an option is none of these, or see `confident_joint.check_inputs` and
            `scores.ranking_score`.
        ImportError: the file of a filter is not what it should be (`load_filter`).
    """
    _check_options(frac_noise, min_examples_per_class)
    names = filter_names() if filters is None else tuple(filters)
    loaded = _load_with_parts(names)
    if not rows.n_rows:
        raise ValueError("expected at least one row, found none")
    with_error_prob |= rank_by == "error_prob"
    needs = _needs_of(loaded.values()) | ({"noise"} if with_error_prob else set())
    vetoed = frozenset(name for name, entry in loaded.items() if entry.veto)

    n_sampled = rows.n_rows if {"sample", "noise"} & needs else 0
    statistics = first_pass(rows, sample_rows(n_sampled, rows.n_classes))
    totals, thresholds = statistics.totals, statistics.thresholds
    if "noise" in needs:
        statistics = replace(statistics, noise=fit_noise_models(*statistics.sample))
    error_model = ErrorModel.of(statistics.noise.averaged if with_error_prob else ())
    adjust_by = thresholds if adjust_pred_probs else None
    score = ranking_score(rank_by, adjust_by, error_model) if rank_by else None
    selectors = _select(loaded, 1, statistics)
    # A sample may take as much memory as many batches: it goes as soon as no filter needs it.
    statistics = statistics.only(_needs_of(entry for entry in loaded.values() if entry.after_pass > 1))

    raw, n_off_diagonal, margins, flagged = second_pass(
        rows, thresholds, _judging(selectors), vetoed, score, with_margins="margins" in needs
    )
    calibrated = cj.calibrate_joint(raw, totals.counts)
    joint = JointStatistics(
        **vars(statistics),
        raw=raw,
        calibrated=calibrated,
        n_off_diagonal=n_off_diagonal,
        prune_counts=cj.prune_counts(calibrated, min_examples_per_class, frac_noise),
        # Like the reference, a class's only row is never pruned, whatever the minimum.
        prunable=totals.counts > max(min_examples_per_class, 1),
        margins=margins,
    )
    late = _select(loaded, 2, joint)
    del statistics, margins
    joint = joint.only(_needs_of(entry for entry in loaded.values() if entry.combines))

    ranked = {name: s for name, s in (selectors | late).items() if isinstance(s, LowestOfGroups)}
    flagged |= third_pass(rows, thresholds, _judging(late), ranked, vetoed, score)
    for name, entry in loaded.items():
        if entry.combines:
            combined = entry.select(replace(joint, flagged={part: flagged[part] for part in entry.combines}))
            if not isinstance(combined, Flagged):
                raise TypeError(f"filter {name} combines others: expected Flagged, found {type(combined)}")
            flagged[name] = combined
    small = tuple(int(k) for k in np.flatnonzero((totals.counts > 0) & ~joint.prunable))
    found = _judging(selectors | late)
    judging = {name: found[name] for name in names if name in found}
    return IssueRows(
        flagged={name: flagged[name] for name in names},
        totals=totals,
        thresholds=thresholds,
        raw=raw,
        calibrated=calibrated,
        n_errors=cj.estimate_n_errors(calibrated),
        n_off_diagonal=n_off_diagonal,
        skipped_classes={name: small if loaded[name].skips_small_classes else () for name in names},
        noise_matrices={n: s.noise_matrix for n, s in judging.items() if s.noise_matrix is not None},
        # What a filter knows of its own flags is before the veto, and may be of a sample.
        rules={
            n: f"{s.rule}. It flags {len(flagged[n].rows):,} of {rows.n_rows:,} rows"
            for n, s in judging.items()
            if s.rule is not None
        },
        error_model=error_model,
    )


def _needs_of(entries: Iterable[Filter]) -> set[str]:
    return {need for entry in entries for need in entry.needs}


def _select(loaded: Mapping[str, Filter], after_pass: int, statistics: Statistics) -> dict[str, Selector]:
    """The selectors of the filters that know enough after this pass."""
    return {
        name: entry.select(statistics.only(entry.needs))
        for name, entry in loaded.items()
        if entry.after_pass == after_pass
    }


def _judging(selectors: Mapping[str, Selector]) -> dict[str, ByRow]:
    return {name: selector for name, selector in selectors.items() if isinstance(selector, ByRow)}


def _check_options(frac_noise: float, min_examples_per_class: int) -> None:
    # Comparisons are false for NaN.
    if not 0 < frac_noise <= 1:
        raise ValueError(f"frac_noise must be in (0, 1], found {frac_noise}")
    if not min_examples_per_class >= 0:
        raise ValueError(f"min_examples_per_class must be at least 0, found {min_examples_per_class}")
