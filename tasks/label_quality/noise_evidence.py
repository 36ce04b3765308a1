"""Are other labels than the classifier's noise, or its mistakes? What the surest rows say.

Labels that are wrong by chance are as common where a classifier is surest as elsewhere; its mistakes are not
(rows of which the class is certain are Patrini et al.'s anchor points, CVPR 2017). So how common other labels
are among the surest rows, beside where rows would be relabelled, is the share of the relabelled rows whose
label is wrong. That holds for labels that are wrong by chance. Where people erred on doubtful rows it is too
low, and where the surest rows of a weak classifier are mistakes it is too high: it is evidence beside other.

Where there is a second opinion only rows are looked at on which it agrees with the classifier. That leaves
out most of the mistakes, but not those that both make.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.label_quality.self_tests.neighbours_vote import UNASKED

# So many of the rows are the surest, and at least some.
_SUREST, _LEAST_SUREST = 0.25, 20
# From the confidence on at which so much of what is other is as common as among the surest.
_AS_COMMON = 0.9
# Of more rows a sample says enough.
_MOST_ROWS, _SEED = 200_000, 15


@dataclass(frozen=True)
class NoiseEvidence:
    """How common other labels are among the surest rows, as a share of where rows would be relabelled.

    Attributes:
        share: that; 1 where no row would be relabelled, and above 1 by chance alone.
        high: the same and a standard error: few rows say little.
        least_confidence: from this confidence on, in [0, 1], other labels are hardly more common than among
            the surest.
    """

    share: float
    high: float
    least_confidence: float


NO_EVIDENCE = NoiseEvidence(1.0, 1.0, 0.0)
"""Of a repair that relabels no row whose label is other than the classifier's."""


def find_noise(
    relabelled: npt.NDArray[np.bool_],
    given: npt.NDArray[np.int64],
    model: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.floating],
    second: npt.NDArray[np.integer] | None = None,
    is_issue: npt.NDArray[np.bool_] | None = None,
) -> NoiseEvidence:
    """Compare the surest rows with those that would be relabelled.

    Args:
        relabelled: (N,) which rows would be given another class; those count whose given class is not the
            classifier's.
        given: (N,) given class indices.
        model: (N,) the most probable classes out of fold.
        confidence: (N,) their probabilities.
        second: (N,) the second opinion, `UNASKED` where there is none; None: no row has one.
        is_issue: (N,) the rows of which more may have been asked than of others, so that they count less.
    """
    agrees = np.ones(len(given), dtype=bool) if second is None else second == model
    rows = np.flatnonzero(agrees)
    if len(rows) > _MOST_ROWS:
        rows = np.sort(np.random.default_rng(_SEED).choice(rows, _MOST_ROWS, replace=False))
    rows = rows[np.argsort(-confidence[rows], kind="stable")]
    weight, sure = np.ones(len(rows)), confidence[rows]
    if second is not None and is_issue is not None:
        for some in (True, False):
            n_asked = ((is_issue == some) & (second != UNASKED)).sum()
            weight[is_issue[rows] == some] = (is_issue == some).sum() / max(n_asked, 1)
    is_other = given[rows] != model[rows]
    # A repair may give another class than the classifier's, even where that is the given one.
    is_relabelled = relabelled[rows] & is_other
    if not is_relabelled.any():
        return NO_EVIDENCE
    n_rows, n_other = np.cumsum(weight), np.cumsum(weight * is_other)
    # Rows as sure as the last of a part belong to it, so that their order does not matter.
    last = np.searchsorted(-sure, -sure, side="right") - 1
    first = np.searchsorted(n_rows, min(max(_SUREST * n_rows[-1], _LEAST_SUREST), n_rows[-1]))
    surest = last[min(first, len(rows) - 1)]
    here = last[np.flatnonzero(is_relabelled)[-1]]
    among_surest, common = n_other[surest] / n_rows[surest], n_other[here] / n_rows[here]
    squares = (weight[: surest + 1] ** 2)[is_other[: surest + 1]].sum()
    error = np.sqrt(squares or weight[is_other].min() ** 2) / n_rows[surest]
    is_like_surest = n_other[last] / n_rows[last] * _AS_COMMON <= among_surest
    return NoiseEvidence(
        float(among_surest / common),
        float((among_surest + error) / common),
        float(sure[is_like_surest].min()),
    )
