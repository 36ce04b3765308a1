from types import SimpleNamespace

import numpy as np
import pytest

from tasks.label_quality import noise_model as module
from tasks.label_quality import statistics
from tasks.label_quality.issues import find_label_issues
from tasks.label_quality.metrics import detection_quality
from tasks.label_quality.noise_model import fit_noise_models
from tasks.label_quality.statistics import sample_rows

TRANSITION = np.array(
    [[0.8, 0.1, 0.05, 0.05], [0.02, 0.88, 0.1, 0.0], [0.15, 0.05, 0.7, 0.1], [0, 0, 0.2, 0.8]]
)


def softmax(logits):
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    return probs / probs.sum(axis=1, keepdims=True)


def draw(probs, rng):
    """One class a row."""
    return (rng.random(len(probs))[:, None] >= probs.cumsum(axis=1)[:, :-1]).sum(axis=1)


@pytest.fixture(scope="module", params=[1.0, 3.0])
def world(request):
    """Data drawn from the model itself: a classifier too timid by a known sharpness, known noise."""
    rng = np.random.default_rng(0)
    logits = 5 * rng.normal(size=(20_000, 4))
    prior = softmax(logits)
    true = draw(prior, rng)
    given = draw(TRANSITION[true], rng)
    pred_probs = softmax(logits / request.param).astype(np.float32)
    joint = prior * TRANSITION.T[given]
    posterior = joint[np.arange(len(given)), given] / joint.sum(axis=1)
    return SimpleNamespace(
        sharpness=request.param,
        pred_probs=pred_probs,
        true=true,
        given=given,
        is_noisy=given != true,
        posterior=posterior,
        issues=find_label_issues(given, pred_probs),
        fitted=fit_noise_models(given, pred_probs).likeliest,
    )


def test_sharpness_and_transition_matrix_are_recovered(world):
    fitted = world.fitted
    assert fitted.sharpness == world.sharpness
    assert fitted.transition_matrix == pytest.approx(TRANSITION, abs=0.02)


def test_the_posterior_is_close_to_the_true_one_and_calibrated(world):
    posterior = world.fitted.posterior(world.given, world.pred_probs)
    assert np.abs(posterior - world.posterior).mean() < 0.01
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1)):
        among = (posterior >= low) & (posterior <= high)
        assert posterior[among].mean() == pytest.approx(1 - world.is_noisy[among].mean(), abs=0.05)


def test_the_filter_finds_noise_about_as_well_as_the_true_parameters_would(world):
    best = detection_quality(world.is_noisy, world.posterior < 0.5)["f1"]
    quality = {
        name: detection_quality(world.is_noisy, flags)["f1"] for name, flags in world.issues.flags.items()
    }
    assert quality["noise_posterior"] > best - 0.01
    assert quality["noise_posterior"] == max(f1 for name, f1 in quality.items() if name != "auto")
    assert quality["auto"] > best - 0.01
    assert quality["noise_posterior"] > quality["prune_by_noise_rate"] + 0.01


def test_clean_labels_are_left_alone(world):
    fitted = fit_noise_models(world.true, world.pred_probs).likeliest
    assert (fitted.posterior(world.true, world.pred_probs) < 0.5).mean() < 0.002
    assert (world.pred_probs.argmax(axis=1) != world.true).mean() > 0.05  # the classifier is not always right
    assert fitted.transition_matrix == pytest.approx(np.eye(4), abs=0.01)


def test_the_fit_is_deterministic(world):
    again = fit_noise_models(world.given, world.pred_probs).likeliest
    assert again.log_likelihood == world.fitted.log_likelihood
    assert np.array_equal(again.transition_matrix, world.fitted.transition_matrix)
    # The filter's own fit, which all rows fit into, says so of [given, true].
    assert np.array_equal(again.transition_matrix.T, world.issues.noise_matrices["noise_posterior"])


def test_float32_and_float64_probabilities_give_the_same_fit(world):
    again = fit_noise_models(world.given, world.pred_probs.astype(np.float64)).likeliest
    assert np.array_equal(again.expected_under, world.fitted.expected_under)


def sharpen(probs, sharpness):
    return module._sharpen(module._log(probs), sharpness, axis=1)


def slow_em(labels, prior, n_steps):
    """The same model, row by row: posterior, transition matrix and mean log-likelihood."""
    n, k = prior.shape
    transition = [[0.5 if i == j else 0.5 / (k - 1) for j in range(k)] for i in range(k)]
    for _ in range(n_steps):
        counts = [[1e-9] * k for _ in range(k)]
        posterior, log_likelihood = [], 0.0
        for i in range(n):
            weights = [prior[i][j] * transition[j][labels[i]] for j in range(k)]
            evidence = sum(weights)
            log_likelihood += np.log(evidence) / n
            posterior.append(weights[labels[i]] / evidence)
            for j in range(k):
                counts[j][labels[i]] += weights[j] / evidence
        transition = [[count / sum(row) for count in row] for row in counts]
    return posterior, transition, log_likelihood


def run_em(labels, prior, axis=1, sharpness=1.0):
    """`_fit` on rows in any order, `prior` being (N, K)."""
    order = np.argsort(labels, kind="stable")
    by_class = prior[order] if axis == 1 else prior[order].T
    return module._fit(labels[order], by_class, axis, sharpness)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("block", [6, 10**6])
