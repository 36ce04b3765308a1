"""The gate: labels are changed only where the evidence says that they get better.

Relabelling and dropping are judged on their own. The strongest evidence is a second opinion
(`self_tests.neighbours_vote`) on the very rows that an action would change. On such a row the classifier and
the given label differ, and the second opinion mostly takes one of the two sides. It is independent of the
given label; a wrong label has it against itself, a right label for itself, unless classifier and second
opinion make the same mistake. So not half of the sides but `LEAST_SIDE` of them must be the classifier's.

Without a second opinion planted errors must rank far above other rows, the classes must be as common in the
probabilities as in the labels, and half as many rows may be changed. That is less sure: a classifier that is
half trained passes it.

`LEAST_AGREEMENT` comes before all of this. It lies between what was measured of runs that harm and of runs
that help: 600 photographs with 60 wrong labels, of which a network learned little, have 0.08 to 0.11;
relabelling made 90 % right labels 27 % there. MNIST with 10 % wrong labels has 0.88, nine published arrays
with errors that people made have 0.68 to 0.92, and a perfect classifier of ten classes, half of whose labels
are wrong at random, has 0.44. Agreement below 0.2 is called slight (Landis and Koch, "The measurement of
observer agreement for categorical data", 1977).

docs/self_tests.md has the runs on which the other bounds were chosen, and those on which they were confirmed.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from tasks.label_quality.metrics import chance_corrected_agreement
from tasks.label_quality.self_tests.agreement import LEAST_SKILL
from tasks.label_quality.self_tests.intervals import Share

LEAST_AGREEMENT = 0.2
LEAST_SIDE = 0.8
LEAST_AUROC = 0.75
# Without a second opinion so many times `max_changed_share` may be changed.
_UNSURE = 0.5

Reason = Literal["near_chance", "too_many_changes", "second_opinion", "planted_errors", "class_shares"]


@dataclass(frozen=True)
class Sides:
    """Which side a second opinion takes on the rows that an action changes.

    Attributes:
        n_rows: rows that the action changes.
        with_model: those of them whose second opinion is the classifier's class.
        with_given: those of them whose second opinion is the given label.
    """

    n_rows: int
    with_model: int
    with_given: int

    @classmethod
    def of(
        cls,
        changed: npt.NDArray[np.bool_],
        given: npt.NDArray[Any],
        model: npt.NDArray[Any],
        second: npt.NDArray[Any] | None,
    ) -> Self:
        """Count the rows `changed` (N,): classes by three views, (N,) each; no side without an opinion."""
        if second is None:
            return cls(int(changed.sum()), 0, 0)
        return cls(
            int(changed.sum()),
            int((changed & (second == model)).sum()),
            int((changed & (second == given)).sum()),
        )

    def are_for_it(self, skill: float, n_classes: int) -> bool:
        """Whether enough of them are the classifier's, and more than half of them beyond chance.

        A second opinion guesses on a share 1 - `skill` of the rows, and then takes a wrong side as often as
        it names any other class. These sides are taken out: of x sides, (x - e) / (1 - 2 e) are meant.
        """
        share = Share(self.with_model, self.with_model + self.with_given)
        guessed = (1 - min(max(skill, LEAST_SKILL), 1)) / n_classes
        error = guessed / (1 - guessed * (n_classes - 2))
        return bool((share.value - error) / (1 - 2 * error) >= LEAST_SIDE and share.low > 0.5)


@dataclass(frozen=True)
class Gate:
    """Whether labels may be changed.

    Attributes:
        agreement: of the predicted with the given classes, corrected for chance; 1 is all, 0 is chance.
        changed_share: the share of the rows that would get another label or be dropped, in [0, 1].
        limit: the most that it may be, in [0, 1].
        relabelled: the sides of a second opinion on the rows that would get another label.
        dropped: the same of the rows that would be dropped.
        relabel: why no row may get another label; None where rows may.
        drop: why no row may be dropped; None where rows may.
        self_tests: what it went by (`self_tests.run.SelfTests.entries`); empty where there were none.
    """

    agreement: float
    changed_share: float
    limit: float
    relabelled: Sides
    dropped: Sides
    relabel: Reason | None
    drop: Reason | None
    self_tests: dict[str, Any]

    @property
    def has_second_opinion(self) -> bool:
        """Whether there was one to go by."""
        return bool(self.self_tests and self.self_tests["second_opinion"])

    @property
    def is_unsure(self) -> bool:
        """Whether there were tests, but no second opinion."""
        return bool(self.self_tests) and not self.has_second_opinion

    @property
    def is_too_weak(self) -> bool:
        """Whether the classifier is too weak to say how many labels are wrong."""
        is_unknown = self.has_second_opinion and not self.self_tests["second_opinion"]["is_known"]
        return not self.agreement >= LEAST_AGREEMENT or is_unknown

    @property
    def closed(self) -> dict[str, Reason]:
        """By `relabel` and `drop`, why the action may not be taken, where there are rows to take it on."""
        actions = {"relabel": (self.relabelled, self.relabel), "drop": (self.dropped, self.drop)}
        return {name: reason for name, (sides, reason) in actions.items() if reason and sides.n_rows}

    @property
    def is_closed(self) -> bool:
        """Whether nothing may be changed of what would be."""
        n_open = (self.relabelled.n_rows if not self.relabel else 0) + (
            self.dropped.n_rows if not self.drop else 0
        )
        return bool(self.closed) and not n_open


def judge_repair(
    confusion: npt.NDArray[np.int64],
    relabelled: Sides,
    dropped: Sides,
    max_changed_share: float,
    self_tests: dict[str, Any],
) -> Gate:
    """Judge a repair of N rows.

    Args:
        confusion: (K, K) all rows by given class and by most probable class out of fold.
        relabelled: the sides of a second opinion on the rows that the repair gives another label.
        dropped: the same of the rows that it drops.
        max_changed_share: the most of the rows that it may change, in [0, 1].
        self_tests: what `prune` found (`self_tests.run.SelfTests.entries`); empty where it was not asked to.
    """
    agreement = chance_corrected_agreement(confusion)
    changed_share = (relabelled.n_rows + dropped.n_rows) / max(int(confusion.sum()), 1)
    is_unsure = bool(self_tests) and not self_tests["second_opinion"]
    limit = max_changed_share * (_UNSURE if is_unsure else 1)

    def why_not(sides: Sides) -> Reason | None:
        if not agreement >= LEAST_AGREEMENT:
            return "near_chance"
        if changed_share > limit:
            return "too_many_changes"
        if not self_tests:
            return None
        if not is_unsure:
            skill = self_tests["second_opinion"]["second_skill"] or 0.0
            return None if sides.are_for_it(skill, len(confusion)) else "second_opinion"
        if self_tests["class_shares"]["is_shifted"]:
            return "class_shares"
        auroc = self_tests["planted"]["uniform"]["auroc"]
        return None if auroc is not None and auroc >= LEAST_AUROC else "planted_errors"

    return Gate(
        agreement,
        changed_share,
        limit,
        relabelled,
        dropped,
        why_not(relabelled),
        why_not(dropped),
        self_tests,
    )
