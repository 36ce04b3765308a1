"""Label quality scores: how much a row's label is to be trusted. Low means suspect.

Throughout, `labels` is (N,) given class indices and `pred_probs` is (N, K) out-of-fold probabilities; the
results are (N,) float64 in [0, 1], or as far outside as the probabilities are, which may be 1e-6. Definitions
as in cleanlab 2.9 (`cleanlab.rank`).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tasks.label_quality.error_prob import ErrorModel

Floats = npt.NDArray[np.float64]
Score = Callable[[npt.NDArray[np.integer], npt.NDArray[np.floating]], Floats]
_TINY = 1e-6


def self_confidence(labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]) -> Floats:
    """The probability of the given label, P_y.

    >>> self_confidence(np.array([0, 1]), np.array([[0.9, 0.1], [0.7, 0.3]])).tolist()
    [0.9, 0.3]
    """
    return np.asarray(pred_probs[np.arange(len(labels)), labels], dtype=np.float64)


def normalized_margin(labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]) -> Floats:
    """(P_y - max over the other classes + 1) / 2.

    >>> normalized_margin(np.array([0, 1]), np.array([[0.75, 0.25], [0.75, 0.25]])).tolist()
    [0.75, 0.25]
    """
    rows = np.arange(len(labels))
    probs = pred_probs.astype(np.float64)
    given = probs[rows, labels]
    probs[rows, labels] = -np.inf
    return np.asarray((given - probs.max(axis=1) + 1) / 2)


def confidence_weighted_entropy(
    labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]
) -> Floats:
    """ln(1 + r) / r with r = (H / ln K) / P_y, H the entropy of the row; in [0, 1].

    Probabilities just outside [0, 1], which cleanlab refuses here, count as 0 and 1.

    A known trap, kept because cleanlab's rows are the contract: a row of entropy 0 scores 0, the worst,
    even where its label is right.

    >>> scores = confidence_weighted_entropy(np.array([0, 1]), np.array([[0.9, 0.1], [0.9, 0.1]]))
    >>> scores.round(3).tolist()
    [0.805, 0.371]
    """
    probs = pred_probs.astype(np.float64)
    np.clip(probs, 0, 1, out=probs)
    # p ln p with 0 ln 0 = 0.
    entropy = -np.sum(probs * np.log(np.clip(probs, np.finfo(np.float64).tiny, None)), axis=1)
    ratio = (entropy / np.log(probs.shape[1])) / np.maximum(self_confidence(labels, probs), _TINY)
    return np.asarray(np.log(ratio + 1) / np.maximum(ratio, _TINY))


SCORES = {
    "self_confidence": self_confidence,
    "normalized_margin": normalized_margin,
    "confidence_weighted_entropy": confidence_weighted_entropy,
}


def adjust_pred_probs(pred_probs: npt.NDArray[np.floating], thresholds: Floats) -> Floats:
    """(N, K) (P - t + max t) / rowsum: each class measured against its own confident threshold t (K,).

    It keeps classes of which a model is rarely sure from filling the top of a ranking. Rows sum to 1.

    >>> adjust_pred_probs(np.array([[0.6, 0.4]]), np.array([0.9, 0.5])).round(2).tolist()
    [[0.43, 0.57]]
    """
    adjusted = pred_probs.astype(np.float64) - thresholds
    adjusted += thresholds.max()
    adjusted /= adjusted.sum(axis=1, keepdims=True)
    return adjusted


def ranking_score(name: str, adjust_by: Floats | None = None, error_model: ErrorModel | None = None) -> Score:
    """The score `name`, of the probabilities as they are or, with thresholds (K,), adjusted by them.

    `error_prob` is a score too, of a fitted `error_model`: the probability that the label is right.

    Raises:
        ValueError: there is no such score, or another than the first two was to be adjusted, which has no
            meaning (cleanlab refuses it too).

    >>> labels, pred_probs = np.array([1]), np.array([[0.6, 0.4]])
    >>> ranking_score("self_confidence")(labels, pred_probs).tolist()
    [0.4]
    >>> ranking_score("self_confidence", adjust_by=np.array([0.9, 0.5]))(labels, pred_probs).round(2).tolist()
    [0.57]
    """
    by_name: dict[str, Score] = dict(SCORES)
    if error_model is not None:
        by_name["error_prob"] = error_model.label_right_prob
    if name not in by_name:
        raise ValueError(f"expected a score among {', '.join(by_name)}, found {name}")
    score = by_name[name]
    if adjust_by is None:
        return score
    if name not in ("self_confidence", "normalized_margin"):
        raise ValueError(f"{name} can not be computed from adjusted probabilities")
    return lambda labels, pred_probs: score(labels, adjust_pred_probs(pred_probs, adjust_by))


def ranks(scores: Floats) -> npt.NDArray[np.int64]:
    """(M,) the rank of each issue by its score (M,), 0 the lowest; a tie goes to the earlier one.

    >>> ranks(np.array([0.5, 0.1, 0.5])).tolist()
    [1, 0, 2]
    """
    ranked = np.empty(len(scores), dtype=np.int64)
    ranked[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return ranked
