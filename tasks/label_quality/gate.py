"""The gate: labels are changed only where the evidence says that they get better.

Relabelling and dropping are judged on their own. The strongest evidence is a second opinion
(`self_tests.neighbours_vote`) on the very rows that an action would change. On such a row the classifier and
the given label differ, and the second opinion mostly takes one of the two sides. It is independent of the
given label; a wrong label has it against itself, a right label for itself, unless classifier and second
opinion make the same mistake. So not half of the sides but `LEAST_SIDE` of them must be the classifier's, and
`CLEAR_SIDE` where `share_of_noise` says that its own mistakes are among the rows to relabel. Where it says
that they are nearly all mistakes, nothing is changed: labels that are all right look like that. And of the
rows that may be changed, those on which the second opinion takes the given label's side are not.

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
from tasks.label_quality.self_tests.intervals import Share

LEAST_AGREEMENT = 0.2
LEAST_SIDE, CLEAR_SIDE = 0.75, 0.9
LEAST_NOISE_SHARE = 0.75
NO_NOISE_SHARE = 0.25
# So many of the rows are those of which the classifier is surest.
_SUREST, _LEAST_SUREST = 0.1, 20
LEAST_AUROC = 0.75
# Without a second opinion so many times `max_changed_share` may be changed.
_UNSURE = 0.5

Reason = Literal[
    "near_chance", "too_many_changes", "own_mistakes", "second_opinion", "planted_errors", "class_shares"
]


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

    def are_for_it(self, noise_share: float = 1.0) -> bool:
        """Whether enough of them are the classifier's, and more than half of them beyond chance.

        `noise_share` is what `share_of_noise` gives; where it is low, only many more sides than enough do.
        """
        share = Share(self.with_model, self.with_model + self.with_given)
        needed = LEAST_SIDE if noise_share >= LEAST_NOISE_SHARE else CLEAR_SIDE
        return bool(share.value >= needed and share.low > 0.5)


def share_of_noise(
    relabelled: npt.NDArray[np.bool_],
    given: npt.NDArray[Any],
    model: npt.NDArray[Any],
    confidence: npt.NDArray[Any],
) -> float:
    """How common other labels are where the classifier is surest, as a share of where rows are relabelled.

    Labels that are wrong at random are as common where the classifier is surest as elsewhere; its own
    mistakes are not. So with random noise that is the share of the relabelled rows whose label is wrong. With
    noise that falls on doubtful rows it is less. A standard error is added: few rows say little. At most 1;
    1 where no row is relabelled.

    Args:
        relabelled: (N,) which rows would be given the classifier's class.
        given: (N,) given class indices.
        model: (N,) the most probable classes out of fold.
        confidence: (N,) their probabilities.
    """
    if not relabelled.any():
        return 1.0
    n_surest = max(round(_SUREST * len(given)), min(_LEAST_SUREST, len(given)))
    surest = confidence >= np.partition(confidence, -n_surest)[-n_surest]
    here = confidence >= confidence[relabelled].min()
    common = relabelled.sum() / here.sum()
    n_others = int((model != given)[surest].sum())
    most = (n_others + np.sqrt(max(n_others, 1))) / surest.sum()
    return float(min(most / common, 1.0))


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
        n_joined: rows without a label that would join the training set with the classifier's class.
        join: why none may; None where they may. No second opinion is asked on them.
        noise_share: see `share_of_noise`.
        self_tests: what it went by (`self_tests.run.SelfTests.entries`); empty where there were none.
    """

    agreement: float
    changed_share: float
    limit: float
    relabelled: Sides
    dropped: Sides
    relabel: Reason | None
    drop: Reason | None
    n_joined: int
    join: Reason | None
    noise_share: float
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
        """By action, why it may not be taken, where there are rows to take it on."""
        return {name: reason for name, (n_rows, reason) in self._actions.items() if reason and n_rows}

    @property
    def is_closed(self) -> bool:
        """Whether nothing may be changed of what would be."""
        wanted = [reason for n_rows, reason in self._actions.values() if n_rows]
        return bool(wanted) and all(wanted)

    @property
    def _actions(self) -> dict[str, tuple[int, Reason | None]]:
        return {
            "relabel": (self.relabelled.n_rows, self.relabel),
            "drop": (self.dropped.n_rows, self.drop),
            "join": (self.n_joined, self.join),
        }


def judge_repair(
    confusion: npt.NDArray[np.int64],
    relabelled: Sides,
    dropped: Sides,
    max_changed_share: float,
    self_tests: dict[str, Any],
    n_joined: int = 0,
    noise_share: float = 1.0,
) -> Gate:
    """Judge a repair of N rows.

    Args:
        confusion: (K, K) all rows by given class and by most probable class out of fold.
        relabelled: the sides of a second opinion on the rows that the repair gives another label.
        dropped: the same of the rows that it drops.
        max_changed_share: the most of the rows that it may change, in [0, 1].
        self_tests: what `prune` found (`self_tests.run.SelfTests.entries`); empty where it was not asked to.
        n_joined: rows without a label that the repair gives one.
        noise_share: of the relabelled rows, what `share_of_noise` gives.
    """
    agreement = chance_corrected_agreement(confusion)
    changed_share = (relabelled.n_rows + dropped.n_rows) / max(int(confusion.sum()), 1)
    is_unsure = bool(self_tests) and not self_tests["second_opinion"]
    limit = max_changed_share * (_UNSURE if is_unsure else 1)
    is_own_mistakes = noise_share < NO_NOISE_SHARE

    def why_none() -> Reason | None:
        if not agreement >= LEAST_AGREEMENT:
            return "near_chance"
        return "too_many_changes" if changed_share > limit else None

    def why_not(sides: Sides, noise_share: float = 1.0) -> Reason | None:
        reason = why_none()
        if reason or not self_tests:
            return reason
        if is_own_mistakes:
            return "own_mistakes"
        if not is_unsure:
            return None if sides.are_for_it(noise_share) else "second_opinion"
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
        why_not(relabelled, noise_share),
        why_not(dropped),
        n_joined,
        why_none(),
        noise_share,
        self_tests,
    )
