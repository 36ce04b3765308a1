"""Rows whose label is more likely wrong than right, by the noise model that the data allow: the default.

At each sharpness the noise model flags another number of rows (`noise_model`), and the likelihood cannot
choose: where people erred it calls their errors doubt. What can tell is where other labels are than the
classifier's, and which. Labels that are wrong by chance are as common where it is surest as elsewhere (rows
of which the class is certain are Patrini et al.'s anchor points, CVPR 2017, and Liu and Tao's, TPAMI 2016),
so that the surest rows say how many there are: the lowest sharpness that flags so many is taken, and other
labels beyond these are the classifier's mistakes, if it need not make too many. People err where the
classifier doubts: then other labels are more common from the surest rows on, and nearly all is flagged that
the highest sharpness flags.

Which class the other label is tells more, where there are three classes or more. People take a row for the
class that it looks like most, and that is the classifier's next class; so do its own mistakes. A label that
is wrong by chance may be any class. Where the other labels of the surest rows are the next class hardly more
often than by luck, they are wrong by chance, however many mistakes the classifier makes elsewhere.

docs/filters.md says on which data this was chosen, and where it fails.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tasks.label_quality.noise_model import SHARPNESS, NoiseFits, NoiseModel, fit_at
from tasks.label_quality.selection import ByRow
from tasks.label_quality.statistics import Statistics

NEEDS = ("sample", "noise")

# The rows that are sure: so many, and among them the surest.
_SURE, _SURER, _SUREST = 0.75, 0.5, 0.25
# How common other labels are among the surest, beside the sure: from where on chance is thought of, and from
# where on nothing else. People's errors have 0.1 to 0.5.
_PEOPLE, _CHANCE = 0.85, 1.0
# How much oftener than by luck they are the next class, in the surer half of the rows: up to where only luck
# is thought of, and from where on luck is not. Errors of people have 0.25 and more.
_LUCK, _LIKENESS = 0.1, 0.3
# A standard error of it that is too large to say anything.
_TOO_FEW = 0.15
# How many mistakes of the classifier are believed in, as a share of the rows, and from where on they are not.
_BELIEVED, _TOO_MANY = 0.05, 0.1
# A label is flagged that is right with less than this probability, or with more, where that is too few.
_HALF = 0.5
# Nearly as many are so many of what chance made wrong, and of what the highest sharpness flags.
_OF_CHANCE, _OF_ALL = 0.95, 0.9


@dataclass(frozen=True)
class OtherLabels:
    """How common other labels than the classifier's are; shares are in [0, 1].

    Attributes:
        surest: their share among the surest quarter of the rows.
        sure: their share among the surest three quarters.
        anywhere: their share among all rows.
        n_rows: all rows.
        likeness: how often they are the next class, among the surer half of the rows, less what luck gives:
            0 is luck, 1 is always; None where that cannot be told.
    """

    surest: float
    sure: float
    anywhere: float
    n_rows: int
    likeness: float | None = None

    @classmethod
    def of(cls, labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]) -> Self:
        """Those of given labels (N,) and probabilities (N, K), N at least 1.

        Rows that are as sure as the last of the quarter belong to it, so that their order does not matter.
        """
        confidence = pred_probs.max(axis=1)
        own = pred_probs[np.arange(len(labels)), labels]
        is_other = own < confidence

        def are_surest(part: float) -> npt.NDArray[np.bool_]:
            last = len(labels) - max(round(part * len(labels)), 1)
            return np.asarray(confidence >= np.partition(confidence, last)[last])

        surest, sure = (float(is_other[are_surest(part)].mean()) for part in (_SUREST, _SURE))
        found = np.flatnonzero(is_other & are_surest(_SURER))
        n_before = (pred_probs[found] > own[found, None]).sum(axis=1)
        likeness = measure_likeness(int((n_before == 1).sum()), len(found), pred_probs.shape[1])
        return cls(surest, sure, float(is_other.mean()), len(labels), likeness)

    @property
    def chance(self) -> float:
        """How far they are as labels that are wrong by chance: from 0, as people's errors, to 1.

        As common among the surest rows as among the sure ones, give or take a standard error; and so common
        that the classifier need not be wrong on many rows to explain the others.
        """
        if not self.sure:
            return 0.0
        ratio = (self.surest + np.sqrt(self.sure / (_SUREST * self.n_rows))) / self.sure
        mistakes = self.anywhere - self.sure
        return _ramp(ratio, _PEOPLE, _CHANCE) * _ramp(mistakes, _TOO_MANY, _BELIEVED)

    @property
    def luck(self) -> float:
        """How far they are any class, as by luck: from 0, the next class, or not known, to 1."""
        return 0.0 if self.likeness is None else _ramp(self.likeness, _LIKENESS, _LUCK)

    @property
    def n_by_chance(self) -> float:
        """How many labels are wrong if they are so by chance: as common everywhere as where it is sure.

        Where they are any class mistakes are counted on in the rows in which it is less sure. Where some
        classes have more wrong labels than others the surest rows may be theirs: then they are too common.
        """
        surest = min(self.surest, self.sure)
        return (self.luck * surest + (1 - self.luck) * self.sure) * self.n_rows

    def enough(self, top: float) -> float:
        """How many rows are to be flagged: nearly as many as chance made wrong, or as people did.

        Nearly as many are a little less, and a standard error. People made nearly as many wrong as the
        highest sharpness flags, `top`. More are flagged only where chance made more wrong than that, and then
        more for each that is left over, so that nothing jumps.
        """
        most = _OF_ALL * top
        by_ratio = self.chance * self._nearly(self.sure, _SURE) + (1 - self.chance) * most
        by_luck = min(self._nearly(self.surest, _SUREST), self._nearly(self.sure, _SURE))

        def mixed(limit: float) -> float:
            return self.luck * min(by_luck, limit) + (1 - self.luck) * min(by_ratio, limit)

        usual, beyond = mixed(most), mixed(np.inf) - top
        if beyond <= 0:
            return usual
        return min(usual + 2 * beyond, mixed(np.inf), max(usual, self.anywhere * self.n_rows))

    def _nearly(self, share: float, part: float) -> float:
        error = float(np.sqrt(share / (part * self.n_rows)))
        return max(_OF_CHANCE * share - error, 0.0) * self.n_rows


def measure_likeness(n_next: int, n: int, n_classes: int) -> float | None:
    """How often `n` other labels are the next class, as `n_next` of them are, beyond luck; 1 is always.

    None where there are two classes, so that no other is left, or too few labels.
    """
    if n_classes < 3 or not n:
        return None
    by_luck = 1 / (n_classes - 1)
    share = n_next / n
    error = np.sqrt(max(share * (1 - share), by_luck * (1 - by_luck)) / n) / (1 - by_luck)
    return float((share - by_luck) / (1 - by_luck)) if error < _TOO_FEW else None


def _ramp(value: float, zero: float, one: float) -> float:
    """From 0 at `zero` and beyond to 1 at `one` and beyond."""
    return float(np.clip((value - zero) / (one - zero), 0, 1))


def select(statistics: Statistics) -> ByRow:
    fits, sample = statistics.noise, statistics.sample
    found = OtherLabels.of(*sample)
    sharpness = choose_sharpness(fits, found)
    fitted = fits.kept.get(sharpness) or fit_at(*sample, sharpness)
    n_missed = round(found.enough(float(fits.n_flagged[-1]))) - int(fits.n_flagged[-1])
    below = _HALF if n_missed <= 0 else choose_cut(fitted, *sample, n_missed)
    return ByRow(
        lambda rows: fitted.posterior(rows.labels, rows.pred_probs) < below,
        fitted.transition_matrix.T,
        explain(fits, found, sharpness, below),
    )


def choose_sharpness(fits: NoiseFits, found: OtherLabels) -> float:
    """The lowest sharpness from the likeliest on that flags enough rows; the highest, if none does.

    Enough lies between nearly as many as chance made wrong and nearly as many as the highest sharpness
    flags, by how far the labels are as if wrong by chance.
    """
    flags_enough = fits.n_flagged >= found.enough(float(fits.n_flagged[-1]))
    # Below the likeliest, what by chance is wrong would be called doubt.
    flags_enough[: int(np.argmax(fits.log_likelihood))] = False
    flags_enough[-1] = True
    return float(SHARPNESS[int(np.argmax(flags_enough))])


def choose_cut(
    fitted: NoiseModel,
    labels: npt.NDArray[np.integer],
    pred_probs: npt.NDArray[np.floating],
    n_missed: int,
) -> float:
    """Below which probability that the label is right so many more rows are than below a half.

    A classifier that took over many of the wrong labels calls these likelier right than wrong.
    """
    right = np.sort(fitted.posterior(labels, pred_probs))
    last = int(np.searchsorted(right, _HALF)) + n_missed
    return float(right[last]) if last < len(right) else 1.0


def explain(fits: NoiseFits, found: OtherLabels, sharpness: float, below: float = _HALF) -> str:
    """Which sharpness was taken, and why.

    How many rows the fits flag stands nowhere in it: those predicted as given are left alone afterwards.
    """
    by_chance = f"chance made wrong (about {found.n_by_chance:,.0f} of {fits.n_rows:,} fitted rows)"
    by_people = f"sharpness {SHARPNESS[-1]:g} does"
    chance = found.luck + (1 - found.luck) * found.chance
    looks = "as where labels are wrong by chance" if chance > 0.5 else "as where people err"
    if 0 < chance < 1:
        enough = f"between what {by_chance} and what {by_people}"
    else:
        enough = f"nearly what {by_chance}" if chance else f"nearly what {by_people}"
    if below > _HALF:
        looks += (
            "; it flags too few, so that labels are flagged up to a probability of "
            f"{below:.2f} that they are right"
        )
    next_class = "" if found.likeness is None else f", the next class {found.likeness:.2f} beyond luck"
    return (
        f"the noise model at sharpness {sharpness:g}, the lowest from the likeliest "
        f"({fits.likeliest.sharpness:g}) on that flags {enough}: labels differ from the predicted class in "
        f"{found.surest:.1%} of the surest quarter of rows, in {found.sure:.1%} of the surest three quarters "
        f"and in {found.anywhere:.1%} of all"
        f"{next_class}, {looks}"
    )
