import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    cohen_kappa_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from tasks.label_quality.metrics import (
    PredictionCounts,
    chance_corrected_agreement,
    detection_quality,
    ranking_quality,
)

bool_pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60).map(
    lambda pairs: np.array(pairs, dtype=bool).T
)


def quality(labels, probs, n_bins=15):
    return PredictionCounts.of(labels, probs, n_bins).quality()


def slow_error(labels, probs, n_bins):
    """Bins (b / n, (b + 1) / n], one row at a time."""
    sums = [[0.0, 0.0] for _ in range(n_bins)]
    for label, row in zip(labels, probs.tolist(), strict=True):
        confidence = max(row)
        place = next((b for b in range(n_bins) if confidence <= (b + 1) / n_bins), n_bins - 1)
        sums[place][0] += confidence
        sums[place][1] += row.index(confidence) == label
    return sum(abs(confident - correct) for confident, correct in sums) / len(labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_accuracy_and_log_loss_equal_scikit_learns(dtype):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n_classes = int(rng.integers(2, 12))
        probs = rng.dirichlet(np.full(n_classes, 0.3), size=200).astype(dtype)
        labels = rng.integers(n_classes, size=200)
        found = quality(labels, probs)
        assert found["accuracy"] == accuracy_score(labels, probs.argmax(axis=1))
        expected = log_loss(labels, probs, labels=range(n_classes))
        assert found["log_loss"] == pytest.approx(expected, rel=1e-5 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_certain_mistake_costs_what_scikit_learn_says_not_infinity(dtype):
    probs = np.array([[1.0, 0.0], [0.5, 0.5]], dtype=dtype)
    labels = np.array([1, 0])
    found = quality(labels, probs)["log_loss"]
    assert found == pytest.approx(log_loss(labels, probs, labels=[0, 1]), rel=1e-6)
    assert found > 7


def calibration_error(labels, probs, n_bins):
    return quality(labels, probs, n_bins)["expected_calibration_error"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_counts_of_parts_add_up_to_those_of_the_whole(seed, n_bins, sizes):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(3, 0.5), size=sum(sizes)).astype(np.float32)
    labels = rng.integers(3, size=sum(sizes))
    ends = np.cumsum(sizes)[:-1]
    parts = zip(np.split(labels, ends), np.split(probs, ends), strict=True)
    whole, added = (
        PredictionCounts.of(labels, probs, n_bins),
        PredictionCounts.of(labels[:0], probs[:0], n_bins),
    )
    for part in parts:
        added = added + PredictionCounts.of(*part, n_bins)
    assert (added.n_rows, added.n_right) == (whole.n_rows, whole.n_right)
    assert added.quality() == pytest.approx(whole.quality(), rel=1e-12, nan_ok=True)
    for name, values in whole.reliability().items():
        np.testing.assert_allclose(added.reliability()[name], values, rtol=1e-12)


@given(st.data())
def test_calibration_error_equals_a_loop_with_confidences_on_the_edges_of_bins(data):
    n_bins = data.draw(st.integers(1, 60))
    edges = [b / n_bins for b in range(n_bins + 1) if 2 * b >= n_bins]
    confidence = np.array(
        data.draw(st.lists(st.sampled_from(edges) | st.floats(0.5, 1), min_size=1, max_size=30))
    )
    probs = np.column_stack([confidence, 1 - confidence])
    labels = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(probs), max_size=len(probs))))
    expected = slow_error(labels, probs, n_bins)
    assert calibration_error(labels, probs, n_bins) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("upper", "n_bins"), [(14, 25), (28, 41), (6, 10), (9, 10)])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(upper, n_bins):
    # 14 / 25 * 25 is a little more than 14: the bin must not come from that product.
    edge, inside = upper / n_bins, (upper - 0.5) / n_bins
    probs = np.array([[edge, 1 - edge], [inside, 1 - inside]])
    labels = np.array([0, 1])
    assert calibration_error(labels, probs, n_bins) == pytest.approx(abs(edge + inside - 1) / 2)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 80))
