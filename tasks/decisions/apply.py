"""What people's decisions do to the labels: they outrank the model."""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.decisions.log import RELABELLING, Decision
from tasks.label_quality.audit import RIGHT, UNKNOWN, WRONG
from tasks.repair import DROPPED, Repair


@dataclass(frozen=True)
class Verdicts:
    """The decisions that hold for N rows, and those that hold for none.

    Attributes:
        decision: (N,) str, `keep`, `accept`, `choose`, `drop` or `unsure`; empty where nobody decided.
        label: (N,) int64, the class that a person says is right, the given one for `keep`; -1 elsewhere.
        refused: decisions that are not applied, each with the reason.
    """

    decision: npt.NDArray[np.str_]
    label: npt.NDArray[np.int64]
    refused: tuple[tuple[Decision, str], ...]

    def counts(self) -> dict[str, int]:
        """How many rows were decided which way."""
        found = Counter(self.decision[self.decision != ""].tolist())
        return {name: found[name] for name in ("keep", "accept", "choose", "drop", "unsure")}

    def known(self, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int8]:
        """(N,) what people said of some labels (N,), as `label_quality.audit` calls it.

        A row to be dropped has no label that is right.
        """
        is_wrong = ((self.label >= 0) & (self.label != labels)) | (self.decision == "drop")
        is_right = (self.label >= 0) & (self.label == labels)
        return np.select([is_wrong, is_right], [WRONG, RIGHT], UNKNOWN).astype(np.int8)


def known_by(decision: Decision | None) -> int:
    """What a decision says of the given label of its row, as `label_quality.audit` calls it."""
    if decision is None or decision.decision == "unsure":
        return UNKNOWN
    is_other = decision.decision in RELABELLING and decision.label != decision.given_label
    return WRONG if is_other or decision.decision == "drop" else RIGHT


def why_refused(decision: Decision, given_label: str | None, class_names: Container[str]) -> str:
    """Why a decision is not applied to a row with this given label (None: no row); empty where it is."""
    if given_label is None:
        return "no training row has this id"
    if decision.given_label != given_label:
        return f"its given label was {decision.given_label} then and is {given_label} now"
    if decision.decision in RELABELLING and decision.label not in class_names:
        return f"there is no class {decision.label}"
    return ""


def match_decisions(
    standing: Iterable[Decision],
    ids: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer],
    class_names: tuple[str, ...],
) -> Verdicts:
    """Find the row of each decision that stands; refuse those made about something else.

    Beside the (N,) results, memory goes by the decisions, not by the rows.

    Args:
        standing: at most one decision an example.
        ids: (N,) example ids, unique.
        labels: (N,) given class indices.
        class_names: (K,) by class index.
    """
    standing = list(standing)
    is_named = np.isin(ids, np.array([decision.example_id for decision in standing], dtype=np.int64))
    rows = dict(zip(ids[is_named].tolist(), np.flatnonzero(is_named).tolist(), strict=True))
    index = {name: k for k, name in enumerate(class_names)}
    decided = np.zeros(len(ids), dtype="U6")
    chosen = np.full(len(ids), -1, dtype=np.int64)
    refused = []
    for decision in standing:
        row = rows.get(decision.example_id)
        reason = why_refused(decision, None if row is None else class_names[labels[row]], index)
        if reason:
            refused.append((decision, reason))
            continue
        decided[row] = decision.decision
        if decision.decision in RELABELLING:
            chosen[row] = index[decision.label]
        elif decision.decision == "keep":
            chosen[row] = labels[row]
    return Verdicts(decided, chosen, tuple(refused))


def apply_decisions(repair: Repair, verdicts: Verdicts) -> Repair:
    """What people said in place of what the model did; `unsure` leaves it to the model.

    A row with a label from a person is `reviewed`: it is kept, with that label alone.
    """
    reviewed = verdicts.label >= 0
    dropped = verdicts.decision == "drop"
    if not (reviewed | dropped).any():
        return repair
    return repair.with_hard(
        reviewed | dropped,
        label=np.where(reviewed, verdicts.label, repair.label),
        weight=np.select([reviewed, dropped], [1, 0], repair.weight).astype(np.float32),
        action=np.select([reviewed, dropped], ["reviewed", DROPPED], repair.action),
        source=np.select([reviewed, dropped], ["reviewed", "given"], repair.source),
    )
