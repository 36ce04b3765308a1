import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from examples import some_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import percentileofscore
from threadpoolctl import threadpool_limits

from tasks.label_quality.class_moments import ClassMoments
from tasks.label_quality.importance import (
    Block,
    block_rows,
    importance_of,
    leverage_of_given,
    lowest_leverage,
    percentile_in_class,
    score_stream,
    whiten,
)

N_CLASSES = 4


@pytest.fixture(scope="module")
def rows():
    """300 rows of 4 unequal classes, of which the last has none; correlated columns, one of them constant."""
    rng = np.random.default_rng(0)
    labels = rng.choice(3, size=300, p=[0.7, 0.25, 0.05])
    features = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) + labels[:, None]
    features[:, 2] = 3.0
    return features.astype(np.float32), labels


def moments_of(features, labels, size=None):
    """Moments from batches of `size` rows."""
    moments = ClassMoments(N_CLASSES, features.shape[1])
    size = size or max(len(features), 1)
    for start in range(0, len(features), size):
        part = slice(start, start + size)
        moments.add(features[part], labels[part])
    return moments


def score(moments, features, labels):
    """Importance and contrast."""
    whitening = whiten(moments)
    leverage = leverage_of_given(whitening, features, labels)
    contrast = leverage - lowest_leverage(whitening, features)
    return importance_of(leverage, labels, whitening.n_rows), contrast


def slow_score(features, labels):
    """The definition, row by row."""
    importance, contrast = [], []
    extended = [np.append(x.astype(np.float64), 1.0) for x in features]
    inverse, total = {}, {}
    for c in np.unique(labels):
        members = [i for i in range(len(labels)) if labels[i] == c]
        total[c] = len(members)
        gram = sum(np.outer(extended[i], extended[i]) for i in members)
        rho = 1e-6 * np.trace(gram) / len(gram)
        inverse[c] = np.linalg.inv(gram + rho * np.eye(len(gram)))
    for a, y in zip(extended, labels, strict=True):
        h = {c: a @ inverse[c] @ a for c in inverse}
        importance.append(32 / 1.0 * (2 / total[y] + h[y]) * total[y])
        contrast.append(h[y] - min(h.values()))
    return np.array(importance), np.array(contrast)


def test_importance_and_contrast_are_those_of_the_definition(rows):
    features, labels = rows
    expected = slow_score(features, labels)
    found = score(moments_of(features, labels), features, labels)
    assert found[0] == pytest.approx(expected[0], rel=1e-8)
    assert found[1] == pytest.approx(expected[1], rel=1e-6, abs=1e-9)
    assert (found[1] >= 0).all()


def test_the_leverages_of_a_class_are_in_0_to_1_and_sum_to_its_dimensions(rows):
    features, labels = rows
    leverage = leverage_of_given(whiten(moments_of(features, labels)), features, labels)
    assert leverage.min() >= 0
    assert leverage.max() <= 1
    # Six columns with the 1, of which the constant one adds no dimension.
    assert leverage[labels == 0].sum() == pytest.approx(5, abs=1e-3)


@given(st.data())
@settings(max_examples=some_of(60))
def test_batches_merging_and_removing_give_what_one_pass_gives(rows, data):
    features, labels = rows
    whole = moments_of(features, labels)
    size = data.draw(st.integers(1, 300))
    cut = data.draw(st.integers(0, 300))
    batched = moments_of(features, labels, size)

    merged = moments_of(features[:cut], labels[:cut])
    merged.merge(moments_of(features[cut:], labels[cut:]))

    shifted = features + np.float32(data.draw(st.sampled_from([0, 5, -20])))
    reduced = moments_of(np.concatenate([shifted, features]), np.tile(labels, 2))
    reduced.remove(shifted, labels)

    for moments in (batched, merged, reduced):
        assert np.array_equal(moments.n_rows, whole.n_rows)
        assert moments.gram == pytest.approx(whole.gram, rel=1e-9, abs=1e-8)
        assert np.array_equal(moments.gram, moments.gram.transpose(0, 2, 1))
        for found, expected in zip(
            score(moments, features, labels), score(whole, features, labels), strict=True
        ):
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_appended_and_removed_rows_score_as_if_the_data_set_had_always_been_so(rows):
    features, labels = rows
    moments = moments_of(features[:250], labels[:250])
    moments.add(features[250:], labels[250:])
    moments.remove(features[:100], labels[:100])
    found = score(moments, features[100:], labels[100:])
    expected = score(moments_of(features[100:], labels[100:]), features[100:], labels[100:])
    assert found[0] == pytest.approx(expected[0], rel=1e-9)


