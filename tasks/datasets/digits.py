"""scikit-learn's 1,797 real handwritten digits: offline, for a first look and for tests."""

from pathlib import Path

import numpy as np

from tasks.contents import Examples, Fetch, Images
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts

GIVES = ("image",)
# Every fifth row is a test row: 360 of 1,797, spread over all writers and classes.
_TEST_EVERY = 5


def read(inputs: Path, options: Section, fetch: Fetch) -> Examples:  # noqa: ARG001  # they lie in scikit-learn
    """The digits as (1797, 8, 8) uint8 images, scaled from scikit-learn's 0..16 to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = np.arange(len(digits.target))
    return Examples(
        facts=DatasetFacts("digits", tuple(str(k) for k in range(10)), "image", (8, 8)),
        key=[str(row) for row in rows],
        split=np.where(rows % _TEST_EVERY == _TEST_EVERY - 1, "test", "train"),
        given_label=None,
        true_label=digits.target.astype(np.int16),
        content=Images(np.rint(digits.images * (255 / 16)).astype(np.uint8)),
    )
