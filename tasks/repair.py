"""What a pseudo-label method is given, and what it answers. Methods are the files of `tasks/pseudo_labels`.

A method defines `repair(evidence, options, train, rng) -> Repair`. It knows neither files nor models: it
reads probabilities through `evidence`, and trains students through `train`, which is None where there is
nothing to train on, as beside probabilities of one's own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NotRequired, Protocol, TypedDict

import numpy as np
import numpy.typing as npt

from tasks.tables.catalog import UNLABELED
from tasks.training.protocol import Predictions

DROPPED, TRUSTED = "dropped", "trusted"
PSEUDO_LABELLED = "pseudo_labelled"
"""Of a row without a label that was given one."""
Otherwise = Literal["drop", "keep", "soft", "unlabeled"]
LEAST_ERROR_PROB = 0.8
"""A row whose label is less probably wrong may be kept: hard rows that are right are worth more in training
than as many wrong ones cost (docs/do_no_harm.md)."""
MOST_WRONG = 0.02
"""As a share of the rows that are trained on: so many wrong labels may be expected among issues that are kept
rather than dropped. Where many labels are wrong, all such issues would be too many."""
# Probabilities that are in memory at a time.
_PORTION_ENTRIES = 2**21


PredProbs = Callable[[npt.NDArray[np.intp]], npt.NDArray[np.floating]]
"""Takes positions (M,) of rows and gives their probabilities (M, K)."""


@dataclass(frozen=True)
class Unlabeled:
    """What is known of U rows that have no label, U above 0.

    Attributes:
        ids: (U,) example ids, ascending; none of a labelled row.
        suggested: (U,) int64, the most probable class.
        suggested_prob: (U,) its probability, in [0, 1].
        pred_probs: their probabilities, by models that learned from labelled rows.
    """

    ids: npt.NDArray[np.int64]
    suggested: npt.NDArray[np.int64]
    suggested_prob: npt.NDArray[np.floating]
    pred_probs: PredProbs


@dataclass(frozen=True)
class Evidence:
    """What is known of N labelled rows, and of those without a label.

    Attributes:
        ids: (N,) example ids, ascending.
        labels: (N,) int64, given class indices.
        is_issue: (N,) bool, which rows are label issues.
        suggested: (N,) int64, the most probable class out of fold.
        suggested_prob: (N,) its probability, in [0, 1].
        n_classes: K.
        pred_probs: their out-of-fold probabilities.
        min_confidence: the least probability of a suggestion that is taken without asking, in [0, 1];
            infinite where none is (`least_taken`).
        otherwise: what becomes of the other issues.
        error_prob: (N,) the probability that the label is wrong, in [0, 1], NaN where it is not known; None
            where it is of no row.
        unlabeled: rows without a label; None where every row has one.
    """

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    is_issue: npt.NDArray[np.bool_]
    suggested: npt.NDArray[np.int64]
    suggested_prob: npt.NDArray[np.floating]
    n_classes: int
    pred_probs: PredProbs
    min_confidence: float
    otherwise: Otherwise
    error_prob: npt.NDArray[np.floating] | None = None
    unlabeled: Unlabeled | None = None

    def soft_labels(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """(M, K) the probabilities of the rows at these positions (M,), each row divided by its sum.

        Beside the result, memory holds a portion.
        """
        found = np.empty((len(rows), self.n_classes), dtype=np.float32)
        step = max(_PORTION_ENTRIES // self.n_classes, 1)
        for start in range(0, len(rows), step):
            probs = self.pred_probs(rows[start : start + step]).astype(np.float64)
            found[start : start + step] = probs / probs.sum(axis=1, keepdims=True)
        return found


def least_taken(min_confidence: float) -> float:
    """The least probability of a class that is taken: a cut of 1 takes none, so it is infinite there.

    Models that are sure say exactly 1, where a probability near it was rounded. Who asks for a certainty
    that no model has wants no label from it.

    Args:
        min_confidence: in [0, 1].
    """
    return math.inf if min_confidence == 1 else min_confidence


class Train(Protocol):
    """Trains a student on other labels."""

    def __call__(
        self,
        ids: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        of: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32] | None = None,
    ) -> Predictions:
        """What a model that learned from rows `ids` (M,) with `labels` (M,) says of rows `of` (L,).

        `weight` (M,) is that of each row in training, above 0; None: 1.
        Those of `of` that it does not learn from lend their content, where the objective uses such.
        """


@dataclass(frozen=True)
class Repair:
    """What became of each of N rows.

    Attributes:
        label: (N,) int64, the label to train on; of a dropped row it means nothing.
        weight: (N,) float32, the weight in training; 0 for a dropped row.
        action: (N,) str: `trusted` (no issue), `relabelled`, `softened`, `kept`, `dropped`, `unlabeled` (the
            content may be used, the label not), `reviewed`, `pseudo_labelled` (a row that had no label), or
            what a method calls it.
        source: (N,) str: `given`, `pseudo` (from the model), `reviewed` (from a person), or `unlabeled` (from
            the model, of a row that had no label).
        soft_rows: (M,) positions of the rows with a soft label, ascending.
        soft_label: (M, K) float32, their target probabilities; rows sum to 1.
        unlabeled: the same of the U rows without a label; None where the method says nothing of them.
    """

    label: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]
    action: npt.NDArray[np.str_]
    source: npt.NDArray[np.str_]
    soft_rows: npt.NDArray[np.intp]
    soft_label: npt.NDArray[np.float32]
    unlabeled: "Repair | None" = None

    @property
    def is_kept(self) -> npt.NDArray[np.bool_]:
        """(N,) which rows are trained on."""
        return self.weight > 0

    @property
    def is_changed(self) -> npt.NDArray[np.bool_]:
        """(N,) which rows the model gave another label, or whose label it took out."""
        return np.asarray((self.source == "pseudo") | np.isin(self.action, (DROPPED, UNLABELED)))

    @property
    def n_joined(self) -> int:
        """How many rows without a label are trained on."""
        return 0 if self.unlabeled is None else int(self.unlabeled.is_kept.sum())

    def with_hard(self, rows: npt.NDArray[np.bool_], **columns: Any) -> "Repair":
        """The same with other `columns` (N,), `rows` (N,) having no soft label any more."""
        left = ~rows[self.soft_rows]
        return replace(self, soft_rows=self.soft_rows[left], soft_label=self.soft_label[left], **columns)


def take_back(made: Repair, rows: npt.NDArray[np.bool_], labels: npt.NDArray[np.integer]) -> Repair:
    """The same with the given `labels` (N,) of `rows` (N,), which are kept."""
    return made.with_hard(
        rows,
        label=np.where(rows, labels, made.label).astype(np.int64),
        weight=np.where(rows, 1, made.weight).astype(np.float32),
        action=np.where(rows, "kept", made.action),
        source=np.where(rows, "given", made.source),
    )


def leave_out(made: Repair, rows: npt.NDArray[np.bool_], labels: npt.NDArray[np.integer]) -> Repair:
    """The same without `rows` (N,), which are dropped with their given `labels` (N,)."""
    return made.with_hard(
        rows,
        label=np.where(rows, labels, made.label).astype(np.int64),
        weight=np.where(rows, 0, made.weight).astype(np.float32),
        action=np.where(rows, DROPPED, made.action),
        source=np.where(rows, "given", made.source),
    )


def leave_as_given(labels: npt.NDArray[np.int64], is_issue: npt.NDArray[np.bool_], n_classes: int) -> Repair:
    """Every row with its given label (N,): nothing is cleaned."""
    n = len(labels)
    return Repair(
        label=labels.astype(np.int64),
        weight=np.ones(n, dtype=np.float32),
        action=np.where(is_issue, "kept", TRUSTED),
        source=np.full(n, "given"),
        soft_rows=np.zeros(0, dtype=np.intp),
        soft_label=np.zeros((0, n_classes), dtype=np.float32),
    )


_OTHERWISE = {"drop": DROPPED, "keep": "kept", "soft": "softened", "unlabeled": UNLABELED}


def relabel_issues(evidence: Evidence, is_sure: npt.NDArray[np.bool_]) -> Repair:
    """Issues whose suggestion is sure (N,) are relabelled; the others are as `evidence.otherwise` says.

    Of those to be dropped some are kept, see `spare`.
    """
    relabelled = evidence.is_issue & is_sure
    rest = evidence.is_issue & ~relabelled
    softened = rest & (evidence.otherwise == "soft")
    treated = rest & ~(spare(rest, evidence.error_prob) & (evidence.otherwise == "drop"))
    left_out = treated & (evidence.otherwise in ("drop", "unlabeled"))
    soft_rows = np.flatnonzero(softened)
    is_pseudo = relabelled | softened
    return Repair(
        label=np.where(is_pseudo, evidence.suggested, evidence.labels),
        weight=np.where(left_out, 0, 1).astype(np.float32),
        action=np.select(
            [relabelled, treated, rest],
            ["relabelled", _OTHERWISE[evidence.otherwise], "kept"],
            TRUSTED,
        ),
        source=np.where(is_pseudo, "pseudo", "given"),
        soft_rows=soft_rows,
        soft_label=evidence.soft_labels(soft_rows),
    )


def spare(rest: npt.NDArray[np.bool_], error_prob: npt.NDArray[np.floating] | None) -> npt.NDArray[np.bool_]:
    """(N,) which of the issues `rest` (N,) are kept rather than dropped: those that are likeliest right.

    Their labels are wrong with a probability below `LEAST_ERROR_PROB`, and so few of them are kept that at
    most the share `MOST_WRONG` of all rows that are left is expected to be wrong among them.

    Args:
        rest: (N,) the issues to be dropped.
        error_prob: (N,) see `Evidence`; None spares nothing.
    """
    spared = np.zeros(len(rest), dtype=bool)
    if error_prob is not None:
        rows = np.flatnonzero(rest & (error_prob < LEAST_ERROR_PROB))
        rows = rows[np.argsort(error_prob[rows], kind="stable")]
        n_left = (~rest).sum() + np.arange(1, len(rows) + 1)
        spared[rows[np.cumsum(error_prob[rows]) <= MOST_WRONG * n_left]] = True
    return spared


def label_unlabeled(
    unlabeled: Unlabeled,
    n_classes: int,
    chosen: npt.NDArray[np.bool_],
    label: npt.NDArray[np.int64] | None = None,
    weight: npt.NDArray[np.floating] | None = None,
) -> Repair:
    """The U rows without a label, of which those `chosen` (U,) join the training set.

    Args:
        unlabeled: the rows.
        n_classes: K.
        chosen: (U,) which of them are trained on; of the others only the content may be used.
        label: (U,) their classes; None: the most probable ones.
        weight: (U,) of those that are chosen, above 0; None: 1.
    """
    return Repair(
        label=unlabeled.suggested if label is None else label,
        weight=np.where(chosen, 1 if weight is None else weight, 0).astype(np.float32),
        action=np.where(chosen, PSEUDO_LABELLED, UNLABELED),
        source=np.full(len(chosen), UNLABELED),
        soft_rows=np.zeros(0, dtype=np.intp),
        soft_label=np.zeros((0, n_classes), dtype=np.float32),
    )


class GateMetrics(TypedDict):
    """The gate in metrics/training_set.json (`label_quality.gate.Gate`).

    Of each action it has the rows and why it may not be taken.
    """

    agreement: float
    changed_share: float
    relabel: dict[str, object]
    drop: dict[str, object]
    noise: dict[str, object]
    noise_dropped: dict[str, object]
    beyond_chance: float
    least_confidence: float
    drops_instead: bool
    on_held_out: dict[str, object] | None
    n_contested: int
    n_doubtful: int
    class_losses: list[dict[str, str | int]]
    join: dict[str, object]
    is_closed: bool
    is_too_weak: bool
    sentence: str | None


class AuditMetrics(TypedDict):
    """The cut of relabelling that verdicts chose; null where they chose none."""

    min_confidence: float | None
    n_verdicts: int
    precision_low: float | None
    sentence: str


class LabelAccuracy(TypedDict):
    """Shares of right labels; NaN, null in the file, where there is no row."""

    before: float
    after: float
    of_pseudo_labels: float


class RoundMetrics(TypedDict):
    """A round of students; the last where the truth is known."""

    out_of_fold_accuracy: float
    n_joined: int
    label_accuracy: NotRequired[float]


class UnlabeledMetrics(TypedDict):
    """Rows without a label; the last, by `of_all` and `of_joined`, where the truth is known."""

    n_rows: int
    n_joined: int
    joined_by_class: dict[str, int]
    is_of_use: bool | None
    rounds: list[RoundMetrics]
    label_accuracy: NotRequired[dict[str, float]]


class RepairMetrics(TypedDict):
    """metrics/training_set.json; rows by `actions`, and what became of people's `decisions`."""

    n_rows_before: int
    n_rows_after: int
    actions: dict[str, int]
    gate: GateMetrics
    decisions: dict[str, object]
    audited: NotRequired[AuditMetrics]
    label_accuracy: NotRequired[LabelAccuracy]
    unlabeled: NotRequired[UnlabeledMetrics]
