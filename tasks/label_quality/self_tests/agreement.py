"""How many given labels are right at least, from how often three views of the rows agree.

The views are the given label, the model's out-of-fold class and a second opinion. Where each is right or
guesses independently of the others, the agreement of two of them, less what chance gives, is the product of
how often each is right, less what chance gives (Dawid and Skene, JRSS C 28 (1979), solved by moments; with
three views the three products give the three factors):

    k(a, b) = (A(a, b) - chance(a, b)) / (1 - chance(a, b))      A: the share of rows on which a and b agree
    q_given = sqrt(k(given, model) k(given, second) / k(model, second))

`chance` is what two views agree on who know the shares of the classes and nothing of the rows (Cohen 1960);
with K equal classes k = (K A - 1) / (K - 1). Views that err on the same rows break the assumption. Mistakes
that the model shares with the second opinion look like wrong labels: then the estimate is too low. Wrong
labels that both learned to repeat look right: then it is too high. So a second estimate stands beside it, the
share of rows whose label at least one of the two predicts, and the lower of the two is taken.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.label_quality.self_tests.intervals import Share

Ints = npt.NDArray[np.int64]

_Z = 1.959963984540054
LEAST_SKILL = 0.3
"""A view that is right less often, beyond chance, on a scale from 0 to 1, estimates nothing."""


@dataclass(frozen=True)
class Agreement:
    """What three views of N rows say of each other.

    Attributes:
        model_given: rows on which the model's class is the given one.
        second_given: rows on which the second opinion is the given label.
        model_second: rows on which the second opinion is the model's class.
        model_skill: how often the model is right beyond chance; 0 is chance, 1 is always. NaN where it can
            not be told.
        second_skill: the same of the second opinion.
        right_labels: the least share of right given labels, as estimated; NaN where it can not be told.
        low: the lower end of its 95 % interval, in [0, 1].
        high: the upper end.
    """

    model_given: Share
    second_given: Share
    model_second: Share
    model_skill: float
    second_skill: float
    right_labels: float
    low: float
    high: float

    @property
    def is_known(self) -> bool:
        """Whether the views are good enough to tell how many labels are right."""
        return bool(min(self.model_skill, self.second_skill) >= LEAST_SKILL)


def compare_views(given: Ints, model: Ints, second: Ints, n_classes: int) -> Agreement:
    """What the classes of N rows by three views, each (N,), say of each other."""
    n = len(given)
    views = (given, model, second)
    pairs = ((0, 1), (0, 2), (1, 2))
    agree = np.array([views[a] == views[b] for a, b in pairs])
    with_given, second_with_given, with_second = (Share(int(each.sum()), n) for each in agree)
    shares = [np.bincount(view, minlength=n_classes) / max(n, 1) for view in views]
    chance = np.array([shares[a] @ shares[b] for a, b in pairs])
    if n and (chance < 1).all():
        beyond = (agree.mean(axis=1) - chance) / (1 - chance)
    else:
        beyond = np.zeros(3)
    nothing = Agreement(
        with_given, second_with_given, with_second, float("nan"), float("nan"), float("nan"), 0.0, 1.0
    )
    if not (beyond > 0).all():
        return nothing
    of_given, of_model, of_second = (float(np.sqrt(beyond.prod()) / beyond[other]) for other in (2, 1, 0))
    by_moments = min(of_given + (1 - of_given) * float(chance[0]), 1.0)
    # The delta method: each row's part in the estimate.
    parts = (agree - agree.mean(axis=1, keepdims=True)) / ((1 - chance) * beyond)[:, None]
    part = (1 - chance[0]) * of_given / 2 * (parts[0] + parts[1] - parts[2])
    confirmed = Share(int((agree[0] | agree[1]).sum()), n)
    if confirmed.value < by_moments:
        estimate, low, high = confirmed.value, confirmed.low, confirmed.high
    else:
        half = _Z * float(part.std()) / np.sqrt(n)
        # Where all views agree the method sees no spread; rows that were counted still leave some.
        low = max(min(by_moments - half, confirmed.low), 0.0)
        estimate, high = by_moments, min(by_moments + half, 1.0)
    return Agreement(
        with_given,
        second_with_given,
        with_second,
        min(of_model, 1.0),
        min(of_second, 1.0),
        estimate,
        low,
        high,
    )
