import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from tasks.label_quality.confusions import (
    ConfusedPair,
    confusion_shares,
    count_confusions,
    most_and_least_important,
    worst_confused,
)


def test_the_confusion_is_scikit_learns_normalised_by_row():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(5, size=400), rng.integers(6, size=400)  # no row of class 5
    counts = count_confusions(labels.astype(np.int16), predicted, 6)
    classes = np.arange(6)
    assert np.array_equal(counts, confusion_matrix(labels, predicted, labels=classes))
    expected = confusion_matrix(labels, predicted, labels=classes, normalize="true")
    assert confusion_shares(counts) == pytest.approx(expected)
    assert not confusion_shares(counts)[5].any()


def test_pairs_come_in_order_of_their_share_then_rows_then_class():
    counts = np.array([[8, 2, 0], [1, 3, 1], [0, 4, 16]])
    assert worst_confused(counts, 10) == [
        ConfusedPair(2, 1, 4, 0.2),
        ConfusedPair(0, 1, 2, 0.2),
        ConfusedPair(1, 0, 1, 0.2),
        ConfusedPair(1, 2, 1, 0.2),
    ]
    assert worst_confused(counts, 1) == [ConfusedPair(2, 1, 4, 0.2)]
    assert worst_confused(np.diag([3, 0, 4]), 5) == []


@given(st.integers(0, 10_000))
def test_the_worst_pairs_are_the_largest_entries_off_the_diagonal(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 30, size=(6, 6))
    shares = confusion_shares(counts)
    np.fill_diagonal(shares, 0)
    found = worst_confused(counts, 7)
    assert [pair.share for pair in found] == sorted(shares.ravel()[shares.ravel() > 0], reverse=True)[:7]
    assert all(pair.share == shares[pair.label, pair.predicted] for pair in found)
    assert all(pair.n_rows == counts[pair.label, pair.predicted] for pair in found)


def test_the_most_and_least_important_of_some_rows():
    importance = np.array([9.0, 1.0, 5.0, 7.0, 5.0, 3.0])
    most, least = most_and_least_important(importance, np.array([1, 2, 3, 4, 5]), 2)
    assert most.tolist() == [3, 2]
    assert least.tolist() == [1, 5]
    most, least = most_and_least_important(importance, np.array([1, 2, 3]), 2)
    assert most.tolist() == [3, 2]
    assert least.tolist() == [1]
    assert [len(part) for part in most_and_least_important(importance, np.array([], dtype=int), 2)] == [0, 0]
