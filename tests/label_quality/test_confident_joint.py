import numpy as np
import pytest
from cleanlab.count import (
    compute_confident_joint,
    estimate_latent,
    get_confident_thresholds,
    num_label_issues,
)
from cleanlab.internal.util import round_preserving_sum
from hypothesis import given
from hypothesis import strategies as st
from joints import estimate_joint

from tasks.label_quality.confident_joint import (
    calibrate_joint,
    check_inputs,
    class_priors,
    confident_classes,
    confident_thresholds,
    count_confident,
    estimate_n_errors,
    noise_matrix,
    prune_counts,
    raw_confident_joint,
    round_keeping_sum,
)
from tasks.label_quality.margins import FEW_CLASSES

MANY = pytest.param(range(150, 600), marks=pytest.mark.endurance, id="many")


@pytest.fixture(scope="module", params=[pytest.param(range(150), id="some"), MANY])
def cases(request, draw_label_case):
    """Cases that cleanlab accepts, as float64: at least two classes among the labels."""
    drawn = [draw_label_case(seed) for seed in request.param]
    accepted = [(labels, probs.astype(np.float64)) for labels, probs in drawn if len(np.unique(labels)) > 1]
    print(f"{len(accepted)} cases compared with cleanlab, {len(drawn) - len(accepted)} it refuses")
    assert len(accepted) > 0.9 * len(drawn)
    return accepted


def test_thresholds_equal_cleanlabs(cases):
    for labels, probs in cases:
        # Ours is the exact mean, rounded once.
        expected = get_confident_thresholds(labels, probs)
        np.testing.assert_allclose(confident_thresholds(labels, probs), expected, rtol=1e-15, atol=2**-52)


def test_the_raw_joint_and_its_off_diagonal_rows_equal_cleanlabs(cases):
    for labels, probs in cases:
        expected, rows = compute_confident_joint(
            labels, probs, calibrate=False, return_indices_of_off_diagonals=True
        )
        raw, _, confident = estimate_joint(labels, probs)
        assert np.array_equal(raw, expected)
        assert np.array_equal(np.flatnonzero((confident >= 0) & (confident != labels)), rows)


def test_the_calibrated_joint_equals_cleanlabs_once_its_sort_is_stable(cases, stable_argsort):
    for labels, probs in cases:
        with stable_argsort():
            expected = compute_confident_joint(labels, probs)
        assert np.array_equal(estimate_joint(labels, probs)[1], expected)


def test_without_that_the_calibrated_joint_differs_only_where_remainders_tie(cases):
    tied = 0
    for labels, probs in cases:
        expected = compute_confident_joint(labels, probs)
        raw, calibrated, _ = estimate_joint(labels, probs)
        counts = np.bincount(labels, minlength=len(raw))
        exact = raw / raw.sum(axis=1, keepdims=True) * counts[:, None]
        for row in np.flatnonzero((calibrated != expected).any(axis=1)):
            differing = calibrated[row] != expected[row]
            remainders = (exact[row] - np.rint(exact[row]))[differing]
            # A remainder of one half may have been rounded either way.
            assert np.ptp(np.abs(remainders)) < 1e-9
            assert calibrated[row].sum() == expected[row].sum()
            assert np.abs(calibrated[row] - expected[row]).max() == 1
            tied += 1
    print(f"{tied} rows of calibrated joints were decided by a tie")


def test_the_estimated_number_of_errors_equals_cleanlabs(cases, stable_argsort):
    for labels, probs in cases:
        with stable_argsort():
            expected = num_label_issues(labels, probs, estimation_method="off_diagonal_calibrated")
        assert estimate_n_errors(estimate_joint(labels, probs)[1]) == expected


def test_the_calibrated_joint_keeps_the_class_counts(cases):
    for labels, probs in cases:
        calibrated = estimate_joint(labels, probs)[1]
        assert np.array_equal(calibrated.sum(axis=1), np.bincount(labels, minlength=probs.shape[1]))


def test_equal_remainders_are_rounded_as_cleanlab_rounds_them(stable_argsort):
    # Found by comparison: scaling in another order moved the last bit, and with it the count.
    rng = np.random.default_rng(0)
    with stable_argsort():
        from cleanlab.count import calibrate_confident_joint

        for _ in range(500):
            n_classes = rng.integers(2, 12)
            joint = rng.integers(0, 5, size=(n_classes, n_classes)) + np.eye(n_classes, dtype=np.int64)
            counts = rng.integers(0, 40, size=n_classes)
            counts[0] += 1
            labels = np.repeat(np.arange(n_classes), counts)
            # cleanlab's own joints are transposed in memory, which decides the order of its sums.
            expected = calibrate_confident_joint(joint.T.copy().T, labels)
            assert np.array_equal(calibrate_joint(joint, counts), expected)


