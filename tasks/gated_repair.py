"""A repair and its gate: what the evidence does not support is taken back."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.label_quality.class_losses import count_losses, find_spared
from tasks.label_quality.confusions import count_confusions
from tasks.label_quality.gate import Gate, Sides, beyond_chance, judge_repair
from tasks.label_quality.gate_words import describe_gate
from tasks.label_quality.noise_evidence import NoiseEvidence, explain_by_chance, find_noise, weigh_asked
from tasks.label_quality.self_tests.neighbours_vote import UNASKED
from tasks.label_quality.self_tests.words import SelfTestMetrics
from tasks.repair import DROPPED, LEAST_ERROR_PROB, Evidence, GateMetrics, Repair, leave_out, take_back
from tasks.tables.catalog import UNLABELED

LEAST_WRONG = 0.55
"""A row is dropped whose label is wrong with this probability at least: the mean of what the noise model says
and of what chance explains. Of rows with a lower one most are right (docs/do_no_harm.md)."""


def judge(
    made: Repair,
    evidence: Evidence,
    max_changed_share: float,
    second: npt.NDArray[np.integer] | None,
    self_tests: SelfTestMetrics,
) -> Gate:
    """Judge a repair of N rows by a second opinion (N,), -1 where there is none, and by self-tests."""
    given, model, n_classes = evidence.labels, evidence.suggested, evidence.n_classes
    relabelled = made.source == "pseudo"
    # A row whose label is taken out is gone for the labels, whatever its content is used for.
    dropped = np.isin(made.action, (DROPPED, UNLABELED))

    def noise_beside(rows: npt.NDArray[np.bool_]) -> NoiseEvidence:
        return find_noise(rows, given, model, evidence.suggested_prob, second, evidence.is_issue)

    noise = noise_beside(relabelled)
    return judge_repair(
        count_confusions(given, model, n_classes),
        Sides.of(relabelled, given, made.label, second),
        Sides.of(dropped, given, model, second),
        max_changed_share,
        self_tests,
        made.n_joined,
        noise,
        noise_beside(dropped),
        0.0 if second is None else beyond_chance(count_views(evidence, second)),
        int((relabelled & are_surest(made, evidence, second, noise.least_confidence or 0.0)).sum()),
        may_drop=evidence.otherwise == "drop",
    )


def are_surest(
    made: Repair, evidence: Evidence, second: npt.NDArray[np.integer] | None, least_confidence: float
) -> npt.NDArray[np.bool_]:
    """(N,) rows of which the classifier is so sure, and whose new label the second opinion (N,) confirms.

    Where it was not asked, the classifier's word stands.
    """
    is_sure = evidence.suggested_prob >= least_confidence
    return is_sure if second is None else is_sure & ((second == made.label) | (second == UNASKED))


def count_views(evidence: Evidence, second: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """(K, K) all rows by the classifier's class and by the second opinion (N,), -1 where there is none.

    Of a large data set more of the issues are asked than of the other rows: each counts as many as it stands
    for.
    """
    n_classes, weight = evidence.n_classes, weigh_asked(second, evidence.is_issue)
    pair = evidence.suggested * n_classes + np.where(second == UNASKED, 0, second)
    found = np.bincount(pair, weight, n_classes**2).astype(np.float64)
    return found.reshape(n_classes, n_classes)


@dataclass(frozen=True)
class Held:
    """What the gate leaves of a repair, and why rows of it are as they were given.

    Attributes:
        repair: what is left.
        contested: (N,) the second opinion takes the given label's side.
        spared: (N,) others, as their class is hardly known (`class_losses.find_spared`).
        doubtful: (N,) others that would be dropped, but may well be right (`find_doubtful`).
    """

    repair: Repair
    contested: npt.NDArray[np.bool_]
    spared: npt.NDArray[np.bool_]
    doubtful: npt.NDArray[np.bool_]


def hold_back(made: Repair, evidence: Evidence, gate: Gate, second: npt.NDArray[np.integer] | None) -> Held:
    """What the gate leaves of a repair.

    The labels of the rows may be changed where their action may be taken, the second opinion (N,) does not
    take the given label's side, and their class may lose so many. Rows to be dropped must be wrong rather
    than right. Where only the surest rows may get another label, the second opinion has to confirm it, if it
    was asked.
    """
    relabelled = made.source == "pseudo"
    may_not = "relabel" in gate.closed and not gate.drops_instead
    refused = made.is_changed & np.where(relabelled, may_not, "drop" in gate.closed)
    if gate.drops_instead:
        made = leave_out(made, relabelled, evidence.labels)
    contested = np.zeros(len(refused), dtype=bool)
    if second is not None:
        contested = made.is_changed & ~refused & (second == evidence.labels)
    if gate.least_confidence:
        refused |= relabelled & ~are_surest(made, evidence, second, gate.least_confidence)
    changed = made.is_changed & ~(refused | contested)
    # A row that may well be right takes its place in what its class may lose: no less sure row takes it.
    spared = find_spared(
        changed,
        evidence.labels,
        evidence.suggested,
        evidence.suggested_prob,
        second,
        evidence.is_issue,
        evidence.n_classes,
    )
    doubtful = find_doubtful((made.action == DROPPED) & changed & ~spared, evidence, second)
    left = take_back(made, refused | contested | doubtful | spared, evidence.labels)
    return Held(left, contested, spared, doubtful)


def gate_metrics(
    gate: Gate, held: Held, labels: npt.NDArray[np.int64], class_names: Sequence[str], *, is_applied: bool
) -> GateMetrics:
    """What metrics say of a gate, and of what it left of the repair of rows with given `labels` (N,).

    One that is not applied closes nothing.
    """
    return {
        "agreement": gate.agreement,
        "changed_share": gate.changed_share,
        "relabel": {**vars(gate.relabelled), "reason": gate.relabel},
        "drop": {**vars(gate.dropped), "reason": gate.drop},
        "noise": vars(gate.noise),
        "noise_dropped": vars(gate.noise_dropped),
        "beyond_chance": gate.beyond_chance,
        "least_confidence": gate.least_confidence,
        "drops_instead": gate.drops_instead and is_applied,
        "on_held_out": vars(gate.on_held_out) if gate.on_held_out else None,
        "n_contested": int(held.contested.sum()),
        "n_doubtful": int(held.doubtful.sum()),
        "class_losses": count_losses(labels, held.repair.is_changed, held.spared, class_names),
        "join": {"n_rows": gate.n_joined, "reason": gate.join},
        "is_closed": gate.is_closed and is_applied,
        "is_too_weak": gate.is_too_weak,
        "sentence": describe_gate(gate) if is_applied else None,
    }


def find_doubtful(
    dropped: npt.NDArray[np.bool_], evidence: Evidence, second: npt.NDArray[np.integer] | None
) -> npt.NDArray[np.bool_]:
    """(N,) the rows to be dropped (N,) that may well be right; none where `error_prob` is not known.

    Where a classifier errs on many rows `error_prob` is too high, as it takes its mistakes for wrong labels.
    So it is averaged with what chance explains of other labels among rows as sure
    (`noise_evidence.explain_by_chance`), which is too low where people erred. Where the one is sure, it
    stands.
    """
    doubtful = np.zeros(len(dropped), dtype=bool)
    if evidence.error_prob is None or not dropped.any():
        return doubtful
    by_chance = explain_by_chance(
        dropped, evidence.labels, evidence.suggested, evidence.suggested_prob, second, evidence.is_issue
    )
    wrong = evidence.error_prob[dropped]
    doubtful[dropped] = (wrong < LEAST_ERROR_PROB) & ((wrong + by_chance) / 2 < LEAST_WRONG)
    return doubtful
