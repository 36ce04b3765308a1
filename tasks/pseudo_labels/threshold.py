"""Sure suggestions become labels; the other issues are dropped, kept or softened.

An issue is relabelled when the most probable class out of fold is probable enough: the hard pseudo-label of
Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks",
2013, section 2.
"""

import numpy as np

from tasks.repair import Evidence, Repair, Train
from tasks.sections import Section

_ACTIONS = {"drop": "dropped", "keep": "kept", "soft": "softened"}


def repair(evidence: Evidence, options: Section, train: Train | None, rng: np.random.Generator) -> Repair:  # noqa: ARG001
    """Relabel sure issues, and treat the others as `evidence.otherwise` says."""
    relabelled = evidence.is_issue & (evidence.suggested_prob >= evidence.min_confidence)
    rest = evidence.is_issue & ~relabelled
    softened = rest & (evidence.otherwise == "soft")
    dropped = rest & (evidence.otherwise == "drop")
    soft_rows = np.flatnonzero(softened)
    is_pseudo = relabelled | softened
    return Repair(
        label=np.where(is_pseudo, evidence.suggested, evidence.labels),
        weight=np.where(dropped, 0, 1).astype(np.float32),
        action=np.select([relabelled, rest], ["relabelled", _ACTIONS[evidence.otherwise]], "trusted"),
        source=np.where(is_pseudo, "pseudo", "given"),
        soft_rows=soft_rows,
        soft_label=evidence.soft_labels(soft_rows),
    )