def test_a_hand_made_joint():
    labels = np.array([0, 0, 0, 1, 1, 1])
    p_one = np.array([0.1, 0.2, 0.9, 0.9, 0.8, 0.1])
    probs = np.column_stack([1 - p_one, p_one])
    thresholds = confident_thresholds(labels, probs)
    assert thresholds == pytest.approx([0.6, 0.6])
    confident = confident_classes(probs, thresholds)
    assert confident.tolist() == [0, 0, 1, 1, 1, 0]
    assert raw_confident_joint(count_confident(labels, confident, 2)).tolist() == [[2, 1], [1, 2]]
    assert estimate_n_errors(estimate_joint(labels, probs)[1]) == 2


def test_the_confident_class_is_the_argmax_where_several_reach_their_threshold():
    thresholds = np.array([0.2, 0.2, 0.9])
    probs = np.array([[0.3, 0.4, 0.3], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8], [0.25, 0.0, 0.75]])
    # The last row reaches class 0 alone, though class 2 is more probable.
    assert confident_classes(probs, thresholds).tolist() == [1, 0, -1, 0]


@pytest.mark.parametrize("n_classes", [2, FEW_CLASSES, FEW_CLASSES + 1, 3 * FEW_CLASSES])
def test_few_and_many_classes_have_their_confident_class_by_one_rule(n_classes):
    rng = np.random.default_rng(n_classes)
    probs = rng.random((500, n_classes), dtype=np.float32)
    # About one class of a row reaches its threshold.
    thresholds = rng.uniform(1 - 1.3 / n_classes, 1 - 0.8 / n_classes, size=n_classes)
    reached = [np.flatnonzero(row.astype(np.float64) >= thresholds - 1e-6) for row in probs]
    expected = [
        -1 if not len(classes) else int(classes[0]) if len(classes) == 1 else int(row.argmax())
        for row, classes in zip(probs, reached, strict=True)
    ]
    assert {0, 1, 2} <= set(map(len, reached))
    assert confident_classes(probs, thresholds).tolist() == expected


def test_a_probability_counts_as_confident_from_just_below_its_threshold():
    thresholds = np.array([0.8, 0.8])
    probs = np.array([[0.8 - 9e-7, 0.2], [0.8 - 2e-6, 0.2]])
    assert confident_classes(probs, thresholds).tolist() == [0, -1]


def test_a_class_without_rows_is_never_confident_and_a_hopeless_one_has_the_lowest_threshold():
    labels = np.array([0, 0, 2])
    probs = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    thresholds = confident_thresholds(labels, probs)
    assert thresholds.tolist() == [0.5, 2.0, 2e-6]
    assert confident_classes(probs, thresholds).tolist() == [-1, 0, 0]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_rounding_keeps_the_sum_and_stays_near(values):
    values = np.array(values)
    rounded = round_keeping_sum(values)
    assert rounded.sum() == np.rint(values.sum())
    assert np.abs(rounded - values).max() <= 1.5


@given(st.lists(st.integers(0, 4000).map(lambda eighths: eighths / 8), min_size=1, max_size=40))
def test_rounding_equals_cleanlabs_once_its_sort_is_stable(stable_argsort, values):
    with stable_argsort():
        expected = round_preserving_sum(values)
    assert np.array_equal(round_keeping_sum(np.array(values)), expected)


def test_the_noise_matrix_has_columns_that_sum_to_1_or_0_for_a_class_never_true():
    shares = noise_matrix(np.array([[6, 0, 1], [2, 0, 0], [0, 0, 3]]))
    assert shares == pytest.approx(np.array([[0.75, 0, 0.25], [0.25, 0, 0], [0, 0, 0.75]]))
    assert shares.sum(axis=0).tolist() == [1, 0, 1]


def latent_estimates(cases):
    """Of each case, from the raw and from the calibrated joint: the joint, class counts, cleanlab's three."""
    for labels, probs in cases[:100]:
        raw, calibrated, _ = estimate_joint(labels, probs)
        counts = np.bincount(labels, minlength=len(raw))
        for joint in (raw, calibrated):
            yield joint, counts, estimate_latent(joint, labels)


def test_the_noise_matrix_equals_cleanlabs(cases):
    for joint, _, (_, expected, _) in latent_estimates(cases):
        np.testing.assert_allclose(noise_matrix(joint), expected, rtol=0, atol=1e-15)


