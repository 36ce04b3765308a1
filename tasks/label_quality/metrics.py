"""Measures: how good predictions are, and how well issues were found. Plain floats, ready for JSON."""

from typing import Any

import numpy as np
import numpy.typing as npt


def prediction_quality(
    labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any], calibration_bins: int = 15
) -> dict[str, float]:
    """Accuracy, log-loss (nats) and calibration error of `pred_probs` (N, K) against `labels` (N,)."""
    probs = pred_probs[np.arange(len(labels)), labels].astype(np.float64)
    return {
        "accuracy": float(np.mean(pred_probs.argmax(axis=1) == labels)),
        # The clip of scikit-learn's log_loss: one certain mistake must not make the mean infinite.
        "log_loss": float(-np.log(np.clip(probs, np.finfo(pred_probs.dtype).eps, 1)).mean()),
        "expected_calibration_error": expected_calibration_error(labels, pred_probs, calibration_bins),
    }


def expected_calibration_error(labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any], n_bins: int) -> float:
    """The expected calibration error of the predicted class (Guo et al. 2017, equation 3), in [0, 1].

    Bins of equal width over confidence, the upper edge belonging to the bin.
    """
    confidence, correct, bins = _binned(labels, pred_probs, n_bins)
    gap = np.bincount(bins, weights=correct - confidence, minlength=n_bins)
    return float(np.abs(gap).sum() / len(labels))


def reliability(
    labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any], n_bins: int
) -> dict[str, npt.NDArray[Any]]:
    """The reliability diagram of the predicted class (Guo et al. 2017, figure 1), bin by bin.

    The bins are those of `expected_calibration_error`, which is the mean of |accuracy - confidence| over
    them, weighted by rows. Bins without rows are left out.

    Args:
        labels: (N,) class indices.
        pred_probs: (N, K) probabilities.
        n_bins: how many bins [0, 1] is cut into.

    Returns:
        (B,) by name: `low` and `high`, the edges of the bin; its number of `rows`; their mean `confidence`;
        and their `accuracy`.
    """
    confidence, correct, bins = _binned(labels, pred_probs, n_bins)
    rows = np.bincount(bins, minlength=n_bins)
    used = np.flatnonzero(rows)
    return {
        "low": used / n_bins,
        "high": (used + 1) / n_bins,
        "rows": rows[used],
        "confidence": np.bincount(bins, weights=confidence, minlength=n_bins)[used] / rows[used],
        "accuracy": np.bincount(bins, weights=correct, minlength=n_bins)[used] / rows[used],
    }


def _binned(
    labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any], n_bins: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Of each row its confidence, whether it is predicted right, and its bin."""
    confidence = pred_probs.max(axis=1).astype(np.float64)
    correct = pred_probs.argmax(axis=1) == labels
    # Compared with the edges, not multiplied by n_bins, whose rounding would lift a value off its edge.
    return confidence, correct, np.searchsorted(np.arange(1, n_bins) / n_bins, confidence, side="left")


def detection_quality(is_noisy: npt.NDArray[np.bool_], is_issue: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Precision, recall and F1 of flags (N,) against the truth (N,); NaN where a ratio has no base."""
    return detection_of_counts(int(is_noisy.sum()), int(is_issue.sum()), int((is_noisy & is_issue).sum()))


def detection_of_counts(n_noisy: int, n_flagged: int, n_hits: int) -> dict[str, float]:
    """`detection_quality` from counts of rows: noisy, flagged, and both."""
    return {
        "precision": n_hits / n_flagged if n_flagged else float("nan"),
        "recall": n_hits / n_noisy if n_noisy else float("nan"),
        "f1": 2 * n_hits / (n_flagged + n_noisy) if n_flagged + n_noisy else float("nan"),
    }


def ranking_quality(is_noisy: npt.NDArray[np.bool_], suspicion: npt.NDArray[np.float64]) -> dict[str, float]:
    """Average precision and AUROC of a score (N,), high = suspect; NaN where there is but one kind of row."""
    # Imported here: scikit-learn costs a second, and only runs whose truth is known need it.
    from sklearn.metrics import average_precision_score, roc_auc_score

    if is_noisy.all() or not is_noisy.any():
        return {"average_precision": float("nan"), "auroc": float("nan")}
    return {
        "average_precision": float(average_precision_score(is_noisy, suspicion)),
        "auroc": float(roc_auc_score(is_noisy, suspicion)),
    }
