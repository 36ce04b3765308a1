"""Rows of numbers that are one row: rounded, converted, measured again with a little noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tasks.neighbours import Each, nearest
from tasks.split_rows.exact import Digests, hash_rows
from tasks.split_rows.links import Links, pair_up, stand_out

Singles = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LONGEST = 0.1
"""Near duplicates differ by less than this, in standard deviations of a column (root mean square)."""
NEIGHBOURS = 16
"""Candidates for each row; so a row may have 15 copies."""
CHANCE = 0.05
"""So many links that mean nothing are expected in a whole table."""

_LEAST_RATIO = 2.0
_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class VectorFingerprints:
    """What is kept of rows of numbers: all of them.

    Attributes:
        digests: (N, 2) of the content.
        vectors: (N, d).
    """

    digests: Digests
    vectors: Singles

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The fingerprints of consecutive portions, of which there is at least one, as of one."""
        digests = np.concatenate([part.digests for part in parts])
        return cls(digests, np.concatenate([part.vectors for part in parts]))


def fingerprint_vectors(vectors: npt.NDArray[np.floating]) -> VectorFingerprints:
    """The fingerprints of rows of numbers (N, d).

    Raises:
        ValueError: a value is not finite in float32.
    """
    singles = vectors.astype(np.float32, copy=False)
    unusable = np.flatnonzero(~np.isfinite(singles).all(axis=1))
    if len(unusable):
        raise ValueError(f"rows of numbers must be finite, found something else in row {unusable[0]}")
    return VectorFingerprints(hash_rows(singles), singles)


def near_vectors(prints: VectorFingerprints, rows: Ints, block_rows: int = 512, each: Each = map) -> Links:
    """Links between near duplicates among the rows of numbers at `rows`; their ends count these.

    Columns count by their standard deviation. Near duplicates are close and stand out: see `stand_out` and
    `least_ratio`.

    Args:
        prints: of all rows.
        rows: (M,) positions; their contents are different.
        block_rows: see `nearest`.
        each: how to go over the blocks.
    """
    k = min(NEIGHBOURS, len(rows) - 1)
    if k < 1:
        return Links.join()
    deviation = _deviation(prints.vectors, rows)
    varied = deviation > 0
    scaled = prints.vectors[rows][:, varied]
    scaled /= (deviation[varied] * np.sqrt(varied.sum())).astype(np.float32)
    found = nearest(scaled, k, block_rows=block_rows, each=each)
    first, second, place = pair_up(found.index)
    links = Links(first, second, found.distance.ravel()[place])
    return links.take(
        stand_out(links, len(rows), limit=LONGEST, ratio=least_ratio(found.distance, len(rows)))
    )


def _deviation(vectors: Singles, rows: Ints) -> Floats:
    """(d,) the standard deviation of each column over some rows."""
    parts = [rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS)]
    mean = sum(vectors[part].sum(axis=0, dtype=np.float64) for part in parts) / len(rows)
    squared: Floats = sum(((vectors[part] - mean) ** 2).sum(axis=0) for part in parts) / len(rows)
    return np.sqrt(squared)


def least_ratio(distance: Floats, n_rows: int) -> float:
    """How much farther the next row must be for a link not to be chance.

    Of rows that lie by chance, with m dimensions, the nearest is r times nearer than the next with
    probability r^-m: so r = (N / CHANCE)^(1 / m). Few dimensions give small gaps often, and ask for a large
    one. m is what the rows have, not their columns: j log(T_j+1 / T_j), with T_j the distance to the j-th
    neighbour, has the mean 1 / m (the model of Levina, Bickel, "Maximum Likelihood Estimation of Intrinsic
    Dimension", 2004). Only the farther half of the neighbours says it, as the nearer half may be copies.

    Args:
        distance: (N, k) of each row to its nearest neighbours, ascending.
        n_rows: N.

    Returns:
        at least 2; infinite where there are fewer than four neighbours to tell from.
    """
    n_nearer = distance.shape[1] // 2
    usable = distance[:, n_nearer - 1 :] if n_nearer > 1 else distance[:0]
    usable = usable[usable[:, 0] > 0] if usable.size else usable
    if not len(usable):
        return np.inf
    order = np.arange(n_nearer, distance.shape[1])
    inverse = (order * np.log(usable[:, 1:] / usable[:, :-1])).mean(axis=1)
    return max(_LEAST_RATIO, float((n_rows / CHANCE) ** np.median(inverse)))
