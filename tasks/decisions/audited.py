"""The cut of relabelling that people's verdicts choose."""

import math
from dataclasses import replace

from tasks.decisions.apply import Verdicts
from tasks.label_quality.audit import draw_order
from tasks.label_quality.audited_cut import choose_cut, describe_cut, try_cuts
from tasks.repair import AuditMetrics, Evidence


def audit_cut(
    evidence: Evidence, verdicts: Verdicts, seed: int, precision: float
) -> tuple[Evidence, AuditMetrics]:
    """The evidence with the cut that verdicts choose, infinite where they choose none, and what metrics say.

    Args:
        evidence: of N rows.
        verdicts: of the same rows.
        seed: names the draw, in the order of which verdicts count.
        precision: the least share of right suggestions, in (0, 1).
    """
    drawn = draw_order(evidence.ids, seed)
    differs = evidence.is_issue & (evidence.suggested != evidence.labels)
    rows = drawn[differs[drawn]]
    tried = try_cuts(evidence.suggested_prob[rows], verdicts.known(evidence.suggested)[rows])
    chosen = choose_cut(tried, precision)
    found: AuditMetrics = {
        "min_confidence": chosen.cut if chosen else None,
        "n_verdicts": (chosen or tried[0]).n_seen,
        "precision_low": chosen.precision if chosen else None,
        "sentence": describe_cut(tried, precision),
    }
    return replace(evidence, min_confidence=chosen.cut if chosen else math.inf), found
