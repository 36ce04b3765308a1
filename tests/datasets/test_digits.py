"""scikit-learn's digits as examples: offline, and the same on every run."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tasks import plugins
from tasks.datasets import digits


def test_the_digits_are_those_of_scikit_learn_scaled_to_bytes_and_every_fifth_is_a_test_row() -> None:
    examples, source = digits.read(Path(), plugins.read_options("datasets", "digits"), None), load_digits()
    pixels = examples.content.values()
    assert (pixels.shape, pixels.dtype, pixels.max()) == ((1797, 8, 8), np.uint8, 255)
    np.testing.assert_array_equal(np.rint(pixels * (16 / 255)), source.images)
    np.testing.assert_array_equal(examples.true_label, source.target)
    assert examples.given_label is None
    assert examples.key == [str(row) for row in range(1797)]
    assert np.flatnonzero(examples.split == "test").tolist() == list(range(4, 1797, 5))
    for split in ("train", "test"):
        assert set(examples.true_label[examples.split == split]) == set(range(10))
    facts = examples.facts
    assert (facts.dataset, facts.content, facts.shape) == ("digits", "image", (8, 8))
    assert facts.class_names == tuple("0123456789")