def test_equal_batches_give_equal_bits(rows):
    features, labels = rows
    first, second = (score(moments_of(features, labels, 64), features, labels) for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_the_order_of_the_columns_does_not_matter(rows):
    features, labels = rows
    turned = features[:, [3, 0, 4, 1, 2]]
    expected = score(moments_of(features, labels), features, labels)
    found = score(moments_of(turned, labels), turned, labels)
    assert found[0] == pytest.approx(expected[0], rel=1e-6)


def test_a_class_that_loses_all_its_rows_is_as_new(rows):
    features, labels = rows
    moments = moments_of(features, labels)
    rng = np.random.default_rng(1)
    members = rng.permutation(np.flatnonzero(labels == 2))
    for row in members:  # in another order and batches than they came in
        moments.remove(features[[row]], labels[[row]])
    assert not moments.gram[2].any()
    assert moments.n_rows[2] == 0
    kept = labels != 2
    contrast = score(moments, features[kept], labels[kept])[1]
    assert np.isfinite(contrast).all()
    with pytest.raises(ValueError, match="class 2 has no row in the moments"):
        score(moments, features, labels)


@pytest.mark.parametrize("twins", [False, True])
def test_rounding_that_a_removal_leaves_hardly_moves_the_leverage(twins):
    rng = np.random.default_rng(0)
    small = rng.normal(size=(40, 6))
    if twins:  # a direction without rows, which rounding may leave negative
        small[:, 3:] = small[:, :3]
    labels = np.zeros(40, dtype=np.int64)
    expected = leverage_of_given(whiten(moments_of(small, labels)), small, labels)
    for scale in (1e3, 1e5, 9e5):
        huge = scale * rng.normal(size=(40, 6))
        moments = moments_of(np.concatenate([small, huge]), np.tile(labels, 2))
        moments.remove(huge, labels)
        leverage = leverage_of_given(whiten(moments), small, labels)
        assert leverage == pytest.approx(expected, abs=1e-3)
        importance, contrast = score(moments, small, labels)
        assert (importance > 0).all()
        assert not contrast.any()


@pytest.mark.parametrize("at_once", [True, False])
def test_rows_that_would_be_lost_in_the_rounding_of_what_is_removed_are_not_scored(at_once):
    # Found by hand: the leverage of what was left was any number, outside [0, 1] too.
    rng = np.random.default_rng(0)
    small = rng.normal(size=(40, 6))
    labels = np.zeros(40, dtype=np.int64)
    huge = [scale * rng.normal(size=(40, 6)) for scale in (1e9, 1e6)]
    moments = moments_of(np.concatenate([small, *huge]), np.tile(labels, 3))
    last = np.concatenate(huge)
    if not at_once:
        moments.remove(huge[0], labels)
        last = huge[1]
    before = moments.gram.copy()
    with pytest.raises(ValueError, match="what would be left of class 0 is lost in the rounding"):
        moments.remove(last, np.zeros(len(last), dtype=np.int64))
    assert np.array_equal(moments.gram, before)


@pytest.mark.parametrize(
    "features",
    [
        [[9.0, 0.0]],  # longer than any row
        [[0.0, 0.0]] * 3,  # as many rows as the class has, but others
    ],
)
def test_rows_that_a_class_never_had_cannot_be_removed(features):
    moments = ClassMoments(N_CLASSES, 2)
    moments.add(np.ones((4, 2)), np.array([0, 0, 0, 1]))
    before = moments.gram.copy()
    with pytest.raises(ValueError, match="class 0 has other rows than those to be removed"):
        moments.remove(np.array([[1.0, 1.0], *features]), np.array([1] + [0] * len(features)))
    assert np.array_equal(moments.gram, before)
    assert moments.n_rows.tolist() == [3, 1, 0, 0]


def test_an_outlier_is_the_most_important_and_one_in_the_wrong_class_has_the_most_contrast():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    features = rng.normal(size=(200, 3)) + 6 * labels[:, None]
    features[0] = (-25, 0, 20)  # like neither class
    labels[1] = 1  # like class 0
    importance, contrast = score(moments_of(features, labels), features, labels)
    assert importance.argmax() == 0
    assert contrast.argmax() == 1


def test_moments_can_be_kept_in_a_file_and_taken_up_again(rows, tmp_path):
    features, labels = rows
    moments = moments_of(features[:200], labels[:200])
    np.savez(tmp_path / "moments.npz", gram=moments.gram, n_rows=moments.n_rows)
    again = ClassMoments(N_CLASSES, 5)
    with np.load(tmp_path / "moments.npz") as kept:
        again.gram[:], again.n_rows[:] = kept["gram"], kept["n_rows"]
    again.add(features[200:], labels[200:])
    moments.add(features[200:], labels[200:])
    assert np.array_equal(again.gram, moments.gram)


@pytest.fixture(scope="module")
def stream(rows):
    """The rows three times over, from three models: the same features on other axes."""
    features, labels = rows
    rng = np.random.default_rng(2)
    turned = [features @ rng.normal(size=(5, 5)) for _ in range(3)]
    order = rng.permutation(900)
    return Block(np.concatenate(turned)[order], np.tile(labels, 3)[order], np.repeat([0, 1, 2], 300)[order])


def in_blocks(stream, size):
    return [
        Block(stream.features[part], stream.labels[part], stream.space[part])
        for part in (slice(start, start + size) for start in range(0, 900, size))
    ]


def score_blocks(blocks, **options):
    options = {"contrast": True, "memory_bytes": 2**30, **options}
    return score_stream(lambda: iter(blocks), 900, N_CLASSES, 3, 5, **options)


@pytest.mark.parametrize("size", [7, 300, 900])
def test_a_stream_is_scored_in_the_space_of_each_model(rows, stream, size):
    importance, contrast = score_blocks(in_blocks(stream, size))
    for space in range(3):
        members = stream.space == space
        part = stream.features[members], stream.labels[members]
        expected = score(moments_of(*part), *part)
        assert importance[members] == pytest.approx(expected[0], rel=1e-9)
        assert contrast[members] == pytest.approx(expected[1], rel=1e-6, abs=1e-9)
    # No model's axes matter: the three see the same rows, and the ridge alone tells them apart.
    by_row = np.sort(importance).reshape(300, 3)
    assert by_row[:, 0] == pytest.approx(by_row[:, 2], rel=0.03)


@pytest.mark.parametrize("n_cells", [1, 3, 4, 5, 11])
def test_neither_memory_nor_threads_change_a_bit(n_cells):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6000, 40))
    labels, space = rng.integers(N_CLASSES, size=6000), rng.integers(3, size=6000)
    blocks = [
        Block(features[part], labels[part], space[part])
        for part in (slice(start, start + 2500) for start in range(0, 6000, 2500))
    ]

    def run(**options):
        found = score_stream(lambda: blocks, 6000, N_CLASSES, 3, 40, contrast=True, **options)
        return [values.tobytes() for values in found]

    with ThreadPoolExecutor(2) as pool:
        assert run(memory_bytes=n_cells * 2 * 8 * 41**2, each=pool.map) == run(memory_bytes=2**30)


