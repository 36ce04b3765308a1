"""The worst-confused pairs of classes, and the rows that may lead to them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.label_quality.confusions import most_and_least_important, worst_confused
from tasks.reporting.figures import ScoreHistogram, score_histogram
from tasks.tables.facts import read_facts
from tasks.tables.schemas import column_array

# Where importance differs by less than this share of itself, its chart would show rounding. So it is where a
# class has fewer rows than features: each row then points in a direction of its own.
_SAME = 1e-5

# What the page shows of the worst-confused classes: so many pairs, and rows at each end of importance.
_PAIRS = 3
_SAMPLES = 6


@dataclass(frozen=True)
class Confused:
    """A worst-confused pair of classes, and rows given the class predicted.

    `most` and `least` are positions of its most and least important rows; `spread` is the histogram of the
    importance of all of them, None where that was not measured, is almost the same for all, or is shown with
    an earlier pair.
    """

    label: str
    predicted: str
    n_rows: int
    share: float
    most: npt.NDArray[np.int64]
    least: npt.NDArray[np.int64]
    spread: ScoreHistogram | None

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """All of these rows."""
        return np.concatenate([self.most, self.least])


def confused_pairs(
    issues: pa.Table, confusion: npt.NDArray[np.int64], shown: npt.NDArray[np.intp]
) -> list[Confused]:
    """The worst-confused pairs, with the most and the least important rows given the class predicted.

    Rows are shown once, with the first pair that leads to their class, and only where they have importance.

    Args:
        issues: data/label_issues.parquet.
        confusion: (K, K) counts, given by suggested.
        shown: positions of rows that the page shows elsewhere.
    """
    importance = issues.column("importance").fill_null(0).to_numpy()
    measured = issues.column("importance").is_valid().to_numpy()
    given, is_issue = column_array(issues, "given_label"), column_array(issues, "is_issue")
    names = read_facts(issues).class_names
    seen: set[int] = set()
    found = []
    for pair in worst_confused(confusion, _PAIRS):
        of_class = measured & (given == pair.predicted)
        members = np.flatnonzero(of_class) if pair.predicted not in seen else np.arange(0)
        seen.add(pair.predicted)
        others = members[~np.isin(members, shown)]
        most, least = most_and_least_important(importance, others, _SAMPLES)
        label = f"importance of the rows given {names[pair.predicted]}"
        is_spread = len(members) and np.ptp(importance[members]) > _SAME * importance[members].max()
        spread = score_histogram(label, importance[members], is_issue[members]) if is_spread else None
        classes = names[pair.label], names[pair.predicted]
        found.append(Confused(*classes, pair.n_rows, pair.share, most, least, spread))
    return found
