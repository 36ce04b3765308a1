from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from examples import some_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson_binom

from tasks.label_quality.error_prob import _WEIGHTS, ErrorCounts, ErrorModel, average
from tasks.label_quality.issues import find_issues, find_label_issues
from tasks.label_quality.noise import symmetric_noise
from tasks.label_quality.noise_model import AVERAGED, SHARPNESS, fit_noise_models
from tasks.label_quality.rows import ArrayRows

from .test_auto import draw_world, softmax


def draw_confusable(n, seed=0):
    """Errors by chance, and a classifier that is right on nine of ten rows and knows how sure it may be."""
    rng = np.random.default_rng(seed)
    prior = softmax(4 * rng.normal(size=(n, 4)))
    true = (rng.random(n)[:, None] >= prior.cumsum(axis=1)[:, :-1]).sum(axis=1)
    given = symmetric_noise(true, 0.15, 4, rng)
    # Calibrated to the given labels, as a classifier is that has learned from them.
    return SimpleNamespace(given=given, is_noisy=given != true, pred_probs=0.8 * prior + 0.05)


def test_the_averaged_sharpnesses_are_fitted_ones_and_each_the_square_of_the_one_before():
    assert set(AVERAGED) <= set(SHARPNESS)
    assert AVERAGED[0] == 1
    assert all(later == 2 * earlier for earlier, later in pairwise(AVERAGED))
    assert (AVERAGED[0], AVERAGED[-1]) == (SHARPNESS[0], SHARPNESS[-1])


def test_the_weights_integrate_lines_exactly():
    assert _WEIGHTS.sum() == pytest.approx(1)
    assert _WEIGHTS @ np.array(AVERAGED) == pytest.approx((1 + 8) / 2)
    line = np.interp(np.linspace(1, 8, 100_001), AVERAGED, [0.1, 0.4, 0.5, 0.9])
    assert line.mean() == pytest.approx(_WEIGHTS @ [0.1, 0.4, 0.5, 0.9], abs=1e-4)


def test_probabilities_are_those_of_the_noise_models(draw_label_case):
    for seed in range(40):
        labels, probs = draw_label_case(seed)
        fits = fit_noise_models(labels, probs)
        model = ErrorModel.of(fits.averaged)
        found = model.right_by_sharpness(labels, probs)
        expected = [fit.posterior(labels, probs) for fit in fits.averaged]
        assert found == pytest.approx(np.array(expected), abs=1e-9)
        assert model.label_right_prob(labels, probs) == pytest.approx(_WEIGHTS @ found, abs=1e-12)
        assert ((found >= 0) & (found <= 1 + 1e-12)).all()


def test_certain_probabilities_are_no_trap():
    labels = np.array([0, 0, 1, 2, 2, 1])
    probs = np.eye(3)[[0, 1, 1, 2, 2, 0]]
    right = ErrorModel.of(fit_noise_models(labels, probs).averaged).label_right_prob(labels, probs)
    assert np.isfinite(right).all()
    assert (right[[0, 2, 3, 4]] > 0.5).all()


def test_of_rows_with_some_probability_about_that_share_is_wrong():
    world = draw_confusable(20_000)
    model = ErrorModel.of(fit_noise_models(world.given, world.pred_probs).averaged)
    wrong = 1 - model.label_right_prob(world.given, world.pred_probs)
    assert wrong.mean() == pytest.approx(world.is_noisy.mean(), rel=0.5)
    sure, unlikely = wrong > 0.9, wrong < 0.1
    assert world.is_noisy[sure].mean() > 0.85
    assert world.is_noisy[unlikely].mean() < 0.1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("draw", [draw_confusable, partial(draw_world, "chance")])
def test_the_number_of_wrong_labels_lies_in_its_interval(draw, seed):
    world = draw(n=6_000, seed=seed)
    model = ErrorModel.of(fit_noise_models(world.given, world.pred_probs).averaged)
    found = ErrorCounts.of(model.right_by_sharpness(world.given, world.pred_probs)).estimate()
    assert found.low <= found.estimate <= found.high
    assert found.low <= world.is_noisy.sum() <= found.high
    # Where the classifier has no doubt of its own, the sharpness matters little.
    is_sure = draw is not draw_confusable
    assert (found.high - found.low < 0.2 * found.estimate) == is_sure


def test_for_one_sharpness_the_interval_is_that_of_independent_rows():
    rng = np.random.default_rng(0)
    right = np.tile(rng.beta(2, 2, size=60), (4, 1))  # SciPy takes no more
    found = ErrorCounts.of(right).estimate()
    low, high = (float(poisson_binom(1 - right[0]).ppf(share)) for share in (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1)
    assert found.estimate == round((1 - right[0]).sum())


@settings(max_examples=some_of(50), deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 200), max_size=4))
def test_counts_do_not_depend_on_how_rows_are_cut(seed, cuts):
    right = np.random.default_rng(seed).random((4, 200))
    added = ErrorCounts.none()
    for part in np.split(right, sorted(cuts), axis=1):
        added += ErrorCounts.of(part)
    whole = ErrorCounts.of(right)
    assert np.array_equal(added.wrong, whole.wrong)
    assert np.array_equal(added.variance, whole.variance)


def test_nothing_is_estimated_of_no_row():
    assert vars(ErrorCounts.none().estimate()) == {"estimate": 0, "low": 0, "high": 0}


def test_flagged_rows_come_with_the_probability_that_they_are_right(draw_label_case):
    for seed in range(10):
        labels, probs = draw_label_case(seed)
        found = find_issues(ArrayRows(labels, probs, 50), rank_by="error_prob")
        right = average(found.error_model.right_by_sharpness(labels, probs))
        for flagged in found.flagged.values():
            assert flagged.scores == pytest.approx(right[flagged.rows], abs=1e-12)
    assert find_label_issues(labels, probs).error_model.noise_matrices == ()


def test_a_ranking_by_it_has_no_adjusted_form():
    labels, probs = np.array([0, 1]), np.array([[0.9, 0.1], [0.1, 0.9]])
    with pytest.raises(ValueError, match="error_prob can not be computed from adjusted"):
        find_issues(ArrayRows(labels, probs), rank_by="error_prob", adjust_pred_probs=True)
