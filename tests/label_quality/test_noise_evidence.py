import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.label_quality.noise_evidence import NO_EVIDENCE, explain_by_chance, find_noise, find_surest

N = 20_000
RNG = np.random.default_rng(0)
LABELS, CONFIDENCE = RNG.integers(5, size=N), RNG.uniform(0.5, 1, size=N)
DRAW = RNG.random(N)


def find(is_other, second=None, is_issue=None):
    """The evidence where the classifier's class is another one than the label in these rows."""
    model = np.where(is_other, (LABELS + 1) % 5, LABELS)
    relabelled = is_other & (CONFIDENCE >= 0.8)
    return find_noise(relabelled, LABELS, model, CONFIDENCE, second, is_issue)


def test_where_the_classifier_is_surest_noise_is_as_common_as_elsewhere_and_mistakes_are_not():
    assert find(DRAW < 0.2).share == pytest.approx(1, abs=0.1)
    assert find(DRAW < 1 - CONFIDENCE).share == pytest.approx(0.62, abs=0.05)
    assert find((DRAW < 0.2) & (CONFIDENCE < 0.85)).share == 0
    assert find(np.zeros(N, dtype=bool)) == NO_EVIDENCE


def test_from_some_confidence_on_other_labels_are_no_more_common_than_among_the_surest():
    # One in ten from 0.85 on, one in two below.
    found = find(np.where(CONFIDENCE < 0.85, 0.5, 0.1) > DRAW)
    assert found.least_confidence == pytest.approx(0.85, abs=0.02)
    assert find(DRAW < 0.2).least_confidence < 0.6


def test_where_classes_overlap_other_labels_become_ever_fewer_and_no_row_is_sure_enough():
    found = find(DRAW < 1 - CONFIDENCE)
    assert found.is_falling
    assert found.least_confidence is None
    assert not find(DRAW < 0.2).is_falling
    # A twentieth of the labels are wrong by chance besides: from where these are most of what is other.
    both = find(np.where(CONFIDENCE < 0.95, 1 - CONFIDENCE, 0.05) > DRAW)
    assert both.is_falling
    assert both.least_confidence == pytest.approx(0.95, abs=0.02)


def test_only_rows_count_on_which_the_second_opinion_agrees_with_the_classifier():
    is_other = DRAW < 0.1
    model = np.where(is_other, (LABELS + 1) % 5, LABELS)
    is_mistake = ~is_other & (CONFIDENCE < 0.87) & (RNG.random(N) < 0.3)
    both = is_other | is_mistake
    second = np.where(is_other, model, LABELS)
    assert find(both).share < 0.6
    assert find(both, second).share == pytest.approx(1, abs=0.2)
    assert find(both, np.full(N, -1)) == NO_EVIDENCE


def test_a_row_that_gets_another_class_although_the_classifier_says_the_given_one_is_no_evidence():
    last = np.arange(N) == CONFIDENCE.argmin()
    assert find_noise(last, LABELS, LABELS, CONFIDENCE) == NO_EVIDENCE
    model = np.where(DRAW < 0.2, (LABELS + 1) % 5, LABELS)
    model[last] = LABELS[last]
    relabelled = (model != LABELS) & (CONFIDENCE >= 0.8)
    alone = find_noise(relabelled, LABELS, model, CONFIDENCE)
    assert find_noise(relabelled | last, LABELS, model, CONFIDENCE) == alone


def test_few_rows_say_little():
    for n_rows, error in ((100, 1.4), (20_000, 0.004)):
        part = slice(0, n_rows)
        labels, confidence = LABELS[part], CONFIDENCE[part]
        model = np.where((DRAW[part] < 0.2) & (confidence < 0.85), (labels + 1) % 5, labels)
        found = find_noise((model != labels) & (confidence > 0.8), labels, model, confidence)
        assert found.share == 0
        assert found.high == pytest.approx(error, rel=0.8)


def test_the_surest_are_a_quarter_with_rows_as_sure_as_the_last_and_at_least_some():
    sure, one = np.arange(1_000) / 1_000, np.ones(1_000)
    everything = np.ones(1_000, dtype=bool)
    assert find_surest(everything, sure, one).sum() == 250
    assert find_surest(everything, np.round(sure, 1), one).sum() == 250  # of 0.8 and more
    assert find_surest(everything, np.floor(sure * 2), one).sum() == 500
    assert find_surest(sure < 0.03, sure, one).sum() == 20
    assert np.array_equal(find_surest(sure < 0.01, sure, one), sure < 0.01)
    # The surer half stands for nine times as many rows as the other.
    assert find_surest(everything, sure, np.where(sure >= 0.5, 9.0, 1.0)).sum() == 139
    assert not find_surest(~everything, sure, one).any()


