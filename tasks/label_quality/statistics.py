"""What is known of all rows when a filter says how it chooses among them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from tasks.label_quality import confident_joint as cj
from tasks.label_quality.noise_model import NO_FITS, NoiseFits
from tasks.label_quality.selection import Flagged

SAMPLE_ENTRIES = 2**23
"""Probabilities (rows x classes) that a sample has at most."""

Sample = tuple[cj.Ints, npt.NDArray[np.floating]]
"""Labels (M,) and pred_probs (M, K) of the rows that `sample_rows` names."""


@dataclass(frozen=True)
class Statistics:
    """What is known after the first pass over the rows.

    Attributes:
        n_rows: N.
        totals: rows and own probabilities of each class.
        thresholds: (K,) confident thresholds.
        sample: rows evenly spread over the data set, for filters that need `sample`; otherwise no row.
        noise: the noise model, fitted to those rows, for filters that need `noise`; otherwise no fit.
    """

    n_rows: int
    totals: cj.ClassTotals
    thresholds: cj.Floats
    sample: Sample
    noise: NoiseFits = field(default=NO_FITS, kw_only=True)

    def only(self, needs: Collection[str]) -> Self:
        """The same without what takes much memory and is not needed."""
        labels, pred_probs = self.sample
        return replace(
            self,
            sample=self.sample if "sample" in needs else (labels[:0].copy(), pred_probs[:0].copy()),
            noise=self.noise if "noise" in needs else NO_FITS,
        )


@dataclass(frozen=True)
class JointStatistics(Statistics):
    """What is known after the second pass, for filters that need `joint`.

    Attributes:
        raw: (K, K) raw confident joint, [given, true].
        calibrated: (K, K) calibrated confident joint, [given, true].
        n_off_diagonal: rows that are confidently predicted as another class and not vetoed: wrong labels,
            as the raw joint counts them.
        prune_counts: (K, K) how many rows to prune, [true, given]; the diagonal is what stays of each class.
        prunable: (K,) classes that have enough rows to be pruned.
        margins: (K, K, steps) rows by pair of classes and margin (`margins.margin_counters`), for filters
            that need `margins`; otherwise of no steps.
        flagged: by name, the rows of the filters that a filter combines; otherwise empty.
    """

    raw: cj.Ints
    calibrated: cj.Ints
    n_off_diagonal: int
    prune_counts: cj.Ints
    prunable: npt.NDArray[np.bool_]
    margins: cj.Ints
    flagged: Mapping[str, Flagged] = field(default_factory=dict)

    def only(self, needs: Collection[str]) -> Self:
        """See `Statistics.only`."""
        lean = super().only(needs)
        return lean if "margins" in needs else replace(lean, margins=lean.margins[:, :, :0].copy())


def sample_rows(n_rows: int, n_classes: int) -> cj.Ints:
    """Which of `n_rows` rows are in the sample, ascending: all, or what `SAMPLE_ENTRIES` allows.

    All rows of a data set of 70,000 rows and 100 classes; of a larger one every so many-th row.
    """
    n = min(n_rows, max(SAMPLE_ENTRIES // n_classes, 1))
    return np.arange(n, dtype=np.int64) * n_rows // max(n, 1)
