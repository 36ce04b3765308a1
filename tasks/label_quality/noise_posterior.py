"""The filter `noise_posterior`: how probable is it that the given label is the true one?

The filters of confident learning count errors and then take that many rows from the end of a ranking. This
one asks each row by Bayes' rule. The model (the noise model of Dawid and Skene, JRSS C 28 (1979), with one
annotator, and a classifier in the place of the class prior, as in Raykar et al., JMLR 11 (2010), section 2):

    P(true = j | x)            proportional to pred_probs_j ^ sharpness
    P(given = y | true = j)    transition_matrix[j, y]
    P(given = y | x)           their product, summed over j

`sharpness` undoes the under-confidence that label smoothing and noisy targets teach a classifier. The
transition matrix comes from expectation-maximisation, `sharpness` from the likelihood of the given labels.
A row is an issue where P(true = given | x, given) < 1/2: where being wrong is the better bet.
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


@dataclass(frozen=True)
class NoisePosterior:
    """The fitted model.

    Attributes:
        posterior: (N,) probability that the given label is the true one, in [0, 1].
        transition_matrix: (K, K) P(given | true), indexed [true, given]; rows sum to 1.
        sharpness: the chosen exponent.
        log_likelihood: mean over rows, in nats.
    """

    posterior: Floats
    transition_matrix: Floats
    sharpness: float
    log_likelihood: float


def fit_noise_posterior(labels: npt.NDArray[Any], pred_probs: npt.NDArray[Any]) -> NoisePosterior:
    """Fit the model to given labels (N,) and out-of-fold probabilities (N, K).

    Deterministic; a tie in likelihood goes to the smaller sharpness.
    """
    fits = [_fit(labels, _sharpen(pred_probs, sharpness), sharpness) for sharpness in SHARPNESS]
    return max(fits, key=lambda fit: (fit.log_likelihood, -fit.sharpness))


def _sharpen(pred_probs: npt.NDArray[Any], sharpness: float) -> Floats:
    """Rows to the power of `sharpness`, each summing to 1."""
    logs = sharpness * np.log(np.maximum(pred_probs.astype(np.float64), 1e-12))
    probs = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(probs / probs.sum(axis=1, keepdims=True))


def _fit(labels: npt.NDArray[Any], prior: Floats, sharpness: float) -> NoisePosterior:
    """Expectation-maximisation for the transition matrix, `prior` (N, K) being P(true | x)."""
    n_classes = prior.shape[1]
    transition = np.full((n_classes, n_classes), (1 - _START_DIAGONAL) / (n_classes - 1))
    np.fill_diagonal(transition, _START_DIAGONAL)
    given = np.eye(n_classes)[labels]
    for _ in range(_EM_STEPS):
        # E: how likely each class is the true one, knowing what was given. M: count and normalise.
        joint = prior * transition.T[labels]
        evidence = joint.sum(axis=1, keepdims=True)
        responsibility = joint / evidence
        transition = responsibility.T @ given + _TINY
        transition /= transition.sum(axis=1, keepdims=True)
    return NoisePosterior(
        posterior=responsibility[np.arange(len(labels)), labels],
        transition_matrix=transition,
        sharpness=sharpness,
        log_likelihood=float(np.log(evidence).mean()),
    )
