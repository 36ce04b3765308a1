"""Links between rows that are alike, and which of them stand out from the likeness that is usual here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Links:
    """Pairs of rows, each pair once.

    Attributes:
        first: (P,) positions.
        second: (P,) positions, each greater than its `first`.
        distance: (P,) at least 0; 0 of rows that look the same.
    """

    first: Ints
    second: Ints
    distance: Floats

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def join(cls, parts: Sequence[Self] = ()) -> Self:
        """The links of several sets; no pair is in two of them."""
        first, second = (
            np.concatenate([np.empty(0, dtype=np.int64), *(getattr(part, end) for part in parts)])
            for end in ("first", "second")
        )
        return cls(first, second, np.concatenate([np.empty(0), *(part.distance for part in parts)]))

    def take(self, chosen: Bools | Ints) -> Self:
        """The links at `chosen`."""
        return type(self)(self.first[chosen], self.second[chosen], self.distance[chosen])


def pair_up(index: Ints) -> tuple[Ints, Ints, Ints]:
    """The pairs of rows and their neighbours `index` (N, k), each once and sorted.

    Returns:
        (P,) the lower positions, (P,) the higher ones, and (P,) where in `index.ravel()` each pair is found
        first. A row beside itself makes no pair.
    """
    n_rows, k = index.shape
    own, other = np.repeat(np.arange(n_rows), k), index.ravel()
    pairs, place = np.unique(np.minimum(own, other) * n_rows + np.maximum(own, other), return_index=True)
    first, second = np.divmod(pairs, n_rows)
    proper = first < second
    return first[proper], second[proper], place[proper].astype(np.int64)


def stand_out(links: Links, n_rows: int, *, limit: float | Floats, ratio: float) -> Bools:
    """(P,) which links are much shorter than what is usual around their rows.

    Copies of a row are near it, and then comes a gap: the next row is at least `ratio` times as far. In a
    crowd of rows that are alike (the ones of MNIST), distances grow by small steps: there is no gap, however
    short they are. Both rows of a link must have it before a gap. The ratio of the distances to the nearest
    and the next row is Lowe's test ("Distinctive Image Features from Scale-Invariant Keypoints", 2004,
    section 7.1); here, any number of copies may come before the gap.

    Args:
        links: of each row, to its nearest rows, copies or not: they are what a copy is compared with.
        n_rows: N, of the table.
        limit: no link is longer; one for all, or (P,).
        ratio: greater than 1. A row with short links alone has no gap: what comes next is not known.
    """
    rows = np.concatenate([links.first, links.second])
    distance = np.concatenate([links.distance, links.distance])
    short = np.tile(links.distance <= limit, 2)
    order = np.lexsort((distance, rows))
    rows, distance, short = rows[order], distance[order], short[order]
    following = np.append(distance[1:], -np.inf)
    following[np.append(rows[1:] != rows[:-1], True)] = -np.inf
    before_gap = short & (following >= ratio * distance)
    reach = np.full(n_rows, -np.inf)
    np.maximum.at(reach, rows[before_gap], distance[before_gap])
    both = np.minimum(reach[links.first], reach[links.second])
    stands_out: Bools = (links.distance <= limit) & (links.distance <= both)
    return stands_out
