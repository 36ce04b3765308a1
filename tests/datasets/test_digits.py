"""scikit-learn's digits as examples: offline, and the same on every run."""

import numpy as np
from sklearn.datasets import load_digits

from tasks.datasets import digits


def test_the_digits_are_those_of_scikit_learn_scaled_to_bytes() -> None:
    examples, source = digits.load(), load_digits()
    assert examples.content.shape == (1797, 8, 8)
    assert examples.content.dtype == np.uint8
    assert examples.content.max() == 255
    np.testing.assert_array_equal(np.rint(examples.content * (16 / 255)), source.images)
    np.testing.assert_array_equal(examples.true_label, source.target)


def test_ids_count_the_rows_and_every_fifth_is_a_test_row() -> None:
    examples = digits.load()
    assert examples.example_id.tolist() == list(range(1797))
    is_test = examples.split == "test"
    assert np.flatnonzero(is_test).tolist() == list(range(4, 1797, 5))
    assert set(examples.split[~is_test]) == {"train"}


def test_every_class_is_in_both_splits() -> None:
    examples = digits.load()
    for split in ("train", "test"):
        assert set(examples.true_label[examples.split == split]) == set(range(10))


def test_the_facts_describe_the_images() -> None:
    facts = digits.load().facts
    assert (facts.dataset, facts.content, facts.shape) == ("digits", "image", (8, 8))
    assert facts.class_names == tuple("0123456789")


def test_two_loads_are_equal() -> None:
    first, second = digits.load(), digits.load()
    for name in ("example_id", "split", "true_label", "content"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
