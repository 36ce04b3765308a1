import numpy as np
import pytest
from cleanlab import dataset
from joints import estimate_joint

from tasks.label_quality.confident_joint import noise_matrix
from tasks.label_quality.health import (
    Overlap,
    class_health,
    health_metrics,
    mean_l1_error,
    overall_label_health,
    overlapping_classes,
)
from tasks.label_quality.issues import find_label_issues

MANY = pytest.param(range(50, 200), marks=pytest.mark.endurance, id="many")


@pytest.fixture(scope="module", params=[pytest.param(range(50), id="some"), MANY])
def cases(request, draw_label_case):
    drawn = [draw_label_case(seed) for seed in request.param]
    accepted = [(labels, probs.astype(np.float64)) for labels, probs in drawn if len(np.unique(labels)) > 1]
    print(f"{len(accepted)} cases compared with cleanlab.dataset")
    assert len(accepted) > 0.9 * len(drawn)
    return accepted


def test_class_health_equals_cleanlabs(cases, stable_argsort):
    for labels, probs in cases:
        with stable_argsort():
            expected = dataset.rank_classes_by_label_quality(labels, probs).sort_values("Class Index")
        found = class_health(estimate_joint(labels, probs)[1])
        given = np.bincount(labels, minlength=probs.shape[1]) > 0
        for name, column in {
            "label_issues": "Label Issues",
            "inverse_label_issues": "Inverse Label Issues",
            "label_noise": "Label Noise",
            "inverse_label_noise": "Inverse Label Noise",
            "label_quality": "Label Quality Score",
        }.items():
            assert getattr(found, name) == pytest.approx(expected[column].to_numpy(), abs=1e-9), name
        assert (found.label_quality[~given] == 1).all()


def test_overlapping_classes_equal_cleanlabs(cases, stable_argsort):
    for labels, probs in cases:
        with stable_argsort():
            expected = dataset.find_overlapping_classes(labels, probs)
        expected = {(row[0], row[1]): (row[2], row[3]) for row in expected.itertuples(index=False) if row[2]}
        found = overlapping_classes(estimate_joint(labels, probs)[1], n_pairs=10_000)
        assert {(pair.first, pair.second) for pair in found} == set(expected)
        for pair in found:
            n_rows, share = expected[pair.first, pair.second]
            assert pair.n_rows == n_rows
            assert pair.share == pytest.approx(share)


def test_overlaps_are_in_order_and_ties_go_by_class():
    calibrated = np.array([[9, 1, 2], [2, 9, 0], [1, 2, 9]])
    assert overlapping_classes(calibrated, 2) == [Overlap(0, 1, 3, 3 / 35), Overlap(0, 2, 3, 3 / 35)]
    assert overlapping_classes(np.diag([3, 4]), 5) == []


def test_overall_health_equals_cleanlabs(cases):
    for labels, probs in cases:
        flagged = int(find_label_issues(labels, probs).flags["confident_learning"].sum())
        expected = dataset.overall_label_health_score(labels, probs, verbose=False)
        assert overall_label_health(flagged, len(labels)) == pytest.approx(expected)


def test_the_summary_holds_the_same_numbers(cases, stable_argsort):
    labels, probs = cases[3]
    with stable_argsort():
        summary = dataset.health_summary(labels, probs, verbose=False)
    calibrated = estimate_joint(labels, probs)[1]
    assert calibrated / calibrated.sum() == pytest.approx(summary["joint"])


def test_the_l1_error_is_the_mean_distance_over_true_classes_that_occur():
    truth = noise_matrix(np.array([[8, 0, 0], [2, 10, 0], [0, 0, 0]]))
    estimated = np.array([[0.7, 0.1, 0.3], [0.2, 0.9, 0.3], [0.1, 0.0, 0.4]])
    assert mean_l1_error(estimated, truth, np.array([10, 10, 0])) == pytest.approx(0.2)
    assert mean_l1_error(truth, truth, np.array([10, 10, 0])) == 0
    swapped = truth[[1, 2, 0]]
    assert mean_l1_error(swapped, truth, np.array([0, 10, 0])) == 2


def test_the_estimates_of_a_known_noise_are_near_it():
    rng = np.random.default_rng(0)
    transition = np.array([[0.8, 0.15, 0.05], [0.0, 0.9, 0.1], [0.1, 0.1, 0.8]])
    true = rng.integers(3, size=6000)
    given = (rng.random(6000)[:, None] >= transition.cumsum(axis=1)[true, :-1]).sum(axis=1)
    probs = 0.94 * np.eye(3)[true] + 0.02
    issues = find_label_issues(given, probs)
    counts = np.zeros((3, 3), dtype=np.int64)
    np.add.at(counts, (given, true), 1)
    truth, rows = noise_matrix(counts), np.bincount(true)
    health = class_health(issues.calibrated)
    assert health.given_share == pytest.approx(np.bincount(given) / 6000)
    assert health.true_share == pytest.approx(rows / 6000, abs=0.005)
    assert np.abs(health.given_share - rows / 6000).max() > 0.02
    assert mean_l1_error(noise_matrix(issues.calibrated), truth, rows) < 0.01
    assert mean_l1_error(issues.noise_matrices["noise_posterior"], truth, rows) < 0.01
    assert mean_l1_error(issues.noise_matrices["noise_posterior"].T, truth, rows) > 0.1  # [true, given]


def test_the_metrics_name_classes_and_pairs():
    calibrated = np.array([[7, 1, 0], [2, 10, 0], [0, 0, 0]])
    confusion = np.array([[6, 2, 0], [3, 9, 0], [0, 0, 0]])
    found = health_metrics(calibrated, 5, confusion, ("ant", "bee", "cat"), n_pairs=1)
    names = ("name", "label_quality", "label_noise", "inverse_label_noise", "given_share", "true_share")
    assert found == {
        "label_health": 0.75,
        "classes": [
            pytest.approx(dict(zip(names, values, strict=True)), abs=1e-6)
            for values in (
                ("ant", 7 / 8, 1 / 8, 2 / 9, 8 / 20, 9 / 20),
                ("bee", 10 / 12, 2 / 12, 1 / 11, 12 / 20, 11 / 20),
                ("cat", 1.0, 0.0, 0.0, 0.0, 0.0),
            )
        ],
        "overlapping": [{"name": "ant and bee", "n_rows": 3, "share": 0.15}],
        "confused": [{"name": "bee as ant", "n_rows": 3, "share": 0.25}],
    }
