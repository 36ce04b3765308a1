"""The confident joint: counts of given against (confidently predicted) true labels.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70 (2021),
section 3, with the details (tolerances, calibration, rounding) of cleanlab 2.9.

`labels` is (N,) given class indices, `pred_probs` is (N, K) out-of-fold probabilities. Results are those of
float64, and do not depend on how the rows are cut into batches.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tasks.label_quality.margins import FEW_CLASSES, own_probs

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A probability counts as confident from this little below its threshold: float noise must not decide.
_CONFIDENCE_SLACK = 1e-6
_LOWEST_THRESHOLD = 2e-6
# Above every probability, so that a class without rows is never predicted confidently.
_NEVER = 2.0
# No class is thought impossible.
_LOWEST_PRIOR = 1e-6


def whole_labels(labels: npt.NDArray[np.integer]) -> Ints:
    """Labels as int64; whole numbers in floats are class indices too.

    Raises:
        ValueError: a label is not a whole number; names the row.
    """
    if labels.dtype.kind not in "iuf":
        raise ValueError(f"labels must be class indices, found an array of {labels.dtype}")
    with np.errstate(invalid="ignore"):
        indices = labels.astype(np.int64)
    broken = np.flatnonzero(indices != labels)
    if len(broken):
        row = int(broken[0])
        raise ValueError(f"labels must be whole numbers, found {labels.flat[row]} in row {row}")
    return indices


def check_inputs(
    labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating], first_row: int = 0
) -> None:
    """Check types, shapes and ranges, once, at the public door; messages count rows from `first_row`.

    Raises:
        ValueError: fewer than 2 classes, shapes or types that do not fit, a probability that is not finite or
            outside [0, 1] by more than 1e-6, or a label that is no class; names the row and column.
    """
    if pred_probs.ndim != 2 or pred_probs.shape[1] < 2:
        raise ValueError(f"pred_probs must be (N, K) with K >= 2, found shape {pred_probs.shape}")
    if labels.shape != (len(pred_probs),):
        raise ValueError(f"labels must be ({len(pred_probs)},) like pred_probs, found {labels.shape}")
    for name, values, kinds, expected in (
        ("labels", labels, "iu", "integers"),
        ("pred_probs", pred_probs, "f", "floats"),
    ):
        if values.dtype.kind not in kinds:
            raise ValueError(f"{name} must be {expected}, found an array of {values.dtype}")
    n_classes = pred_probs.shape[1]
    wrong_labels = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong_labels):
        row = int(wrong_labels[0])
        raise ValueError(
            f"labels must be in 0..{n_classes - 1}, found {labels[row]} in row {first_row + row}"
        )
    if not pred_probs.size:
        return
    low, high = -1e-6, 1 + 1e-6
    # Comparisons are false for NaN, which the extremes of an array that holds one are.
    if pred_probs.min() >= low and pred_probs.max() <= high:
        return
    row, column = np.argwhere(~((pred_probs >= low) & (pred_probs <= high)))[0]
    raise ValueError(
        f"pred_probs must be finite and in [0, 1], found {pred_probs[row, column]} in row {first_row + row}, "
        f"column {column}"
    )


@dataclass(frozen=True)
class ClassTotals:
    """Rows of each class and the sum of their own probabilities, exact, so that batches add in any order.

    Attributes:
        counts: (K,) rows given each class.
        high, low: (K,) the sum over the rows given k of rint(P_k * 2^52), as high * 2^26 + low.
    """

    counts: Ints
    high: Ints
    low: Ints

    @classmethod
    def none(cls, n_classes: int) -> Self:
        """The totals of no row."""
        nothing = np.zeros(n_classes, dtype=np.int64)
        return cls(nothing, nothing, nothing)

    @classmethod
    def of(cls, labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]) -> Self:
        """The totals of a batch of fewer than 2^27 rows."""
        n_classes = pred_probs.shape[1]
        fixed = np.rint(own_probs(labels, pred_probs).astype(np.float64) * 2.0**52)
        # Each half is a whole number below 2^27 a row, so the sums of float64 weights stay exact.
        upper = np.floor(fixed / 2.0**26)
        high, low = (
            np.bincount(labels, weights=half, minlength=n_classes).astype(np.int64)
            for half in (upper, fixed - upper * 2.0**26)
        )
        return cls(np.bincount(labels, minlength=n_classes).astype(np.int64), high, low)

    def __add__(self, other: Self) -> Self:
        return type(self)(self.counts + other.counts, self.high + other.high, self.low + other.low)

    def thresholds(self) -> Floats:
        """(K,) mean probability of class k over the rows given k; 2 (never reached) where there is none."""
        # Quotients of Python's integers are rounded once, correctly.
        sums = [(int(high) << 26) + int(low) for high, low in zip(self.high, self.low, strict=True)]
        means = [
            total / (int(count) << 52) if count else _NEVER
            for total, count in zip(sums, self.counts, strict=True)
        ]
        return np.maximum(np.array(means, dtype=np.float64), _LOWEST_THRESHOLD)


def confident_thresholds(labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]) -> Floats:
    """(K,) mean probability of class k over the rows given k; 2 (never reached) for a class without rows.

    >>> pred_probs = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]])
    >>> confident_thresholds(np.array([0, 0, 1]), pred_probs).tolist()
    [0.5, 0.5]
    """
    return ClassTotals.of(labels, pred_probs).thresholds()


def confident_classes(pred_probs: npt.NDArray[np.floating], thresholds: Floats) -> Ints:
    """(N,) the class each row is confidently predicted as, or -1 where none reaches its threshold.

    Where several classes reach theirs, the class of the highest probability among all K.

    >>> confident_classes(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0.8, 0.7])).tolist()
    [0, -1]
    """
    n, n_classes = pred_probs.shape
    bounds = _round_up(thresholds - _CONFIDENCE_SLACK, pred_probs.dtype)
    if n_classes > FEW_CLASSES:
        # Few of the many reach theirs: work on those alone.
        rows, classes = np.divmod(np.flatnonzero(pred_probs >= bounds), n_classes)
        chosen = np.full(n, -1, dtype=np.int64)
        chosen[rows] = classes
        several = rows[1:][rows[1:] == rows[:-1]]
    else:
        # NumPy is fast along the last axis where that is long. Where one class reaches its threshold, the sum
        # is its number, counted from 1.
        reached = (np.ascontiguousarray(pred_probs.T) >= bounds[:, None]).view(np.uint8)
        numbered = reached * np.arange(1, n_classes + 1, dtype=np.uint8)[:, None]
        chosen = numbered.sum(axis=0, dtype=np.uint8).astype(np.int64) - 1
        several = np.flatnonzero(reached.sum(axis=0, dtype=np.uint8) > 1)
    chosen[several] = pred_probs.take(several, axis=0).argmax(axis=1)
    return chosen


def _round_up(bounds: Floats, dtype: npt.DTypeLike) -> npt.NDArray[np.floating]:
    """The lowest numbers of `dtype` not below `bounds`: x >= bound is then exact without converting x."""
    rounded = bounds.astype(dtype)
    return np.where(rounded < bounds, np.nextafter(rounded, np.array(np.inf, dtype)), rounded)


def count_confident(labels: npt.NDArray[np.integer], confident: Ints, n_classes: int) -> Ints:
    """(K, K) counts `[given, true]` of the rows with a confident class; batches add.

    >>> count_confident(np.array([0, 0, 1]), np.array([0, 1, -1]), n_classes=2).tolist()
    [[1, 1], [0, 0]]
    """
    pairs = confident_pairs(labels, confident, n_classes)
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)


def confident_pairs(labels: npt.NDArray[np.integer], confident: Ints, n_classes: int) -> Ints:
    """(M,) where to count each row with a confident class in (K, K) `[given, true]`, flat."""
    counted = np.flatnonzero(confident >= 0)
    return np.asarray(labels[counted].astype(np.int64) * n_classes + confident[counted])


def raw_confident_joint(counts: Ints) -> Ints:
    """(K, K) `joint[given, true]` from `count_confident` of all rows: its diagonal is at least 1.

    >>> raw_confident_joint(np.array([[4, 1], [2, 0]])).tolist()
    [[4, 1], [2, 1]]
    """
    joint = counts.copy()
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint


def calibrate_joint(joint: Ints, class_counts: Ints) -> Ints:
    """(K, K) the joint scaled so that its rows sum to `class_counts` (K,) and all of it to N, in integers.

    >>> calibrate_joint(np.array([[3, 1], [0, 2]]), np.array([8, 2])).tolist()
    [[6, 2], [0, 2]]
    """
    # The reference's operations in its order, over [true, given]: the last bit decides which of two equal
    # remainders is rounded up.
    shares = np.ascontiguousarray(joint.T) / np.maximum(joint.sum(axis=1), 1e-100)
    scaled = shares * class_counts
    scaled = (scaled / scaled.sum() * class_counts.sum()).T
    return np.stack([round_keeping_sum(row) for row in scaled])


def round_keeping_sum(values: Floats) -> Ints:
    """Round to integers whose sum is the rounded sum of `values` (K,).

    Half to even; while the sum is off, the entries with the largest (smallest) value - rounded gain (lose)
    one each.

    >>> round_keeping_sum(np.array([0.5, 1.5, 1.0])).tolist()
    [0, 2, 1]
    """
    target = int(np.rint(values.sum()))
    rounded = np.rint(values).astype(np.int64)
    while (missing := target - int(rounded.sum())) != 0:
        order = np.argsort(values - rounded, kind="stable")
        step = min(abs(missing), len(values))
        chosen = order[::-1][:step] if missing > 0 else order[:step]
        rounded[chosen] += np.sign(missing)
    return rounded


def estimate_n_errors(calibrated: Ints) -> int:
    """The estimated number of wrong labels: the calibrated joint off its diagonal, rounded to even.

    >>> estimate_n_errors(np.array([[6, 2], [0, 2]]))
    2
    """
    total = int(calibrated.sum())
    return int(np.rint((1 - np.trace(calibrated / total)) * total))


def noise_matrix(joint: npt.NDArray[np.integer]) -> Floats:
    """(K, K) P(given | true), indexed [given, true]: columns sum to 1 (0 for a class never true).

    `joint` (K, K), here and below, is the raw or the calibrated confident joint.

    >>> noise_matrix(np.array([[6, 1], [2, 3]])).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """
    columns = joint.sum(axis=0, keepdims=True)
    shares: Floats = np.zeros(joint.shape, dtype=np.float64)
    np.divide(joint, columns, out=shares, where=columns > 0)
    return shares


def class_priors(joint: npt.NDArray[np.integer], class_counts: Ints) -> Floats:
    """(K,) P(true): the share of each true class, sums to 1.

    The ratio of confident counts by true and by given class, times the share of rows given the class
    (`class_counts` (K,)), kept in [1e-6, 1] and scaled to sum to 1: cleanlab's "cnt", robust where the
    off-diagonal counts are few. A class whose rows are all given other labels keeps its share here; cleanlab,
    which divides by the diagonal, gives it the least.

    >>> joint = np.array([[6, 2], [0, 2]])
    >>> class_priors(joint, joint.sum(axis=1)).round(3).tolist()
    [0.6, 0.4]
    """
    shares = class_counts / class_counts.sum()
    by_true = joint.sum(axis=0)
    priors = by_true / np.maximum(joint.sum(axis=1), 1) * shares
    # No class that is given is ever true: what is left are the counts themselves.
    priors = priors if priors.any() else by_true / by_true.sum()
    priors = np.clip(priors, _LOWEST_PRIOR, 1)
    return np.asarray(priors / priors.sum())


def prune_counts(calibrated: Ints, min_examples_per_class: int, frac_noise: float) -> Ints:
    """(K, K) how many rows to prune, indexed [true, given]; the diagonal is what stays of each class.

    At least `min_examples_per_class` stay on the diagonal, taken evenly from the column's other entries;
    `frac_noise` in (0, 1] scales the off-diagonal counts, the diagonal gaining what they lose.

    >>> prune_counts(np.array([[6, 2], [1, 3]]), min_examples_per_class=1, frac_noise=1.0).tolist()
    [[6, 1], [2, 3]]
    >>> prune_counts(np.array([[6, 2], [1, 3]]), min_examples_per_class=1, frac_noise=0.5).tolist()
    [[7, 0], [1, 3]]
    """
    counts = calibrated.T.astype(np.float64)
    diagonal = counts.diagonal().copy()
    kept = np.maximum(diagonal, min_examples_per_class)
    shared = (kept - diagonal) / np.maximum((counts != 0).sum(axis=0) - 1, 1)
    counts = np.clip(counts - shared, 0, None)
    np.fill_diagonal(counts, kept)
    scaled = counts * frac_noise
    np.fill_diagonal(scaled, kept)
    # The sum of the differences, not the difference of the sums: truncation must see no rounding noise.
    np.fill_diagonal(scaled, kept + (counts - scaled).sum(axis=0))
    return np.asarray(scaled, dtype=np.int64)
