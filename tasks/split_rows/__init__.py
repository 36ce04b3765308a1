"""Stage `split_rows`: which rows are duplicates, and which are held out, before any label is changed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.neighbours import describe_search
from tasks.params import Params
from tasks.split_rows.duplicates import Content, find_groups, fingerprint, join
from tasks.split_rows.groups import Groups, put_together
from tasks.split_rows.held_out import hold_out
from tasks.tables.catalog import EXAMPLES, FEATURES, HELD_OUT, SPLIT_ROWS
from tasks.tables.io import make_table, write_table
from tasks.tables.portions import TableReader, available_cores
from tasks.tables.schemas import column_array


def split_rows(params: Params, workspace: Path) -> None:
    """Write data/splits.parquet: the group and the split of each row.

    Rows of a pooled split become training rows. Where the data set came with neither test nor validation
    rows, a share of the training rows is held out, stratified by class, whole groups at a time. Rows that the
    owner puts together are of one group there and in the folds.

    Raises:
        ArtifactError: a table is missing or not what it should be.
    """
    section = params.split_rows
    wanted = ["split", "given_label", "true_label"]
    examples = TableReader(EXAMPLES.at(workspace), EXAMPLES, wanted, optional=["group"])
    facts = examples.facts
    ids, original = examples.column("example_id"), examples.column("split")
    search = describe_search(len(ids)) if section.near_duplicates and facts.content != "text" else None
    if search:
        print(f"split_rows: {search}")
    groups = group_examples(workspace, examples, ids, section.near_duplicates)
    has_owner_groups = "group" in examples.schema.names
    together = groups.group
    if has_owner_groups:
        together = put_together(together, examples.column("group", null=""))
    split = np.where(np.isin(original, params.download.pool), "train", original)
    if not np.isin(original, ("test", "valid")).any():
        train = np.flatnonzero(split == "train")
        given, true = (examples.column(name, null=-1)[train] for name in ("given_label", "true_label"))
        labels = np.where(given >= 0, given, true).astype(np.int64)
        rng = np.random.default_rng(section.held_out_seed)
        held = hold_out(labels, together[train], section.held_out_share, rng)
        split[train[held]] = HELD_OUT
    columns = {"example_id": ids, "group": groups.group, "split": split, "original_split": original}
    columns |= {"together": together} if has_owner_groups else {}
    write_table(SPLIT_ROWS.at(workspace), make_table(SPLIT_ROWS, facts, columns), SPLIT_ROWS)
    repeated = groups.kind != "single"
    n_groups = len(np.unique(groups.group[repeated]))
    n_held = int((split == HELD_OUT).sum())
    print(
        f"split_rows: {int(repeated.sum()):,} rows are duplicates or near duplicates, in {n_groups:,} groups"
        + (f"; {n_held:,} rows held out" if n_held else "")
        + f", {SPLIT_ROWS.path}"
    )


def group_examples(workspace: Path, examples: TableReader, ids: npt.NDArray[np.int64], near: bool) -> Groups:
    """The groups of all rows, whose contents are read in portions and leave fingerprints alone.

    Raises:
        ArtifactError: a table is missing or not what it should be.
    """
    kind = examples.facts.content
    prints = join([fingerprint(_content(table, kind)) for table in examples.portions([kind])])
    # Pretrained features, where the model has such, find larger crops of pictures.
    features = TableReader(FEATURES.at(workspace), FEATURES, [], optional=["features"])
    has_features = near and kind == "image" and "features" in features.schema.names
    # Imported here, where it is needed; the pool has work for all cores.
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), ThreadPoolExecutor(available_cores()) as pool:
        return find_groups(
            ids,
            prints,
            near=near,
            features=features.column("features") if has_features else None,
            each=pool.map,
        )


def _content(table: pa.Table, kind: str) -> Content:
    texts: list[str] = table.column(kind).to_pylist() if kind == "text" else []
    return texts if kind == "text" else column_array(table, kind)
