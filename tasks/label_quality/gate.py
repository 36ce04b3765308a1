"""The gate: labels are changed only where the evidence says that they get better, and only those.

Relabelling and dropping are judged on their own. The strongest evidence is a second opinion
(`self_tests.neighbours_vote`) on the very rows that an action would change. On such a row the classifier and
the given label differ, and the second opinion mostly takes one of the two sides. It is independent of the
given label; a wrong label has it against itself, a right label for itself, unless classifier and second
opinion make the same mistake. They make it where a row lies among those of another class, and a class that
has few rows hardly ever wins a vote of neighbours. Whether they do, it cannot tell. That is what other
evidence is for:

- How common other labels are where the classifier is surest (`noise_evidence`). Where they are nearly all its
  own mistakes nothing is changed: labels that are all right look like that.
- How much of the agreement of classifier and second opinion is more than luck (`beyond_chance`). Two views of
  two classes that know little agree on half of the rows.

All rows are relabelled where the second opinion is clearly for it, and the labels look like noise. Where that
is not so, but most opinions are for it and nothing speaks against it, only the surest rows are, from the
confidence on at which other labels are hardly more common than among the surest, and only those whose
suggestion the second opinion confirms. Where other labels become ever fewer, the surer the classifier is, so
that there is no such confidence, none is relabelled, and none dropped. However many opinions are for it, they
do not stand for noise: two views of classes that overlap agree, and are wrong together. In any case the rows
whose given label it confirms are left as they are, and a class that it hardly knows may lose few
(`class_losses`). Shares are taken at the lower end of their 95 % interval: few rows prove little. Where all
else is for relabelling, and the sides alone are too few to prove it, the rows are dropped instead
(`are_too_few`): a row that is dropped gets no wrong label.

Where there are held-out rows, and no network has to be trained for it, the repair that is left is tried on
them (`tasks.held_out_proof`).

Without a second opinion planted errors must rank far above other rows, the classes must be as common in the
probabilities as in the labels, and half as many rows may be changed. That is less sure: a classifier that is
half trained passes it. Rows are dropped only where other labels are not too rare among the surest rows
(`NO_NOISE_ALONE`), and a class that the classifier hardly knows may lose few. A dropped row is lost for
training, while one that stays is ranked for people: so in doubt it stays.

`LEAST_AGREEMENT` comes before all of this. It lies between what was measured of runs that harm and of runs
that help: 600 photographs with 60 wrong labels, of which a network learned little, have 0.08 to 0.11;
relabelling made 90 % right labels 27 % there. MNIST with 10 % wrong labels has 0.88, nine published arrays
with errors that people made have 0.68 to 0.92, and a perfect classifier of ten classes, half of whose labels
are wrong at random, has 0.44. Agreement below 0.2 is called slight (Landis and Koch, "The measurement of
observer agreement for categorical data", 1977). With half of the labels wrong a good classifier may have
less: there the second opinion may vouch for it, if the two agree beyond chance.

docs/self_tests.md has the runs on which the bounds were chosen, and those on which they were confirmed.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from tasks.label_quality.metrics import chance_corrected_agreement
from tasks.label_quality.noise_evidence import NO_EVIDENCE, NoiseEvidence
from tasks.label_quality.paired import Difference
from tasks.label_quality.self_tests.intervals import Share
from tasks.label_quality.self_tests.words import SelfTestMetrics

LEAST_AGREEMENT = 0.2
LEAST_SIDE, SOME_SIDE, MOST = 0.75, 0.6, 0.5
"""Of the sides that a second opinion takes, so many are the classifier's: for relabelling all rows, for
dropping where the views agree beyond chance, and for the surest rows."""
LEAST_NOISE, SOME_NOISE, NO_NOISE = 0.75, 0.5, 0.25
"""So common other labels are among the surest rows beside those to relabel: for relabelling all of them, the
surest of them, and none at all."""
NO_NOISE_ALONE = 0.2
"""The same for dropping, where there is no second opinion: labels of people that are wrong in 9 % of the rows
have 0.22 and 0.24 there (docs/do_no_harm.md)."""
LEAST_BEYOND_CHANCE = 2 / 3
LEAST_AUROC = 0.75
# Without a second opinion so many times `max_changed_share` may be changed.
_UNSURE = 0.5

Reason = Literal[
    "near_chance",
    "too_many_changes",
    "own_mistakes",
    "classes_overlap",
    "second_opinion",
    "planted_errors",
    "class_shares",
    "worse_on_held_out",
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
        given: npt.NDArray[np.integer],
        model: npt.NDArray[np.integer],
        second: npt.NDArray[np.integer] | None,
    ) -> Self:
        """Count the rows `changed` (N,): classes by three views, (N,) each; no side without an opinion."""
        if second is None:
            return cls(int(changed.sum()), 0, 0)
        return cls(
            int(changed.sum()),
            int((changed & (second == model)).sum()),
            int((changed & (second == given)).sum()),
        )

    @property
    def of_model(self) -> Share:
        """The share of the sides that are the classifier's."""
        return Share(self.with_model, self.with_model + self.with_given)


