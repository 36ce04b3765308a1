import warnings

import numpy as np
import pytest
from cleanlab import filter as reference
from cleanlab import rank
from cleanlab.count import compute_confident_joint
from joints import estimate_joint

from tasks.label_quality import confident_joint as cj
from tasks.label_quality import selection
from tasks.label_quality.filter_files import filter_names
from tasks.label_quality.filters.prune_by_noise_rate import ByNoiseRate
from tasks.label_quality.issues import find_issues, find_label_issues
from tasks.label_quality.margins import certain_of_given, margin_counters
from tasks.label_quality.rows import ArrayRows
from tasks.label_quality.scores import SCORES, normalized_margin, self_confidence


# Random cases beside cleanlab: some here, the others take a minute and more.
def some_and_many(first, n_some, n):
    many = pytest.param(range(first + n_some, first + n), marks=pytest.mark.endurance, id="many")
    return pytest.mark.parametrize("seeds", [pytest.param(range(first, first + n_some), id="some"), many])


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


def lowest(score, n):
    """(N,) True for the `n` lowest scores; ties go to the earlier row."""
    flags = np.zeros(len(score), dtype=bool)
    if n > 0:
        flags[np.argsort(score, kind="stable")[:n]] = True
    return flags


def prune_by_class(labels, probs, counts, prunable):
    """The filter before the veto, class by class, from all rows at once."""
    flags = np.zeros(len(labels), dtype=bool)
    for k in np.flatnonzero(prunable):
        rows = np.flatnonzero(labels == k)
        flags[rows] = lowest(probs[rows, k], len(rows) - int(counts[k, k]))
    return flags


def prune_by_noise_rate(labels, probs, counts, prunable):
    """The filter before the veto, pair by pair, from all rows at once."""
    flags = np.zeros(len(labels), dtype=bool)
    for k in np.flatnonzero(prunable):
        rows = np.flatnonzero(labels == k)
        for j in np.flatnonzero(counts[:, k] > 0):
            if j != k:
                flags[rows] |= lowest(probs[rows, k] - probs[rows, j], int(counts[j, k]))
    return flags


def same_result(one, other):
    """Whether two results are equal to the last bit."""
    return (
        all(np.array_equal(one.flagged[name].rows, flagged.rows) for name, flagged in other.flagged.items())
        and all(
            np.array_equal(one.flagged[name].scores, flagged.scores)
            for name, flagged in other.flagged.items()
        )
        and np.array_equal(one.thresholds, other.thresholds)
        and np.array_equal(one.calibrated, other.calibrated)
    )


def draw_options(seed):
    rng = np.random.default_rng(seed)
    return float(rng.choice([1.0, rng.uniform(0.01, 1)])), int(rng.choice([0, 1, 1, 1, 3, 10]))


def rows_at_the_cut(score, n, slack):
    """(N,) True where a row's score equals the n-th lowest: which of them is taken is a matter of order."""
    if not 0 < n < len(score):
        return np.zeros(len(score), dtype=bool)
    # Beyond the slack, which is float32's rounding, only the very same value is a tie.
    return np.abs(score - np.sort(score)[n - 1]) <= slack


def run_filters(labels, probs, frac_noise, minimum, **options):
    """The filters that cleanlab has."""
    return find_label_issues(
        labels,
        probs,
        frac_noise=frac_noise,
        min_examples_per_class=minimum,
        filters=CLEANLAB_FILTERS,
        **options,
    )


@some_and_many(0, 60, 250)
def test_all_filters_flag_cleanlabs_rows_once_its_sort_is_stable(seeds, draw_label_case, stable_argsort):
    compared = refused = 0
    for seed in seeds:
        labels, probs = draw_label_case(seed, *((50, 2000) if seed % 5 == 0 else ()))
        frac_noise, minimum = draw_options(seed)
        rng = np.random.default_rng(seed)
        batch_rows = len(labels) // int(rng.integers(1, 9)) + 1
        in_batches = run_filters(labels, probs, frac_noise, minimum, batch_rows=batch_rows)
        found = in_batches.flags
        if seed % 4 == 0:
            at_once = run_filters(labels, probs, frac_noise, minimum, batch_rows=len(labels))
            assert same_result(in_batches, at_once), seed
        for name in CLEANLAB_FILTERS:
            with stable_argsort():
                expected = cleanlab_flags(labels, probs.astype(np.float64), name, frac_noise, minimum)
            if expected is None:
                refused += 1
                continue
            compared += 1
            assert np.array_equal(found[name], expected), f"{name}, seed {seed}"
    print(f"{compared} cases compared with cleanlab, {refused} it refuses")
    assert compared > 6 * len(seeds)


