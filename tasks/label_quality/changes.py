"""What changed between two versions of N labels, row by row. Rows of both stand in the same order."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Columns = Mapping[str, npt.NDArray[Any]]

ACTIONS = ("trusted", "kept", "relabelled", "softened", "reviewed", "dropped", "other")
"""What became of a row: no issue; an issue that keeps its label, takes the suggested class, or trains on its
probabilities; a label that a person decided; a row left out of training; an action that a method named."""
TRUSTED, KEPT, RELABELLED, SOFTENED, REVIEWED, DROPPED, OTHER = range(len(ACTIONS))
NO_LABEL = -1
"""The label of a row that is dropped, and the truth of a row of which it is not known."""
OUTCOMES = ("right", "wrong", "dropped")


def action_indices(actions: npt.NDArray[np.str_]) -> Ints:
    """The index in `ACTIONS` of each action (N,), by name.

    >>> action_indices(np.array(["kept", "my own", "trusted"])).tolist()
    [1, 6, 0]
    """
    names, places = np.unique(actions.astype(str), return_inverse=True)
    known = {name: index for index, name in enumerate(ACTIONS)}
    return np.array([known.get(name, OTHER) for name in names.tolist()], dtype=np.int64)[places]


def derive_actions(
    is_issue: Bools, in_training_set: Bools, source: npt.NDArray[np.str_], is_soft: Bools
) -> Ints:
    """The index in `ACTIONS` of what became of each row, where no table says so: in the first edition.

    Args:
        is_issue: (N,) whether the row is a label issue.
        in_training_set: (N,) whether the repaired training set has the row.
        source: (N,) of its label there: `given`, `pseudo` or `reviewed`; not read where it has none.
        is_soft: (N,) whether its target there is no single class.

    >>> is_issue, in_set = np.array([False, True, True]), np.array([True, True, False])
    >>> source = np.array(["given", "pseudo", "given"])
    >>> [ACTIONS[index] for index in derive_actions(is_issue, in_set, source, np.zeros(3, dtype=bool))]
    ['trusted', 'relabelled', 'dropped']
    """
    is_pseudo = source == "pseudo"
    return np.select(
        [~in_training_set, source == "reviewed", is_pseudo & is_soft, is_pseudo, is_issue],
        [DROPPED, REVIEWED, SOFTENED, RELABELLED, KEPT],
        TRUSTED,
    )


def common_rows(old_ids: Ints, new_ids: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the ids that both have, ascending, stand in `old_ids` and in `new_ids`; each has unique ids.

    >>> old, new = common_rows(np.array([3, 1, 2]), np.array([2, 4, 3]))
    >>> old.tolist(), new.tolist()
    ([2, 0], [0, 2])
    """
    _, old, new = np.intersect1d(old_ids, new_ids, assume_unique=True, return_indices=True)
    return old, new


def find_changes(old: Columns, new: Columns) -> dict[str, Bools]:
    """Which rows changed, by kind of change, (N,) each.

    Args:
        old: by name (N,) `is_issue`, `given_label`, `suggested_label`; optionally `action`, an index in
            `ACTIONS`, and `label`, the label trained on, `NO_LABEL` where dropped.
        new: the same of the other version.

    Returns:
        `newly flagged`, `no longer flagged`, `suggested differently`, `given differently`; and where both
        have actions `newly relabelled`, `no longer relabelled`, `relabelled otherwise` (to another class),
        `newly dropped`, `no longer dropped`, `trained on another label` (dropped in neither).

    >>> labels = {"given_label": np.array([0, 1]), "suggested_label": np.array([1, 1])}
    >>> old = labels | {"is_issue": np.array([True, False])}
    >>> new = labels | {"is_issue": np.array([False, False])}
    >>> found = find_changes(old, new)
    >>> found["no longer flagged"].tolist(), found["newly flagged"].tolist()
    ([True, False], [False, False])
    """
    changes = {
        "newly flagged": ~old["is_issue"] & new["is_issue"],
        "no longer flagged": old["is_issue"] & ~new["is_issue"],
        "suggested differently": old["suggested_label"] != new["suggested_label"],
        "given differently": old["given_label"] != new["given_label"],
    }
    if "action" not in old or "action" not in new:
        return changes
    was, now = old["action"] == RELABELLED, new["action"] == RELABELLED
    left, leaves = old["action"] == DROPPED, new["action"] == DROPPED
    other = old["label"] != new["label"]
    return changes | {
        "newly relabelled": ~was & now,
        "no longer relabelled": was & ~now,
        "relabelled otherwise": was & now & other,
        "newly dropped": ~left & leaves,
        "no longer dropped": left & ~leaves,
        "trained on another label": ~left & ~leaves & other,
    }


