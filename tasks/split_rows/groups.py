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


def group_rows(ids: Ints, first: Ints, form: Ints, links: Links) -> Groups:
    """The groups that equal content, equal form and links make.

    Args:
        ids: (N,) example_id, ascending.
        first: (N,) position of the first row with each row's content.
        form: (N,) position of the first row with each row's form: what is left of content without what does
            not matter. Of equal content, the form is equal.
        links: between first rows of a form.
    """
    exact = np.bincount(first, minlength=len(first))[first] > 1
    group = ids[join(links, len(ids))[form]]
    _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    return Groups(group, np.select([exact, counts[inverse] == 1], ["exact", "single"], "near"))


def put_together(group: Ints, named: npt.NDArray[np.object_]) -> Ints:
    """(N,) the lowest value of `group` (N,) among all rows that a chain of groups and names joins.

    `named` (N,) are texts; rows of one text belong together, and an empty text names nothing.
    """
    from scipy.sparse import coo_array  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    rows = np.flatnonzero(named != "")
    groups, of_group = np.unique(group, return_inverse=True)
    names, of_name = np.unique(named[rows].astype(str), return_inverse=True)
    n_nodes = len(groups) + len(names)
    edges = (np.ones(len(rows)), (of_group[rows], len(groups) + of_name))
    _, component = connected_components(coo_array(edges, shape=(n_nodes, n_nodes)), directed=False)
    lowest = np.full(n_nodes, np.iinfo(np.int64).max)
    np.minimum.at(lowest, component[: len(groups)], groups)
    found: Ints = lowest[component[of_group]]
    return found


def join(links: Links, n_rows: int) -> Ints:
    """(N,) the lowest position in each row's group.

    Linked rows are of one group, but links make chains: the first row may be like the second and that like
    the third, and so on to rows that have nothing in common. So a group has a centre, and no row of it is
    more than two links away: no two rows are farther apart than four links. The row with the most ways of two
    links (of equals, the first) takes all that it reaches; then the next of those left does. This is star
    clustering with rays of two links (Aslam, Pelekhov, Rus, "The Star Clustering Algorithm", 2004).
    """
    from scipy.sparse import csr_array, eye_array

    group = np.arange(n_rows)
    ends, inverse = np.unique(np.concatenate([links.first, links.second]), return_inverse=True)
    if not len(ends):
        return group
    first, second = np.split(inverse, 2)
    shape = (len(ends), len(ends))
    step: Any = csr_array((np.ones(len(first)), (first, second)), shape=shape)
    step = (step + step.T + eye_array(len(ends))).tocsr()
    beside = np.split(step.indices, step.indptr[1:-1])
    ways = step @ (step @ np.ones(len(ends)))
    taken = np.zeros(len(ends), dtype=bool)
    for centre in np.argsort(-ways, kind="stable"):
        if not taken[centre]:
            rays = np.unique(np.concatenate([beside[row] for row in beside[centre]]))
            rays = rays[~taken[rays]]
            taken[rays] = True
            group[ends[rays]] = ends[rays[0]]
    return group
