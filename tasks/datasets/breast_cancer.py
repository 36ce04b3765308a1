"""scikit-learn's table of 569 breast tumours, 30 measures of each (Street, Wolberg and Mangasarian 1993)."""

from pathlib import Path

import numpy as np

from tasks.contents import Examples, Features, Fetch
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts

GIVES = ("features",)


def read(inputs: Path, options: Section, fetch: Fetch) -> Examples:  # noqa: ARG001  # it lies in scikit-learn
    """The table in its own order; the diagnosis, by biopsy, counts as the truth. It has no test rows."""
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    n_rows, n_features = table.data.shape
    return Examples(
        facts=DatasetFacts(
            "breast_cancer",
            tuple(map(str, table.target_names)),
            "features",
            (n_features,),
            tuple(map(str, table.feature_names)),
        ),
        key=[str(row) for row in range(n_rows)],
        split=np.repeat("train", n_rows),
        given_label=None,
        true_label=table.target.astype(np.int16),
        content=Features(table.data.astype(np.float32)),
    )