def beyond_chance(views: npt.NDArray[np.int64 | np.float64]) -> float:
    """Of the rows on which two views agree, the share that chance does not explain; at most 1, 0 of none.

    With agreement A and what chance gives C, Cohen's kappa is (A - C) / (1 - C), and this is kappa / A. With
    ten classes kappa 0.2 is 0.7 of what they agree on, with two classes 0.3.

    Args:
        views: (K, K) rows by their class in both views.
    """
    n_rows = views.sum()
    agreement = np.trace(views) / n_rows if n_rows else 0.0
    return float(chance_corrected_agreement(views) / agreement) if agreement else 0.0


@dataclass(frozen=True)
class Gate:
    """Whether labels may be changed.

    Attributes:
        agreement: of the predicted with the given classes, corrected for chance; 1 is all, 0 is chance.
        n_rows: N.
        changed_share: the share of the rows that would get another label or be dropped, in [0, 1], if nothing
            else spoke against it.
        limit: the most that it may be, in [0, 1].
        relabelled: the sides of a second opinion on the rows that would get another label.
        dropped: the same of the rows that would be dropped.
        relabel: why no row may get another label; None where rows may.
        drop: why no row may be dropped; None where rows may.
        n_joined: rows without a label that would join the training set with the classifier's class.
        join: why none may; None where they may. No second opinion is asked on them.
        noise: where other labels are, beside the rows that would get another label.
        noise_dropped: the same, beside those that would be dropped.
        beyond_chance: of the rows on which classifier and second opinion agree, the share that chance does
            not explain; 0 where there is none.
        least_confidence: only rows of which the classifier is so sure, and whose label the second opinion
            confirms if it was asked, may get another label; 0 where all may.
        self_tests: what it went by (`self_tests.run.SelfTests.entries`); empty where there were none.
        drops_instead: whether the rows that may not get another label are dropped.
        on_held_out: how much more of the held-out rows a classifier of the repaired labels predicts as given
            than one of the given labels; None where that was not tried.
    """

    agreement: float
    n_rows: int
    changed_share: float
    limit: float
    relabelled: Sides
    dropped: Sides
    relabel: Reason | None
    drop: Reason | None
    n_joined: int
    join: Reason | None
    noise: NoiseEvidence
    noise_dropped: NoiseEvidence
    beyond_chance: float
    least_confidence: float
    self_tests: SelfTestMetrics
    drops_instead: bool = False
    on_held_out: Difference | None = None

    def after_proof(self, on_held_out: Difference | None) -> Self:
        """The same once the repair was tried on held-out rows: where it is worse beyond chance, closed."""
        is_worse = on_held_out is not None and on_held_out.high < 0
        reason: Reason | None = "worse_on_held_out" if is_worse else None
        return replace(
            self,
            on_held_out=on_held_out,
            relabel=self.relabel or reason,
            drop=self.drop or reason,
            drops_instead=self.drops_instead and not is_worse,
        )

    @property
    def has_second_opinion(self) -> bool:
        """Whether there was one to go by."""
        return bool(self.self_tests.get("second_opinion"))

    @property
    def is_unsure(self) -> bool:
        """Whether there were tests, but no second opinion."""
        return bool(self.self_tests) and not self.has_second_opinion

    @property
    def is_too_weak(self) -> bool:
        """Whether the classifier is too weak to say how many labels are wrong."""
        second = self.self_tests.get("second_opinion")
        is_unknown = second is not None and not second["is_known"]
        return not self.agreement >= LEAST_AGREEMENT or is_unknown

    @property
    def closed(self) -> dict[str, Reason]:
        """By action, why it may not be taken, where there are rows to take it on."""
        return {name: reason for name, (n_rows, reason) in self._actions.items() if reason and n_rows}

    @property
    def is_closed(self) -> bool:
        """Whether nothing may be changed of what would be."""
        wanted = [reason for n_rows, reason in self._actions.values() if n_rows]
        return bool(wanted) and all(wanted) and not self.drops_instead

    @property
    def _actions(self) -> dict[str, tuple[int, Reason | None]]:
        return {
            "relabel": (self.relabelled.n_rows, self.relabel),
            "drop": (self.dropped.n_rows, self.drop),
            "join": (self.n_joined, self.join),
        }


def judge_relabelling(for_it: Share, noise: NoiseEvidence, agree: bool) -> tuple[Reason | None, float]:
    """Why no row may be relabelled, None where rows may, and the least confidence that they need.

    `for_it` are the sides of the second opinion, `agree` is whether the two agree beyond chance.
    """
    if for_it.low >= LEAST_SIDE and noise.share >= LEAST_NOISE and not noise.is_falling:
        return None, 0.0
    if for_it.low > MOST and noise.high >= SOME_NOISE and agree:
        if noise.least_confidence is not None:
            return None, noise.least_confidence
        return "classes_overlap", 0.0
    return "second_opinion", 0.0


