"""The brake: predictions that say too little, or too much, change no label.

`LEAST_AGREEMENT` lies between what was measured of runs that harm and of runs that help. 600 photographs
with 60 wrong labels, of which a network learned little, have 0.08 to 0.11; relabelling made 90 % right
labels 27 % there. MNIST with 10 % wrong labels has 0.88, nine published arrays with errors that people made
have 0.68 to 0.92, and a perfect classifier of ten classes, half of whose labels are wrong at random, has
0.44. Agreement below 0.2 is called slight (Landis and Koch, "The measurement of observer agreement for
categorical data", 1977).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.label_quality.metrics import chance_corrected_agreement

LEAST_AGREEMENT = 0.2


@dataclass(frozen=True)
class Brake:
    """Whether labels may be changed.

    Attributes:
        agreement: of the predicted with the given classes, corrected for chance; 1 is all, 0 is chance.
        changed_share: the share of the rows that would get another label or be dropped, in [0, 1].
        reason: why no label may be changed: the model is `near_chance`, or there are `too_many_changes`; None
            where labels may be changed.
    """

    agreement: float
    changed_share: float
    reason: Literal["near_chance", "too_many_changes"] | None


def apply_brake(confusion: npt.NDArray[np.int64], changed_share: float, max_changed_share: float) -> Brake:
    """Judge a repair by what the predictions say of all rows.

    Args:
        confusion: (K, K) rows by given class and by most probable class out of fold.
        changed_share: of the rows that the repair would change, in [0, 1].
        max_changed_share: the most that it may, in [0, 1].
    """
    agreement = chance_corrected_agreement(confusion)
    if not agreement >= LEAST_AGREEMENT:
        return Brake(agreement, changed_share, "near_chance")
    return Brake(agreement, changed_share, "too_many_changes" if changed_share > max_changed_share else None)
