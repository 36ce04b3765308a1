"""What there is to review: the rows of data/label_issues.parquet, in any order, and their contents."""

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
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from review.next_class import NextClasses
from review.originals import Originals
from tasks.label_quality.audit import draw_order
from tasks.page import Content, content_of
from tasks.page.contents import LABELS, PICTURE_SIDE, picture_of
from tasks.page.profiles import measure_profile
from tasks.params import Audit
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS, SPLIT_ROWS
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import read_table
from tasks.tables.joins import join, locate
from tasks.tables.portions import TableReader
from tasks.tables.proofs import MARK
from tasks.tables.schemas import column_array

Sort = Literal[
    "rank",
    "error_prob",
    "self_confidence",
    "normalized_margin",
    "confidence_weighted_entropy",
    "suggested_prob",
    "importance",
    "contrast",
    "random",
]
"""Orders of review. By rank: issues first, then the others from low self-confidence on."""
# Classes that a card shows with their probabilities.
_BARS = 3
NO_AUDIT = Audit(share=0)
"""No row is drawn at random."""
# Those in which the largest come first; the others begin with the smallest.
_LARGEST_FIRST = ("error_prob", "suggested_prob", "importance", "contrast")
# Contents of at most so many bytes stay in memory (MNIST's are 55 MB). Of larger ones a page reads its rows.
_IN_MEMORY_BYTES = 2**28
# Who judges a row reads all of its text; a page of rows stays some MB all the same.
_MOST_TEXT = 20_000


