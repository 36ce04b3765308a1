"""scikit-learn's breast-cancer table as examples: offline, and the same on every run."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

from tasks import plugins
from tasks.datasets import breast_cancer


def test_the_table_is_that_of_scikit_learn_with_the_names_of_its_columns() -> None:
    options = plugins.read_options("datasets", "breast_cancer")
    examples, source = breast_cancer.read(Path(), options, None), load_breast_cancer()
    np.testing.assert_array_equal(examples.content.values(), source.data.astype(np.float32))
    np.testing.assert_array_equal(examples.true_label, source.target)
    assert examples.given_label is None
    assert examples.key == [str(row) for row in range(569)]
    assert set(examples.split) == {"train"}
    assert examples.facts.shape == (30,)
    assert examples.facts.class_names == ("malignant", "benign")
    assert examples.facts.feature_names[:2] == ("mean radius", "mean texture")
