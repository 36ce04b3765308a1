"""What a page says of single rows of data/label_issues.parquet."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.page.contents import Content, read_contents
from tasks.tables.facts import read_facts
from tasks.tables.joins import join
from tasks.tables.schemas import column_array


@dataclass(frozen=True)
class Card:
    """One row: its labels by name, the suggestion's probability in [0, 1], and its content.

    `true` is None where the truth is not known.
    """

    example_id: int
    key: str
    given: str
    suggested: str
    suggested_prob: float
    true: str | None
    content: Content


def describe_rows(
    issues: pa.Table, given: pa.Table, examples: Path, rows: npt.NDArray[np.intp]
) -> list[Card]:
    """A card of each of `rows` (M,), which are positions in `issues`, with truth and content joined by id.

    Args:
        issues: data/label_issues.parquet, at least `key`, `given_label`, `suggested_label` and
            `suggested_prob`.
        given: data/given_labels.parquet, at least `true_label`.
        examples: the path of data/examples.parquet, of which only these rows are kept.
        rows: positions of rows.

    Raises:
        ArtifactError: a row is missing in one of the other tables.
    """
    names = read_facts(issues).class_names
    columns = ["example_id", "key", "given_label", "suggested_label", "suggested_prob"]
    chosen = issues.select(columns).take(pa.array(rows))
    ids = column_array(chosen, "example_id")
    truth = join(given, ids).column("true_label").to_pylist()
    contents = read_contents(examples, ids)
    return [
        Card(
            example_id=row["example_id"],
            key=row["key"],
            given=names[row["given_label"]],
            suggested=names[row["suggested_label"]],
            suggested_prob=row["suggested_prob"],
            true=None if true is None else names[true],
            content=contents[row["example_id"]],
        )
        for row, true in zip(chosen.to_pylist(), truth, strict=True)
    ]
