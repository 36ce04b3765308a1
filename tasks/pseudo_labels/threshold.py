"""Sure suggestions become labels; the other issues are dropped, kept, softened or lose their label.

An issue is relabelled when the most probable class out of fold is probable enough, and a row without a label
joins the training set when its most probable class is: the hard pseudo-label of Lee, "Pseudo-Label: The
Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks", 2013, section 2.
"""

import numpy as np

from tasks.label_quality.sure_rows import choose_sure, expected_counts
from tasks.repair import Evidence, Repair, Train, label_unlabeled
from tasks.sections import Fraction, Section
from tasks.tables.catalog import UNLABELED

_ACTIONS = {"drop": "dropped", "keep": "kept", "soft": "softened", "unlabeled": UNLABELED}


class Options(Section):
    """Which rows without a label join: those whose class is at least `min_confidence` probable.

    At most the share `share` of them joins. With `class_balance`, no class gets more of them than its share
    among the labelled rows lets expect; the surest rows come first.
    """

    min_confidence: Fraction = 0.95
    share: Fraction = 1.0
    class_balance: bool = True


def repair(evidence: Evidence, options: Options, train: Train | None, rng: np.random.Generator) -> Repair:  # noqa: ARG001
    """Relabel sure issues, treat the others as `evidence.otherwise` says, and label sure unlabelled rows."""
    relabelled = evidence.is_issue & (evidence.suggested_prob >= evidence.min_confidence)
    rest = evidence.is_issue & ~relabelled
    softened = rest & (evidence.otherwise == "soft")
    left_out = rest & (evidence.otherwise in ("drop", "unlabeled"))
    soft_rows = np.flatnonzero(softened)
    is_pseudo = relabelled | softened
    return Repair(
        label=np.where(is_pseudo, evidence.suggested, evidence.labels),
        weight=np.where(left_out, 0, 1).astype(np.float32),
        action=np.select([relabelled, rest], ["relabelled", _ACTIONS[evidence.otherwise]], "trusted"),
        source=np.where(is_pseudo, "pseudo", "given"),
        soft_rows=soft_rows,
        soft_label=evidence.soft_labels(soft_rows),
        unlabeled=_label_sure(evidence, options),
    )


def _label_sure(evidence: Evidence, options: Options) -> Repair | None:
    rows = evidence.unlabeled
    if rows is None:
        return None
    n_rows, n_classes = len(rows.ids), evidence.n_classes
    chosen = rows.suggested_prob >= options.min_confidence
    if options.class_balance:
        limits = expected_counts(evidence.labels, n_rows, n_classes, options.share)
        chosen = choose_sure(rows.suggested, rows.suggested_prob, options.min_confidence, limits)
    # The surest of all classes together.
    most = np.array([int(n_rows * options.share)])
    chosen &= choose_sure(
        np.zeros(n_rows, dtype=np.int64), np.where(chosen, rows.suggested_prob, -1), 0, most
    )
    return label_unlabeled(rows, n_classes, chosen)