def test_the_reliability_diagram_holds_every_row_and_the_calibration_error(seed, n_bins, n_rows):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(3, 0.5), size=n_rows)
    labels = rng.integers(3, size=n_rows)
    bins = PredictionCounts.of(labels, probs, n_bins).reliability()
    assert bins["rows"].sum() == n_rows
    assert np.all(bins["rows"] > 0)
    assert np.all((bins["low"] < bins["confidence"] + 1e-12) & (bins["confidence"] <= bins["high"] + 1e-12))
    assert bins["accuracy"] @ bins["rows"] == pytest.approx((probs.argmax(axis=1) == labels).sum())
    error = np.abs(bins["accuracy"] - bins["confidence"]) @ bins["rows"] / n_rows
    assert error == pytest.approx(calibration_error(labels, probs, n_bins))


def test_without_rows_there_is_no_bin_and_no_quality():
    counts = PredictionCounts.of(np.zeros(0, dtype=np.int64), np.zeros((0, 4)), 15)
    assert not any(len(values) for values in counts.reliability().values())
    assert np.isnan(list(counts.quality().values())).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_agreement_equals_scikit_learns_kappa(pairs):
    one, other = np.array(pairs).T
    confusion = np.zeros((5, 5), dtype=np.int64)
    np.add.at(confusion, (one, other), 1)
    if len({*one, *other}) == 1:  # 0 / 0 there
        assert chance_corrected_agreement(confusion) == 0
    else:
        expected = cohen_kappa_score(one, other)
        assert chance_corrected_agreement(confusion) == pytest.approx(expected, abs=1e-12)


def test_agreement_of_no_rows_is_unknown_and_of_many_does_not_overflow():
    assert np.isnan(chance_corrected_agreement(np.zeros((3, 3), dtype=np.int64)))
    assert chance_corrected_agreement(np.array([[9, 1], [1, 9]]) * 10**9) == pytest.approx(0.8)


def test_a_certain_and_right_classifier_is_perfectly_calibrated():
    labels = np.arange(10) % 3
    found = quality(labels, np.eye(3)[labels])
    assert found == {"accuracy": 1.0, "log_loss": 0.0, "expected_calibration_error": 0.0}


def test_the_number_of_bins_is_handed_on():
    probs = np.array([[0.6, 0.4], [0.9, 0.1]])
    labels = np.array([1, 0])
    assert quality(labels, probs, 1)["expected_calibration_error"] == pytest.approx(0.25)
    assert quality(labels, probs, 10)["expected_calibration_error"] == pytest.approx(0.35)


@given(bool_pairs)
def test_detection_quality_equals_scikit_learns(pair):
    is_noisy, is_issue = pair
    found = detection_quality(is_noisy, is_issue)
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = score(is_noisy, is_issue, zero_division=np.nan)
        assert found[name] == pytest.approx(expected, nan_ok=True), name


def test_ratios_without_a_base_are_nan():
    none, some = np.zeros(3, dtype=bool), np.array([True, False, False])
    assert detection_quality(none, none) == pytest.approx(
        {"precision": np.nan, "recall": np.nan, "f1": np.nan}, nan_ok=True
    )
    assert detection_quality(some, none) == pytest.approx(
        {"precision": np.nan, "recall": 0, "f1": 0}, nan_ok=True
    )
    assert detection_quality(none, some) == pytest.approx(
        {"precision": 0, "recall": np.nan, "f1": 0}, nan_ok=True
    )


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 0.9])), min_size=2, max_size=40))
def test_auroc_is_the_share_of_pairs_in_the_right_order(rows):
    is_noisy = np.array([noisy for noisy, _ in rows])
    suspicion = np.array([score for _, score in rows])
    found = ranking_quality(is_noisy, suspicion)
    if is_noisy.all() or not is_noisy.any():
        assert np.isnan(found["auroc"])
        assert np.isnan(found["average_precision"])
        return
    pairs = suspicion[is_noisy][:, None] - suspicion[~is_noisy][None, :]
    assert found["auroc"] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert found["auroc"] == pytest.approx(roc_auc_score(is_noisy, suspicion))
    assert found["average_precision"] == pytest.approx(average_precision_score(is_noisy, suspicion))


def test_a_perfect_ranking_has_full_marks():
    found = ranking_quality(np.array([True, False, True]), np.array([0.9, 0.1, 0.8]))
    assert found == {"average_precision": 1.0, "auroc": 1.0}