def are_too_few(relabelled: Sides, noise: NoiseEvidence, agree: bool) -> bool:
    """Whether all is for relabelling, but the sides are too few to prove it; see `judge_relabelling`."""
    return (
        relabelled.of_model.low <= MOST
        and relabelled.of_model.value >= LEAST_SIDE
        and relabelled.with_model > relabelled.n_rows / 2
        and noise.high >= SOME_NOISE
        and not noise.is_falling
        and agree
    )


def judge_dropping(dropped: Sides, noise: NoiseEvidence, agree: bool) -> Reason | None:
    """Why no row may be dropped, None where rows may; see `judge_relabelling`."""
    if noise.high < NO_NOISE:
        return "own_mistakes"
    for_it = dropped.of_model
    is_clear = for_it.value >= LEAST_SIDE and for_it.low > MOST
    # Of a small table so few rows are to be dropped that no interval is narrow.
    is_unanimous = not dropped.with_given and dropped.with_model > dropped.n_rows / 2
    is_enough = is_clear or (agree and (for_it.low > SOME_SIDE or is_unanimous))
    return None if is_enough else "second_opinion"


def judge_repair(
    confusion: npt.NDArray[np.int64],
    relabelled: Sides,
    dropped: Sides,
    max_changed_share: float,
    self_tests: SelfTestMetrics,
    n_joined: int = 0,
    noise: NoiseEvidence = NO_EVIDENCE,
    noise_dropped: NoiseEvidence = NO_EVIDENCE,
    beyond_chance: float = 0.0,
    n_surest: int | None = None,
    may_drop: bool = True,
) -> Gate:
    """Judge a repair of N rows.

    Args:
        confusion: (K, K) all rows by given class and by most probable class out of fold.
        relabelled: the sides of a second opinion on the rows that the repair gives another label.
        dropped: the same of the rows that it drops.
        max_changed_share: the most of the rows that it may change, in [0, 1].
        self_tests: what `prune` found (`self_tests.run.SelfTests.entries`); empty where it was not asked to.
        n_joined: rows without a label that the repair gives one.
        noise: where other labels are (`noise_evidence.find_noise`), beside the rows to relabel.
        noise_dropped: the same, beside the rows to drop.
        beyond_chance: of classifier and second opinion.
        n_surest: rows that get another label where only the surest do; None: all of them.
        may_drop: whether rows that do not get another label may be dropped instead.
    """
    agreement = chance_corrected_agreement(confusion)
    is_unsure = bool(self_tests) and not self_tests["second_opinion"]
    has_second = bool(self_tests) and not is_unsure
    limit = max_changed_share * (_UNSURE if is_unsure else 1)
    agree = beyond_chance >= LEAST_BEYOND_CHANCE
    is_near_chance = not agreement >= LEAST_AGREEMENT and not (has_second and agree)

    def why_neither() -> Reason | None:
        if is_near_chance:
            return "near_chance"
        if self_tests and relabelled.n_rows and noise.high < NO_NOISE:
            return "own_mistakes"
        if not is_unsure:
            return None
        if self_tests["class_shares"]["is_shifted"]:
            return "class_shares"
        auroc = self_tests["planted"]["uniform"]["auroc"]
        return None if auroc is not None and auroc >= LEAST_AUROC else "planted_errors"

    relabel = drop = why_neither()
    least_confidence = 0.0
    if has_second and not relabel:
        relabel, least_confidence = judge_relabelling(relabelled.of_model, noise, agree)
        # Hard rows of classes that overlap are no more wrong than those that would be relabelled.
        drop = "classes_overlap" if relabel == "classes_overlap" else None
        drop = drop or judge_dropping(dropped, noise_dropped, agree)
    elif is_unsure and not drop and noise_dropped.high < NO_NOISE_ALONE:
        drop = "own_mistakes"
    drops_instead = may_drop and relabel == "second_opinion" and are_too_few(relabelled, noise, agree)
    n_relabelled = relabelled.n_rows if n_surest is None or not least_confidence else n_surest
    n_changed = (0 if relabel and not drops_instead else n_relabelled) + (0 if drop else dropped.n_rows)
    would_change = n_changed or relabelled.n_rows + dropped.n_rows
    n_rows = int(confusion.sum())
    changed_share = would_change / max(n_rows, 1)
    is_too_much = n_changed > 0 and changed_share > limit
    if is_too_much:
        relabel, drop = relabel or "too_many_changes", drop or "too_many_changes"
    join: Reason | None = "near_chance" if is_near_chance else None
    return Gate(
        agreement,
        n_rows,
        changed_share,
        limit,
        relabelled,
        dropped,
        relabel,
        drop,
        n_joined,
        join or ("too_many_changes" if is_too_much else None),
        noise,
        noise_dropped,
        beyond_chance,
        least_confidence,
        self_tests,
        drops_instead and not is_too_much,
    )
