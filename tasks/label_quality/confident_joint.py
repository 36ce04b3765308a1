"""The confident joint: counts of given against (confidently predicted) true labels.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70 (2021),
section 3, with the details (tolerances, calibration, rounding) of cleanlab 2.9.

`labels` is (N,) given class indices, `pred_probs` is (N, K) out-of-fold probabilities; all computation is
in float64.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A probability counts as confident from this little below its threshold: float noise must not decide.
_CONFIDENCE_SLACK = 1e-6
_LOWEST_THRESHOLD = 2e-6
# Above every probability, so that a class without rows is never predicted confidently.
_NEVER = 2.0


def check_inputs(labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any]) -> None:
    """Check shapes and ranges, once, at the public door.

    Raises:
        ValueError: fewer than 2 classes, shapes that do not fit, a probability that is not finite or
            outside [0, 1] by more than 1e-6, or a label that is no class; names the row and column.
    """
    if pred_probs.ndim != 2 or pred_probs.shape[1] < 2:
        raise ValueError(f"pred_probs must be (N, K) with K >= 2, found shape {pred_probs.shape}")
    if labels.shape != (len(pred_probs),):
        raise ValueError(f"labels must be ({len(pred_probs)},) like pred_probs, found {labels.shape}")
    n_classes = pred_probs.shape[1]
    wrong_labels = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong_labels):
        row = int(wrong_labels[0])
        raise ValueError(f"labels must be in 0..{n_classes - 1}, found {labels[row]} in row {row}")
    # The comparisons are false for NaN, so their negation finds it too.
    fine = (pred_probs >= -1e-6) & (pred_probs <= 1 + 1e-6)
    if not fine.all():
        row, column = np.argwhere(~fine)[0]
        raise ValueError(
            f"pred_probs must be finite and in [0, 1], found {pred_probs[row, column]} in row {row}, "
            f"column {column}"
        )


def confident_thresholds(labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any]) -> Floats:
    """(K,) mean probability of class k over the rows given k; 2 (never reached) for a class without rows."""
    n_classes = pred_probs.shape[1]
    own = pred_probs[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.bincount(labels, minlength=n_classes)
    # One mean per class: pairwise summation, as accurate as the reference's.
    order = np.argsort(labels, kind="stable")
    groups = np.split(own[order], np.cumsum(counts)[:-1])
    means = [group.mean() if len(group) else _NEVER for group in groups]
    return np.maximum(np.array(means, dtype=np.float64), _LOWEST_THRESHOLD)


def confident_classes(pred_probs: npt.NDArray[Any], thresholds: Floats) -> Ints:
    """(N,) the class each row is confidently predicted as, or -1 where none reaches its threshold.

    Where several classes reach theirs, the class of the highest probability among all K.
    """
    reached = pred_probs >= thresholds - _CONFIDENCE_SLACK
    n_reached = reached.sum(axis=1)
    chosen = np.where(n_reached == 1, reached.argmax(axis=1), pred_probs.argmax(axis=1))
    return np.where(n_reached == 0, -1, chosen).astype(np.int64)


def raw_confident_joint(labels: npt.NDArray[Any], confident: Ints, n_classes: int) -> Ints:
    """(K, K) counts `joint[given, true]` over the rows with a confident class; the diagonal is at least 1."""
    counted = confident >= 0
    flat = labels[counted].astype(np.int64) * n_classes + confident[counted]
    joint = np.bincount(flat, minlength=n_classes * n_classes).reshape(n_classes, n_classes)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint.astype(np.int64)


def calibrate_joint(joint: Ints, class_counts: Ints) -> Ints:
    """(K, K) the joint scaled so that its rows sum to `class_counts` (K,) and all of it to N, in integers."""
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
    """
    target = int(np.rint(values.sum()))
    rounded = np.rint(values).astype(np.int64)
    while (missing := target - int(rounded.sum())) != 0:
        order = np.argsort(values - rounded, kind="stable")
        step = min(abs(missing), len(values))
        chosen = order[::-1][:step] if missing > 0 else order[:step]
        rounded[chosen] += np.sign(missing)
    return rounded


def estimate_joint(labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any]) -> tuple[Ints, Ints, Ints]:
    """The confident joint of a data set.

    Returns:
        raw (K, K) counts, calibrated (K, K) counts, and the confident class of each row (N,), -1 for none.
    """
    n_classes = pred_probs.shape[1]
    confident = confident_classes(pred_probs, confident_thresholds(labels, pred_probs))
    raw = raw_confident_joint(labels, confident, n_classes)
    counts = np.bincount(labels, minlength=n_classes).astype(np.int64)
    return raw, calibrate_joint(raw, counts), confident


def estimate_n_errors(calibrated: Ints) -> int:
    """The estimated number of wrong labels: the calibrated joint off its diagonal, rounded to even."""
    total = int(calibrated.sum())
    return int(np.rint((1 - np.trace(calibrated / total)) * total))


def noise_matrix(calibrated: npt.NDArray[Any]) -> Floats:
    """(K, K) P(given | true), indexed [given, true]: columns sum to 1 (0 for a class never true)."""
    columns = calibrated.sum(axis=0, keepdims=True)
    shares: Floats = np.zeros(calibrated.shape, dtype=np.float64)
    np.divide(calibrated, columns, out=shares, where=columns > 0)
    return shares


def prune_counts(calibrated: Ints, min_examples_per_class: int, frac_noise: float) -> Ints:
    """(K, K) how many rows to prune, indexed [true, given]; the diagonal is what stays of each class.

    At least `min_examples_per_class` stay on the diagonal, taken evenly from the column's other entries;
    `frac_noise` in (0, 1] scales the off-diagonal counts, the diagonal gaining what they lose.
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