def flow_matrix(old_action: Ints, new_action: Ints, n_actions: int = len(ACTIONS)) -> Ints:
    """Rows that went from action i in the old version to j in the new one, (n_actions, n_actions).

    >>> flow_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), n_actions=2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.bincount(old_action * n_actions + new_action, minlength=n_actions**2)
    return counts.reshape(n_actions, n_actions).astype(np.int64)


def jaccard(old_issues: Bools, new_issues: Bools) -> float:
    """Agreement of two sets of issues, (N,) each: rows in both over rows in either; NaN of two empty sets.

    >>> jaccard(np.array([True, True, False]), np.array([True, False, True]))
    0.3333333333333333
    """
    either = int((old_issues | new_issues).sum())
    return int((old_issues & new_issues).sum()) / either if either else float("nan")


def total_variation(
    old_probs: npt.NDArray[np.floating], new_probs: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """The total variation distance of each row's two distributions, (N, K) each; (N,) in [0, 1].

    Half the sum of absolute differences: the most by which the probability of any set of classes differs.

    >>> total_variation(np.array([[0.75, 0.25]]), np.array([[0.25, 0.75]])).tolist()
    [0.5]
    """
    return np.asarray(np.abs(old_probs.astype(np.float64) - new_probs).sum(axis=1) / 2)


def most_changed(
    fate: Bools,
    judgement: Bools,
    distance: npt.NDArray[np.float64],
    least: npt.NDArray[np.floating],
    min_distance: float,
) -> npt.NDArray[np.intp]:
    """The rows that changed, the most first.

    First rows with another fate, then those judged otherwise, then those of which the probabilities alone
    moved. Within each the larger distance goes first, then the smaller `least`, then the earlier row.

    Args:
        fate: (N,) whether what became of the row, or the label it trains on, is another.
        judgement: (N,) whether it is flagged, or a class suggested, otherwise.
        distance: (N,) of the two versions' probabilities, as by `total_variation`.
        least: (N,) the lower of the two self-confidences: the more suspect goes first.
        min_distance: from which on probabilities moved: after any training all differ in their last digits.

    >>> fate, judgement = np.array([False, False, True]), np.array([False, True, True])
    >>> distance, least = np.array([0.9, 0.1, 0.2]), np.array([0.5, 0.5, 0.5])
    >>> most_changed(fate, judgement, distance, least, min_distance=0.5).tolist()
    [2, 1, 0]
    """
    changed = np.flatnonzero(fate | judgement | (distance >= min_distance))
    kind = np.select([fate, judgement], [0, 1], 2)
    return changed[np.lexsort((changed, least[changed], -distance[changed], kind[changed]))]


def judge_labels(labels: Ints, truth: Ints) -> Ints:
    """Of each label (N,) its index in `OUTCOMES`; the truth (N,) is known.

    >>> [OUTCOMES[index] for index in judge_labels(np.array([4, 5, NO_LABEL]), np.array([4, 4, 4]))]
    ['right', 'wrong', 'dropped']
    """
    return np.select([labels == NO_LABEL, labels == truth], [2, 0], 1)


def share_margin(old: float, n_old: float, new: float, n_new: float) -> float:
    """By how much two shares may differ by the draw of their rows alone: half a 95 % interval.

    1.96 standard errors of the difference of two independent binomial shares, each with one success and one
    failure added (Agresti and Caffo 2000), which holds for few rows and for shares near 1 too. Versions that
    are measured on the same rows are mostly right and wrong together, and so differ by less than independent
    ones: for them the margin is too wide rather than too narrow (Dietterich 1998, section 3.2).

    Args:
        old: the share in the old version.
        n_old: of how many rows it is one.
        new: the share in the new version.
        n_new: of how many rows it is one.

    >>> round(share_margin(old=0.95, n_old=1000, new=0.96, n_new=1000), 3)
    0.018
    """
    variance = 0.0
    for share, n in ((old, n_old), (new, n_new)):
        adjusted = (share * n + 1) / (n + 2)
        # Adding draws shares together, so that the margin of the shares as they are is wider by as much.
        variance += adjusted * (1 - adjusted) * (n + 2) / n**2
    return _Z_95 * float(np.sqrt(variance))


_Z_95 = 1.959964
