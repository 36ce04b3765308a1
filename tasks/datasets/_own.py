"""What readers of a person's own data share: which rows there are, before their content is read."""

import json
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field
from rich.console import Console

from tasks import DatasetError
from tasks.contents import Content, Examples, Images, Texts
from tasks.own_files.encoding import Encoded, columns_to_json
from tasks.own_files.labels import MOST_CLASSES, UNKNOWN, class_indices, label_names, sort_names
from tasks.own_files.names import check_class_names, listed, nfc, shown
from tasks.own_files.own_tables import SPLIT_WORDS, OwnTable, texts_of
from tasks.own_files.pictures import Picture, UnreadableError, decode_pictures, read_headers, shape_of
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.tables.keys import example_ids_of

ImageSize = Annotated[int, Field(ge=8, le=1024)] | None
Indices = npt.NDArray[np.int16]
MOST_LEFT_OUT = 0.1
"""The share of rows without content that can be read with which a run goes on, without them."""
_Read = TypeVar("_Read")
_NAMED = 3


class OwnOptions(Section):
    """`path` is where the data lie in `inputs/examples`, and `name` what they are called.

    `class_names` by class index; where there are none, they are found in the data, in order of their names.
    """

    path: str = ""
    name: str = ""
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """The N rows of a person's data, without their content.

    Attributes:
        where: what a sentence calls the data.
        kind: of the content: `image`, `text` or `features`.
        class_names: (K,) by class index.
        key: (N,) what the owner calls each row.
        keys_are: where the keys come from, for a sentence.
        split: (N,) str.
        given: (N,) class indices that people brought, -1 where there is none; None where no row has one.
        true: (N,) class indices known to be right, likewise.
        said: what was understood, and what is left out: a sentence each.
        group: (N,) see `tasks.contents.Examples`.
        left_out: the keys of further rows, whose content cannot be read, and why.
    """

    where: str
    kind: str
    class_names: tuple[str, ...]
    key: Sequence[str]
    keys_are: str
    split: npt.NDArray[np.str_]
    given: Indices | None
    true: Indices | None
    said: tuple[str, ...] = ()
    group: Sequence[str] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> Indices:
        """(N,) the given label, or the true one where there is no other; -1 where there is none."""
        none = np.full(len(self.key), UNKNOWN, dtype=np.int16)
        given, true = (none if each is None else each for each in (self.given, self.true))
        return np.where(given == UNKNOWN, true, given).astype(np.int16)

    def take(self, rows: list[int]) -> "Found":
        """The rows at these places."""
        return replace(
            self,
            key=[self.key[row] for row in rows],
            split=self.split[rows],
            given=None if self.given is None else self.given[rows],
            true=None if self.true is None else self.true[rows],
            group=None if self.group is None else [self.group[row] for row in rows],
        )

    @property
    def warnings(self) -> list[str]:
        """What the owner should know of the classes, and of rows that are left out."""
        return [
            *check_class_names(self.class_names, self.where),
            *self._said_not_learned,
            *self.said_left_out,
        ]

    @property
    def _said_not_learned(self) -> list[str]:
        """A sentence that names the classes of rows to measure on of which there is no row to learn from."""
        n_learned, n_measured = (
            np.bincount(
                self.labels[np.isin(self.split, splits) & (self.labels != UNKNOWN)],
                minlength=len(self.class_names),
            )
            for splits in (("train",), ("valid", "test"))
        )
        places = np.flatnonzero((n_learned == 0) & (n_measured > 0))
        return [
            f"{self.where}: no training row is of the class {listed([self.class_names[k] for k in places])}. "
            f"No model predicts what it never learned: {n_measured[places].sum():,} rows count as errors."
        ][: len(places)]

    @property
    def said_left_out(self) -> list[str]:
        """A sentence that counts the rows that are left out, and names the first."""
        n = len(self.left_out)
        named = [f"{shown(key)} ({why})" for key, why in self.left_out.items()]
        more = f" and {n - _NAMED:,} more" if n > _NAMED else ""
        return [
            f"{n:,} of {n + len(self.key):,} rows {'is' if n == 1 else 'are'} left out, as nothing can be "
            f"learned from {'it' if n == 1 else 'them'}: {', '.join(named[:_NAMED])}{more}."
        ][:n]


