import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tasks.label_quality.suggestions import second_best


@given(
    arrays(
        st.sampled_from([np.float32, np.float64]),
        array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=8),
        # Few values, so that there are ties, and more than once in a row.
        elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    )
)
def test_the_second_best_comes_second_in_a_stable_sort(pred_probs):
    before = pred_probs.copy()
    labels, probs = second_best(pred_probs)
    order = np.argsort(-pred_probs, axis=1, kind="stable")
    assert np.array_equal(order[:, 0], pred_probs.argmax(axis=1))
    assert np.array_equal(labels, order[:, 1])
    assert np.array_equal(probs, np.sort(pred_probs, axis=1)[:, -2])
    assert probs.dtype == pred_probs.dtype
    assert np.array_equal(pred_probs, before)


def test_no_rows_have_no_second_best():
    labels, probs = second_best(np.zeros((0, 3), dtype=np.float32))
    assert labels.shape == probs.shape == (0,)


@pytest.mark.parametrize("pred_probs", [np.ones((3, 1)), np.ones(3)])
def test_one_class_has_no_second(pred_probs):
    with pytest.raises(ValueError, match="K >= 2, found shape"):
        second_best(pred_probs)
