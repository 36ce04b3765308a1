"""Planted errors: of labels that are made wrong on purpose, how many does a filter find?

Some rows get a wrong label for the scoring alone; nothing is trained again. The out-of-fold model of a row
never saw the row's label, so what it says of the row is what it would say had the label come wrong. Nothing
of the truth is used. The planted labels are gone when the test is over.

Two kinds are planted, one after the other: `uniform`, any rows, any other class, and `doubtful`, rows of
which the model is unsure, and the class that it takes them for next. Rows whose given label the model
contradicts are left out: many of their labels are wrong already, and another label may be the right one.
docs/self_tests.md says how near the shares come to those of real errors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tasks.label_quality.issues import find_issues
from tasks.label_quality.rows import Batch, Rows
from tasks.label_quality.scores import Score
from tasks.label_quality.self_tests.intervals import Share
from tasks.label_quality.suggestions import second_best

Ints = npt.NDArray[np.int64]
Result = TypeVar("Result")

# So many rows are drawn at most, among which errors are planted, and with which they are compared.
_POOL_ROWS = 200_000
# And so many probabilities: of many classes some thousands of rows say enough, and are held several times.
_POOL_ENTRIES = 2**21
# Of each kind: a share of the rows, but enough to measure, and no more than that takes.
_SHARE, _LEAST, _MOST = 0.02, 50, 5_000
# Where rows are few, so many of them at most.
_LARGEST_SHARE = 0.1
# Doubtful are so many of the rows, by a ranking with so much noise, in nats.
_DOUBTFUL_SHARE, _DOUBT_NOISE = 0.1, 1.5
_TINY = 1e-12


@dataclass(frozen=True)
class PlantedErrors:
    """What became of the planted errors of one kind.

    Attributes:
        found: how many of them the filter flags.
        repaired: how many it flags with the old label as the suggestion.
        auroc: how probably a planted error ranks as more suspect than another row; 0.5 is chance.
    """

    found: Share
    repaired: Share
    auroc: float


@dataclass(frozen=True)
class Pool:
    """Rows drawn evenly from all: `places` (M,) ascending, `labels` (M,) as given, `pred_probs` (M, K)."""

    places: Ints
    labels: Ints
    pred_probs: npt.NDArray[np.floating]

    @property
    def agrees(self) -> npt.NDArray[np.bool_]:
        """(M,) whether the given class is the most probable one."""
        return np.asarray(self.pred_probs.argmax(axis=1) == self.labels)


@dataclass(frozen=True)
class RowsWithOtherLabels:
    """`rows`, those at `places` (M,), which ascend, with `labels` (M,); see `label_quality.rows.Rows`."""

    rows: Rows
    places: Ints
    labels: Ints

    @property
    def n_rows(self) -> int:
        """N."""
        return self.rows.n_rows

    @property
    def n_classes(self) -> int:
        """K."""
        return self.rows.n_classes

    def map(self, function: Callable[[Batch], Result]) -> Iterator[Result]:
        """See `Rows`."""

        def relabel(batch: Batch) -> Result:
            first, last = np.searchsorted(self.places, (batch.start, batch.stop))
            labels = batch.labels.copy()
            labels[self.places[first:last] - batch.start] = self.labels[first:last]
            return function(Batch(batch.start, labels, batch.pred_probs))

        return self.rows.map(relabel)


def plant_errors(
    rows: Rows, pool: Pool, rng: np.random.Generator, *, filter_by: str, score: Score, **options: Any
) -> dict[str, PlantedErrors]:
    """Plant errors of one kind after the other, and run the filter once more for each.

    Deterministic for a generator. The rows are passed over as often as `find_issues` does, twice.

    Args:
        rows: the data set, as it was given.
        pool: rows of it, of which some get a wrong label, and with which these are compared.
        rng: source of the draws.
        filter_by: the filter.
        score: what rows are ranked by; low is suspect.
        options: see `find_issues`.
    """
    n = int(min(max(_SHARE * rows.n_rows, _LEAST), _MOST, _LARGEST_SHARE * len(pool.labels)))
    done: dict[str, PlantedErrors] = {}
    for kind, choose in _KINDS.items():
        planted, wrong = choose(pool, n, rng)
        labels = pool.labels.copy()
        labels[planted] = wrong
        found = find_issues(
            RowsWithOtherLabels(rows, pool.places, labels), filters=[filter_by], rank_by=None, **options
        )
        is_found = np.isin(pool.places, found.flagged[filter_by].rows, assume_unique=True)[planted]
        gives_back = pool.pred_probs[planted].argmax(axis=1) == pool.labels[planted]
        scores = score(labels, pool.pred_probs)
        done[kind] = PlantedErrors(
            Share(int(is_found.sum()), len(planted)),
            Share(int((is_found & gives_back).sum()), len(planted)),
            _auroc(scores[planted], np.sort(np.delete(scores, planted))),
        )
    return done


def draw_pool(rows: Rows, rng: np.random.Generator) -> Pool:
    """Rows drawn evenly, without replacement: all of them where they are few."""
    n = min(rows.n_rows, _POOL_ROWS, max(_POOL_ENTRIES // rows.n_classes, 1))
    places = np.sort(rng.choice(rows.n_rows, n, replace=False)).astype(np.int64)

    def take(batch: Batch) -> tuple[Ints, npt.NDArray[np.floating]]:
        first, last = np.searchsorted(places, (batch.start, batch.stop))
        here = places[first:last] - batch.start
        return batch.labels[here], batch.pred_probs[here]

    labels, pred_probs = zip(*rows.map(take), strict=True)
    return Pool(places, np.concatenate(labels), np.concatenate(pred_probs))


def choose_uniform(pool: Pool, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """`n` places in the pool, any, and their wrong labels: any other class than the given one."""
    chosen = _draw(np.flatnonzero(pool.agrees), n, rng)
    n_classes = pool.pred_probs.shape[1]
    return chosen, (pool.labels[chosen] + rng.integers(1, n_classes, size=len(chosen))) % n_classes


def choose_doubtful(pool: Pool, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """`n` places in the pool among the most doubtful, and their wrong labels: the model's runner-up.

    Rows are ranked by the log of the margin of the most probable class over the next, plus normal noise of
    1.5, as the noise `doubt` is made; the lowest tenth are the most doubtful.
    """
    agreeing = np.flatnonzero(pool.agrees)
    pred_probs = pool.pred_probs[agreeing]
    second, second_prob = second_best(pred_probs)
    margin = pred_probs.max(axis=1).astype(np.float64) - second_prob
    doubt = np.log(np.maximum(margin, _TINY)) + _DOUBT_NOISE * rng.normal(size=len(margin))
    most = np.argsort(doubt, kind="stable")[: max(n, round(_DOUBTFUL_SHARE * len(doubt)))]
    chosen = _draw(most, n, rng)
    return agreeing[chosen], second[chosen]


def _draw(places: Ints, n: int, rng: np.random.Generator) -> Ints:
    return np.sort(rng.choice(places, min(n, len(places)), replace=False))


_KINDS: dict[str, Callable[[Pool, int, np.random.Generator], tuple[Ints, Ints]]] = {
    "uniform": choose_uniform,
    "doubtful": choose_doubtful,
}


def _auroc(suspects: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> float:
    """How probably one of `suspects` (M,) scores lower than one of `others` (N,), ascending; ties are half.

    That is the U statistic of Mann and Whitney (1947), divided by M N.
    """
    if not len(suspects) or not len(others):
        return float("nan")
    below = np.searchsorted(others, suspects, side="left") + np.searchsorted(others, suspects, side="right")
    return float(1 - below.mean() / (2 * len(others)))
