"""Joining tables by `example_id`, never by row order."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks import ArtifactError
from tasks.tables.schemas import column_array


def join(table: pa.Table, ids: npt.NDArray[np.integer], where: str = "table") -> pa.Table:
    """The rows of `table` with these `example_id` (M,), in their order.

    Raises:
        ArtifactError: see `locate`.
    """
    found = column_array(table, "example_id")
    if np.array_equal(found, ids):
        return table
    return table.take(pa.array(locate(found, ids, where)))


def locate(
    ids: npt.NDArray[np.integer], wanted: npt.NDArray[np.integer], where: str = "table"
) -> npt.NDArray[np.intp]:
    """Positions in `ids` (N,), which are unique, of each of `wanted` (M,).

    Raises:
        ArtifactError: an id is not there; says how many and which first.
    """
    order = np.argsort(ids, kind="stable")
    places = np.searchsorted(ids, wanted, sorter=order)
    found = order[np.minimum(places, len(ids) - 1)] if len(ids) else np.zeros(len(wanted), dtype=np.intp)
    missing = np.ones(len(wanted), dtype=bool) if not len(ids) else ids[found] != wanted
    if missing.any():
        raise ArtifactError(
            f"{where}: expected a row for every example_id asked for, found {int(missing.sum())} missing, "
            f"the first {int(wanted[missing][0])}. Rebuild the tables with `dvc repro`."
        )
    return found