def test_contrast_is_left_out_on_request(stream):
    importance, contrast = score_blocks(in_blocks(stream, 300), contrast=False)
    assert contrast is None
    assert np.array_equal(importance, score_blocks(in_blocks(stream, 300))[0])


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.5, 1.0, 2.0, 7.0])), min_size=1, max_size=40))
def test_percentiles_are_scipys_within_each_class(drawn):
    labels, importance = (np.array(values) for values in zip(*drawn, strict=True))
    found = percentile_in_class(importance, labels)
    for row, percentile in enumerate(found):
        members = importance[labels == labels[row]]
        assert percentile == pytest.approx(percentileofscore(members, importance[row], kind="rank"))
    assert found.min() > 0
    assert found.max() <= 100


def test_percentiles_of_a_hand_made_class():
    found = percentile_in_class(np.array([5.0, 1.0, 1.0, 3.0, 9.0]), np.array([0, 0, 0, 0, 2]))
    assert found.tolist() == [100, 37.5, 37.5, 75, 100]
    assert percentile_in_class(np.array([]), np.array([], dtype=np.int64)).tolist() == []


def test_blocks_hold_16_mib_whatever_the_width():
    assert block_rows(127) * 128 * 8 == 2**24
    assert block_rows(10**6) == 256


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ([1.0, 2.0], [0, 1], r"features must be \(N, 2\), found shape \(2,\)"),
        ([[1.0, 2.0, 3.0]], [0], r"features must be \(N, 2\), found shape \(1, 3\)"),
        ([[1.0, 2.0]], [0, 1], r"labels must be \(1,\)"),
        ([[1.0, 2.0]], [4], r"labels must be in 0..3, found 4 in row 0"),
        ([[1.0, 2.0]], [-1], "found -1 in row 0"),
        ([[1.0, 2.0]], [0.5], "labels must be integers, found an array of float64"),
        ([[1.0, 2.0], [3.0, np.nan]], [0, 1], "found nan in row 1, column 1"),
    ],
)
def test_unfit_rows_are_refused_and_change_nothing(features, labels, message):
    moments = ClassMoments(N_CLASSES, 2)
    moments.add(np.ones((3, 2)), np.array([0, 0, 1]))
    before = moments.gram.copy()
    for change in (moments.add, moments.remove):
        with pytest.raises(ValueError, match=message):
            change(np.array(features), np.array(labels))
    assert np.array_equal(moments.gram, before)
    assert moments.n_rows.tolist() == [2, 1, 0, 0]


