"""What speaks against probabilities that nothing is proved of."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tasks.label_quality.in_sample import Surprise
from tasks.prune.labelled_rows import PIECE_ENTRIES, Part
from tasks.tables.probabilities import rows_off_1


@dataclass(frozen=True)
class Doubts:
    """What speaks against probabilities that nothing is proved of; parts add, in order of rows.

    Attributes:
        surprise: what tells whether they look in-sample.
        n_off: rows that do not sum to 1.
        first_off: the key of the first such row, and its sum.
    """

    surprise: Surprise = field(default_factory=Surprise)
    n_off: int = 0
    first_off: tuple[str, float] = ("", 1.0)

    @classmethod
    def of(cls, part: Part) -> Self:
        """Those of a part."""
        doubts = cls()
        for piece in part.batch.cut(PIECE_ENTRIES):
            rows, sums = rows_off_1(piece.pred_probs)
            first = piece.start - part.batch.start + rows[:1]
            doubts += cls(
                Surprise.of(piece.labels, piece.pred_probs),
                len(rows),
                (part.keys[int(first[0])].as_py(), float(sums[0])) if len(rows) else cls.first_off,
            )
        return doubts

    def __add__(self, later: Self) -> Self:
        first_off = self.first_off if self.n_off else later.first_off
        return type(self)(self.surprise + later.surprise, self.n_off + later.n_off, first_off)

    def warnings(self, path: Path) -> Iterator[str]:
        """What to say of them."""
        if self.surprise.looks_in_sample:
            yield (
                f"{path} looks as if its models had learned from the labels that they judge: "
                f"{self.surprise.agreement:.1%} of the given labels are predicted, with "
                f"{self.surprise.ratio:.0%} of the surprise that the probabilities expect. Wrong labels that "
                "a model has memorised are not found: use out-of-fold probabilities. "
                "(docs/label_quality.md says how sure this warning is.)"
            )
        if self.n_off:
            key, total = self.first_off
            yield (
                f"{path} has rows whose probabilities do not sum to 1: {self.n_off:,}, the first with "
                f"key {key} and a sum of {total:.4g}. Filters and scores measure them by "
                "another scale than the rest: divide each row by its sum."
            )
