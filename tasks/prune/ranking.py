"""Which rows `prune` ranks, and by what."""

import numpy as np
import numpy.typing as npt

from tasks.label_quality.issues import IssueRows
from tasks.label_quality.rows import Batch
from tasks.label_quality.scores import Score, ranking_score
from tasks.label_quality.selection import Flagged
from tasks.params import Prune
from tasks.prune.labelled_rows import LabelledRows


def suspicion(issues: IssueRows, section: Prune) -> Score:
    """What rows are ranked by; low is suspect."""
    adjust_by = issues.thresholds if section.adjust_pred_probs else None
    return ranking_score(section.rank_by, adjust_by, issues.error_model)


def with_contradictions(
    flagged: Flagged, rows: LabelledRows, contradicting: npt.NDArray[np.int64], score: Score
) -> Flagged:
    """What the filter flagged, and the rows with these ids (M,), whose copies have other labels; both rank.

    At least one label of a group with several is wrong, whatever the model says of each.
    """
    if not len(contradicting):
        return flagged
    places = np.flatnonzero(np.isin(rows.predictions.column("example_id"), contradicting))
    more = np.setdiff1d(places, flagged.rows)

    def look_at(batch: Batch) -> npt.NDArray[np.float64]:
        first, last = np.searchsorted(more, (batch.start, batch.stop))
        here = more[first:last] - batch.start
        return score(batch.labels[here], batch.pred_probs[here])

    scores = np.concatenate([flagged.scores, *rows.map(look_at)])
    together = np.concatenate([flagged.rows, more])
    order = np.argsort(together, kind="stable")
    return Flagged(together[order], scores[order])
