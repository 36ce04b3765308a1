import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.class_losses import count_losses, describe_losses, find_spared

N, K, RARE = 4_000, 5, 4
NAMES = ["a", "b", "c", "d", "rare"]


def make(n_wrong, n_right=20, known=0.0, seed=0):
    """A rare class with `n_right` right labels, and `n_wrong` labels of it on rows of other classes.

    Of its right labels the classifier knows half, and is not sure of the others; the second opinion knows
    the share `known`.
    """
    rng = np.random.default_rng(seed)
    true = rng.integers(RARE, size=N)
    true[:n_right] = RARE
    labels = true.copy()
    labels[rng.choice(np.arange(n_right, N), n_wrong, replace=False)] = RARE
    is_seen = (true != RARE) | (np.arange(N) % 2 == 0)
    model = np.where(is_seen, true, 0)
    confidence = np.where(true == RARE, rng.uniform(0.4, 0.6, size=N), rng.uniform(0.5, 1, size=N))
    second = np.where((true == RARE) & (rng.random(N) >= known), 0, true)
    return labels, true, model, confidence, second


def spare(labels, model, confidence, second):
    changed = model != labels
    return find_spared(changed, labels, model, confidence, second, changed, K)


def test_a_class_that_the_second_opinion_does_not_know_loses_none_where_no_label_is_wrong():
    labels, true, model, confidence, second = make(0)
    spared = spare(labels, model, confidence, second)
    assert np.array_equal(spared, (true == RARE) & (model != RARE))
    assert spared.sum() == 10
    labels, _, model, confidence, second = make(0, known=1.0)
    assert not spare(labels, model, confidence, second).any()


@pytest.mark.parametrize(
    ("n_votes", "n_for_it", "is_known"),
    [(2, 1, False), (3, 3, False), (4, 4, True), (10, 7, False), (12, 10, True)],
)
def test_few_votes_do_not_make_a_class_known(n_votes, n_for_it, is_known):
    labels, true, model, confidence, second = make(0)
    rare = np.flatnonzero(true == RARE)
    model[rare], second[rare] = 0, 0
    model[rare[:n_votes]] = RARE
    second[rare[:n_for_it]] = RARE
    spared = spare(labels, model, confidence, second)
    assert np.array_equal(np.flatnonzero(spared), [] if is_known else rare[n_votes:])


def test_it_may_lose_as_many_as_sure_rows_of_other_classes_have_its_label_the_surest_first():
    labels, true, model, confidence, second = make(200)
    spared = spare(labels, model, confidence, second)
    changed = (model != labels) & ~spared
    assert changed.sum() == pytest.approx(200, abs=60)
    assert confidence[changed].min() >= confidence[spared].max(initial=0)
    right = (labels == true) & (labels == RARE)
    assert (changed & right).sum() < 5


def test_where_the_classifier_is_alone_it_has_to_know_the_class_by_itself():
    labels, true, model, confidence, _ = make(0)
    unknown = (true == RARE) & (model != RARE)
    assert np.array_equal(spare(labels, model, confidence, None), unknown)
    # It is sure of it on most rows: then what it says of the others is taken.
    model = np.where(np.arange(N) < 15, labels, model)
    assert not spare(labels, model, confidence, None).any()
    # Labels that chance made wrong are taken back all the same, the surest first.
    labels, true, model, confidence, _ = make(200)
    spared = spare(labels, model, confidence, None)
    changed = (model != labels) & ~spared
    assert changed.sum() == pytest.approx(200, abs=60)
    assert (changed & (labels == true)).sum() < 5


def test_who_was_not_asked_is_counted_by_those_who_were():
    labels, _, model, confidence, second = make(200)
    whole = spare(labels, model, confidence, second)
    asked = (model != labels) | (np.random.default_rng(1).random(N) < 0.3)
    part = spare(labels, model, confidence, np.where(asked, second, -1))
    assert part.sum() == pytest.approx(whole.sum(), abs=25)


def test_classes_that_lose_most_of_their_labels_are_named():
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    changed = np.array([1, 1, 0, 1, 0, 0, 1, 0], dtype=bool)
    spared = np.array([0, 0, 0, 0, 1, 1, 0, 0], dtype=bool)
    found = count_losses(labels, changed, spared, ["x", "y", "z", "nobody"])
    assert found == [
        {"class": "y", "n_given": 3, "n_lost": 1, "n_spared": 2},
        {"class": "x", "n_given": 3, "n_lost": 2, "n_spared": 0},
    ]
    first, second = describe_losses(found)
    assert first.startswith("class y loses 1 of 3 labels; 2 more are left to you, as")
    assert second.startswith("class x loses 2 of 3 labels (")
    assert describe_losses(found, most=1)[1:] == ["more such classes: 1 (metrics/training_set.json)"]
    assert describe_losses([]) == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_only_rows_to_be_changed_are_spared_in_any_order_of_rows(seed, n_rows):
    rng = np.random.default_rng(seed)
    labels, model = rng.integers(3, size=(2, n_rows))
    second = rng.integers(-1, 3, size=n_rows) if seed % 2 else None
    changed, is_issue = rng.random((2, n_rows)) < 0.5
    confidence = rng.permutation(n_rows) / n_rows
    found = find_spared(changed, labels, model, confidence, second, is_issue, 3)
    assert not (found & ~changed).any()
    order = rng.permutation(n_rows)
    columns = (
        None if each is None else each[order]
        for each in (changed, labels, model, confidence, second, is_issue)
    )
    assert np.array_equal(find_spared(*columns, 3), found[order])