def test_em_equals_a_loop_over_rows(axis, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", block)
    rng = np.random.default_rng(1)
    prior = rng.dirichlet([0.5, 0.5, 0.5], size=60)
    labels = rng.integers(3, size=60)
    fitted = run_em(labels, prior, axis)
    posterior, transition, log_likelihood = slow_em(labels, prior, module._EM_STEPS)
    assert fitted.posterior(labels, prior) == pytest.approx(np.array(posterior), abs=1e-10)
    assert fitted.transition_matrix == pytest.approx(np.array(transition), abs=1e-10)
    assert fitted.log_likelihood == pytest.approx(log_likelihood, abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_no_em_step_lowers_the_likelihood(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.full(5, 0.3), size=300)
    labels = np.where(rng.random(300) < 0.4, rng.integers(5, size=300), draw(prior, rng))
    found = []
    for n_steps in range(1, 30):
        monkeypatch.setattr(module, "_EM_STEPS", n_steps)
        found.append(run_em(labels, prior).log_likelihood)
    # The floor under the counts, 1e-9, is no part of the likelihood.
    assert (np.diff(found) >= -1e-8).all()
    assert found[-1] > found[0]


def test_the_sharpness_of_the_highest_likelihood_is_chosen(world):
    fits = [
        run_em(world.given, sharpen(world.pred_probs, sharpness), axis=0, sharpness=sharpness)
        for sharpness in module.SHARPNESS
    ]
    best = max(fit.log_likelihood for fit in fits)
    assert world.fitted.log_likelihood == pytest.approx(best, rel=1e-12)
    assert [fit.sharpness for fit in fits if fit.log_likelihood == best] == [world.sharpness]


def test_where_nothing_tells_sharpnesses_apart_the_smallest_is_chosen():
    uniform = np.full((12, 3), 1 / 3)
    assert fit_noise_models(np.arange(12) % 3, uniform).likeliest.sharpness == module.SHARPNESS[0] == 1.0


def test_sharpening_is_a_power_renormalised():
    probs = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    squares = probs**2 / (probs**2).sum(axis=1, keepdims=True)
    assert sharpen(probs, 2.0) == pytest.approx(squares, abs=1e-12)
    assert sharpen(probs, 1.0) == pytest.approx(probs, abs=1e-11)


def test_posteriors_are_probabilities_and_transition_rows_sum_to_1(draw_label_case):
    for seed in range(40):
        labels, probs = draw_label_case(seed)
        fitted = fit_noise_models(labels, probs).likeliest
        posterior = fitted.posterior(labels, probs)
        assert posterior.shape == labels.shape
        assert ((posterior >= 0) & (posterior <= 1 + 1e-12)).all(), seed
        assert (fitted.transition_matrix >= 0).all()
        assert fitted.transition_matrix.sum(axis=1) == pytest.approx(np.ones(probs.shape[1]), abs=1e-12)
        assert np.isfinite(fitted.log_likelihood)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_of_exactly_0_and_1_are_no_trap(dtype):
    true = np.arange(200) % 4
    given = true.copy()
    given[:10] = (given[:10] + 1) % 4
    probs = np.eye(4, dtype=dtype)[true]
    fitted = fit_noise_models(given, probs).likeliest
    assert np.isfinite(fitted.transition_matrix).all()
    assert np.array_equal(fitted.posterior(given, probs) < 0.5, given != true)


def test_a_class_without_given_rows_is_no_trap():
    rng = np.random.default_rng(0)
    true = rng.integers(3, size=600)
    probs = 0.9 * np.eye(4)[true] + 0.025
    fitted = fit_noise_models(true, probs).likeliest
    posterior = fitted.posterior(true, probs)
    assert np.isfinite(posterior).all()
    assert np.isfinite(fitted.transition_matrix).all()
    assert not (posterior < 0.5).any()


def test_the_filter_never_flags_the_most_likely_class(draw_label_case):
    flagged = 0
    for seed in range(30):
        labels, probs = draw_label_case(seed)
        flags = find_label_issues(labels, probs, filters=("noise_posterior",)).flags["noise_posterior"]
        assert not flags[probs.argmax(axis=1) == labels].any()
        flagged += flags.sum()
    assert flagged > 100


def test_a_sample_has_all_rows_as_far_as_it_can_and_else_evenly_spread_ones(monkeypatch):
    assert np.array_equal(sample_rows(70_000, 100), np.arange(70_000))
    monkeypatch.setattr(statistics, "SAMPLE_ENTRIES", 40)
    assert sample_rows(10, 4).tolist() == list(range(10))
    assert sample_rows(1000, 4).tolist() == [100 * row for row in range(10)]
    assert sample_rows(7, 100).tolist() == [0]
    assert sample_rows(0, 4).tolist() == []


def test_a_fit_on_a_sample_judges_all_rows_about_as_well(world, monkeypatch):
    monkeypatch.setattr(statistics, "SAMPLE_ENTRIES", 8_000)  # a tenth of the rows
    flags = find_label_issues(world.given, world.pred_probs, filters=("noise_posterior",)).flags
    quality = detection_quality(world.is_noisy, flags["noise_posterior"])
    best = detection_quality(world.is_noisy, world.posterior < 0.5)
    assert quality["f1"] > best["f1"] - 0.02
