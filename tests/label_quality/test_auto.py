"""The default filter, on data drawn so that the truth is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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


def draw_frozen(rate, seed=0, n=9_000, n_classes=10):
    """As photographs by frozen features: never sure, wrong on some 4 %, and labels wrong by chance."""
    rng = np.random.default_rng(seed)
    true = rng.integers(n_classes, size=n)
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), true] += rng.normal(4.6, 1.4, size=n)
    given = symmetric_noise(true, rate, n_classes, rng)
    return SimpleNamespace(given=given, is_noisy=given != true, pred_probs=softmax(0.7 * logits), true=true)


@pytest.mark.parametrize(("rate", "least"), [(0.01, 0.7), (0.05, 0.9), (0.25, 0.96), (0.5, 0.97)])
def test_mistakes_of_the_classifier_are_left_alone_where_labels_are_wrong_by_chance(rate, least):
    world = draw_frozen(rate)
    assert 0.02 < (world.pred_probs.argmax(axis=1) != world.true).mean() < 0.05
    f1 = f1_of_all(world)
    assert f1["auto"] > least
    assert f1["auto"] > f1["noise_posterior"] - 0.01
    assert f1["auto"] > f1["predicted_neq_given"]


@pytest.mark.parametrize("kind", ["chance", "people"])
def test_other_labels_are_as_common_where_it_is_surest_only_if_they_are_wrong_by_chance(kind):
    world = draw_world(kind)
    found = auto.OtherLabels.of(world.given, world.pred_probs)
    if kind == "chance":
        assert found.chance == 1
        assert found.luck == 1
        assert found.n_by_chance == pytest.approx(world.is_noisy.sum(), rel=0.1)
    else:
        assert found.surest < found.sure
        assert found.chance == 0
        assert found.luck == 0


def test_other_labels_are_counted_where_the_classifier_is_sure():
    labels = np.zeros(8, dtype=np.int64)
    sure = np.array([0.99, 0.98, 0.9, 0.9, 0.8, 0.7, 0.6, 0.55])
    is_other = np.array([True, False, True, False, False, False, True, True])
    pred_probs = np.where(is_other, 1 - sure, sure)[:, None] * [1, -1] + [0, 1]
    found = auto.OtherLabels.of(labels, pred_probs)
    assert (found.surest, found.sure, found.anywhere, found.n_rows) == (1 / 2, 2 / 6, 4 / 8, 8)
    assert found.n_by_chance == pytest.approx(8 / 3)
    # Of rows that are equally sure the first are not taken before the others.
    tied = auto.OtherLabels.of(labels, np.array([[0.1, 0.9]] * 2 + [[0.9, 0.1]] * 6))
    assert (tied.surest, tied.sure) == (1 / 4, 1 / 4)


@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_neither_the_order_of_rows_nor_their_number_breaks_what_is_counted(n, n_classes, seed):
    rng = np.random.default_rng(seed)
    pred_probs = rng.dirichlet(np.ones(n_classes), size=n).round(2)
    labels = rng.integers(n_classes, size=n)
    found = auto.OtherLabels.of(labels, pred_probs)
    order = rng.permutation(n)
    assert auto.OtherLabels.of(labels[order], pred_probs[order]) == found
    assert 0 <= found.chance <= 1
    assert 0 <= found.surest <= 1
    assert 0 <= found.luck <= 1
    assert 0 <= found.n_by_chance <= n
    assert 0 <= found.enough(n) <= n


def fits(n_flagged, n_rows=1_000):
    """Fits of which the first is the likeliest."""
    return NoiseFits(-np.arange(len(SHARPNESS)) / 1e4, np.array(n_flagged), n_rows, {})


RISING = [10 * (place + 1) for place in range(len(SHARPNESS))]
PEOPLE = auto.OtherLabels(surest=0.0, sure=0.2, anywhere=0.3, n_rows=1_000_000)


def by_chance(rate):
    """Of so many rows that the standard error is next to nothing."""
    return auto.OtherLabels(rate, rate, rate, 10**12)


@pytest.mark.parametrize(
    ("n_flagged", "found", "expected"),
    [
        ([100] * len(SHARPNESS), PEOPLE, SHARPNESS[0]),  # the number does not depend on the sharpness
        (RISING, PEOPLE, SHARPNESS[13]),  # 0.9 of 150 is 135, so 140
        ([0] * len(SHARPNESS), PEOPLE, SHARPNESS[0]),
        ([140, *[0] * 13, 150], PEOPLE, SHARPNESS[0]),  # the lowest, though others flag fewer
        (RISING, auto.OtherLabels(0.0, 0.0, 0.1, 1_000), SHARPNESS[13]),  # no other label where it is sure
        (RISING, replace(by_chance(0.08), n_rows=1_000), SHARPNESS[6]),  # 0.95 of 80, less an error of 10.3
        (RISING, replace(by_chance(0.15), n_rows=1_000), SHARPNESS[12]),  # 0.95 of 150, less an error of 14.1
        (RISING, by_chance(0.9), SHARPNESS[14]),  # more than any flags
    ],
)
def test_the_lowest_sharpness_that_flags_enough_is_chosen(n_flagged, found, expected):
    assert auto.choose_sharpness(fits(n_flagged), found) == expected


def test_a_classifier_that_would_have_to_be_wrong_on_many_rows_is_not_blamed():
    chances = [auto.OtherLabels(0.1, 0.1, 0.1 + share, 10**12).chance for share in (0.03, 0.075, 0.12)]
    assert chances == [1, pytest.approx(0.5), 0]


def test_between_chance_and_people_enough_lies_between():
    assert by_chance(0.1).chance == 1
    half = auto.OtherLabels(0.0925, 0.1, 0.1, 10**12)
    assert half.chance == pytest.approx(0.5, abs=1e-4)
    rising = [number * 10**9 for number in RISING]
    # By chance 95 of 1,000 are enough, for people 135, in between 115.
    chosen = [auto.choose_sharpness(fits(rising, 10**12), found) for found in (by_chance(0.1), half, PEOPLE)]
    assert chosen == [SHARPNESS[9], SHARPNESS[11], SHARPNESS[13]]


def test_more_than_the_highest_sharpness_flags_is_wanted_where_chance_made_more_wrong_and_nothing_jumps():
    top = 10**11
    rates = np.linspace(0.08, 0.14, 601)
    found = np.array([by_chance(rate).enough(top) for rate in rates]) / top
    assert found[0] == pytest.approx(0.95 * 0.8, abs=1e-4)
    assert found[rates < 0.1 / 0.95].max() == pytest.approx(0.9)
    assert found[-1] == pytest.approx(0.95 * 1.4, abs=1e-4)
    steps = np.diff(found)
    assert 0 <= steps.min() <= steps.max() < 0.005
    # People's errors are never more than that, and wrong labels no more than labels that are other.
    assert PEOPLE.enough(10**4) == pytest.approx(9_000)
    few = auto.OtherLabels(0.5, 0.5, 0.2, 10**12)
    assert few.enough(top) == pytest.approx(0.2 * 10**12)


def test_where_surer_rows_are_of_classes_with_more_wrong_labels_chance_made_no_more_wrong_than_of_sure_rows():
    found = auto.OtherLabels(0.28, 0.23, 0.26, 10**12, likeness=0.0)
    assert found.luck == 1
    assert found.n_by_chance == pytest.approx(0.23 * 10**12)


def test_wrong_labels_that_the_classifier_took_over_are_flagged_although_likelier_right():
    # Four in ten labels are the next class, and the classifier says both nearly as often.
    rng = np.random.default_rng(0)
    n = 6_000
    true = rng.integers(N_CLASSES, size=n)
    after = (true + 1) % N_CLASSES
    given = np.where(rng.random(n) < 0.4, after, true)
    pred_probs = np.full((n, N_CLASSES), 0.01)
    pred_probs[np.arange(n), after] += np.clip(rng.normal(0.4, 0.06, size=n), 0.05, 0.9)
    pred_probs[np.arange(n), true] += 1 - pred_probs.sum(axis=1)
    world = SimpleNamespace(given=given, is_noisy=given != true, pred_probs=pred_probs)
    found = find_label_issues(given, pred_probs, filters=("auto",))
    highest = fit_at(given, pred_probs, SHARPNESS[-1]).posterior(given, pred_probs) < 0.5
    assert highest.sum() < 0.8 * world.is_noisy.sum()
    assert found.flags["auto"].sum() == pytest.approx(world.is_noisy.sum(), rel=0.1)
    f1 = detection_quality(world.is_noisy, found.flags["auto"])["f1"]
    assert f1 > detection_quality(world.is_noisy, highest)["f1"] + 0.05
    assert "it flags too few" in found.rules["auto"]
    # The rule tells how many are flagged in the end, not how many the sharpness flags by itself.
    assert f"It flags {found.flags['auto'].sum():,} of {n:,} rows" in found.rules["auto"]
    assert f"{highest.sum():,}" not in found.rules["auto"]


def test_labels_that_are_any_class_are_wrong_by_chance_however_many_mistakes_there_are():
    found = auto.OtherLabels(0.05, 0.1, 0.3, 10**12, likeness=0.1)
    assert (found.chance, found.luck) == (0, 1)
    assert found.n_by_chance == pytest.approx(0.05 * 10**12)
    rising = [number * 10**9 for number in RISING]
    # By luck 47.5 of 1,000 are enough, for people 135, and half and half 91.
    for likeness, place in ((0.1, 4), (0.2, 9), (0.3, 13), (None, 13)):
        chosen = auto.choose_sharpness(fits(rising, 10**12), replace(found, likeness=likeness))
        assert chosen == SHARPNESS[place]


@pytest.mark.parametrize(
    ("n_next", "n", "n_classes", "expected"),
    [
        (250, 1_000, 5, 0.0),
        (1_000, 1_000, 5, 1.0),
        (500, 1_000, 5, 1 / 3),
        (0, 1_000, 5, -1 / 3),
        (1_000, 1_000, 2, None),  # there is no third class
        (3, 10, 5, None),  # too few to tell
        (0, 0, 5, None),
    ],
)
def test_likeness_is_the_share_of_next_classes_beyond_luck(n_next, n, n_classes, expected):
    assert auto.measure_likeness(n_next, n, n_classes) == (
        None if expected is None else pytest.approx(expected)
    )


def test_a_weak_classifier_is_not_taken_for_people_where_labels_are_wrong_by_chance():
    # It is wrong on a tenth of the rows, where it takes one class for its neighbour.
    rng = np.random.default_rng(0)
    true = rng.integers(10, size=6_000)
    rows, logits = np.arange(6_000), 0.5 * rng.normal(size=(6_000, 10))
    logits[rows, true] += 6
    logits[rows, (true + 1) % 10] += np.where(rng.random(6_000) < 0.4, rng.uniform(3, 7, 6_000), 0)
    given = symmetric_noise(true, 0.03, 10, rng)
    world = SimpleNamespace(given=given, is_noisy=given != true, pred_probs=softmax(logits))
    assert (logits.argmax(axis=1) != true).mean() > 0.09
    found = auto.OtherLabels.of(given, world.pred_probs)
    assert (found.chance, found.luck) == (0, 1)
    f1 = f1_of_all(world)
    assert f1["auto"] > 0.75
    assert f1["auto"] > f1["predicted_neq_given"] + 0.3


def test_no_sharpness_below_the_likeliest_is_chosen():
    found = fits([100] * len(SHARPNESS))
    likeliest_third = replace(found, log_likelihood=np.array([0, 0, 1, *[0.5] * (len(SHARPNESS) - 3)]))
    for other_labels in (PEOPLE, replace(by_chance(0.01), n_rows=1_000)):
        assert auto.choose_sharpness(likeliest_third, other_labels) == SHARPNESS[2]


def test_where_the_classifier_never_differs_nothing_is_flagged():
    labels = np.arange(30) % 3
    assert not find_label_issues(labels, np.eye(3)[labels]).flags["auto"].any()


@pytest.mark.parametrize("kind", ["chance", "people"])
def test_the_flags_are_those_of_the_chosen_sharpness_and_the_rule_says_which(kind):
    world = draw_world(kind)
    found = find_label_issues(world.given, world.pred_probs, filters=("auto",))
    noise = fit_noise_models(world.given, world.pred_probs)
    other_labels = auto.OtherLabels.of(world.given, world.pred_probs)
    sharpness = auto.choose_sharpness(noise, other_labels)
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