def assert_priors_are_cleanlabs(joint, counts, expected):
    priors = class_priors(joint, counts)
    assert priors.sum() == pytest.approx(1)
    # cleanlab divides by the diagonal: without a count there a class gets the least. The others must stand in
    # the same proportions.
    shared = (joint.diagonal() > 0) | (joint.sum(axis=0) == 0)
    if shared.all():
        np.testing.assert_allclose(priors, expected, rtol=1e-12)
    elif shared.any():
        assert expected[~shared].max() == expected.min()
        ours, theirs = priors[shared] / priors[shared].sum(), expected[shared] / expected[shared].sum()
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    return shared.all()


def test_the_class_priors_equal_cleanlabs_where_its_diagonal_is_not_0(cases):
    estimates = list(latent_estimates(cases))
    whole = sum(assert_priors_are_cleanlabs(joint, counts, py) for joint, counts, (py, _, _) in estimates)
    print(f"class priors of {whole} joints of {len(estimates)} are cleanlab's")
    assert whole > 0.7 * len(estimates)


def test_the_class_priors_of_random_raw_joints_equal_cleanlabs():
    # Their rows need not sum to the counts of the classes, so that a ratio may exceed 1.
    rng = np.random.default_rng(0)
    above = 0
    for _ in range(500):
        n_classes = int(rng.integers(2, 8))
        joint = rng.integers(0, rng.choice([2, 10]), size=(n_classes, n_classes))
        np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
        counts = rng.integers(0, 10, size=n_classes)
        counts[rng.integers(n_classes)] += 1
        expected, _, _ = estimate_latent(joint, np.repeat(np.arange(n_classes), counts))
        assert assert_priors_are_cleanlabs(joint, counts, expected)
        above += (joint.sum(axis=0) / joint.sum(axis=1) * counts / counts.sum() > 1).any()
    assert above > 20


def test_a_class_prior_is_at_most_1_before_all_are_scaled_as_in_cleanlab():
    joint = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    # 1/2 of a share of 1/3, and twice 2/3, which counts as 1.
    assert class_priors(joint, np.array([1, 2, 0])) == pytest.approx([1 / 7, 6 / 7, 0], abs=2e-6)


def test_class_priors_by_hand():
    joint = np.array([[40, 0], [10, 20]])  # [given, true]
    # 50 / 40 of a share of 0.4 and 20 / 30 of 0.6 are 0.5 and 0.4, to be scaled.
    assert class_priors(joint, np.array([40, 60])) == pytest.approx([5 / 9, 4 / 9])


def test_class_priors_where_no_class_that_is_given_is_ever_true():
    # The ratios are all 0 then: the shares are those of the joint.
    joint = np.array([[0, 0, 3], [0, 0, 0], [0, 0, 0]])
    assert class_priors(joint, np.array([3, 0, 0])) == pytest.approx([0, 0, 1], abs=3e-6)


def test_prune_counts_keep_rows_on_the_diagonal_and_scale_the_rest():
    calibrated = np.array([[8, 4, 0], [5, 1, 5], [0, 0, 6]])  # [given, true]
    assert prune_counts(calibrated, 1, 1.0).tolist() == calibrated.T.tolist()
    # Class 1 keeps 7 rows, six more, taken evenly from its two other counts.
    assert prune_counts(calibrated, 7, 1.0).tolist() == [[8, 2, 0], [4, 7, 0], [0, 2, 7]]
    # Half of the rest, truncated: what is not pruned stays on the diagonal.
    assert prune_counts(calibrated, 1, 0.5).tolist() == [[10, 2, 0], [2, 6, 0], [0, 2, 6]]


@pytest.mark.parametrize(
    ("labels", "probs", "message"),
    [
        ([0], [[1.0]], r"K >= 2, found shape \(1, 1\)"),
        ([0, 1], [0.5, 0.5], "K >= 2"),
        ([0, 1], [[0.5, 0.5]], r"labels must be \(1,\)"),
        ([[0], [1]], [[0.5, 0.5], [0.5, 0.5]], r"labels must be \(2,\)"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "found 2 in row 1"),
        ([0, -1], [[0.5, 0.5], [0.5, 0.5]], "found -1 in row 1"),
        ([0, 1], [[0.5, 0.5], [0.5, np.nan]], "found nan in row 1, column 1"),
        ([0, 1], [[np.inf, 0.5], [0.5, 0.5]], "found inf in row 0, column 0"),
        ([0, 1], [[0.5, 0.5], [1.00001, 0.0]], "found 1.00001 in row 1, column 0"),
        ([0, 1], [[0.5, 0.5], [1.0, -0.00001]], "found -1e-05 in row 1, column 1"),
    ],
)
def test_wrong_inputs_are_refused_by_row_and_column(labels, probs, message):
    with pytest.raises(ValueError, match=message):
        check_inputs(np.array(labels), np.array(probs))


def test_float_noise_around_0_and_1_is_accepted():
    check_inputs(np.array([0]), np.array([[1 + 9e-7, -9e-7]]))
