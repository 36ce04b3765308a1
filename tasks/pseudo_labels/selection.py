"""What is done with each label issue."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Repair:
    """The outcome for N rows.

    Attributes:
        keep: (N,) bool, False where the row is dropped.
        label: (N,) int64, the label to train on.
        soft_label: (N, K) float32, the target probabilities; rows sum to 1.
        is_pseudo: (N,) bool, True where the label or the soft label comes from the model.
        action: (N,) str, one of `trusted` (no issue), `relabelled`, `dropped`, `kept`, `softened`.
    """

    keep: npt.NDArray[np.bool_]
    label: npt.NDArray[np.int64]
    soft_label: npt.NDArray[np.float32]
    is_pseudo: npt.NDArray[np.bool_]
    action: npt.NDArray[Any]


def repair_labels(
    labels: npt.NDArray[Any],
    pred_probs: npt.NDArray[Any],
    is_issue: npt.NDArray[np.bool_],
    min_confidence: float,
    otherwise: str,
) -> Repair:
    """Relabel confident issues, and treat the others as `otherwise` says.

    Args:
        labels: (N,) given class indices.
        pred_probs: (N, K) out-of-fold probabilities.
        is_issue: (N,) which rows are label issues.
        min_confidence: an issue whose largest probability reaches this is relabelled to that class (the
            hard pseudo-label of Lee 2013, "Pseudo-Label"), in [0, 1].
        otherwise: `drop` the row, `keep` its given label, or train it on its probabilities (`soft`).

    Raises:
        ValueError: `otherwise` is none of these.
    """
    if otherwise not in ("drop", "keep", "soft"):
        raise ValueError(f"otherwise must be drop, keep or soft, found {otherwise!r}")
    labels = labels.astype(np.int64)
    suggested = pred_probs.argmax(axis=1)
    relabelled = is_issue & (pred_probs.max(axis=1) >= min_confidence)
    rest = is_issue & ~relabelled
    softened = rest & (otherwise == "soft")
    label = np.where(relabelled | softened, suggested, labels)
    soft_label = np.eye(pred_probs.shape[1], dtype=np.float32)[label]
    probs = pred_probs[softened].astype(np.float64)
    soft_label[softened] = probs / probs.sum(axis=1, keepdims=True)
    names = {"drop": "dropped", "keep": "kept", "soft": "softened"}
    return Repair(
        keep=~(rest & (otherwise == "drop")),
        label=label,
        soft_label=soft_label,
        is_pseudo=relabelled | softened,
        action=np.select([relabelled, rest], ["relabelled", names[otherwise]], "trusted"),
    )
