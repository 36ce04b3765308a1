"""The default filter, on data drawn so that the truth is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from tasks.label_quality.filters import auto
from tasks.label_quality.issues import find_label_issues
from tasks.label_quality.metrics import detection_quality
from tasks.label_quality.noise import doubt_noise, symmetric_noise
from tasks.label_quality.noise_model import SHARPNESS, NoiseFits, fit_at, fit_noise_models
from tasks.label_quality.statistics import Statistics, sample_rows

N_CLASSES = 5


def softmax(logits):
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    return probs / probs.sum(axis=1, keepdims=True)


def draw_world(kind, seed=0, n=6_000):
    """Classes that a row's content tells for sure, but for the third of the rows that lie between two.

    By chance, 15 % of the labels are wrong, on any rows. People draw the labels of rows between two classes
    as the classifier does, which has learned from them: about 8 % are wrong, where it doubts.
    """
    rng = np.random.default_rng(seed)
    true = rng.integers(N_CLASSES, size=n)
    other = (true + rng.integers(1, N_CLASSES, size=n)) % N_CLASSES
    logits = 0.5 * rng.normal(size=(n, N_CLASSES))
    rows = np.arange(n)
    logits[rows, true] += 9
    if kind == "people":
        logits[rows, other] += np.where(rng.random(n) < 0.4, rng.uniform(5, 9, n), 0)
    pred_probs = softmax(logits)
    if kind == "people":
        given = (rng.random(n)[:, None] >= pred_probs.cumsum(axis=1)[:, :-1]).sum(axis=1)
    else:
        given = symmetric_noise(true, 0.15, N_CLASSES, rng)
    return SimpleNamespace(given=given, is_noisy=given != true, pred_probs=pred_probs)


def f1_of_all(world):
    flags = find_label_issues(world.given, world.pred_probs, filters=("auto", *COMPARED)).flags
    return {name: detection_quality(world.is_noisy, found)["f1"] for name, found in flags.items()}


COMPARED = ("noise_posterior", "predicted_neq_given", "prune_by_class")


def test_errors_by_chance_are_found_as_the_likelihood_finds_them():
    f1 = f1_of_all(draw_world("chance"))
    assert f1["auto"] > 0.98
    assert f1["auto"] >= f1["noise_posterior"] - 0.005


def test_errors_where_the_classifier_doubts_are_found_though_the_likelihood_calls_them_doubt():
    f1 = f1_of_all(draw_world("people"))
    assert f1["noise_posterior"] < 0.1
    assert f1["auto"] > 0.6
    assert f1["prune_by_class"] < 0.3


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4])
def test_on_digits_whose_labels_are_wrong_where_a_model_doubts_it_is_near_the_best_filter(rate):
    digits = load_digits()
    true = digits.target

    def predict(labels):
        model = LogisticRegression(max_iter=200)
        return cross_val_predict(model, digits.data / 16, labels, cv=3, method="predict_proba")

    given = doubt_noise(true, predict(true), rate, np.random.default_rng(0))
    f1 = f1_of_all(SimpleNamespace(given=given, is_noisy=given != true, pred_probs=predict(given)))
    assert f1["auto"] > f1["noise_posterior"] + 0.2
    assert f1["auto"] > max(f1.values()) - 0.05


def test_believing_that_doubt_is_noise_costs_more_where_people_erred():
    costs = {}
    for kind in ("chance", "people"):
        world = draw_world(kind)
        costs[kind] = auto.doubt_cost(fit_noise_models(world.given, world.pred_probs))
    assert costs["chance"] < 0.1 < 0.3 < costs["people"]


def fits(n_flagged, cost, n_doubted=100, n_rows=1_000):
    """Fits of which the last costs `cost` nats a doubted row more than the first."""
    log_likelihood = np.linspace(0, -cost * n_doubted / n_rows, len(SHARPNESS))
    return NoiseFits(log_likelihood, np.array(n_flagged), n_doubted, n_rows, {})


RISING = [10 * (place + 1) for place in range(len(SHARPNESS))]


@pytest.mark.parametrize(
    ("n_flagged", "cost", "expected"),
    [
        ([100] * len(SHARPNESS), 0.0, SHARPNESS[0]),  # the number does not depend on the sharpness
        (RISING, 0.0, SHARPNESS[11]),  # 120 of 150 is 0.8
        (RISING, 0.4, SHARPNESS[13]),  # 0.9 of 150 is 135, so 140
        (RISING, 0.8, SHARPNESS[14]),
        (RISING, 50.0, SHARPNESS[14]),  # never more than all
        ([0] * len(SHARPNESS), 0.0, SHARPNESS[0]),
        ([90, *[0] * 13, 100], 0.0, SHARPNESS[0]),  # the lowest, though others flag fewer
    ],
)
def test_the_lowest_sharpness_that_flags_nearly_as_many_is_chosen(n_flagged, cost, expected):
    assert auto.doubt_cost(fits(n_flagged, cost)) == pytest.approx(cost)
    assert auto.choose_sharpness(fits(n_flagged, cost)) == expected


def test_no_sharpness_below_the_likeliest_is_chosen():
    found = fits([100] * len(SHARPNESS), 0.0)
    likeliest_third = replace(found, log_likelihood=np.array([0, 0, 1, *[0.5] * (len(SHARPNESS) - 3)]))
    assert auto.choose_sharpness(likeliest_third) == SHARPNESS[2]


def test_without_a_doubted_row_there_is_no_cost():
    labels = np.arange(30) % 3
    found = fit_noise_models(labels, np.eye(3)[labels])
    assert found.n_doubted == 0
    assert auto.doubt_cost(found) == 0
    assert not find_label_issues(labels, np.eye(3)[labels]).flags["auto"].any()


@pytest.mark.parametrize("kind", ["chance", "people"])
def test_the_flags_are_those_of_the_chosen_sharpness_and_the_rule_says_which(kind):
    world = draw_world(kind)
    found = find_label_issues(world.given, world.pred_probs, filters=("auto",))
    noise = fit_noise_models(world.given, world.pred_probs)
    sharpness = auto.choose_sharpness(noise)
    posterior = fit_at(world.given, world.pred_probs, sharpness).posterior(world.given, world.pred_probs)
    vetoed = world.pred_probs.argmax(axis=1) == world.given
    assert np.array_equal(found.flags["auto"], (posterior < 0.5) & ~vetoed)
    assert f"sharpness {sharpness:g}" in found.rules["auto"]
    assert ("people" if kind == "people" else "chance") in found.rules["auto"]
    assert set(found.rules) == {"auto"}


def test_a_fit_that_was_not_kept_is_made_again_with_the_same_numbers():
    world = draw_world("people", n=500)
    sample = world.given, world.pred_probs
    kept = fit_noise_models(*sample)
    again = {s: fit_at(*sample, s) for s in SHARPNESS}
    assert [fit.log_likelihood for fit in again.values()] == kept.log_likelihood.tolist()
    assert [fit.n_flagged for fit in again.values()] == kept.n_flagged.tolist()
    for sharpness, fit in kept.kept.items():
        assert np.array_equal(fit.expected_under, again[sharpness].expected_under)
        flagged = (fit.posterior(*sample) < 0.5).sum()
        assert fit.n_flagged == flagged
    assert len(kept.kept) <= 5


def test_only_what_is_needed_is_kept_of_the_statistics():
    world = draw_world("chance", n=200)
    noise = fit_noise_models(world.given, world.pred_probs)
    all_of_it = Statistics(200, None, None, (world.given, world.pred_probs), noise=noise)
    assert len(all_of_it.only(["noise"]).sample[0]) == 0
    assert all_of_it.only(["noise"]).noise is noise
    assert not all_of_it.only(["sample"]).noise.kept
    assert len(sample_rows(200, N_CLASSES)) == len(all_of_it.only(["sample"]).sample[0])
