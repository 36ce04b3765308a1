"""The noise model: how probable is it that the given label is the true one?

The model is that of Dawid and Skene, JRSS C 28 (1979), with one annotator, and a classifier in the place of
the class prior, as in Raykar et al., JMLR 11 (2010), section 2:

    P(true = j | x)            proportional to pred_probs_j ^ sharpness
    P(given = y | true = j)    transition_matrix[j, y]
    P(given = y | x)           their product, summed over j

`sharpness` undoes the under-confidence that label smoothing and noisy targets teach a classifier. The
transition matrix comes from expectation-maximisation. The sharpness does not come from the likelihood: a
classifier that is calibrated to wrong labels is explained perfectly by sharpness 1 and no noise. So the model
is fitted at each sharpness, and who uses the fits takes one of them, or averages over them.

The fit passes over its rows 180 times: give it a sample of a large data set (`statistics.sample_rows`). The
fitted models then give the posterior of any row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHARPNESS = tuple(np.arange(1.0, 8.25, 0.5).tolist())
"""From "the classifier is as confident as it should be" to "nearly all its doubt is noise in the labels"."""

AVERAGED = (1.0, 2.0, 4.0, 8.0)
"""What averages over sharpness take: each is the square of the one before."""

_EM_STEPS = 12
_START_DIAGONAL = 0.5
_TINY = 1e-9
# Rows are worked on in blocks that stay in the processor's cache.
_BLOCK_ENTRIES = 2**15


@dataclass(frozen=True)
class NoiseModel:
    """The fitted model.

    Attributes:
        transition_matrix: (K, K) P(given | true), indexed [true, given]; rows sum to 1.
        expected_under: (K, K) the transition matrix of the last expectation step, one before the above:
            `log_likelihood` and `posterior` are those under it.
        sharpness: the exponent.
        log_likelihood: mean over the fitted rows, in nats.
        n_flagged: fitted rows whose label is more likely wrong than right.
    """

    transition_matrix: Floats
    expected_under: Floats
    sharpness: float
    log_likelihood: float
    n_flagged: int

    def posterior(self, labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]) -> Floats:
        """(N,) probability that the given label is the true one, in [0, 1]."""
        prior = _sharpen(_log(pred_probs), self.sharpness, axis=1)
        joint = prior * self.expected_under.T[labels]
        return np.asarray(joint[np.arange(len(labels)), labels] / joint.sum(axis=1))


@dataclass(frozen=True)
class NoiseFits:
    """The fits at each sharpness. A fit has K x K numbers, so only some are kept.

    Attributes:
        log_likelihood: (S,) of each of `SHARPNESS`, mean over the fitted rows, in nats.
        n_flagged: (S,) fitted rows whose label is more likely wrong than right.
        n_rows: fitted rows.
        kept: by sharpness, the fits at `AVERAGED`, and the likeliest.
    """

    log_likelihood: Floats
    n_flagged: npt.NDArray[np.int64]
    n_rows: int
    kept: Mapping[float, NoiseModel]

    @property
    def likeliest(self) -> NoiseModel:
        """The fit of the highest likelihood; a tie goes to the smaller sharpness."""
        return self.kept[SHARPNESS[int(np.argmax(self.log_likelihood))]]

    @property
    def averaged(self) -> tuple[NoiseModel, ...]:
        """The fits at `AVERAGED`."""
        return tuple(self.kept[sharpness] for sharpness in AVERAGED)


NO_FITS = NoiseFits(np.zeros(0), np.zeros(0, dtype=np.int64), 0, {})


def fit_noise_models(labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]) -> NoiseFits:
    """Fit the model at each sharpness to given labels (N,) and out-of-fold probabilities (N, K).

    Deterministic.
    """
    log_likelihood: list[float] = []
    n_flagged: list[int] = []
    kept: dict[float, NoiseModel] = {}
    for fitted in _fit_each(labels, pred_probs, SHARPNESS):
        if not log_likelihood or fitted.log_likelihood > max(log_likelihood):
            kept = {sharpness: fit for sharpness, fit in kept.items() if sharpness in AVERAGED}
            kept[fitted.sharpness] = fitted
        if fitted.sharpness in AVERAGED:
            kept[fitted.sharpness] = fitted
        log_likelihood.append(fitted.log_likelihood)
        n_flagged.append(fitted.n_flagged)
    return NoiseFits(np.array(log_likelihood), np.array(n_flagged, dtype=np.int64), len(labels), kept)


def fit_at(
    labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating], sharpness: float
) -> NoiseModel:
    """The same at one sharpness."""
    return next(_fit_each(labels, pred_probs, (sharpness,)))


def _fit_each(
    labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating], sharpnesses: tuple[float, ...]
) -> Iterator[NoiseModel]:
    # By class, so that each block of rows shares one column of the transition matrix.
    order = np.argsort(labels, kind="stable")
    labels, logs = labels[order], _log(pred_probs[order])
    n_classes = logs.shape[1]
    # NumPy's inner loops run along the last axis, which had better be the longer one in a block.
    axis = 0 if len(labels) > n_classes**2 else 1
    logs = np.ascontiguousarray(logs.T) if axis == 0 else logs
    for sharpness in sharpnesses:
        yield _fit(labels, _sharpen(logs, sharpness, axis), axis, sharpness)


def _log(pred_probs: npt.NDArray[np.floating]) -> Floats:
    logs = pred_probs.astype(np.float64)
    np.maximum(logs, 1e-12, out=logs)
    return np.log(logs, out=logs)


def _sharpen(logs: Floats, sharpness: float, axis: int) -> Floats:
    """Rows to the power of `sharpness`, each summing to 1; classes lie along `axis`."""
    powers = sharpness * logs
    powers -= powers.max(axis=axis, keepdims=True)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=axis, keepdims=True)
    return powers


def _fit(labels: npt.NDArray[np.integer], prior: Floats, axis: int, sharpness: float) -> NoiseModel:
    """Expectation-maximisation for the transition matrix.

    `labels` (N,) ascend; `prior` is P(true | x), (N, K), or (K, N) where `axis`, that of the classes, is 0.
    """
    n_classes, n_rows = prior.shape[axis], prior.shape[1 - axis]
    transition = np.full((n_classes, n_classes), (1 - _START_DIAGONAL) / (n_classes - 1))
    np.fill_diagonal(transition, _START_DIAGONAL)
    blocks = _blocks(labels, n_classes)
    n_flagged = 0
    for step in range(_EM_STEPS):
        # E: how likely each class is the true one, knowing what was given. M: count and normalise.
        expected_under, log_likelihood = transition, 0.0
        counts = np.full((n_classes, n_classes), _TINY)
        for rows, given in blocks:
            column = expected_under[:, given]
            joint = prior[:, rows] * column[:, None] if axis == 0 else prior[rows] * column
            evidence = joint.sum(axis=axis, keepdims=True)
            joint /= evidence
            counts[:, given] += joint.sum(axis=1 - axis)
            log_likelihood += float(np.log(evidence).sum())
            if step == _EM_STEPS - 1:
                n_flagged += int(((joint[given] if axis == 0 else joint[:, given]) < 0.5).sum())
        transition = counts / counts.sum(axis=1, keepdims=True)
    return NoiseModel(
        transition_matrix=transition,
        expected_under=expected_under,
        sharpness=sharpness,
        log_likelihood=log_likelihood / n_rows,
        n_flagged=n_flagged,
    )


def _blocks(labels: npt.NDArray[np.integer], n_classes: int) -> list[tuple[slice, int]]:
    """Runs of rows with one label, and that label; none is longer than a block."""
    length = max(_BLOCK_ENTRIES // n_classes, 1)
    ends = np.cumsum(np.bincount(labels, minlength=n_classes)).tolist()
    return [
        (slice(start, min(start + length, end)), k)
        for k, (begin, end) in enumerate(zip([0, *ends], ends, strict=False))
        for start in range(begin, end, length)
    ]