def test_rows_of_which_more_were_asked_count_less():
    is_other = np.where(CONFIDENCE < 0.9, 0.3, 0.1) > DRAW
    model = np.where(is_other, (LABELS + 1) % 5, LABELS)
    all_asked = find(is_other, model, is_other)
    # All issues have an opinion, and a tenth of the others.
    asked = is_other | (RNG.random(N) < 0.1)
    some = find(is_other, np.where(asked, model, -1), is_other)
    assert some.share == pytest.approx(all_asked.share, abs=0.05)
    assert find(is_other, np.where(asked, model, -1)).share > all_asked.share + 0.2


def test_rows_that_are_relabelled_to_the_label_that_they_have_say_nothing():
    every = np.ones(4, dtype=bool)
    labels, sure = np.array([0, 1, 0, 1]), np.array([0.9, 0.8, 0.7, 0.95])
    assert find_noise(every, labels, labels, sure) == NO_EVIDENCE
    # Only the least sure row has another label.
    model, only = np.array([0, 1, 1, 1]), np.array([False, False, True, False])
    assert find_noise(every, labels, model, sure) == find_noise(only, labels, model, sure)
    assert find_noise(~only, labels, model, sure) == NO_EVIDENCE


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.booleans())
def test_no_rows_break_it_and_their_order_does_not_matter(seed, n_rows, is_asked):
    rng = np.random.default_rng(seed)
    labels, model = rng.integers(3, size=(2, n_rows))
    confidence = rng.integers(1, 5, size=n_rows) / 4
    relabelled = rng.random(n_rows) < 0.5
    second = rng.integers(-1, 3, size=n_rows) if is_asked else None
    found = find_noise(relabelled, labels, model, confidence, second)
    assert 0 <= found.share <= found.high
    assert found.least_confidence is None or 0 <= found.least_confidence <= 1
    order = rng.permutation(n_rows)
    others = find_noise(
        relabelled[order],
        labels[order],
        model[order],
        confidence[order],
        None if second is None else second[order],
    )
    assert vars(others) == pytest.approx(vars(found))


def explain(is_other, second=None, is_issue=None):
    """(N,) what chance explains, where the classifier's class is another one than the label in these rows."""
    model = np.where(is_other, (LABELS + 1) % 5, LABELS)
    every = np.ones(len(LABELS), dtype=bool)
    return explain_by_chance(every, LABELS, model, CONFIDENCE, second, is_issue)


def test_chance_explains_what_is_as_common_among_the_surest_and_no_mistakes_beyond():
    is_sure = CONFIDENCE >= 0.8
    assert explain(DRAW < 0.2).min() > 0.85
    # One in ten by chance, and of the less sure rows three in ten more that are mistakes.
    found = explain(np.where(is_sure, 0.1, 0.4) > DRAW)
    low = found[CONFIDENCE < 0.78]
    assert low.mean() == pytest.approx(0.25, abs=0.05)
    assert low.max() < 0.35
    assert found[CONFIDENCE > 0.82].min() > 0.8
    # Few rows prove little: nothing is other among the surest, and one of them might have been.
    found = explain(~is_sure & (DRAW < 0.4))
    assert 0 < found[CONFIDENCE < 0.78].max() < 0.01


def test_chance_explains_as_much_of_rows_of_which_more_issues_were_asked():
    is_other = np.where(CONFIDENCE >= 0.8, 0.1, 0.4) > DRAW
    model = np.where(is_other, (LABELS + 1) % 5, LABELS)
    second = np.where(is_other | (np.random.default_rng(2).random(N) < 0.3), model, -1)
    found, whole = explain(is_other, second, is_other), explain(is_other)
    assert found[CONFIDENCE < 0.78] == pytest.approx(whole[CONFIDENCE < 0.78], abs=0.08)


@given(st.data())
def test_what_chance_explains_does_not_depend_on_the_order_of_rows(data):
    n = data.draw(st.integers(1, 80))
    draw = np.random.default_rng(data.draw(st.integers(0, 9)))
    given_label, model, second = draw.integers(3, size=n), draw.integers(3, size=n), draw.integers(-1, 3, n)
    confidence = draw.integers(4, size=n) / 4
    every, is_issue = np.ones(n, dtype=bool), draw.random(n) < 0.5
    order = draw.permutation(n)
    found = explain_by_chance(every, given_label, model, confidence, second, is_issue)
    other_way = explain_by_chance(
        every[order], given_label[order], model[order], confidence[order], second[order], is_issue[order]
    )
    assert ((found >= 0) & (found <= 1)).all()
    assert found[order] == pytest.approx(other_way)
