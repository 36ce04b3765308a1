"""Are other labels than the classifier's noise, or its mistakes? What the surest rows say.

Labels that are wrong by chance are as common where a classifier is surest as elsewhere; its mistakes are not
(rows of which the class is certain are Patrini et al.'s anchor points, CVPR 2017). So how common other labels
are among the surest rows, beside where rows would be relabelled, is the share of the relabelled rows whose
label is wrong. That holds for labels that are wrong by chance. Where people erred on doubtful rows it is too
low, and where the surest rows of a weak classifier are mistakes it is too high: it is evidence beside other.

Where there is a second opinion only rows are looked at on which it agrees with the classifier. That leaves
out most of the mistakes, but not those that both make.

Where classes overlap no row may be free of doubt: then other labels become ever fewer, the surer the
classifier is, and the surest rows are no measure. Labels that are wrong by chance do not become fewer. So
other labels are also looked for in the surest of the very rows that are as sure as the least sure one to
relabel.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.label_quality.self_tests.neighbours_vote import UNASKED

# So many of the rows are the surest, and at least some.
_SUREST, _LEAST_SUREST = 0.25, 20
# From the confidence on at which so much of what is other is as common as among the surest.
_AS_COMMON = 0.9
# Other labels become fewer where they are rarer than this among the surest, by 95 % of samples.
_FLAT, _STANDARD_ERRORS = 0.85, 2
# So many other labels among the surest say how common they are: give or take a fifth.
_LEAST_OTHER = 20
# As sure as a row are so many of the rows on either side of it, and at least some.
_NEAR, _LEAST_NEAR = 0.02, 25
# Of more rows a sample says enough.
_MOST_ROWS, _SEED = 200_000, 15


@dataclass(frozen=True)
class NoiseEvidence:
    """How common other labels are among the surest rows, as a share of where rows would be relabelled.

    Attributes:
        share: that; 1 where no row would be relabelled, and above 1 by chance alone.
        high: the same and a standard error: few rows say little.
        least_confidence: from this confidence on, in [0, 1], other labels are hardly more common than among
            the surest; None where that is so from none on.
        is_falling: whether other labels become fewer, beyond chance, within the rows that are as sure as the
            least sure one to relabel.
    """

    share: float
    high: float
    least_confidence: float | None
    is_falling: bool = False


NO_EVIDENCE = NoiseEvidence(1.0, 1.0, 0.0)
"""Of a repair that relabels no row whose label is other than the classifier's."""


def weigh_asked(
    second: npt.NDArray[np.integer], is_issue: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float64]:
    """(N,) how many rows each stands for whose second opinion (N,) was asked; 0 where it was not.

    Of a large data set more of the issues (N,) are asked than of the other rows.
    """
    asked = np.asarray(second != UNASKED)
    weight = asked.astype(np.float64)
    for some in () if is_issue is None else (True, False):
        rows = np.asarray(is_issue == some)
        weight[rows & asked] = rows.sum() / max(int((rows & asked).sum()), 1)
    return weight