@some_and_many(10_000, 40, 150)
def test_as_it_comes_cleanlab_differs_only_where_a_tie_decides(seeds, draw_label_case):
    compared = tied = 0
    for seed in seeds:
        labels, probs = draw_label_case(seed)
        frac_noise, minimum = draw_options(seed)
        given = {name: cleanlab_flags(labels, probs, name, frac_noise, minimum) for name in CLEANLAB_FILTERS}
        if any(flags is None for flags in given.values()):
            continue
        slack = 1e-6 if probs.dtype == np.float32 else 0.0
        exact = probs.astype(np.float64)
        found = run_filters(labels, probs, frac_noise, minimum).flags
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
            if np.array_equal(counts, cj.prune_counts(estimate_joint(labels, exact)[1], minimum, frac_noise)):
                assert np.array_equal(found[name], flags & ~certain), f"{name}, seed {seed}"
        compared += len(CLEANLAB_FILTERS)
    print(f"{compared} cases compared with cleanlab as it comes, {tied} of them differ, all by a tie")
    assert compared > 6 * len(seeds)


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
    assert issues.skipped_classes["both"] == (2,)


def test_the_classes_that_are_not_pruned_are_named(draw_label_case):
    labels = np.array([0] * 5 + [1] * 2 + [3])
    probs = np.full((8, 4), 0.25)
    skipped = find_label_issues(labels, probs, min_examples_per_class=1).skipped_classes
    assert {name for name, classes in skipped.items() if classes} == {
        "both",
        "prune_by_class",
        "prune_by_noise_rate",
    }
    assert skipped["both"] == skipped["prune_by_class"] == skipped["prune_by_noise_rate"] == (3,)
    skipped = find_label_issues(labels, probs, min_examples_per_class=2).skipped_classes
    assert skipped["both"] == (1, 3)


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
    filters = ("prune_by_class", "prune_by_noise_rate", "both")
    for seed in range(40):
        labels, probs = draw_label_case(seed)
        whole = find_label_issues(labels, probs, filters=filters).flags
        half = find_label_issues(labels, probs, frac_noise=0.5, filters=filters).flags
        for name in filters:
            assert not (half[name] & ~whole[name]).any()
            shrunk += half[name].sum() < whole[name].sum()
    assert shrunk > 20


def test_wrong_inputs_are_refused_at_the_door():
    with pytest.raises(ValueError, match="row 1, column 0"):
        find_label_issues(np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, 0.5]]))


TWO_ROWS = np.array([[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("labels", "probs", "message"),
    [
        ([0, 0.5], TWO_ROWS, "labels must be whole numbers, found 0.5 in row 1"),
        ([np.nan, 1], TWO_ROWS, "labels must be whole numbers, found nan in row 0"),
        ([0, np.inf], TWO_ROWS, "labels must be whole numbers, found inf in row 1"),
        ([0, 1e30], TWO_ROWS, r"labels must be whole numbers, found 1e\+30 in row 1"),
        ([0.0, 2.0], TWO_ROWS, r"labels must be in 0..1, found 2 in row 1"),
        (["a", "b"], TWO_ROWS, "labels must be class indices, found an array of <U1"),
        ([False, True], TWO_ROWS, "labels must be class indices, found an array of bool"),
        ([0, 1], np.eye(2, dtype=np.int64), "pred_probs must be floats, found an array of int64"),
        ([0, 1], np.eye(2, dtype=bool), "pred_probs must be floats, found an array of bool"),
        (np.zeros(0, np.int64), np.zeros((0, 2)), "expected at least one row, found none"),
    ],
)
def test_labels_and_probabilities_of_other_kinds_are_refused_in_one_sentence(labels, probs, message):
    with pytest.raises(ValueError, match=message):
        find_label_issues(np.array(labels), probs)


def test_whole_numbers_in_floats_are_labels_as_in_cleanlab(draw_label_case):
    labels, probs = draw_label_case(5)
    expected = find_label_issues(labels, probs).flags
    for kind in (np.float64, np.uint8, np.int16):
        found = find_label_issues(labels.astype(kind), probs).flags
        assert all(np.array_equal(found[name], expected[name]) for name in filter_names())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frac_noise": 0}, r"frac_noise must be in \(0, 1\], found 0"),
        ({"frac_noise": 2.0}, r"frac_noise must be in \(0, 1\], found 2.0"),
        ({"frac_noise": np.nan}, "found nan"),
        ({"min_examples_per_class": -5}, "min_examples_per_class must be at least 0, found -5"),
        ({"filters": ("both", "magic")}, "expected a filter among auto, .*, found magic$"),
        ({"rank_by": "magic"}, "expected a score among self_confidence, .*, found magic"),
    ],
)
def test_options_out_of_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        find_issues(ArrayRows(np.array([0, 1]), TWO_ROWS), **options)


