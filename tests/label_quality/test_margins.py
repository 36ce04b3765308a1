import numpy as np

from tasks.label_quality.margins import certain_of_given, margin_counters, margin_steps


def test_a_row_within_1e6_of_its_label_being_the_argmax_is_vetoed():
    labels = np.array([0, 0, 1])
    probs = np.array([[0.5 - 4e-7, 0.5 + 4e-7], [0.5 - 6e-7, 0.5 + 6e-7], [0.5, 0.5]])
    assert certain_of_given(labels, probs).tolist() == [True, False, True]


def test_margins_are_counted_in_steps_that_no_row_falls_short_of(draw_label_case):
    for seed in range(20):
        labels, probs = draw_label_case(seed, most_classes=8, most_rows=100)
        n_classes = probs.shape[1]
        counted = np.bincount(margin_counters(labels, probs, 4), minlength=n_classes**2 * 4)
        for place, number in enumerate(counted):
            pair, step = divmod(place, 4)
            k, j = divmod(pair, n_classes)
            margins = probs[labels == k, j].astype(np.float64) - probs[labels == k, k].astype(np.float64)
            upper = np.inf if step == 3 else (step + 1) / 4
            assert number == ((margins > 0) & (margins >= step / 4) & (margins < upper)).sum()


def test_steps_of_margins_are_fewer_where_there_are_many_classes():
    assert [margin_steps(k) for k in (2, 10, 200, 1000, 5000)] == [256, 256, 64, 4, 1]
