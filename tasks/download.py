"""Stage `download`: the examples, from the first source that works, as one checked Parquet table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from tasks.datasets import Examples
from tasks.params import Params
from tasks.tables.catalog import EXAMPLES
from tasks.tables.io import make_table, write_table


def download(params: Params, workspace: Path) -> None:
    """Write data/examples.parquet.

    Raises:
        DatasetError: no source gave the data set, or its content is not what it should be.
    """
    section = params.download
    local_dir = workspace / "inputs" / "examples"
    # Each source brings its own imports; only the chosen one is paid for.
    if section.dataset == "digits":
        from tasks.datasets import digits

        examples = digits.load()
    elif section.dataset == "parquet":
        from tasks.datasets import parquet

        examples = parquet.load(local_dir, section.class_names)
    else:
        from tasks.datasets import mnist

        examples = mnist.load(
            section.dataset,
            section.sources,
            local_dir,
            connect_timeout_s=section.connect_timeout_s,
            retries=section.retries,
            console=Console(stderr=True),
        )
    if section.pool_test:
        examples = pool_test(examples)
    columns = {
        "example_id": examples.example_id,
        "split": examples.split,
        "true_label": (
            [None] * len(examples.example_id) if examples.true_label is None else examples.true_label
        ),
        examples.facts.content: examples.content,
    }
    if examples.original_split is not None:
        columns["original_split"] = examples.original_split
    write_table(
        workspace / "data" / "examples.parquet", make_table(EXAMPLES, examples.facts, columns), EXAMPLES
    )
    splits, counts = np.unique(examples.split, return_counts=True)
    listed = ", ".join(f"{count:,} {split}" for split, count in zip(splits, counts, strict=True))
    print(f"download: {examples.facts.dataset}, {listed} rows, data/examples.parquet")


def pool_test(examples: Examples) -> Examples:
    """The same examples with every test row made a training row: its label is audited like the others.

    Where each row came from is kept; without test rows nothing changes.
    """
    is_test = examples.split == "test"
    if not is_test.any():
        return examples
    return replace(examples, split=np.where(is_test, "train", examples.split), original_split=examples.split)
