"""Groups of rows that show the same thing: links joined, chains cut."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.split_rows.links import Links

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """Which rows show the same thing.

    Attributes:
        group: (N,) the lowest example_id of each row's group; its own where it is alone.
        kind: (N,) `exact` where another row has equal content, `near` where rows of its group only look
            like it, `single` where it is alone.
    """

    group: Ints
    kind: npt.NDArray[np.str_]

    @property
    def sizes(self) -> Ints:
        """(N,) rows in each row's group, itself included."""
        _, inverse, counts = np.unique(self.group, return_inverse=True, return_counts=True)
        return counts.astype(np.int64)[inverse]


def group_rows(ids: Ints, first: Ints, links: Links) -> Groups:
    """The groups that equal content and links make.

    Args:
        ids: (N,) example_id, ascending.
        first: (N,) position of the first row with each row's content.
        links: between first rows.
    """
    exact = np.bincount(first, minlength=len(first))[first] > 1
    group = ids[join(links, len(ids))[first]]
    sizes = np.unique(group, return_inverse=True, return_counts=True)
    alone = sizes[2][sizes[1]] == 1
    return Groups(group, np.select([exact, alone], ["exact", "single"], "near"))


def join(links: Links, n_rows: int) -> Ints:
    """(N,) the lowest position in each row's group.

    Linked rows are of one group, but links make chains: the first row may be like the second and that like
    the third, and so on to rows that have nothing in common. So a group has a centre, and no row of it is
    more than two links away: no two rows are farther apart than four links. Of each set of connected rows,
    the row that reaches the most others by two links (of equals, the first) takes them all; then the next
    of those left does. This is star clustering (Aslam, Pelekhov, Rus, "The Star Clustering Algorithm",
    2004), with rays of two links.
    """
    from scipy.sparse import csr_array, eye_array  # type: ignore[import-untyped]

    group = np.arange(n_rows)
    ends, inverse = np.unique(np.concatenate([links.first, links.second]), return_inverse=True)
    if not len(ends):
        return group
    first, second = np.split(inverse, 2)
    one = np.ones(len(first), dtype=np.float32)
    step: Any = csr_array((one, (first, second)), shape=(len(ends), len(ends)))
    reached = (step + step.T + eye_array(len(ends), dtype=np.float32)).tocsr()
    reached = (reached @ reached).tocsr()
    taken = np.zeros(len(ends), dtype=bool)
    for centre in np.argsort(-np.diff(reached.indptr), kind="stable"):
        if not taken[centre]:
            rays = reached.indices[reached.indptr[centre] : reached.indptr[centre + 1]]
            rays = rays[~taken[rays]]
            taken[rays] = True
            group[ends[rays]] = ends[rays.min()]
    return group
