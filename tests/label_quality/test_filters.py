import warnings

import numpy as np
import pytest
from cleanlab import filter as reference
from cleanlab.count import compute_confident_joint

from tasks.label_quality import confident_joint as cj
from tasks.label_quality.filters import (
    certain_of_given,
    find_label_issues,
    lowest,
    prune_by_class,
    prune_by_noise_rate,
)
from tasks.label_quality.scores import normalized_margin, self_confidence

CLEANLAB_FILTERS = (
    "prune_by_class",
    "prune_by_noise_rate",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)


def cleanlab_flags(labels, probs, filter_by, frac_noise, min_examples_per_class):
    """cleanlab's flags, or None where it refuses the input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return reference.find_label_issues(
                labels,
                probs,
                filter_by=filter_by,
                frac_noise=frac_noise,
                min_examples_per_class=min_examples_per_class,
                n_jobs=1,
            )
        except ValueError:
            return None


def draw_options(seed):
    rng = np.random.default_rng(seed)
    return float(rng.choice([1.0, rng.uniform(0.01, 1)])), int(rng.choice([0, 1, 1, 1, 3, 10]))


def rows_at_the_cut(score, n, slack):
    """(N,) True where a row's score equals the n-th lowest: which of them is taken is a matter of order."""
    if not 0 < n < len(score):
        return np.zeros(len(score), dtype=bool)
    # Beyond the slack, which is float32's rounding, only the very same value is a tie.
    return np.abs(score - np.sort(score)[n - 1]) <= slack


def test_all_filters_flag_cleanlabs_rows_once_its_sort_is_stable(draw_label_case, stable_argsort):
    compared = refused = 0
    for seed in range(900):
        labels, probs = draw_label_case(seed)
        frac_noise, minimum = draw_options(seed)
        found = find_label_issues(labels, probs, frac_noise=frac_noise, min_examples_per_class=minimum).flags
        for name in CLEANLAB_FILTERS:
            with stable_argsort():
                expected = cleanlab_flags(labels, probs.astype(np.float64), name, frac_noise, minimum)
            if expected is None:
                refused += 1
                continue
            compared += 1
            assert np.array_equal(found[name], expected), f"{name}, seed {seed}"
    print(f"{compared} cases compared with cleanlab, {refused} it refuses")
    assert compared > 5000


def test_as_it_comes_cleanlab_differs_only_where_a_tie_decides(draw_label_case):
    compared = tied = 0
    for seed in range(10_000, 10_250):
        labels, probs = draw_label_case(seed)
        frac_noise, minimum = draw_options(seed)
        given = {name: cleanlab_flags(labels, probs, name, frac_noise, minimum) for name in CLEANLAB_FILTERS}
        if any(flags is None for flags in given.values()):
            continue
        slack = 1e-6 if probs.dtype == np.float32 else 0.0
        exact = probs.astype(np.float64)
        found = find_label_issues(labels, probs, frac_noise=frac_noise, min_examples_per_class=minimum).flags
        certain = certain_of_given(labels, exact)
        assert np.array_equal(found["confident_learning"], given["confident_learning"]), seed
        assert np.array_equal(found["predicted_neq_given"], given["predicted_neq_given"]), seed

        for name, score in (
            ("low_normalized_margin", normalized_margin(labels, probs)),
            ("low_self_confidence", self_confidence(labels, probs)),
        ):
            n = int(given[name].sum())
            assert found[name].sum() == n, f"{name}, seed {seed}"
            differing = found[name] != given[name]
            assert (rows_at_the_cut(score, n, slack)[differing]).all(), f"{name}, seed {seed}"
            tied += differing.any()

        # Its joint may be rounded otherwise (see test_confident_joint): start from its own counts.
        class_counts = np.bincount(labels, minlength=probs.shape[1])
        counts = cj.prune_counts(compute_confident_joint(labels, probs), minimum, frac_noise)
        prunable = class_counts > max(minimum, 1)
        by_class = prune_by_class(labels, exact, counts, prunable)
        by_rate = prune_by_noise_rate(labels, exact, counts, prunable)
        class_ties, rate_ties = np.zeros((2, len(labels)), dtype=bool)
        for k in np.flatnonzero(prunable):
            rows = np.flatnonzero(labels == k)
            class_ties[rows] = rows_at_the_cut(exact[rows, k], len(rows) - counts[k, k], slack)
            for j in np.flatnonzero(counts[:, k]):
                if j != k:
                    margin = exact[rows, k] - exact[rows, j]
                    rate_ties[rows] |= rows_at_the_cut(margin, counts[j, k], slack)
        for name, flags, ties in (
            ("prune_by_class", by_class, class_ties),
            ("prune_by_noise_rate", by_rate, rate_ties),
            ("both", by_class & by_rate, class_ties | rate_ties),
        ):
            differing = (flags & ~certain) != given[name]
            assert ties[differing].all(), f"{name}, seed {seed}"
            tied += differing.any()
            if np.array_equal(
                counts, cj.prune_counts(cj.estimate_joint(labels, exact)[1], minimum, frac_noise)
            ):
                assert np.array_equal(found[name], flags & ~certain), f"{name}, seed {seed}"
        compared += len(CLEANLAB_FILTERS)
    print(f"{compared} cases compared with cleanlab as it comes, {tied} of them differ, all by a tie")
    assert compared > 1500


