"""Sure suggestions become labels; the other issues are dropped, kept, softened or lose their label.

An issue is relabelled when the most probable class out of fold is probable enough, and a row without a label
joins the training set when its most probable class is: the hard pseudo-label of Lee, "Pseudo-Label: The
Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks", 2013, section 2.
"""

from dataclasses import replace

import numpy as np

from tasks.label_quality.sure_rows import choose_sure, even_limits, expected_counts
from tasks.repair import Evidence, Repair, Train, label_unlabeled, least_taken, relabel_issues
from tasks.sections import Fraction, Section

# An issue is relabelled by the probability of its suggestion alone: verdicts may choose the cut.
TAKES_A_CUT = True


class Options(Section):
    """Which rows without a label join: those whose class is at least `min_confidence` probable; 1: none.

    At most the share `share` of them joins. With `class_balance`, no class gets more of them than its share
    among the labelled rows lets expect, and where few rows of a class are sure, none gets many more
    (`sure_rows.even_limits`); the surest rows come first.
    """

    min_confidence: Fraction = 0.95
    share: Fraction = 1.0
    class_balance: bool = True


def repair(evidence: Evidence, options: Options, train: Train | None, rng: np.random.Generator) -> Repair:  # noqa: ARG001
    """Relabel sure issues, treat the others as `evidence.otherwise` says, and label sure unlabelled rows."""
    made = relabel_issues(evidence, evidence.suggested_prob >= evidence.min_confidence)
    rows = evidence.unlabeled
    if rows is None:
        return made
    n_rows, n_classes = len(rows.ids), evidence.n_classes
    limits, least = np.full(n_classes, n_rows), least_taken(options.min_confidence)
    if options.class_balance:
        sure = rows.suggested[rows.suggested_prob >= least]
        limits = expected_counts(evidence.labels, n_rows, n_classes, options.share)
        limits = even_limits(limits, np.bincount(sure, minlength=n_classes))
    chosen = choose_sure(rows.suggested, rows.suggested_prob, least, limits, int(n_rows * options.share))
    return replace(made, unlabeled=label_unlabeled(rows, n_classes, chosen))
