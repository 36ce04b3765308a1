"""The noise model: how probable is it that the given label is the true one?

The model is that of Dawid and Skene, JRSS C 28 (1979), with one annotator, and a classifier in the place of
the class prior, as in Raykar et al., JMLR 11 (2010), section 2:

    P(true = j | x)            proportional to pred_probs_j ^ sharpness
    P(given = y | true = j)    transition_matrix[j, y]
    P(given = y | x)           their product, summed over j

`sharpness` undoes the under-confidence that label smoothing and noisy targets teach a classifier. The
transition matrix comes from expectation-maximisation, `sharpness` from the likelihood of the given labels.

The fit passes over its rows 180 times: give it a sample of a large data set (`statistics.sample_rows`). The
fitted model then gives the posterior of any row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# From "as confident as it should be" to strongly smoothed; the likelihood picks one.
SHARPNESS = tuple(np.arange(1.0, 8.25, 0.5).tolist())
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
        sharpness: the chosen exponent.
        log_likelihood: mean over the fitted rows, in nats.
    """

    transition_matrix: Floats
    expected_under: Floats
    sharpness: float
    log_likelihood: float

    def posterior(self, labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any]) -> Floats:
        """(N,) probability that the given label is the true one, in [0, 1]."""
        prior = _sharpen(_log(pred_probs), self.sharpness, axis=1)
        joint = prior * self.expected_under.T[labels]
        return np.asarray(joint[np.arange(len(labels)), labels] / joint.sum(axis=1))


def fit_noise_model(labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any]) -> NoiseModel:
    """Fit the model to given labels (N,) and out-of-fold probabilities (N, K).

    Deterministic; a tie in likelihood goes to the smaller sharpness.
    """
    # By class, so that each block of rows shares one column of the transition matrix.
    order = np.argsort(labels, kind="stable")
    labels, logs = labels[order], _log(pred_probs[order])
    n_classes = logs.shape[1]
    # NumPy's inner loops run along the last axis, which had better be the longer one in a block.
    axis = 0 if len(labels) > n_classes**2 else 1
    logs = np.ascontiguousarray(logs.T) if axis == 0 else logs
    fits = (_fit(labels, _sharpen(logs, sharpness, axis), axis, sharpness) for sharpness in SHARPNESS)
    return max(fits, key=lambda fit: (fit.log_likelihood, -fit.sharpness))


def _log(pred_probs: npt.NDArray[Any]) -> Floats:
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


def _fit(labels: npt.NDArray[Any], prior: Floats, axis: int, sharpness: float) -> NoiseModel:
    """Expectation-maximisation for the transition matrix.

    `labels` (N,) ascend; `prior` is P(true | x), (N, K), or (K, N) where `axis`, that of the classes, is 0.
    """
    n_classes, n_rows = prior.shape[axis], prior.shape[1 - axis]
    transition = np.full((n_classes, n_classes), (1 - _START_DIAGONAL) / (n_classes - 1))
    np.fill_diagonal(transition, _START_DIAGONAL)
    blocks = _blocks(labels, n_classes)
    for _ in range(_EM_STEPS):
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
        transition = counts / counts.sum(axis=1, keepdims=True)
    return NoiseModel(
        transition_matrix=transition,
        expected_under=expected_under,
        sharpness=sharpness,
        log_likelihood=log_likelihood / n_rows,
    )


def _blocks(labels: npt.NDArray[Any], n_classes: int) -> list[tuple[slice, int]]:
    """Runs of rows with one label, and that label; none is longer than a block."""
    length = max(_BLOCK_ENTRIES // n_classes, 1)
    ends = np.cumsum(np.bincount(labels, minlength=n_classes)).tolist()
    return [
        (slice(start, min(start + length, end)), k)
        for k, (begin, end) in enumerate(zip([0, *ends], ends, strict=False))
        for start in range(begin, end, length)
    ]
