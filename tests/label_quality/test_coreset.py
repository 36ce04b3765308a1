import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tasks.label_quality.class_moments import ClassMoments
from tasks.label_quality.coreset import WeightedRows, draw_coreset, merge_and_reduce, reduce_rows
from tasks.label_quality.importance import importance_of, leverage_of_given, whiten


@pytest.fixture(scope="module")
def digits():
    """Scikit-learn's digits, unweighted."""
    features, labels = load_digits(return_X_y=True)
    return WeightedRows(np.arange(len(labels)), features / 16, labels.astype(np.int64), np.ones(len(labels)))


def in_chunks(rows, size):
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        yield WeightedRows(rows.example_id[part], rows.features[part], rows.labels[part], rows.weights[part])


def importance(rows):
    moments = ClassMoments(10, rows.features.shape[1])
    moments.add(rows.features, rows.labels, rows.weights)
    whitening = whiten(moments)
    leverage = leverage_of_given(whitening, rows.features, rows.labels, rows.weights)
    return importance_of(leverage, rows.labels, whitening.class_weights, rows.weights)


def assert_unbiased(sums, truth):
    """The mean of repeated estimates is within 4 standard errors of the truth, and the spread is small."""
    standard_error = sums.std(axis=0, ddof=1) / np.sqrt(len(sums))
    assert (np.abs(sums.mean(axis=0) - truth) < 4 * standard_error).all()
    assert (standard_error < 0.05 * np.abs(truth)).all()


def weighted_sums(rows):
    """Sums that a coreset is to keep: of the weights of some classes and of some pixels."""
    by_class = np.bincount(rows.labels, weights=rows.weights, minlength=10)
    return np.concatenate([by_class, rows.weights @ rows.features[:, 18:22]])


# Rows without weights are those of the next test.
def test_weighted_sums_over_a_coreset_are_unbiased(digits):
    rng = np.random.default_rng(0)
    few = next(in_chunks(digits, 600))
    rows = WeightedRows(few.example_id, few.features, few.labels, rng.uniform(0.1, 4, size=len(few)))
    sums = np.array([weighted_sums(reduce_rows(rows, 100, 10, rng)) for _ in range(100)])
    assert_unbiased(sums, weighted_sums(rows))


def test_merge_and_reduce_is_unbiased_too_and_holds_no_more_than_asked_for(digits):
    rng = np.random.default_rng(0)
    few = next(in_chunks(digits, 600))
    drawn = [merge_and_reduce(in_chunks(few, 250), 100, 10, rng) for _ in range(100)]
    assert all(len(rows) == 100 for rows in drawn)
    assert_unbiased(np.array([weighted_sums(rows) for rows in drawn]), weighted_sums(few))
    first = drawn[0]
    assert np.array_equal(first.features, digits.features[first.example_id])
    assert np.array_equal(first.labels, digits.labels[first.example_id])


def test_a_stream_that_fits_is_kept_as_it_is(digits):
    kept = merge_and_reduce(in_chunks(digits, 500), 5000, 10, np.random.default_rng(0))
    assert sorted(kept.example_id) == list(range(len(digits)))
    assert (kept.weights == 1).all()


def test_probabilities_follow_importance_and_weights_undo_them():
    importance = np.array([1.0, 0.0, 3.0, 4.0])
    weights = np.array([1.0, 0.0, 2.0, 1.0])
    rows, drawn_weights = draw_coreset(importance, 40_000, np.random.default_rng(0), weights)
    shares = np.bincount(rows, minlength=4) / 40_000
    assert shares == pytest.approx([1 / 8, 0, 3 / 8, 4 / 8], abs=0.01)
    assert shares[1] == 0
    assert (np.diff(rows) >= 0).all()
    assert drawn_weights == pytest.approx((weights * 8)[rows] / (40_000 * importance[rows]))
    assert np.bincount(rows, drawn_weights) == pytest.approx(weights, rel=0.05)