def as_examples(
    found: Found, options: OwnOptions, content: Content, encoded: Encoded | None = None
) -> Examples:
    """The rows with their content; `encoded` says what its entries are called and how they came to be."""
    shape = () if isinstance(content, Texts) else content.held.shape[1:]
    dataset = options.name or Path(found.where).name
    facts = DatasetFacts(dataset, found.class_names, found.kind, shape)
    if encoded is not None:
        columns = columns_to_json(encoded.columns)
        facts = replace(facts, feature_names=encoded.names, columns=columns)
    return Examples(
        facts, found.key, found.split, found.given, found.true, content, found.group, found.said_left_out
    )


def _are_several(name: str) -> bool:
    """Whether the name of a class is a list of several, as JSON and Python write a cell that holds one."""
    for parse in (json.loads, literal_eval) if name.startswith("[") else ():
        with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return len(parse(name)) > 1
    return False


def leave_out(found: Found, reasons: Mapping[int, str], error: DatasetError) -> Found:
    """The rows without those whose content cannot be read; `reasons` says why not, by their places.

    Raises:
        DatasetError: `error`: more than `MOST_LEFT_OUT` of all rows are left out, or a class has fewer than
            two training rows any more.
    """
    kept = [place for place in range(len(found.key)) if place not in reasons]
    left_out = {**found.left_out, **{found.key[place]: why for place, why in reasons.items()}}
    train, labels = np.flatnonzero(found.split == "train"), found.labels
    left = np.setdiff1d(train, list(reasons))
    n_left = np.bincount(labels[left], minlength=len(found.class_names))
    if (n_left[labels[train]] < 2).any() or len(left_out) > MOST_LEFT_OUT * (len(kept) + len(left_out)):
        raise error
    return check_found(replace(found.take(kept), left_out=left_out))


def read_readable(
    found: Found, pictures: Sequence[Picture], read: Callable[[Sequence[Picture]], _Read]
) -> tuple[Found, _Read]:
    """What `read` gives for the pictures of the rows, those left out of which it says that they are none.

    Raises:
        DatasetError: a file cannot be opened, or too many are no pictures.
    """
    try:
        return found, read(pictures)
    except UnreadableError as error:
        found = leave_out(found, error.reasons, error)
        left = [picture for place, picture in enumerate(pictures) if place not in error.reasons]
    return read_readable(found, left, read)


def picture_examples(
    found: Found, pictures: Sequence[Picture], options: OwnOptions, image_size: int | None, console: Console
) -> Examples:
    """The rows with their pictures, brought to one shape.

    Raises:
        DatasetError: a file cannot be opened, too many are no pictures, or their sizes differ.
    """

    def read(pictures: Sequence[Picture]) -> Images:
        shape = shape_of(read_headers(pictures, console), image_size, found.where)
        return Images(decode_pictures(pictures, shape, console))

    kept, images = read_readable(found, pictures, read)
    return as_examples(kept, options, images)


def pictures_in(own: OwnTable, name: str, key: Sequence[object]) -> list[Picture]:
    """The pictures of a column: encoded, or files by their paths within the folder of the table.

    A row that has none gets one without bytes. `key` is what a sentence calls each row.

    Raises:
        DatasetError: a file is not there, or outside the folder.
    """
    pictures = []
    for row, cell in zip(key, own.column(name, "image").to_pylist(), strict=True):
        content = cell.get("bytes") or cell.get("path") if isinstance(cell, dict) else cell
        where = f"{own.path}, column {name}, row {row}"
        if isinstance(content, bytes) and content:
            pictures.append(Picture(where, content))
        elif isinstance(content, str) and content.strip():
            pictures.append(Picture(content, inside(own.folder, content.strip().replace("\\", "/"), where)))
        else:
            pictures.append(Picture(where, b""))
    return pictures


def are_unreadable(pictures: Sequence[Picture]) -> bool:
    """Whether none of the pictures can be read.

    Raises:
        DatasetError: a file cannot be opened.
    """
    try:
        decode_pictures(pictures, (8, 8))
    except UnreadableError as error:
        return len(error.reasons) == len(pictures)
    return not pictures


def place_of(folder: Path, options: OwnOptions) -> Path:
    """Where the data lie.

    Raises:
        DatasetError: nothing is there, or it is outside the folder.
    """
    return inside(folder, options.path, "path") if options.path else folder