class Wanted(BaseModel):
    """Which rows a reviewer wants to see; the bounds are inclusive.

    `given` and `suggested` are class indices, probabilities are in [0, 1], and importance is the percentile
    within the given class, in [0, 100]. Rows without a measured importance are there only while its bounds
    are the widest. A split is that of the data set, before `download.pool` made all rows training rows.
    `search` is a part of a key, or of a text, in any case of letters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    given: int | None = None
    suggested: int | None = None
    prob_low: float = Field(default=0, ge=0, le=1)
    prob_high: float = Field(default=1, ge=0, le=1)
    importance_low: float = Field(default=0, ge=0, le=100)
    importance_high: float = Field(default=100, ge=0, le=100)
    split: Literal["any", "train", "test"] = "any"
    decided: Literal["any", "no", "yes", "disagree"] = "no"
    issues: bool = True
    sort: Sort = "rank"
    search: str = Field(default="", max_length=200)


@dataclass(frozen=True)
class Suspects:
    """N rows in the order of review: label issues by rank, then the others from low self-confidence on.

    Attributes:
        facts: of the data set.
        signature: changes whenever one of the files that this was read from does.
        example_id: (N,).
        key: (N,) what the owner calls each row.
        given: (N,) class indices, as are `suggested` (N,), the most probable class that is not the given one,
            and `second` (N,), the other one of the two most probable classes.
        given_prob: (N,) in [0, 1], as are `suggested_prob` (N,) and `second_prob` (N,).
        error_prob: (N,) in [0, 1], NaN where not estimated.
        normalized_margin: (N,), the lower the more suspect, as is `confidence_weighted_entropy` (N,).
        contrast: (N,), NaN where not measured.
        importance: (N,) percentile within the class, NaN where not measured.
        is_issue: (N,).
        split: (N,) str, as the data set came with it.
        splits: those that occur.
        order: (N,) positions of the rows by ascending example_id.
        drawn: (N,) positions of the rows in the order of the draw.
        share: of the rows shown, so many are drawn among those that are not flagged.
        next_classes: of the rows that are shown, what else is probable.
    """

    facts: DatasetFacts
    signature: str
    example_id: npt.NDArray[np.int64]
    key: pa.Array
    given: npt.NDArray[np.int16]
    suggested: npt.NDArray[np.int16]
    second: npt.NDArray[np.int16]
    given_prob: npt.NDArray[np.float64]
    suggested_prob: npt.NDArray[np.float32]
    second_prob: npt.NDArray[np.float32]
    error_prob: npt.NDArray[np.float64]
    normalized_margin: npt.NDArray[np.float64]
    confidence_weighted_entropy: npt.NDArray[np.float64]
    contrast: npt.NDArray[np.float64]
    importance: npt.NDArray[np.float64]
    is_issue: npt.NDArray[np.bool_]
    split: npt.NDArray[np.str_]
    splits: tuple[str, ...]
    order: npt.NDArray[np.intp]
    drawn: npt.NDArray[np.intp]
    share: float
    next_classes: NextClasses

    def position(self, example_id: int) -> int | None:
        """Where a row is; None if it is not there."""
        place = int(np.searchsorted(self.example_id, example_id, sorter=self.order))
        if place == len(self.order) or self.example_id[self.order[place]] != example_id:
            return None
        return int(self.order[place])

    def positions(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """(M,) where rows are, all of which are there."""
        return self.order[np.searchsorted(self.example_id, ids, sorter=self.order)]

    def arrange(self, sort: Sort) -> npt.NDArray[np.intp]:
        """(N,) the rows in an order of review; rows without the score come last, and ties go by rank."""
        n = len(self.example_id)
        if sort == "rank":
            return np.arange(n)
        if sort == "random":
            # The same each time, so that one can go on tomorrow; what is decided counts for the audit.
            return self.drawn
        score = self.given_prob if sort == "self_confidence" else getattr(self, sort)
        score = -score if sort in _LARGEST_FIRST else score
        return np.argsort(np.where(np.isnan(score), np.inf, score), kind="stable")

    def probabilities(self, row: int) -> list[dict[str, object]]:
        """The three most probable classes of a row and the given one with their probabilities, largest first.

        Without `next_classes` there are two where the given class is one of the two most probable ones.
        """
        found = {
            int(self.suggested[row]): float(self.suggested_prob[row]),
            int(self.second[row]): float(self.second_prob[row]),
            int(self.given[row]): float(self.given_prob[row]),
        }
        for k, prob in self.next_classes.of(int(self.example_id[row])):
            if len(found) < _BARS:
                found.setdefault(k, prob)
        names = self.facts.class_names
        return [{"label": names[k], "prob": found[k]} for k in sorted(found, key=lambda k: -found[k])]

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
    """Changes whenever one of the files that are shown is written anew; empty while the issues cannot be had.

    Contents may be missing, as of probabilities of one's own: that too is part of it.
    """
    try:
        stats = [(data / f"{name}.parquet").stat() for name in ("label_issues", "given_labels")]
    except OSError:
        return ""
    with suppress(OSError):
        stats.append((data / "examples.parquet").stat())
    return "-".join(f"{stat.st_mtime_ns:x}.{stat.st_size:x}.{stat.st_ino:x}" for stat in stats)


def read_suspects(data: Path, audit: Audit = NO_AUDIT) -> Suspects:
    """Read the tables of a workspace's `data` folder; `audit` names the draw and its share.

    Raises:
        ArtifactError: a table is missing or not what it should be.
    """
    # Taken before the tables are read: a table that is written meanwhile is then read again.
    signature = signature_of(data)
    columns = ["key", "given_label", "suggested_label", "suggested_prob", "second_label", "second_prob"]
    columns += ["self_confidence", "normalized_margin", "confidence_weighted_entropy"]
    columns += ["error_prob", "importance_percentile", "contrast"]
    path = data / "label_issues.parquet"
    issues = read_table(path, LABEL_ISSUES, columns=[*columns, "is_issue", "rank"])
    ids = column_array(issues, "example_id")
    is_issue = column_array(issues, "is_issue")
    rank = issues.column("rank").fill_null(np.iinfo(np.int64).max).to_numpy()
    order = np.lexsort((ids, column_array(issues, "self_confidence"), rank))
    split = _read_splits(data, ids)[order]
    # Of a row that nothing speaks against the most probable class is the given one. Like any other row it is
    # shown with another.
    top, second = column_array(issues, "suggested_label"), column_array(issues, "second_label")
    top_prob, second_prob = column_array(issues, "suggested_prob"), column_array(issues, "second_prob")
    is_same = top == column_array(issues, "given_label")

    def measured(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(issues.column(name).fill_null(np.nan).to_numpy())[order]

    facts = read_facts(issues, str(path))
    return Suspects(
        facts=facts,
        signature=signature,
        example_id=ids[order],
        key=issues.column("key").combine_chunks().take(pa.array(order)),
        given=column_array(issues, "given_label")[order],
        suggested=np.where(is_same, second, top)[order],
        second=np.where(is_same, top, second)[order],
        given_prob=column_array(issues, "self_confidence")[order],
        suggested_prob=np.where(is_same, second_prob, top_prob)[order],
        second_prob=np.where(is_same, top_prob, second_prob)[order],
        error_prob=measured("error_prob"),
        normalized_margin=measured("normalized_margin"),
        confidence_weighted_entropy=measured("confidence_weighted_entropy"),
        contrast=measured("contrast"),
        importance=measured("importance_percentile"),
        is_issue=is_issue[order],
        split=split,
        splits=tuple(sorted(set(split.tolist()))),
        order=np.argsort(ids[order], kind="stable"),
        drawn=draw_order(ids[order], audit.seed),
        share=audit.share,
        next_classes=NextClasses(PRED_PROBS.at(data.parent), facts.n_classes),
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

    Args:
        root: of the workspace.
        facts: of the data set.
    """

    def __init__(self, root: Path, facts: DatasetFacts) -> None:
        path = EXAMPLES.at(root)
        self._kind = facts.content
        self._reader = TableReader(path, EXAMPLES, [facts.content]) if path.exists() else None
        are_brought = self._reader is not None and self._reader.metadata(MARK) is not None
        self._originals = Originals(root, are_brought=are_brought) if facts.content == "image" else None
        self._searched: tuple[str, npt.NDArray[np.int64]] | None = None
        self.are_there = self._reader is not None
        # Whether there is more to see than a page shows.
        self.are_shrunk = facts.content == "image" and max(facts.shape[:2]) > PICTURE_SIDE
        self._from_memory: Callable[[int], Content] | None = None
        self._profile = None
        if self._reader is not None and facts.feature_names:
            self._profile = measure_profile(TableReader(path, EXAMPLES, [self._kind, *LABELS]))
        if self._reader is not None and self._reader.n_bytes <= _IN_MEMORY_BYTES and self._profile is None:
            self._ids, values = self._reader.column("example_id"), self._reader.column(self._kind)
            self._from_memory = lru_cache(2_000)(
                lambda row: content_of(self._kind, values[row], most=_MOST_TEXT)
            )

    def have_original(self, key: str) -> bool:
        """Whether the owner's own file of a row is there."""
        return self._originals is not None and self._originals.exists(key)

    def show(self, ids: npt.NDArray[np.int64], given: npt.NDArray[np.int16]) -> list[Content]:
        """What a page shows of each of `ids` (M,), whose given classes are `given` (M,).

        Raises:
            ArtifactError: the file is damaged, or lacks one of them.
        """
        if self._reader is None:
            return [Content(text="(only probabilities were imported)")] * len(ids)
        if self._from_memory is not None:
            return [self._from_memory(row) for row in locate(self._ids, ids, self._reader.where).tolist()]
        values = column_array(self._reader.rows(ids), self._kind)
        return [
            content_of(self._kind, value, self._profile, int(label), _MOST_TEXT)
            for value, label in zip(values, given, strict=True)
        ]

    def search(self, words: str) -> npt.NDArray[np.int64]:
        """(M,) ids of the rows whose text holds `words`, in any case of letters; none for other contents."""
        if self._reader is None or self._kind != "text":
            return np.zeros(0, dtype=np.int64)
        if self._searched is None or self._searched[0] != words:
            found = [
                column_array(table, "example_id")[
                    pc.match_substring(table.column("text"), words, ignore_case=True).to_numpy()
                ]
                for table in self._reader.portions()
            ]
            self._searched = words, np.concatenate(found)
        return self._searched[1]

    def picture(self, example_id: int, key: str) -> tuple[bytes, str] | None:
        """A picture in its own size, with its media type: the owner's file, else as it was trained on.

        None where contents are no pictures, not there, or no larger than the page shows them.

        Raises:
            ArtifactError: the file is damaged.
        """
        if self._originals and (found := self._originals.read(key)):
            return found
        if self._reader is None or not self.are_shrunk:
            return None
        table = self._reader.find(np.array([example_id]))
        if not table.num_rows:
            return None
        buffer = io.BytesIO()
        picture_of(column_array(table, "image")[0]).save(buffer, format="PNG")
        return buffer.getvalue(), "image/png"
