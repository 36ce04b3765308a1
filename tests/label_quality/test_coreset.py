import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tasks.label_quality.class_moments import ClassMoments
from tasks.label_quality.coreset import draw_coreset
from tasks.label_quality.importance import importance_of, leverage_of_given, whiten


@pytest.fixture(scope="module")
def digits():
    """Scikit-learn's digits: features (N, 64) in [0, 1] and classes (N,)."""
    features, labels = load_digits(return_X_y=True)
    return features / 16, labels.astype(np.int64)


def importance(features, labels):
    moments = ClassMoments(10, features.shape[1])
    moments.add(features, labels)
    whitening = whiten(moments)
    leverage = leverage_of_given(whitening, features, labels)
    return importance_of(leverage, labels, whitening.n_rows)


def assert_unbiased(sums, truth):
    """The mean of repeated estimates is within 4 standard errors of the truth, and the spread is small."""
    standard_error = sums.std(axis=0, ddof=1) / np.sqrt(len(sums))
    assert (np.abs(sums.mean(axis=0) - truth) < 4 * standard_error).all()
    assert (standard_error < 0.05 * np.abs(truth)).all()


def weighted_sums(features, labels, weights):
    """Sums that a coreset is to keep: of the weights of some classes and of some pixels."""
    by_class = np.bincount(labels, weights=weights, minlength=10)
    return np.concatenate([by_class, weights @ features[:, 18:22]])


def test_weighted_sums_over_a_coreset_are_unbiased(digits):
    rng = np.random.default_rng(0)
    features, labels = (part[:600] for part in digits)
    scores = importance(features, labels)
    drawn = [draw_coreset(scores, 100, rng) for _ in range(100)]
    sums = np.array([weighted_sums(features[rows], labels[rows], own) for rows, own in drawn])
    assert_unbiased(sums, weighted_sums(features, labels, np.ones(600)))


def test_probabilities_follow_importance_and_weights_undo_them():
    importance = np.array([1.0, 0.0, 3.0, 4.0])
    rows, drawn_weights = draw_coreset(importance, 40_000, np.random.default_rng(0))
    shares = np.bincount(rows, minlength=4) / 40_000
    assert shares == pytest.approx([1 / 8, 0, 3 / 8, 4 / 8], abs=0.01)
    assert shares[1] == 0
    assert (np.diff(rows) >= 0).all()
    assert drawn_weights == pytest.approx(8 / (40_000 * importance[rows]))
    assert np.bincount(rows, drawn_weights) == pytest.approx([1, 0, 1, 1], rel=0.05)


def test_equal_seeds_draw_equal_rows(digits):
    scores = importance(*digits)
    first, second = (draw_coreset(scores, 100, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert first[1].tobytes() == second[1].tobytes()


def test_a_model_of_a_coreset_loses_less_on_all_rows_than_one_of_a_uniform_sample(digits):
    """Mean over 20 draws of the full, regularised loss of a model trained on 10 % of the rows."""
    features, labels = digits
    scores = importance(features, labels)
    n_draws = len(labels) // 10

    def full_loss(rows, weights):
        model = LogisticRegression(max_iter=1000, tol=1e-3)
        model.fit(features[rows], labels[rows], sample_weight=weights)
        probs = model.predict_proba(features)
        loss = -np.log(probs[np.arange(len(labels)), labels]).sum()
        return loss + (model.coef_**2).sum() / 2

    by_importance, uniform = [], []
    with threadpool_limits(1):  # threads cost more than these small products
        for seed in range(20):
            rng = np.random.default_rng(seed)
            by_importance.append(full_loss(*draw_coreset(scores, n_draws, rng)))
            chosen = rng.choice(len(labels), n_draws, replace=False)
            uniform.append(full_loss(chosen, np.full(n_draws, len(labels) / n_draws)))
    best = full_loss(np.arange(len(labels)), np.ones(len(labels)))
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