def test_equal_seeds_draw_equal_rows(digits):
    first, second = (reduce_rows(digits, 100, 10, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first.example_id, second.example_id)
    assert first.weights.tobytes() == second.weights.tobytes()


def test_a_model_of_a_coreset_loses_less_on_all_rows_than_one_of_a_uniform_sample(digits):
    """Mean over 20 draws of the full, regularised loss of a model trained on 10 % of the rows."""
    scores = importance(digits)
    n_draws = len(digits) // 10

    def full_loss(rows, weights):
        model = LogisticRegression(max_iter=1000, tol=1e-3)
        model.fit(digits.features[rows], digits.labels[rows], sample_weight=weights)
        probs = model.predict_proba(digits.features)
        loss = -np.log(probs[np.arange(len(digits)), digits.labels]).sum()
        return loss + (model.coef_**2).sum() / 2

    by_importance, uniform = [], []
    with threadpool_limits(1):  # threads cost more than these small products
        for seed in range(20):
            rng = np.random.default_rng(seed)
            by_importance.append(full_loss(*draw_coreset(scores, n_draws, rng)))
            chosen = rng.choice(len(digits), n_draws, replace=False)
            uniform.append(full_loss(chosen, np.full(n_draws, len(digits) / n_draws)))
    best = full_loss(digits.example_id, digits.weights)
    print(f"full loss {np.mean(by_importance):.0f}, uniform {np.mean(uniform):.0f}, of all rows {best:.0f}")
    assert best < np.mean(by_importance) < 0.97 * np.mean(uniform)


@pytest.mark.parametrize(
    ("importance", "n_draws", "message"),
    [
        ([1.0, 2.0], 0, "at least 1 draw, found 0"),
        ([0.0, 0.0], 1, "somewhere positive"),
        ([1.0, -1.0], 1, "at least 0"),
        ([1.0, np.nan], 1, "finite"),
        ([], 1, "somewhere positive"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(importance, n_draws, message):
    with pytest.raises(ValueError, match=message):
        draw_coreset(np.array(importance), n_draws, np.random.default_rng(0))


def test_a_stream_without_rows_is_refused():
    with pytest.raises(ValueError, match="at least one row with a weight"):
        merge_and_reduce([], 10, 2, np.random.default_rng(0))


def without_weight(rows):
    return WeightedRows(rows.example_id, rows.features, rows.labels, np.zeros(len(rows)))


def test_a_chunk_without_weight_changes_nothing(digits):
    # Found by hand: more rows than are held, none of which can be drawn.
    chunks = list(in_chunks(digits, 250))
    expected = merge_and_reduce(chunks, 50, 10, np.random.default_rng(0))
    weightless = [without_weight(chunk) for chunk in chunks]
    for mixed in (weightless[:1] + chunks, chunks[:3] + weightless + chunks[3:], chunks + weightless[:2]):
        found = merge_and_reduce(mixed, 50, 10, np.random.default_rng(0))
        assert np.array_equal(found.example_id, expected.example_id)
        assert found.weights.tobytes() == expected.weights.tobytes()
    with pytest.raises(ValueError, match="at least one row with a weight"):
        merge_and_reduce(weightless, 50, 10, np.random.default_rng(0))


def test_rows_of_weight_0_are_left_out_and_wrong_weights_are_not(digits):
    weights = np.where(np.arange(len(digits)) % 2, 1.0, 0.0)
    rows = WeightedRows(digits.example_id, digits.features, digits.labels, weights)
    kept = merge_and_reduce(in_chunks(rows, 500), 5000, 10, np.random.default_rng(0))
    assert sorted(kept.example_id) == list(range(1, len(digits), 2))
    weights[7] = -1
    with pytest.raises(ValueError, match=r"finite and at least 0, found -1\.0"):
        merge_and_reduce(in_chunks(rows, 500), 50, 10, np.random.default_rng(0))
