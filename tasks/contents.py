"""What the rows of a data set are made of: pictures, texts or vectors of numbers.

A content is a view: `take` chooses rows without copying them, and `values` copies the chosen ones. So folds
share one array of pictures, and a batch is all that is copied.
"""

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from rich.console import Console

from tasks.tables.facts import DatasetFacts


@dataclass(frozen=True)
class _Rows:
    """The chosen rows of `held`: those at `places` (N,), or all."""

    kind: ClassVar[str]
    held: Sized
    places: npt.NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.held if self.places is None else self.places)

    def take(self, rows: npt.NDArray[np.integer] | slice) -> Self:
        """The rows at these positions, which may repeat; nothing is copied."""
        places = np.arange(len(self.held)) if self.places is None else self.places
        return replace(self, places=places[rows])


@dataclass(frozen=True)
class Images(_Rows):
    """Pictures: `held` (M, H, W) or (M, H, W, C), uint8."""

    kind: ClassVar[str] = "image"
    held: npt.NDArray[np.uint8]

    def values(self) -> npt.NDArray[np.uint8]:
        """(N, H, W) or (N, H, W, C), uint8."""
        return self.held if self.places is None else self.held[self.places]


@dataclass(frozen=True)
class Texts(_Rows):
    """Texts: `held` (M,) strings."""

    kind: ClassVar[str] = "text"
    held: Sequence[str]

    def values(self) -> list[str]:
        """(N,) strings."""
        return list(self.held) if self.places is None else [self.held[place] for place in self.places]


@dataclass(frozen=True)
class Features(_Rows):
    """Vectors of numbers: `held` (M, d), float32."""

    kind: ClassVar[str] = "features"
    held: npt.NDArray[np.float32]

    def values(self) -> npt.NDArray[np.float32]:
        """(N, d), float32."""
        return self.held if self.places is None else self.held[self.places]


Content = Images | Texts | Features
OF_KIND: Mapping[str, Callable[[Any], Content]] = {each.kind: each for each in (Images, Texts, Features)}
"""Makes a content of each kind from all of its rows, by the name of its column in data/examples.parquet."""


@dataclass(frozen=True)
class Examples:
    """A data set in memory, as a reader of `tasks/datasets` gives it.

    Attributes:
        facts: names, content kind and shape.
        key: (N,) what the owner calls each row, unique and the same on every run.
        split: (N,) str, `train`, `valid`, `test` or `unlabeled`.
        given_label: (N,) int16 class indices that people brought, -1 where there is none; None where the set
            has none at all.
        true_label: (N,) int16 class indices known to be right, -1 where unknown; None where no truth is
            known.
        content: (N, ...) the rows themselves.
        group: (N,) what rows that belong together have in common, as a patient or a day, empty where a row is
            alone; None where the owner says nothing of it.
        left_out: a sentence about rows that are left out, if any are.
    """

    facts: DatasetFacts
    key: Sequence[str]
    split: npt.NDArray[np.str_]
    given_label: npt.NDArray[np.int16] | None
    true_label: npt.NDArray[np.int16] | None
    content: Content
    group: Sequence[str] | None = None
    left_out: Sequence[str] = ()


@dataclass(frozen=True)
class Fetch:
    """How a reader of data sets may reach beyond this machine.

    Attributes:
        sources: names of sources, in the order in which to try them.
        connect_timeout_s: seconds to wait for an answer.
        retries: further tries a file.
        console: what a reader says goes here.
    """

    sources: Sequence[str]
    connect_timeout_s: float
    retries: int
    console: Console