def test_inputs_are_not_modified(draw_label_case):
    labels, probs = draw_label_case(3)
    before = labels.copy(), probs.copy()
    find_label_issues(labels, probs)
    assert np.array_equal(labels, before[0])
    assert np.array_equal(probs, before[1])


def test_batches_change_nothing_at_all(draw_label_case, monkeypatch):
    # Small enough that buffers are cut back many times.
    monkeypatch.setattr(selection, "_SPARE", 8)
    for seed in range(40):
        labels, probs = draw_label_case(seed)
        monkeypatch.setattr(selection, "_LARGE_GROUP", [1, 10**9][seed % 2])
        filters = filter_names() if seed < 10 else CLEANLAB_FILTERS
        whole = find_label_issues(labels, probs, frac_noise=0.7, filters=filters)
        for batch_rows in (1, 7) if len(labels) < 200 else (64,):
            parts = find_label_issues(labels, probs, frac_noise=0.7, filters=filters, batch_rows=batch_rows)
            assert same_result(whole, parts)


def test_counted_margins_give_cutoffs_from_the_start_that_lose_no_row():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=3000)
    probs = rng.dirichlet(np.ones(3), size=3000)
    probs[:50] = probs[0]  # ties
    counts = np.array([[0, 40, 0], [25, 0, 300], [1, 60, 0]])  # [other, given]
    margins = np.bincount(margin_counters(labels, probs, 64), minlength=9 * 64).reshape(3, 3, 64)
    bounded = ByNoiseRate(counts, np.ones(3, dtype=bool), margins)
    assert np.all(bounded.cutoffs < 0)
    places = np.arange(len(labels))
    for given, other, size, cutoff in zip(
        bounded._given, bounded._others, bounded.sizes, bounded.cutoffs, strict=True
    ):
        keys = (probs[places, labels] - probs[places, other])[labels == given]
        # Enough rows are let through; a step less would be too few.
        assert (keys < cutoff - 1 / 64).sum() < size <= (keys < cutoff).sum()


def test_a_filter_alone_flags_what_it_flags_among_all(draw_label_case):
    labels, probs = draw_label_case(5)
    every = find_label_issues(labels, probs)
    assert tuple(every.flags) == filter_names()
    for name in filter_names():
        alone = find_label_issues(labels, probs, filters=(name,))
        assert tuple(alone.flags) == (name,)
        assert np.array_equal(alone.flags[name], every.flags[name])
        assert np.array_equal(alone.flagged[name].scores, every.flagged[name].scores)


@pytest.mark.parametrize("rank_by", SCORES)
def test_flagged_rows_come_with_their_score(rank_by, draw_label_case):
    for seed in range(10):
        labels, probs = draw_label_case(seed)
        found = find_issues(ArrayRows(labels, probs, 50), rank_by=rank_by)
        scores = SCORES[rank_by](labels, probs)
        for flagged in found.flagged.values():
            assert np.array_equal(flagged.scores, scores[flagged.rows])


def test_ranking_by_adjusted_scores_equals_cleanlabs(draw_label_case, stable_argsort):
    ranked = 0
    for seed in range(50):
        labels, probs = draw_label_case(seed)
        exact = probs.astype(np.float64)
        for rank_by in ("self_confidence", "normalized_margin"):
            found = find_issues(
                ArrayRows(labels, exact),
                filters=("prune_by_noise_rate",),
                rank_by=rank_by,
                adjust_pred_probs=True,
            ).flagged["prune_by_noise_rate"]
            with stable_argsort(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    expected = reference.find_label_issues(
                        labels,
                        exact,
                        return_indices_ranked_by=rank_by,
                        rank_by_kwargs={"adjust_pred_probs": True},
                        n_jobs=1,
                    )
                except ValueError:
                    continue
            scores = rank.get_label_quality_scores(labels, exact, method=rank_by, adjust_pred_probs=True)
            # The last bits of two equal scores may differ, and with them the order.
            ours = found.rows[np.argsort(found.scores, kind="stable")]
            assert sorted(ours) == sorted(expected)
            np.testing.assert_allclose(scores[ours], scores[expected], rtol=1e-12, atol=1e-15)
            ranked += len(ours)
    print(f"{ranked} ranks compared with cleanlab")
    assert ranked > 1000


def test_a_wrong_probability_in_a_later_batch_is_named_by_its_row_in_the_whole():
    probs = np.full((10, 2), 0.5)
    probs[7, 1] = 2
    with pytest.raises(ValueError, match="row 7, column 1"):
        find_issues(ArrayRows(np.arange(10) % 2, probs, batch_rows=3))
