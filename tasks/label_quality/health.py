"""Health of the labels: by class, by pair of classes, and of the data set, from the calibrated joint.

The numbers are those of `cleanlab.dataset` 2.9 (Northcutt, Jiang, Chuang, "Confident Learning", JAIR 70
(2021)). `calibrated` is the (K, K) calibrated confident joint, counts indexed [given, true], whose sum is N.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from tasks.label_quality.confident_joint import class_priors
from tasks.label_quality.confusions import worst_confused

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassHealth:
    """What the calibrated joint says of each class.

    Attributes:
        label_issues: (K,) rows given the class that should have another label.
        inverse_label_issues: (K,) rows of the class that were given another label.
        label_noise: (K,) P(true is another | given the class), in [0, 1].
        inverse_label_noise: (K,) P(given another | true is the class), in [0, 1].
        label_quality: (K,) P(true is the class | given the class) = 1 - label_noise: the health score.
        given_share: (K,) the share of the rows that are given the class.
        true_share: (K,) P(true is the class): see `confident_joint.class_priors`.
    """

    label_issues: Ints
    inverse_label_issues: Ints
    label_noise: Floats
    inverse_label_noise: Floats
    label_quality: Floats
    given_share: Floats
    true_share: Floats


class ClassHealthMetrics(TypedDict):
    """One class in metrics/health.json, see `ClassHealth`."""

    name: str
    label_quality: float
    label_noise: float
    inverse_label_noise: float
    given_share: float
    true_share: float


class PairMetrics(TypedDict):
    """Two classes, by `name`, and the rows of them."""

    name: str
    n_rows: int
    share: float


class HealthMetrics(TypedDict):
    """metrics/health.json; the last, by noise matrix, where the truth is known (`mean_l1_error`)."""

    label_health: float
    classes: list[ClassHealthMetrics]
    overlapping: list[PairMetrics]
    confused: list[PairMetrics]
    noise_matrix_l1_error: NotRequired[dict[str, float]]


@dataclass(frozen=True)
class Overlap:
    """Two classes that are given for one another, `first` < `second`.

    Attributes:
        first: class index.
        second: class index.
        n_rows: estimated rows given one that are truly the other, both ways.
        share: `n_rows` as a share of the data set.
    """

    first: int
    second: int
    n_rows: int
    share: float


def class_health(calibrated: Ints) -> ClassHealth:
    """Health of each class; a class that is never given (never true) has no noise (inverse noise).

    >>> found = class_health(np.array([[6, 2], [0, 2]]))
    >>> found.label_issues.tolist(), found.label_quality.tolist(), found.inverse_label_noise.tolist()
    ([2, 0], [0.75, 1.0], [0.0, 0.5])
    """
    diagonal = calibrated.diagonal()
    given, true = calibrated.sum(axis=1), calibrated.sum(axis=0)
    label_noise = (given - diagonal) / np.maximum(given, 1)
    return ClassHealth(
        label_issues=(given - diagonal).astype(np.int64),
        inverse_label_issues=(true - diagonal).astype(np.int64),
        label_noise=label_noise,
        inverse_label_noise=(true - diagonal) / np.maximum(true, 1),
        label_quality=1 - label_noise,
        given_share=given / given.sum(),
        true_share=class_priors(calibrated, given),
    )


def overlapping_classes(calibrated: Ints, n_pairs: int) -> list[Overlap]:
    """The pairs with most rows given one class that are truly the other, the worst first.

    Pairs that tie go by class index. Pairs without overlap are left out.

    >>> overlapping_classes(np.array([[5, 2, 0], [1, 6, 0], [0, 1, 5]]), 1)
    [Overlap(first=0, second=1, n_rows=3, share=0.15)]
    """
    both_ways = np.triu(calibrated, 1) + np.tril(calibrated, -1).T
    first, second = np.nonzero(both_ways)
    n_rows = both_ways[first, second]
    order = np.argsort(-n_rows, kind="stable")[:n_pairs]
    total = int(calibrated.sum())
    return [Overlap(int(first[i]), int(second[i]), int(n_rows[i]), int(n_rows[i]) / total) for i in order]


def overall_label_health(n_confident_errors: int, n_rows: int) -> float:
    """The share of labels thought right, in [0, 1].

    `n_confident_errors` rows are confidently another class (`IssueRows.n_off_diagonal`).

    >>> overall_label_health(n_confident_errors=25, n_rows=1000)
    0.975
    """
    return 1 - n_confident_errors / n_rows


def mean_l1_error(estimated: Floats, truth: Floats, true_counts: npt.NDArray[np.int64]) -> float:
    """How far an estimated noise matrix is from the truth, in [0, 2]; 0 is exact.

    The L1 distance between the two distributions P(given | true = k), averaged over the classes that occur:
    the relative error |T - T'|_1 / |T|_1 of the literature (Xia et al., "Are Anchor Points Really
    Indispensable in Label-Noise Learning?", NeurIPS 2019).

    Args:
        estimated: (K, K) `noise_matrix[given, true]`.
        truth: (K, K) the same of the noise that happened.
        true_counts: (K,) rows of each true class; classes without rows have no truth to compare with.

    >>> mean_l1_error(np.array([[0.75, 0.0], [0.25, 1.0]]), np.eye(2), np.array([50, 50]))
    0.25
    """
    distances = np.abs(estimated - truth).sum(axis=0)[true_counts > 0]
    return float(distances.mean())


def health_metrics(
    calibrated: Ints,
    n_confident_errors: int,
    confusion: Ints,
    class_names: Sequence[str],
    n_pairs: int,
) -> HealthMetrics:
    """All of the above, ready for JSON: entries of classes and of pairs are lists, each with its `name`.

    Lists, because `dvc metrics` shows a number for every key of a mapping, and these would bury the others.

    Args:
        calibrated: (K, K) calibrated confident joint, [given, true].
        n_confident_errors: rows that are confidently another class (`IssueRows.n_off_diagonal`).
        confusion: (K, K) counts of rows, [given label, predicted].
        class_names: (K,).
        n_pairs: how many overlapping and confused pairs to name.
    """
    by_class = class_health(calibrated)
    return {
        "label_health": overall_label_health(n_confident_errors, int(calibrated.sum())),
        "classes": [
            {
                "name": name,
                "label_quality": float(by_class.label_quality[k]),
                "label_noise": float(by_class.label_noise[k]),
                "inverse_label_noise": float(by_class.inverse_label_noise[k]),
                "given_share": float(by_class.given_share[k]),
                "true_share": float(by_class.true_share[k]),
            }
            for k, name in enumerate(class_names)
        ],
        "overlapping": [
            {
                "name": f"{class_names[pair.first]} and {class_names[pair.second]}",
                "n_rows": pair.n_rows,
                "share": pair.share,
            }
            for pair in overlapping_classes(calibrated, n_pairs)
        ],
        "confused": [
            {
                "name": f"{class_names[pair.label]} as {class_names[pair.predicted]}",
                "n_rows": pair.n_rows,
                "share": pair.share,
            }
            for pair in worst_confused(confusion, n_pairs)
        ],
    }