def inside(folder: Path, name: str, what: str) -> Path:
    """A file or folder by its name within a folder.

    Raises:
        DatasetError: it lies outside the folder, or is not there.
    """
    try:
        path = folder / name
        is_inside, is_there = path.resolve().is_relative_to(folder.resolve()), path.exists()
    except (OSError, ValueError) as error:  # too long, or with a null byte
        raise DatasetError(f"{what}: expected a name in {folder}, found {shown(name)} ({error}).") from error
    if not is_inside:
        raise DatasetError(f"{what}: expected a name inside {folder}, found {shown(name)}.")
    if not is_there:
        raise DatasetError(f"{what}: expected {folder / name}, found none.")
    return path


def find_labels(
    columns: Sequence[pa.ChunkedArray | None],
    class_names: tuple[str, ...],
    indices_mean: tuple[str, ...],
    where: Sequence[str],
) -> tuple[tuple[str, ...], list[Indices | None]]:
    """The names of the classes, and the class indices of each column; None for one without labels.

    Args:
        columns: of labels: given and true.
        class_names: those of the parameters; empty where they are to be found.
        indices_mean: the names by class index that the file itself says of these columns, negative numbers
            being no label; empty where it says none.
        where: what a sentence calls each column.

    Raises:
        DatasetError: a label is no class, or there are too many classes.
    """
    names = tuple(map(nfc, class_names or indices_mean))
    if names:
        found = [
            None if column is None else class_indices([_no_negatives(column)], names, place)
            for column, place in zip(columns, where, strict=True)
        ]
    else:
        texts = [
            None if column is None else label_names(column, place)
            for column, place in zip(columns, where, strict=True)
        ]
        names = sort_names(
            name for text in texts if text is not None for name in text.unique().drop_null().to_pylist()
        )
        if len(names) > MOST_CLASSES:
            raise DatasetError(
                f"{where[0]}: expected at most {MOST_CLASSES:,} classes, found {len(names):,}: these "
                "are no classes."
            )
        if several := [name for name in names if _are_several(name)]:
            raise DatasetError(
                f"{where[0]}: expected one label for each row, found several at once: {listed(several)}. "
                "Relabel has no rows of several classes."
            )
        index = pa.array(names, pa.string())
        found = [
            None
            if text is None
            else pa.compute.index_in(text, value_set=index).fill_null(UNKNOWN).to_numpy().astype(np.int16)
            for text in texts
        ]
    return names, [None if each is None or (each == UNKNOWN).all() else each for each in found]


def _no_negatives(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in which numbers below 0, with which some mark a row without a label, are nulls."""
    if not pa.types.is_signed_integer(column.type):
        return column
    return pa.compute.if_else(pa.compute.less(column, 0), pa.scalar(None, column.type), column)


def read_splits(column: pa.ChunkedArray, where: str) -> npt.NDArray[np.str_]:
    """(N,) splits from a column, `train` where it is empty.

    Raises:
        DatasetError: a value names no split.
    """
    texts = texts_of(column)
    words = [SPLIT_WORDS.get((text or "train").casefold()) for text in texts]
    if None in words:
        row = words.index(None)
        raise DatasetError(
            f"{where}: expected splits ({', '.join(SPLIT_WORDS)}), found {shown(texts[row])} in row {row}."
        )
    return np.array(words, dtype=np.str_)


def read_groups(column: pa.ChunkedArray) -> list[str]:
    """(N,) what rows that belong together have in common; empty where a row is alone."""
    return [text or "" for text in texts_of(column)]


def check_found(found: Found) -> Found:
    """The rows, those without any label as `unlabeled`; checked to be such that a model can learn from them.

    Raises:
        DatasetError: a key stands twice, there is one class only, or a class has one training row; names it.
    """
    example_ids_of(found.key, found.where)
    labels = found.labels
    split = np.where(labels == UNKNOWN, "unlabeled", found.split)
    train = np.flatnonzero(split == "train")
    counts = np.bincount(labels[train], minlength=len(found.class_names))
    if (counts > 0).sum() < 2:
        only = listed([found.class_names[k] for k in np.flatnonzero(counts)])
        one = f"found {only} alone among {len(train):,} training rows with a label"
        none = f"found no training row with a label among {len(split):,} rows"
        raise DatasetError(
            f"{found.where}: expected training rows of two or more classes, {one if only else none}."
        )
    for k in np.flatnonzero(counts == 1):
        row = train[labels[train] == k][0]
        others = (counts == 1).sum() - 1
        raise DatasetError(
            f"{found.where}: expected two or more training rows of each class, found one of "
            f"{shown(found.class_names[k])}: {shown(found.key[row])}"
            + (f" (and {others:,} more such classes)" if others else "")
            + ". Correct its label, remove it, or add rows of this class."
        )
    return replace(found, split=split)