def test_a_classs_only_row_is_never_pruned_even_without_a_minimum():
    # Found by comparison: cleanlab skips it too.
    rng = np.random.default_rng(17)
    labels = np.array([0] * 6 + [1] * 6 + [2])
    probs = rng.dirichlet([1, 1, 1], size=13)
    probs[12] = [0.7, 0.0, 0.3]
    issues = find_label_issues(labels, probs, min_examples_per_class=0)
    for name in ("prune_by_class", "prune_by_noise_rate", "both"):
        assert not issues.flags[name][12]
        assert np.array_equal(issues.flags[name], cleanlab_flags(labels, probs, name, 1.0, 0))
    assert issues.skipped_classes == (2,)


def test_ties_go_to_the_earlier_row():
    assert lowest(np.array([0.5, 0.1, 0.5, 0.1, 0.5]), 3).tolist() == [True, True, False, True, False]
    assert not lowest(np.array([0.5, 0.1]), 0).any()
    assert not lowest(np.array([0.5, 0.1]), -1).any()


def test_a_row_within_1e6_of_its_label_being_the_argmax_is_vetoed():
    labels = np.array([0, 0, 1])
    probs = np.array([[0.5 - 4e-7, 0.5 + 4e-7], [0.5 - 6e-7, 0.5 + 6e-7], [0.5, 0.5]])
    assert certain_of_given(labels, probs).tolist() == [True, False, True]


def test_prune_by_class_takes_the_lowest_of_each_prunable_class():
    labels = np.array([0, 0, 0, 1, 1])
    probs = np.column_stack([[0.2, 0.9, 0.3, 0.6, 0.9], [0.8, 0.1, 0.7, 0.4, 0.1]])
    counts = np.array([[1, 1], [2, 1]])
    both = prune_by_class(labels, probs, counts, np.array([True, True]))
    assert both.tolist() == [True, False, True, False, True]
    first = prune_by_class(labels, probs, counts, np.array([True, False]))
    assert first.tolist() == [True, False, True, False, False]


def test_prune_by_noise_rate_takes_each_pairs_largest_margins():
    labels = np.zeros(3, dtype=np.int64)
    probs = np.array([[0.2, 0.7, 0.1], [0.3, 0.1, 0.6], [0.8, 0.1, 0.1]])
    prunable = np.array([True, False, False])
    counts = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0]])  # [true, given]
    assert prune_by_noise_rate(labels, probs, counts, prunable).tolist() == [True, True, False]
    counts[2, 0] = 0
    assert prune_by_noise_rate(labels, probs, counts, prunable).tolist() == [True, False, False]


def test_the_classes_that_are_not_pruned_are_named(draw_label_case):
    labels = np.array([0] * 5 + [1] * 2 + [3])
    probs = np.full((8, 4), 0.25)
    assert find_label_issues(labels, probs, min_examples_per_class=1).skipped_classes == (3,)
    assert find_label_issues(labels, probs, min_examples_per_class=2).skipped_classes == (1, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_class_alone_is_handled_though_cleanlab_refuses_it(dtype):
    labels = np.full(10, 1)
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], size=10).astype(dtype)
    flags = find_label_issues(labels, probs).flags
    assert cleanlab_flags(labels, probs, "prune_by_class", 1.0, 1) is None
    assert np.array_equal(flags["predicted_neq_given"], probs.argmax(axis=1) != 1)
    # Other classes have no rows to set a threshold by, so no row is confidently something else.
    assert not flags["confident_learning"].any()
    assert not flags["low_self_confidence"].any()


def test_less_noise_asked_for_flags_fewer_rows_among_the_same(draw_label_case):
    shrunk = 0
    for seed in range(40):
        labels, probs = draw_label_case(seed)
        whole = find_label_issues(labels, probs).flags
        half = find_label_issues(labels, probs, frac_noise=0.5).flags
        for name in ("prune_by_class", "prune_by_noise_rate", "both"):
            assert not (half[name] & ~whole[name]).any()
            shrunk += half[name].sum() < whole[name].sum()
    assert shrunk > 20


def test_wrong_inputs_are_refused_at_the_door():
    with pytest.raises(ValueError, match="row 1, column 0"):
        find_label_issues(np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, 0.5]]))


def test_inputs_are_not_modified(draw_label_case):
    labels, probs = draw_label_case(3)
    before = labels.copy(), probs.copy()
    find_label_issues(labels, probs)
    assert np.array_equal(labels, before[0])
    assert np.array_equal(probs, before[1])