def test_more_rows_than_a_class_has_cannot_be_removed():
    moments = ClassMoments(N_CLASSES, 2)
    moments.add(np.ones((3, 2)), np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="class 1 has 1 rows, found 2 to be removed"):
        moments.remove(np.ones((3, 2)), np.array([0, 1, 1]))
    assert moments.n_rows.tolist() == [2, 1, 0, 0]


def test_moments_of_other_classes_or_features_do_not_merge():
    with pytest.raises(ValueError, match="4 classes and 2 features, found 4 and 3"):
        ClassMoments(4, 2).merge(ClassMoments(4, 3))


def test_no_more_moments_and_factors_are_held_than_memory_was_given_for() -> None:
    rng = np.random.default_rng(0)
    n_rows, n_classes, n_features = 1_200, 60, 150
    block = Block(
        rng.normal(size=(n_rows, n_features)).astype(np.float32),
        np.arange(n_rows) % n_classes,
        np.zeros(n_rows, dtype=np.int64),
    )
    cell_bytes = 16 * (n_features + 1) ** 2
    peaks = []
    for n_cells in (60, 20):
        tracemalloc.start()
        options = {"contrast": True, "memory_bytes": n_cells * cell_bytes}
        with threadpool_limits(1):
            score_stream(lambda: [block], n_rows, n_classes, 1, n_features, **options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # What is beside them, the block's copies, is the same.
    assert peaks[0] - peaks[1] > 0.9 * 40 * cell_bytes


@given(st.integers(0, 2**32 - 1), st.integers(4, 30), st.integers(1, 3))
def test_few_rows_of_many_features_score_as_the_definition_has_it(seed, n, n_spaces) -> None:
    rng = np.random.default_rng(seed)
    rank, n_features = int(rng.integers(1, n + 1)), 80
    features = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, n_features)) + rng.normal()
    labels, space = rng.integers(N_CLASSES, size=n), rng.integers(n_spaces, size=n)
    blocks = [Block(features[part], labels[part], space[part]) for part in (slice(0, 5), slice(5, None))]
    found = score_stream(
        lambda: blocks, n, N_CLASSES, n_spaces, n_features, contrast=True, memory_bytes=2**30
    )
    for each in range(n_spaces):
        members = space == each
        if members.any():
            part = features[members], labels[members]
            expected = score(moments_of(*part), *part)
            assert found[0][members] == pytest.approx(expected[0], rel=1e-6)
            assert found[1][members] == pytest.approx(expected[1], rel=1e-5, abs=1e-6)


def test_few_rows_of_many_features_make_no_matrix_of_all_features() -> None:
    rng = np.random.default_rng(0)
    n_features = 2_000
    features = rng.normal(size=(60, n_features)).astype(np.float32)
    block = Block(features, np.arange(60) % N_CLASSES, np.arange(60) // 30)
    tracemalloc.start()
    importance, contrast = score_stream(
        lambda: [block], 60, N_CLASSES, 2, n_features, contrast=True, memory_bytes=2**20
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * n_features**2 / 4
    assert np.isfinite(importance).all()
    assert contrast is not None


def test_a_feature_that_is_no_number_is_refused_in_few_rows_of_many_features_too() -> None:
    features = np.zeros((4, 50))
    features[2, 7] = np.nan
    block = Block(features, np.array([0, 1, 0, 1]), np.zeros(4, dtype=np.int64))
    with pytest.raises(ValueError, match="nan in row 2, column 7"):
        score_stream(lambda: [block], 4, N_CLASSES, 1, 50, contrast=True, memory_bytes=2**30)
