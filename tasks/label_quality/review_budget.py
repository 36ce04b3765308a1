"""What looking at the most suspect rows finds: "look at the top 200 and you catch 61 % of the errors"."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Budget:
    """What a person finds who looks at the first `n_rows` suspects.

    Attributes:
        n_rows: rows looked at.
        n_errors: wrong labels among them; a sum of probabilities where the truth is not known.
        precision: `n_errors` as a share of `n_rows`.
        recall: `n_errors` as a share of all wrong labels; NaN where there are none.
    """

    n_rows: int
    n_errors: float
    precision: float
    recall: float


def review_budgets(
    wrong: npt.NDArray[np.bool_ | np.floating], n_errors: float, sizes: npt.NDArray[np.int64]
) -> list[Budget]:
    """What each of some budgets finds.

    Args:
        wrong: (M,) of the suspects, the most suspect first: whether each is wrong, or how probably it is.
        n_errors: wrong labels in the whole data set.
        sizes: (B,) the budgets, in rows, from 1 to M.

    >>> wrong = np.array([True, True, False, True])
    >>> [(each.n_rows, each.precision, each.recall) for each in review_budgets(wrong, 4, np.array([2, 4]))]
    [(2, 1.0, 0.5), (4, 0.75, 0.75)]
    """
    found = np.cumsum(wrong, dtype=np.float64)[sizes - 1]
    recall = found / n_errors if n_errors else np.full(len(sizes), np.nan)
    return [
        Budget(int(size), float(count), float(count / size), float(share))
        for size, count, share in zip(sizes, found, recall, strict=True)
    ]


def round_sizes(n: int) -> npt.NDArray[np.int64]:
    """Budgets a person would name: 10, 20, 50, 100 and so on below `n`, and `n` itself.

    >>> round_sizes(130).tolist()
    [10, 20, 50, 100, 130]
    """
    powers = 10 ** np.arange(1, max(len(str(n)), 1) + 1)
    sizes = np.outer(powers, (1, 2, 5)).ravel()
    return np.array([*sizes[sizes < n], *([n] if n else [])], dtype=np.int64)
