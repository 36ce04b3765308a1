"""Stage `split_rows`: which rows are duplicates, and which are held out, before any label is changed."""

import hashlib
from pathlib import Path

import numpy as np

from tasks.params import Params
from tasks.tables.catalog import EXAMPLES, SPLIT_ROWS
from tasks.tables.io import make_table, write_table
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array


def split_rows(params: Params, workspace: Path) -> None:
    """Write data/splits.parquet: the group and the split of each row."""
    examples = TableReader(EXAMPLES.at(workspace), EXAMPLES, ["split"])
    facts = examples.facts
    ids, original = examples.column("example_id"), examples.column("split")
    first: dict[bytes, int] = {}
    group = np.array(
        [
            first.setdefault(hashlib.blake2b(np.asarray(row).tobytes()).digest(), example_id)
            for table in examples.portions([facts.content])
            for example_id, row in zip(
                column_array(table, "example_id").tolist(), column_array(table, facts.content), strict=True
            )
        ]
    )
    split = np.where(np.isin(original, params.download.pool), "train", original)
    columns = {"example_id": ids, "group": group, "split": split, "original_split": original}
    write_table(SPLIT_ROWS.at(workspace), make_table(SPLIT_ROWS, facts, columns), SPLIT_ROWS)
