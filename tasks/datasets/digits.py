"""scikit-learn's 1,797 real handwritten digits: offline, for a first look and for tests."""

import numpy as np
from sklearn.datasets import load_digits

from tasks.datasets import Examples
from tasks.tables.facts import DatasetFacts

# Every fifth row is a test row: 360 of 1,797, spread over all writers and classes.
_TEST_EVERY = 5


def load() -> Examples:
    """The digits as (1797, 8, 8) uint8 images, scaled from scikit-learn's 0..16 to 0..255."""
    digits = load_digits()
    ids = np.arange(len(digits.target), dtype=np.int64)
    return Examples(
        facts=DatasetFacts("digits", tuple(str(k) for k in range(10)), "image", (8, 8)),
        example_id=ids,
        split=np.where(ids % _TEST_EVERY == _TEST_EVERY - 1, "test", "train"),
        true_label=digits.target.astype(np.int16),
        content=np.rint(digits.images * (255 / 16)).astype(np.uint8),
    )
