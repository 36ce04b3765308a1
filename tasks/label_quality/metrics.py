"""Measures: how good predictions are, and how well issues were found. Plain floats, ready for JSON."""

from dataclasses import dataclass
from typing import Literal, NotRequired, Self, TypedDict

import numpy as np
import numpy.typing as npt


class Quality(TypedDict):
    """See `PredictionCounts.quality`."""

    accuracy: float
    log_loss: float
    expected_calibration_error: float


class CrossValidationMetrics(TypedDict):
    """metrics/cross_validation.json: of predictions out of fold, against given labels and true ones."""

    n_rows: int
    given: Quality
    true: NotRequired[Quality]


class FlagQuality(TypedDict):
    """See `detection_quality`."""

    precision: float
    recall: float
    f1: float


FLAG_QUALITY: tuple[Literal["precision", "recall", "f1"], ...] = ("precision", "recall", "f1")


class RankQuality(TypedDict):
    """See `ranking_quality`."""

    average_precision: float
    auroc: float


class IssueMetrics(TypedDict):
    """metrics/label_issues.json: the last six where the truth is known; null stands for NaN.

    The estimates are null where the classifier is too weak for one.
    """

    n_rows: int
    n_issues: int
    rule: str | None
    n_errors_estimated: int | None
    n_errors_low: int | None
    n_errors_high: int | None
    n_contradicting: int
    n_errors: NotRequired[int]
    precision: NotRequired[float | None]
    recall: NotRequired[float | None]
    f1: NotRequired[float | None]
    average_precision: NotRequired[float | None]
    auroc: NotRequired[float | None]


@dataclass(frozen=True)
class PredictionCounts:
    """What is counted of the predictions of N rows; counts of two sets of rows add.

    Bins are of equal width over confidence, the upper edge belonging to the bin.

    Attributes:
        n_rows: N.
        n_right: rows predicted as their label.
        loss: the sum of their log-losses, in nats.
        bin_rows: (B,) rows by bin of confidence.
        bin_right: (B,) those of them predicted as their label.
        bin_confidence: (B,) the sum of their confidences.
    """

    n_rows: int
    n_right: int
    loss: float
    bin_rows: npt.NDArray[np.int64]
    bin_right: npt.NDArray[np.int64]
    bin_confidence: npt.NDArray[np.float64]

    @classmethod
    def of(cls, labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating], n_bins: int) -> Self:
        """Those of `pred_probs` (N, K) against `labels` (N,), in `n_bins` bins."""
        confidence = pred_probs.max(axis=1).astype(np.float64)
        right = pred_probs.argmax(axis=1) == labels
        # Compared with the edges, not multiplied by n_bins, whose rounding would lift a value off its edge.
        bins = np.searchsorted(np.arange(1, n_bins) / n_bins, confidence, side="left")
        # The clip of scikit-learn's log_loss: one certain mistake must not make the mean infinite.
        own = pred_probs[np.arange(len(labels)), labels].astype(np.float64)
        return cls(
            len(labels),
            int(right.sum()),
            float(-np.log(np.clip(own, np.finfo(pred_probs.dtype).eps, 1)).sum()),
            np.bincount(bins, minlength=n_bins),
            np.bincount(bins[right], minlength=n_bins),
            np.bincount(bins, weights=confidence, minlength=n_bins).astype(np.float64),
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.n_rows + other.n_rows,
            self.n_right + other.n_right,
            self.loss + other.loss,
            self.bin_rows + other.bin_rows,
            self.bin_right + other.bin_right,
            self.bin_confidence + other.bin_confidence,
        )

    def quality(self) -> Quality:
        """Accuracy, log-loss (nats) and expected calibration error (Guo et al. 2017, equation 3), in [0, 1].

        NaN where there is no row.
        """
        if not self.n_rows:
            nan = float("nan")
            return {"accuracy": nan, "log_loss": nan, "expected_calibration_error": nan}
        return {
            "accuracy": self.n_right / self.n_rows,
            "log_loss": self.loss / self.n_rows,
            "expected_calibration_error": float(
                np.abs(self.bin_right - self.bin_confidence).sum() / self.n_rows
            ),
        }

    def reliability(self) -> dict[str, npt.NDArray[np.int64 | np.float64]]:
        """The reliability diagram of the predicted class (Guo et al. 2017, figure 1), bin by bin.

        The calibration error is the mean of |accuracy - confidence| over these bins, weighted by rows. Bins
        without rows are left out.

        Returns:
            (B,) by name: `low` and `high`, the edges of the bin; its number of `rows`; their mean
            `confidence`; and their `accuracy`.
        """
        used, n_bins = np.flatnonzero(self.bin_rows), len(self.bin_rows)
        rows = self.bin_rows[used]
        return {
            "low": used / n_bins,
            "high": (used + 1) / n_bins,
            "rows": rows,
            "confidence": self.bin_confidence[used] / rows,
            "accuracy": self.bin_right[used] / rows,
        }


