"""What a pseudo-label method is given, made of arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.repair import Evidence, Otherwise, Unlabeled


def make_evidence(
    labels: npt.NDArray[Any],
    pred_probs: npt.NDArray[Any],
    is_issue: npt.NDArray[np.bool_],
    min_confidence: float = 0.7,
    otherwise: Otherwise = "drop",
    unlabeled: npt.NDArray[Any] | None = None,
    error_prob: npt.NDArray[Any] | None = None,
) -> Evidence:
    """Labels (N,), probabilities (N, K) and which rows are issues (N,), of rows 0, 1, 2, ...

    `unlabeled` (U, K) are probabilities of the rows that follow them; `error_prob` (N,) says how probably
    labels are wrong.
    """
    n_rows = len(labels)
    return Evidence(
        ids=np.arange(len(labels)),
        labels=labels.astype(np.int64),
        is_issue=is_issue,
        suggested=pred_probs.argmax(axis=1),
        suggested_prob=pred_probs.max(axis=1),
        n_classes=pred_probs.shape[1],
        pred_probs=lambda rows: pred_probs[rows],
        min_confidence=min_confidence,
        otherwise=otherwise,
        error_prob=error_prob,
        unlabeled=None
        if unlabeled is None
        else Unlabeled(
            ids=n_rows + np.arange(len(unlabeled)),
            suggested=unlabeled.argmax(axis=1),
            suggested_prob=unlabeled.max(axis=1),
            pred_probs=lambda rows: unlabeled[rows],
        ),
    )
