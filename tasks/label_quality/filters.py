"""Filters: which rows are label issues. All but `noise_posterior` give the rows of cleanlab 2.9.

Ties are stable here (score, then row order), where cleanlab leaves them to an unstable sort.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.label_quality import confident_joint as cj
from tasks.label_quality.noise_posterior import NoisePosterior, fit_noise_posterior
from tasks.label_quality.scores import normalized_margin, self_confidence

Flags = npt.NDArray[np.bool_]

PRUNE_FILTERS = ("prune_by_class", "prune_by_noise_rate", "both")
"""The filters that take a counted number of rows from each class, and skip classes too small for it."""


@dataclass(frozen=True)
class LabelIssues:
    """What `find_label_issues` found.

    Attributes:
        flags: by filter name, (N,) bool.
        calibrated: (K, K) calibrated confident joint, [given, true].
        n_errors: estimated number of wrong labels.
        skipped_classes: classes with too few rows for the three prune filters.
        noise_posterior: the fitted noise model behind the filter of that name.
    """

    flags: dict[str, Flags]
    calibrated: cj.Ints
    n_errors: int
    skipped_classes: tuple[int, ...]
    noise_posterior: NoisePosterior


def find_label_issues(
    labels: npt.NDArray[Any],
    pred_probs: npt.NDArray[Any],
    *,
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
) -> LabelIssues:
    """Run every filter.

    Args:
        labels: (N,) given class indices.
        pred_probs: (N, K) out-of-fold probabilities.
        frac_noise: share of the estimated errors that the prune filters flag, in (0, 1].
        min_examples_per_class: classes with at most so many rows, or with one, are not pruned.

    Raises:
        ValueError: see `confident_joint.check_inputs`.
    """
    cj.check_inputs(labels, pred_probs)
    labels = labels.astype(np.int64)
    probs = pred_probs.astype(np.float64)
    _, calibrated, confident = cj.estimate_joint(labels, probs)
    counts = cj.prune_counts(calibrated, min_examples_per_class, frac_noise)
    class_counts = np.bincount(labels, minlength=probs.shape[1])
    # Like the reference, a class's only row is never pruned, whatever the minimum.
    prunable = class_counts > max(min_examples_per_class, 1)

    certain = certain_of_given(labels, probs)
    off_diagonal = (confident >= 0) & (confident != labels)
    by_class = prune_by_class(labels, probs, counts, prunable)
    by_rate = prune_by_noise_rate(labels, probs, counts, prunable)
    # The reference counts after the veto.
    n_low = int((off_diagonal & ~certain).sum())
    fitted = fit_noise_posterior(labels, probs)
    flags = {
        "prune_by_class": by_class & ~certain,
        "prune_by_noise_rate": by_rate & ~certain,
        "both": by_class & by_rate & ~certain,
        "confident_learning": off_diagonal & ~certain,
        "predicted_neq_given": (probs.argmax(axis=1) != labels) & ~certain,
        "low_normalized_margin": lowest(normalized_margin(labels, probs), n_low),
        "low_self_confidence": lowest(self_confidence(labels, probs), n_low),
        "noise_posterior": (fitted.posterior < 0.5) & ~certain,
    }
    return LabelIssues(
        flags=flags,
        calibrated=calibrated,
        n_errors=cj.estimate_n_errors(calibrated),
        skipped_classes=tuple(int(k) for k in np.flatnonzero((class_counts > 0) & ~prunable)),
        noise_posterior=fitted,
    )


def prune_by_class(labels: npt.NDArray[Any], probs: cj.Floats, counts: cj.Ints, prunable: Flags) -> Flags:
    """In each class k the n_k - counts[k, k] rows with the lowest P_k."""
    flags = np.zeros(len(labels), dtype=bool)
    for k in np.flatnonzero(prunable):
        rows = np.flatnonzero(labels == k)
        n_prune = len(rows) - int(counts[k, k])
        flags[rows] = lowest(probs[rows, k], n_prune)
    return flags


def prune_by_noise_rate(
    labels: npt.NDArray[Any], probs: cj.Floats, counts: cj.Ints, prunable: Flags
) -> Flags:
    """For every pair of given k and other j, the counts[j, k] rows of k with the largest P_j - P_k."""
    flags = np.zeros(len(labels), dtype=bool)
    for k in np.flatnonzero(prunable):
        rows = np.flatnonzero(labels == k)
        for j in np.flatnonzero(counts[:, k] > 0):
            if j != k:
                flags[rows] |= lowest(probs[rows, k] - probs[rows, j], int(counts[j, k]))
    return flags


def certain_of_given(labels: npt.NDArray[Any], probs: cj.Floats) -> Flags:
    """Rows whose most likely class is the given one, which wins ties closer than 1e-6: never an issue."""
    rows = np.arange(len(labels))
    raised = probs.copy()
    raised[rows, labels] += 1e-6
    return np.asarray(raised.argmax(axis=1) == labels)


def lowest(score: cj.Floats, n: int) -> Flags:
    """(N,) True for the `n` lowest scores; ties go to the earlier row."""
    flags = np.zeros(len(score), dtype=bool)
    if n > 0:
        flags[np.argsort(score, kind="stable")[:n]] = True
    return flags