def chance_corrected_agreement(confusion: npt.NDArray[np.int64 | np.float64]) -> float:
    """Cohen's kappa of a (K, K) table of counts, rows one judge, columns the other; at most 1, 0 is chance.

    Chance is what two judges agree on who know the shares of the classes and nothing of the rows (Cohen, "A
    coefficient of agreement for nominal scales", 1960, equation 1). NaN where there is no row; 0 where chance
    alone explains everything, as where all rows are of one class.

    >>> chance_corrected_agreement(np.array([[50, 0], [0, 50]]))
    1.0
    >>> chance_corrected_agreement(np.array([[25, 25], [25, 25]]))
    0.0
    """
    n_rows = confusion.sum()
    if not n_rows:
        return float("nan")
    agreed = confusion.trace() / n_rows
    by_chance = float((confusion.sum(axis=0) / n_rows) @ (confusion.sum(axis=1) / n_rows))
    return 0.0 if by_chance >= 1 else float((agreed - by_chance) / (1 - by_chance))


def detection_quality(is_noisy: npt.NDArray[np.bool_], is_issue: npt.NDArray[np.bool_]) -> FlagQuality:
    """Precision, recall and F1 of flags (N,) against the truth (N,); NaN where a ratio has no base.

    >>> is_noisy = np.array([True, True, False, False])
    >>> found = detection_quality(is_noisy, np.array([True, False, True, False]))
    >>> found["precision"], found["recall"]
    (0.5, 0.5)
    """
    return detection_of_counts(int(is_noisy.sum()), int(is_issue.sum()), int((is_noisy & is_issue).sum()))


def detection_of_counts(n_noisy: int, n_flagged: int, n_hits: int) -> FlagQuality:
    """`detection_quality` from counts of rows: noisy, flagged, and both.

    >>> detection_of_counts(n_noisy=50, n_flagged=40, n_hits=36)
    {'precision': 0.9, 'recall': 0.72, 'f1': 0.8}
    """
    return {
        "precision": n_hits / n_flagged if n_flagged else float("nan"),
        "recall": n_hits / n_noisy if n_noisy else float("nan"),
        "f1": 2 * n_hits / (n_flagged + n_noisy) if n_flagged + n_noisy else float("nan"),
    }


def ranking_quality(is_noisy: npt.NDArray[np.bool_], suspicion: npt.NDArray[np.float64]) -> RankQuality:
    """Average precision and AUROC of a score (N,), high = suspect; NaN where there is but one kind of row.

    >>> ranking_quality(np.array([True, False, False]), np.array([0.9, 0.2, 0.4]))
    {'average_precision': 1.0, 'auroc': 1.0}
    """
    # Imported here: scikit-learn costs a second, and only runs whose truth is known need it.
    from sklearn.metrics import average_precision_score, roc_auc_score

    if is_noisy.all() or not is_noisy.any():
        return {"average_precision": float("nan"), "auroc": float("nan")}
    return {
        "average_precision": float(average_precision_score(is_noisy, suspicion)),
        "auroc": float(roc_auc_score(is_noisy, suspicion)),
    }