def find_surest(
    rows: npt.NDArray[np.bool_], confidence: npt.NDArray[np.floating], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """(N,) the surest quarter of `rows` (N,), by confidence (N,); each stands for as many as its weight (N,).

    Rows as sure as the last of it belong to it.
    """
    order = np.flatnonzero(rows)
    if not len(order):
        return rows
    order = order[np.argsort(-confidence[order], kind="stable")]
    n_rows = np.cumsum(weight[order])
    least = confidence[order[_end_of_surest(n_rows, n_rows[-1:])[0]]]
    return np.asarray(rows & (confidence >= least))


def _end_of_surest(n_rows: npt.NDArray[np.float64], of: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """(Q,) where the surest quarter ends of the first `of` (Q,) rows, the surest first.

    `n_rows` (M,) is for how many rows all up to each stand.
    """
    least = np.clip(_SUREST * of, min(_LEAST_SUREST, n_rows[-1]), n_rows[-1])
    return np.minimum(np.searchsorted(n_rows, least), len(n_rows) - 1)


def _by_confidence(
    model: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.floating],
    second: npt.NDArray[np.integer] | None,
    is_issue: npt.NDArray[np.bool_] | None,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """(M,) the rows, or a sample, on which the second opinion agrees, the surest first; (M,) their weight."""
    agrees = np.ones(len(model), dtype=bool) if second is None else second == model
    rows = np.flatnonzero(agrees)
    if len(rows) > _MOST_ROWS:
        rows = np.sort(np.random.default_rng(_SEED).choice(rows, _MOST_ROWS, replace=False))
    rows = rows[np.argsort(-confidence[rows], kind="stable")]
    return rows, np.ones(len(rows)) if second is None else weigh_asked(second, is_issue)[rows]


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
        relabelled: (N,) which rows would be given another class, or be dropped; those count whose given class
            is not the classifier's.
        given: (N,) given class indices.
        model: (N,) the most probable classes out of fold.
        confidence: (N,) their probabilities.
        second: (N,) the second opinion, `UNASKED` where there is none; None: no row has one.
        is_issue: (N,) the rows of which more may have been asked than of others, so that they count less.
    """
    rows, weight = _by_confidence(model, confidence, second, is_issue)
    sure, is_other = confidence[rows], given[rows] != model[rows]
    # A repair may give another class than the classifier's, even where that is the given one.
    is_relabelled = relabelled[rows] & is_other
    if not is_relabelled.any():
        return NO_EVIDENCE
    n_rows = np.cumsum(weight)
    common = np.cumsum(weight * is_other) / n_rows
    error = np.sqrt(np.maximum(np.cumsum(weight**2 * is_other), weight[is_other].min() ** 2)) / n_rows
    # Rows as sure as the last of a part belong to it, so that their order does not matter.
    last = np.searchsorted(-sure, -sure, side="right") - 1

    here = last[np.flatnonzero(is_relabelled)[-1]]
    surest, among = last[_end_of_surest(n_rows, n_rows[[-1, here]])]
    is_falling = bool(common[among] + _STANDARD_ERRORS * error[among] < _FLAT * common[here])
    is_like_surest = _AS_COMMON * common[last] <= common[surest]
    if is_falling:
        among = last[_end_of_surest(n_rows, n_rows[last])]
        is_enough = (np.cumsum(is_other)[among] >= _LEAST_OTHER) & (np.arange(len(rows)) <= here)
        is_like_surest &= is_enough & (_AS_COMMON * common[last] <= common[among])
    return NoiseEvidence(
        float(common[surest] / common[here]),
        float((common[surest] + error[surest]) / common[here]),
        float(sure[is_like_surest].min()) if is_like_surest.any() else None,
        is_falling,
    )


def explain_by_chance(
    rows: npt.NDArray[np.bool_],
    given: npt.NDArray[np.int64],
    model: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.floating],
    second: npt.NDArray[np.integer] | None = None,
    is_issue: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """(M,) of the other labels among rows about as sure as each of the M `rows`, the share wrong by chance.

    Labels that are wrong by chance are as common there as in the surest quarter, a standard error more: few
    rows prove little. Others are mistakes of the classifier, or of people, in [0, 1].

    Args:
        rows: (N,) which rows are asked about.
        given: see `find_noise`, as all others.
    """
    order, weight = _by_confidence(model, confidence, second, is_issue)
    if not len(order):
        return np.ones(int(rows.sum()))
    others = weight * (given[order] != model[order])
    n_rows, n_other = (np.append(0, np.cumsum(each)) for each in (weight, others))
    sure, n = confidence[order], len(order)
    last = np.searchsorted(-sure, -sure, side="right")
    end = last[_end_of_surest(n_rows[1:], n_rows[-1:])[0]]
    error = np.sqrt(max(float((weight * others)[:end].sum()), float(weight.min()) ** 2))
    among_surest = (n_other[end] + error) / n_rows[end]

    near = min(max(int(_NEAR * n), _LEAST_NEAR), (n + 1) // 2)
    place = np.searchsorted(-sure, -confidence[rows])
    start = np.clip(place - near, 0, n - min(2 * near, n))
    # Rows as sure as the first and the last of them belong to them, so that their order does not matter.
    start, stop = np.searchsorted(-sure, -sure[start]), last[np.minimum(start + 2 * near, n) - 1]
    common = (n_other[stop] - n_other[start]) / (n_rows[stop] - n_rows[start])
    return np.asarray(among_surest / np.maximum(common, among_surest))
