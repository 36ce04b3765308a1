"""What people's decisions do to the labels: they outrank the model."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.pseudo_labels.decisions import RELABELLING, Decision
from tasks.pseudo_labels.selection import Repair


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
        found = Counter(self.decision.tolist())
        return {name: found[name] for name in ("keep", "accept", "choose", "drop", "unsure")}


def match_decisions(
    standing: Iterable[Decision],
    ids: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    class_names: tuple[str, ...],
) -> Verdicts:
    """Find the row of each decision that stands; refuse those made about something else.

    Args:
        standing: at most one decision an example.
        ids: (N,) example ids, unique.
        labels: (N,) given class indices.
        class_names: (K,) by class index.
    """
    rows = {example_id: row for row, example_id in enumerate(ids.tolist())}
    index = {name: k for k, name in enumerate(class_names)}
    decided = np.zeros(len(ids), dtype="U6")
    chosen = np.full(len(ids), -1, dtype=np.int64)
    refused = []
    for decision in standing:
        row = rows.get(decision.example_id)
        if row is None:
            refused.append((decision, "no training row has this id"))
        elif class_names[labels[row]] != decision.given_label:
            now = class_names[labels[row]]
            refused.append((decision, f"its given label was {decision.given_label} then and is {now} now"))
        elif decision.label and decision.label not in index:
            refused.append((decision, f"there is no class {decision.label}"))
        else:
            decided[row] = decision.decision
            if decision.decision in RELABELLING:
                chosen[row] = index[decision.label]
            elif decision.decision == "keep":
                chosen[row] = labels[row]
    return Verdicts(decided, chosen, tuple(refused))


def apply_decisions(repair: Repair, verdicts: Verdicts) -> Repair:
    """What people said in place of what the model did; `unsure` leaves it to the model.

    A row with a label from a person is `reviewed`: it is kept, with all its soft label on that class.
    """
    reviewed = verdicts.label >= 0
    dropped = verdicts.decision == "drop"
    label = np.where(reviewed, verdicts.label, repair.label)
    one_hot = np.eye(repair.soft_label.shape[1], dtype=np.float32)[label]
    return replace(
        repair,
        keep=(repair.keep | reviewed) & ~dropped,
        label=label,
        soft_label=np.where(reviewed[:, None], one_hot, repair.soft_label),
        is_pseudo=repair.is_pseudo & ~reviewed & ~dropped,
        action=np.select([reviewed, dropped], ["reviewed", "dropped"], repair.action),
    )
