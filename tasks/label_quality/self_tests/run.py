"""All self-tests of a run, and what they found as plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.label_quality.rows import Batch, Rows
from tasks.label_quality.scores import Score
from tasks.label_quality.self_tests.agreement import Agreement, compare_views
from tasks.label_quality.self_tests.class_shares import ClassShares, compare_class_shares
from tasks.label_quality.self_tests.intervals import Share
from tasks.label_quality.self_tests.neighbours_vote import UNASKED
from tasks.label_quality.self_tests.planted import PlantedErrors, draw_pool, plant_errors
from tasks.label_quality.self_tests.words import SelfTestMetrics

Ints = npt.NDArray[np.int64]
Ask = Callable[[Ints], Ints]
"""Takes row numbers (Q,), which ascend, and gives a second opinion (Q,) on each: a class, or `UNASKED`."""

ALL_ROWS = 200_000
"""Up to so many rows each has a second opinion; of more, a sample and a sample of the issues have one."""
_SAMPLE_ROWS = 20_000
# The tests have a generator of their own: whether they run changes nothing else.
_SEED = 15


@dataclass(frozen=True)
class SelfTests:
    """What the tests found.

    Attributes:
        n_classes: K.
        planted: by kind, what became of errors that were planted.
        shares: the class whose share in the probabilities differs most from its share in the labels.
        agreement: what given label, model and second opinion say of each other; None without an opinion.
        asked: (Q,) the rows, ascending, of which there is a second opinion.
        opinion: (Q,) their second opinion: a class, or `UNASKED`.
    """

    n_classes: int
    planted: dict[str, PlantedErrors]
    shares: ClassShares
    agreement: Agreement | None
    asked: Ints
    opinion: Ints

    def second_opinion(self, start: int, stop: int) -> Ints:
        """(n,) the second opinions on rows `start` to `stop`, `UNASKED` where there is none."""
        found = np.full(stop - start, UNASKED, dtype=np.int64)
        first, last = np.searchsorted(self.asked, (start, stop))
        found[self.asked[first:last] - start] = self.opinion[first:last]
        return found

    @property
    def recall(self) -> Share:
        """The recall of errors like the uniform ones, in any rows, with its interval.

        Errors are planted where the classifier is right. Where it is wrong, which a second opinion tells, a
        wrong label is found unless it is the very class that the classifier takes the row for.
        """
        found = self.planted["uniform"].found
        if self.agreement is None or not self.agreement.is_known:
            return found
        right = self.agreement.model_skill + (1 - self.agreement.model_skill) / self.n_classes
        factor = right + (1 - right) * (self.n_classes - 2) / (self.n_classes - 1)
        return Share(round(found.n_hits * factor), found.n_rows)

    def entries(self, class_names: Sequence[str]) -> SelfTestMetrics:
        """All but the opinions, ready for JSON."""
        shares, views = self.shares, self.agreement
        return {
            "planted": {
                kind: {
                    "n_planted": errors.found.n_rows,
                    "found": errors.found.entries(),
                    "repaired": errors.repaired.entries(),
                    "auroc": errors.auroc,
                }
                for kind, errors in self.planted.items()
            },
            "recall": self.recall.entries(),
            "class_shares": {
                "class": class_names[shares.label],
                "expected": shares.expected,
                "given": shares.given,
                "is_shifted": shares.is_shifted,
            },
            "second_opinion": None
            if views is None
            else {
                "n_rows": views.model_given.n_rows,
                "agrees_with_model": views.model_second.entries(),
                "agrees_with_given": views.second_given.entries(),
                "model_agrees_with_given": views.model_given.entries(),
                "model_skill": views.model_skill,
                "second_skill": views.second_skill,
                "is_known": views.is_known,
                "right_labels": {"share": views.right_labels, "low": views.low, "high": views.high},
            },
        }


def run_self_tests(
    rows: Rows, issues: Ints, ask: Ask | None, *, filter_by: str, score: Score, **options: Any
) -> SelfTests:
    """Plant errors, compare class shares, and ask for a second opinion where there is one to ask.

    Args:
        rows: the data set.
        issues: (M,) the rows that the filter flagged, ascending.
        ask: who has the second opinion.
        filter_by: the filter.
        score: what rows are ranked by; low is suspect.
        options: see `find_issues`.
    """
    rng = np.random.default_rng(_SEED)
    pool = draw_pool(rows, rng)
    shares = compare_class_shares(pool.labels, pool.pred_probs)
    planted = plant_errors(rows, pool, rng, filter_by=filter_by, score=score, **options)
    del pool
    if ask is None:
        nothing = np.zeros(0, dtype=np.int64)
        return SelfTests(rows.n_classes, planted, shares, None, nothing, nothing)
    sample = np.arange(rows.n_rows)
    asked = sample
    if rows.n_rows > ALL_ROWS:
        sample = _draw(rows.n_rows, _SAMPLE_ROWS, rng)
        asked = np.union1d(sample, issues[_draw(len(issues), _SAMPLE_ROWS, rng)])
    opinion = ask(asked)
    given, model = _given_and_predicted(rows, sample)
    second = opinion[np.searchsorted(asked, sample)]
    known = second != UNASKED
    agreement = compare_views(given[known], model[known], second[known], rows.n_classes)
    return SelfTests(rows.n_classes, planted, shares, agreement, asked, opinion)


def _draw(n_rows: int, n: int, rng: np.random.Generator) -> Ints:
    return np.sort(rng.choice(n_rows, min(n, n_rows), replace=False)).astype(np.int64)


def _given_and_predicted(rows: Rows, places: Ints) -> tuple[Ints, Ints]:
    """The given and the most probable classes of the rows at `places` (M,), which ascend; each (M,)."""

    def look_at(batch: Batch) -> tuple[Ints, Ints]:
        first, last = np.searchsorted(places, (batch.start, batch.stop))
        here = places[first:last] - batch.start
        return batch.labels[here], batch.pred_probs[here].argmax(axis=1)

    given, predicted = zip(*rows.map(look_at), strict=True)
    return np.concatenate(given), np.concatenate(predicted)
