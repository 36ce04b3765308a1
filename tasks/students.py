"""Students: models that learn from labels which another model, the teacher, gave.

Rounds of students stop, and labels of unlabelled rows are refused, on what students say of labelled rows that
neither they nor their teachers learned from.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.params import Params
from tasks.repair import Evidence, Repair, Train, Unlabeled
from tasks.tables.catalog import EXAMPLES
from tasks.tables.joins import locate
from tasks.training.protocol import Loss, Predictions, Rows
from tasks.training.setup import make_model, read_rows

Ints = npt.NDArray[np.int64]
Probs = npt.NDArray[np.float32]


def make_train(params: Params, workspace: Path) -> Train | None:
    """Trains students as `train_fold` trains; None where there are no rows, as with one's own probabilities.

    Each has the seed `pseudo_label.seed`. The rows are read when the first is trained.
    """
    if not EXAMPLES.at(workspace).exists():
        return None
    read = cache(lambda: read_rows(params, workspace))
    section = params.train_fold

    def train(
        ids: Ints, labels: Ints, of: Ints, weight: npt.NDArray[np.float32] | None = None
    ) -> Predictions:
        all_ids, content, facts = read()
        weight = np.ones(len(ids), dtype=np.float32) if weight is None else weight
        rows = Rows(content.take(locate(all_ids, ids)), labels, weight)
        others = np.setdiff1d(of, ids)
        with tempfile.TemporaryDirectory() as folder:
            model = make_model(
                params,
                facts,
                content,
                seed=params.pseudo_label.seed,
                loss=Loss(section.gce_q, section.label_smoothing),
                objective=section.objective,
                log_dir=Path(folder),
                title="student",
            )
            model.fit(rows, None, content.take(locate(all_ids, others)) if len(others) else None)
            return model.predict(content.take(locate(all_ids, of)))

    return train


@dataclass(frozen=True)
class Round:
    """What the students of one round proved; round 0 is that of the teachers, which saw labelled rows alone.

    Attributes:
        accuracy: share of the labelled rows that are predicted as their given label out of fold.
        n_joined: rows without a label that they learned from, mean over the folds.
        pred_probs: (F, U, K) what the model of each fold says of the rows without a label.
    """

    accuracy: float
    n_joined: float
    pred_probs: Probs


def teach(
    evidence: Evidence,
    rows: Unlabeled,
    fold: npt.NDArray[np.int16],
    pred_probs: Probs,
    repair: Callable[[Evidence], Repair],
    train: Train,
    most_rounds: int,
) -> list[Round]:
    """Rounds of students, each taught by the one before, while out-of-fold accuracy rises.

    The student of a fold learns from the labelled rows of the other folds, as the first teacher did, and from
    the rows without a label that its teacher, the model of the same fold, is sure of. So nothing that it
    learned from comes from the labels of its own fold, and its accuracy there is out of fold.

    Args:
        evidence: what is known of the labelled rows.
        rows: those without a label.
        fold: (N,) of each labelled row, 0 to F - 1.
        pred_probs: (F, U, K) what the model of each fold says of the rows without a label.
        repair: what the method makes of evidence.
        train: trains a student.
        most_rounds: at least 1.

    Returns:
        Round 0 and those that were trained, the last of which may be no better than the one before.
    """
    accuracy = float(np.mean(evidence.suggested == evidence.labels))
    rounds = [Round(accuracy, 0.0, pred_probs)]
    for _ in range(most_rounds):
        rounds.append(_taught_by(rounds[-1], evidence, rows, fold, repair, train))
        if rounds[-1].accuracy <= rounds[-2].accuracy:
            break
    return rounds


def _taught_by(
    teachers: Round,
    evidence: Evidence,
    rows: Unlabeled,
    fold: npt.NDArray[np.int16],
    repair: Callable[[Evidence], Repair],
    train: Train,
) -> Round:
    predicted = np.empty_like(evidence.labels)
    found = np.empty_like(teachers.pred_probs)
    n_joined = []
    for each, taught in enumerate(teachers.pred_probs):
        own = fold == each
        learned = ~own
        made = repair(replace(without(evidence, own), unlabeled=unlabeled_of(rows.ids, taught))).unlabeled
        joined = np.zeros(len(rows.ids), dtype=bool) if made is None else made.is_kept
        labels = rows.suggested if made is None else made.label
        student = train(
            np.concatenate([evidence.ids[learned], rows.ids[joined]]),
            np.concatenate([evidence.labels[learned], labels[joined]]),
            np.concatenate([evidence.ids[own], rows.ids]),
        ).pred_probs
        n_own = int(own.sum())
        predicted[own], found[each] = student[:n_own].argmax(axis=1), student[n_own:]
        n_joined.append(int(joined.sum()))
    return Round(float(np.mean(predicted == evidence.labels)), float(np.mean(n_joined)), found)


def without(evidence: Evidence, rows: npt.NDArray[np.bool_]) -> Evidence:
    """The same without some labelled rows (N,)."""
    left = np.flatnonzero(~rows)
    return replace(
        evidence,
        ids=evidence.ids[left],
        labels=evidence.labels[left],
        is_issue=evidence.is_issue[left],
        suggested=evidence.suggested[left],
        suggested_prob=evidence.suggested_prob[left],
        error_prob=None if evidence.error_prob is None else evidence.error_prob[left],
        pred_probs=lambda places: evidence.pred_probs(left[places]),
    )


def unlabeled_of(ids: Ints, pred_probs: Probs) -> Unlabeled:
    """Rows without a label (U,) with their probabilities (U, K)."""
    return Unlabeled(
        ids, pred_probs.argmax(axis=1), pred_probs.max(axis=1), lambda places: pred_probs[places]
    )


def is_of_use(rounds: Sequence[Round]) -> bool:
    """Whether students that learned from rows without a label too know labelled rows better out of fold.

    As well is not enough: what is not proved to help may harm.
    """
    return len(rounds) > 1 and rounds[1].accuracy > rounds[0].accuracy


def best_of(rounds: Sequence[Round]) -> Round:
    """The most accurate round out of fold; of equal ones the first."""
    return max(rounds, key=lambda found: found.accuracy)
