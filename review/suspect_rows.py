"""What there is to review: the rows of data/label_issues.parquet, the worst first, and their contents."""

import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from tasks.page import Content, content_of
from tasks.page.contents import PICTURE_SIDE, picture_of
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, LABEL_ISSUES, SPLIT_ROWS
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import read_table
from tasks.tables.joins import join, locate
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array

# Contents of at most so many bytes stay in memory (MNIST's are 55 MB). Of larger ones a page reads its rows.
_IN_MEMORY_BYTES = 2**30


class Wanted(BaseModel):
    """Which rows a reviewer wants to see; the bounds are inclusive.

    `given` and `suggested` are class indices, probabilities are in [0, 1], and importance is the percentile
    within the given class, in [0, 100]. Rows without a measured importance are there only while its bounds
    are the widest. A split is that of the data set, before `download.pool` made all rows training rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    given: int | None = None
    suggested: int | None = None
    prob_low: float = Field(0, ge=0, le=1)
    prob_high: float = Field(1, ge=0, le=1)
    importance_low: float = Field(0, ge=0, le=100)
    importance_high: float = Field(100, ge=0, le=100)
    split: Literal["any", "train", "test"] = "any"
    decided: Literal["any", "no", "yes", "disagree"] = "no"
    issues: bool = True


@dataclass(frozen=True)
class Suspects:
    """N rows in the order of review: label issues by rank, then the others from low self-confidence on.

    Attributes:
        facts: of the data set.
        signature: changes whenever one of the files that this was read from does.
        example_id: (N,).
        key: (N,) what the owner calls each row.
        given: (N,) class indices, as are `suggested` (N,).
        suggested_prob: (N,) in [0, 1].
        importance: (N,) percentile within the class, NaN where not measured.
        is_issue: (N,).
        split: (N,) str, as the data set came with it.
        splits: those that occur.
        order: (N,) positions of the rows by ascending example_id.
    """

    facts: DatasetFacts
    signature: str
    example_id: npt.NDArray[np.int64]
    key: pa.ChunkedArray
    given: npt.NDArray[np.int16]
    suggested: npt.NDArray[np.int16]
    suggested_prob: npt.NDArray[np.float32]
    importance: npt.NDArray[np.float64]
    is_issue: npt.NDArray[np.bool_]
    split: npt.NDArray[np.str_]
    splits: tuple[str, ...]
    order: npt.NDArray[np.intp]

    def position(self, example_id: int) -> int | None:
        """Where a row is; None if it is not there."""
        place = int(np.searchsorted(self.example_id, example_id, sorter=self.order))
        if place == len(self.order) or self.example_id[self.order[place]] != example_id:
            return None
        return int(self.order[place])

    def select(self, wanted: Wanted) -> npt.NDArray[np.bool_]:
        """(N,) which rows are wanted, whoever decided on them."""
        found = (self.suggested_prob >= wanted.prob_low) & (self.suggested_prob <= wanted.prob_high)
        if wanted.issues:
            found &= self.is_issue
        if wanted.given is not None:
            found &= self.given == wanted.given
        if wanted.suggested is not None:
            found &= self.suggested == wanted.suggested
        if wanted.split != "any":
            found &= self.split == wanted.split
        if (wanted.importance_low, wanted.importance_high) != (0, 100):
            found &= (self.importance >= wanted.importance_low) & (self.importance <= wanted.importance_high)
        return found


def signature_of(data: Path) -> str:
    """Changes whenever one of the files that are shown is written anew; empty while the issues are missing.

    Contents may be missing, as of probabilities of one's own: that too is part of it.
    """
    try:
        stats = [(data / f"{name}.parquet").stat() for name in ("label_issues", "given_labels")]
    except FileNotFoundError:
        return ""
    with suppress(FileNotFoundError):
        stats.append((data / "examples.parquet").stat())
    return "-".join(f"{stat.st_mtime_ns:x}.{stat.st_size:x}.{stat.st_ino:x}" for stat in stats)


def read_suspects(data: Path) -> Suspects:
    """Read the tables of a workspace's `data` folder.

    Raises:
        ArtifactError: a table is missing or not what it should be.
    """
    # Taken before the tables are read: a table that is written meanwhile is then read again.
    signature = signature_of(data)
    columns = ["given_label", "suggested_label", "suggested_prob", "self_confidence", "importance_percentile"]
    path = data / "label_issues.parquet"
    issues = read_table(path, LABEL_ISSUES, columns=["key", *columns, "is_issue", "rank"])
    ids = column_array(issues, "example_id")
    is_issue = column_array(issues, "is_issue")
    rank = issues.column("rank").fill_null(np.iinfo(np.int64).max).to_numpy()
    order = np.lexsort((ids, column_array(issues, "self_confidence"), rank))
    split = _read_splits(data, ids)[order]
    return Suspects(
        facts=read_facts(issues, str(path)),
        signature=signature,
        example_id=ids[order],
        key=issues.column("key").take(pa.array(order)),
        given=column_array(issues, "given_label")[order],
        suggested=column_array(issues, "suggested_label")[order],
        suggested_prob=column_array(issues, "suggested_prob")[order],
        importance=issues.column("importance_percentile").fill_null(np.nan).to_numpy()[order],
        is_issue=is_issue[order],
        split=split,
        splits=tuple(sorted(set(split.tolist()))),
        order=np.argsort(ids[order], kind="stable"),
    )


def _read_splits(data: Path, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.str_]:
    """(N,) the split of each row as its owner has it."""
    path = data / "splits.parquet"
    if path.exists():
        return column_array(join(read_table(path, SPLIT_ROWS, ["original_split"]), ids), "original_split")
    # Probabilities from elsewhere may come without contents.
    given = read_table(data / "given_labels.parquet", GIVEN_LABELS, ["split"])
    return column_array(join(given, ids), "split")


class Contents:
    """The contents of rows, from memory where all of them are small enough, else from the file.

    Probabilities of one's own come without contents: then there is nothing to show.
    """

    def __init__(self, path: Path, facts: DatasetFacts) -> None:
        self._kind = facts.content
        self._reader = TableReader(path, EXAMPLES, [facts.content]) if path.exists() else None
        # Whether there is more to see than a page shows.
        self.are_shrunk = facts.content == "image" and max(facts.shape[:2]) > PICTURE_SIDE
        self._from_memory: Callable[[int], Content] | None = None
        if self._reader is not None and self._reader.n_bytes <= _IN_MEMORY_BYTES:
            self._ids, values = self._reader.column("example_id"), self._reader.column(self._kind)
            self._from_memory = lru_cache(2_000)(lambda row: content_of(self._kind, values[row]))

    def show(self, ids: npt.NDArray[np.int64]) -> list[Content]:
        """What a page shows of each of `ids` (M,).

        Raises:
            ArtifactError: the file is damaged, or lacks one of them.
        """
        if self._reader is None:
            return [Content(text="(data/examples.parquet is not here)")] * len(ids)
        if self._from_memory is not None:
            return [self._from_memory(row) for row in locate(self._ids, ids, self._reader.where).tolist()]
        values = column_array(self._reader.rows(ids), self._kind)
        return [content_of(self._kind, value) for value in values]

    def picture(self, example_id: int) -> bytes | None:
        """A picture in its own size, as PNG; None where contents are no pictures or not there.

        Raises:
            ArtifactError: the file is damaged.
        """
        if self._reader is None or not self.are_shrunk:
            return None
        table = self._reader.find(np.array([example_id]))
        if not table.num_rows:
            return None
        buffer = io.BytesIO()
        picture_of(column_array(table, "image")[0]).save(buffer, format="PNG")
        return buffer.getvalue()
