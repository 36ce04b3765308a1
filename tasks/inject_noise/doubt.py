"""How sure a model that learned the truth is of each row: cross-validated probabilities by scikit-learn."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from tasks.contents import Texts
from tasks.inject_noise.vectors import ContentReader

LEAST_ROWS = 3
"""Of two classes, so that there are some to learn from whatever rows are left out."""
_FOLDS = LEAST_ROWS
# Strength of the penalties: of about 200 standardised numbers a row, and of TF-IDF, whose rows have length 1.
_C_NUMBERS, _C_TEXTS = 0.1, 1.0
# Words and pairs of words share so many columns.
_HASHED = 2**16


def cross_validate(
    content: ContentReader, labels: npt.NDArray[np.int64], n_classes: int, seed: int
) -> npt.NDArray[np.float64]:
    """(N, K) probabilities of logistic regression, each row predicted by one that did not learn from it.

    Args:
        content: N rows.
        labels: (N,) true classes, of which two have at least `LEAST_ROWS` rows.
        n_classes: K; classes without rows have probability 0.
        seed: of the folds.
    """
    from scipy.sparse import vstack  # type: ignore[import-untyped]
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values: Any
    if content.kind == Texts.kind:
        # Signs would make sums of counts that are no counts.
        hashing = HashingVectorizer(
            n_features=_HASHED, ngram_range=(1, 2), norm=None, alternate_sign=False, dtype=np.float32
        )
        values = vstack([hashing.transform(texts) for texts in content.contents()]).tocsr()
        # Columns without a word would be numbers to fit for nothing, for each class.
        values = values[:, np.unique(values.indices)]
        model = make_pipeline(
            TfidfTransformer(sublinear_tf=True), LogisticRegression(C=_C_TEXTS, max_iter=200)
        )
    else:
        values = np.concatenate(list(content.vectors()))
        model = make_pipeline(StandardScaler(copy=False), LogisticRegression(C=_C_NUMBERS, max_iter=200))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    classes = np.unique(labels)
    with threadpool_limits(1), warnings.catch_warnings():
        # Of classes with few rows, and of an optimum not quite reached: a doubt needs no more.
        warnings.simplefilter("ignore")
        found = cross_val_predict(model, values, labels, cv=folds, method="predict_proba")
    probs = np.zeros((len(labels), n_classes))
    probs[:, classes] = found
    return probs
