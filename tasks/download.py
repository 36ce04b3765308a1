"""Stage `download`: the examples, from the first source that works, as one checked Parquet table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console

from tasks import DatasetError, plugins
from tasks.contents import Examples, Fetch
from tasks.params import Params
from tasks.tables.catalog import EXAMPLES
from tasks.tables.io import make_table, write_table
from tasks.tables.keys import example_ids_of


def download(params: Params, workspace: Path) -> None:
    """Write data/examples.parquet.

    Raises:
        DatasetError: no source gave the data set, or its content is not what it should be.
    """
    section = params.download
    reader = plugins.load("datasets", section.dataset)
    fetch = Fetch(section.sources, section.connect_timeout_s, section.retries, Console(stderr=True))
    examples = reader.read(workspace / "inputs", params.options("datasets", section.dataset), fetch)
    if section.labels_per_class is not None:
        examples = hide_labels(examples, section.labels_per_class, np.random.default_rng(section.labels_seed))
    # The report says it too, however long ago this ran.
    left_out = {"left_out": " ".join(examples.left_out)} if examples.left_out else None
    write_table(EXAMPLES.at(workspace), examples_table(examples), EXAMPLES, left_out)
    splits, counts = np.unique(examples.split, return_counts=True)
    listed = ", ".join(f"{count:,} {split}" for split, count in zip(splits, counts, strict=True))
    for sentence in examples.left_out:
        print(f"download: {sentence}")
    print(f"download: {examples.facts.dataset}, {listed} rows, {EXAMPLES.path}")


def hide_labels(examples: Examples, per_class: int, rng: np.random.Generator) -> Examples:
    """The data set with `per_class` labelled training rows of each class; its other training rows unlabelled.

    Which class a row is of says its true label, where that is known, else its given label. The truth stays,
    so that what becomes of the unlabelled rows can be measured; no stage trains on it.

    Raises:
        DatasetError: a class has fewer labelled training rows.
    """
    unknown = np.full(len(examples.key), -1, dtype=np.int16)
    given = unknown if examples.given_label is None else examples.given_label
    true = unknown if examples.true_label is None else examples.true_label
    labels, train = np.where(true >= 0, true, given), examples.split == "train"
    kept = np.zeros(len(labels), dtype=bool)
    for k, name in enumerate(examples.facts.class_names):
        rows = np.flatnonzero(train & (labels == k))
        if len(rows) < per_class:
            raise DatasetError(
                f"download.labels_per_class: {per_class} labelled training rows of class `{name}` were "
                f"expected, found {len(rows)}. Lower it, or set it to null to hide no label."
            )
        kept[rng.choice(rows, per_class, replace=False)] = True
    hidden = train & ~kept
    return replace(
        examples,
        split=np.where(hidden, "unlabeled", examples.split),
        given_label=None if examples.given_label is None else np.where(hidden, unknown, examples.given_label),
    )


def examples_table(examples: Examples) -> pa.Table:
    """The data set as a table, rows in order of `example_id`.

    Raises:
        DatasetError: a key stands twice.
    """
    n = len(examples.key)
    columns = {
        "example_id": example_ids_of(examples.key, examples.facts.dataset),
        "key": examples.key,
        "split": examples.split,
        "given_label": nullable_labels(examples.given_label, n),
        "true_label": nullable_labels(examples.true_label, n),
        examples.facts.content: examples.content.values(),
        **({} if examples.group is None else {"group": [each or None for each in examples.group]}),
    }
    return make_table(EXAMPLES, examples.facts, columns)


def nullable_labels(labels: npt.NDArray[np.int16] | None, n_rows: int) -> pa.Array | Sequence[None]:
    """Class indices (N,) as a column: null for -1, or everywhere where there are no labels."""
    return [None] * n_rows if labels is None else pa.array(labels, pa.int16(), mask=labels < 0)
