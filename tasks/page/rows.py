"""What a page says of single rows of data/label_issues.parquet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    taken: dict[str, Any] = {
        name: column_array(issues, name)[rows].tolist()
        for name in ("example_id", "given_label", "suggested_label", "suggested_prob")
    }
    keys = issues.column("key").take(pa.array(rows)).to_pylist()
    ids = np.array(taken["example_id"], dtype=np.int64)
    truth = join(given, ids).column("true_label").to_pylist()
    contents = read_contents(examples, ids)
    return [
        Card(
            example_id=example_id,
            key=keys[place],
            given=names[taken["given_label"][place]],
            suggested=names[taken["suggested_label"][place]],
            suggested_prob=taken["suggested_prob"][place],
            true=None if truth[place] is None else names[truth[place]],
            content=contents[example_id],
        )
        for place, example_id in enumerate(taken["example_id"])
    ]
