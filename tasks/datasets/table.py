"""A person's own table: texts, numbers and categories, or pictures, a row each.

CSV, TSV, JSON lines, Parquet or Arrow, in one file or several, as Hugging Face's datasets writes them too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks import DatasetError
from tasks.contents import Examples, Features, Fetch, Texts
from tasks.datasets._own import (
    Found,
    ImageSize,
    OwnOptions,
    are_unreadable,
    as_examples,
    check_found,
    find_labels,
    leave_out,
    picture_examples,
    pictures_in,
    place_of,
    read_groups,
    read_splits,
)
from tasks.own_files.columns import is_text
from tasks.own_files.encoding import encode_columns
from tasks.own_files.ids import row_keys
from tasks.own_files.names import shown
from tasks.own_files.own_tables import OwnTable, read_own_table, texts_of
from tasks.own_files.pictures import Picture

GIVES = ("text", "features", "image")


class Options(OwnOptions):
    """Which column is what; `text` or `image` is the content, without both it is all columns that are left.

    `label` holds what people said, `truth` what is known to be right. `id` names the rows, else their number
    does. Rows with one value of `group` belong
    together. `drop` are columns that are no content.
    """

    label: str = ""
    text: str | None = None
    image: str | None = None
    id: str | None = None
    split: str | None = None
    group: str | None = None
    truth: str | None = None
    drop: tuple[str, ...] = ()
    image_size: ImageSize = None


def read(inputs: Path, options: Options, fetch: Fetch) -> Examples:
    """Read the table.

    Raises:
        DatasetError: a file or column is missing or damaged, or rows are not what they should be.
    """
    own = read_own_table(place_of(inputs / "examples", options))
    found = find(own, options)
    if options.text:
        texts = [text for text in _texts(own, options.text) if text is not None]
        return as_examples(found, options, Texts(texts))
    if options.image:
        pictures = pictures_of(own, options, found.key)
        return picture_examples(found, pictures, options, options.image_size, fetch.console)
    encoded = encode_columns(
        own.table, content_columns(own, options), found.split == "train", own.decimal, found.where
    )
    return as_examples(found, options, Features(encoded.values), encoded)


def find(own: OwnTable, options: Options) -> Found:
    """The rows of the table, those without a text left out.

    Raises:
        DatasetError: a column is missing, or rows are not what they should be.
    """
    found = find_all(own, options)
    texts = [] if not options.text else _texts(own, options.text)
    reasons = {row: "no text" for row, text in enumerate(texts) if text is None}
    if not reasons:
        return found
    error = DatasetError(
        f"{own.path}: expected a text in nearly every row of column {options.text}, found none in "
        f"{len(reasons):,} of {len(found.key):,}, the first {shown(found.key[min(reasons)])} (row "
        f"{min(reasons)}). Fill them in or remove them."
    )
    return leave_out(found, reasons, error)


def find_all(own: OwnTable, options: Options) -> Found:
    """All rows of the table, whatever they hold.

    Raises:
        DatasetError: a column is missing, or rows are not what they should be.
    """
    where = str(own.path)
    label = own.column(options.label, "label")
    truth = own.column(options.truth, "truth") if options.truth else None
    names, (given, true) = find_labels(
        [label, truth],
        options.class_names,
        own.class_names.get(options.label, ()),
        [f"{where}, column {shown(name)}" for name in (options.label, options.truth)],
    )
    key, keys_are = _keys(own, options)
    return check_found(
        Found(
            where=where,
            kind="text" if options.text else "image" if options.image else "features",
            class_names=names,
            key=key,
            keys_are=keys_are,
            split=_splits(own, options),
            given=given,
            true=true,
            group=None if options.group is None else read_groups(own.column(options.group, "group")),
        )
    )


def are_left_out(own: OwnTable, options: Options, places: Sequence[int]) -> bool:
    """Whether none of the rows at these places has a text, or a picture that can be read."""
    if options.text is not None:
        texts = _texts(own, options.text)
        return not any(texts[place] for place in places)
    if options.image is None:
        return False
    pictures = pictures_of(own, options, range(own.table.num_rows))
    return are_unreadable([pictures[place] for place in places])


def content_columns(own: OwnTable, options: Options) -> list[str]:
    """The columns that are neither label nor name of a row nor its split, and are not to be left out.

    Raises:
        DatasetError: a column that is to be left out is not there.
    """
    for name in options.drop:
        own.column(name, "drop")
    taken = {
        options.label,
        options.id,
        options.split,
        options.group,
        options.truth,
        own.ids and own.ids.column,
        *options.drop,
    }
    return [name for name in own.names if name not in taken]


def pictures_of(own: OwnTable, options: Options, key: Sequence[object]) -> list[Picture]:
    """The picture of each row; see `pictures_in`."""
    return pictures_in(own, str(options.image), key)


def _texts(own: OwnTable, name: str) -> Sequence[str | None]:
    column = own.column(name, "text")
    if not is_text(column.type):
        raise DatasetError(f"{own.path}: expected text in the column {name}, found {column.type}.")
    return texts_of(column)


def _keys(own: OwnTable, options: Options) -> tuple[list[str], str]:
    """(N,) what the owner calls each row, and where that comes from."""
    if options.id:
        where = f"{own.path}, column {options.id}"
        return row_keys(own.column(options.id, "id"), where), f"the column {options.id}"
    if own.ids is not None:
        keys = own.ids.keys(np.arange(own.table.num_rows)).to_pylist()
        return keys, f"the table's {own.ids.column}"
    one = len(own.parts) == 1
    return own.numbers(), "the number of the row, from 0" if one else "the file and the number of the row"


def _splits(own: OwnTable, options: Options) -> npt.NDArray[np.str_]:
    if options.split:
        where = f"{own.path}, column {options.split}"
        return read_splits(own.column(options.split, "split"), where)
    return np.array(own.split_of_parts() or ["train"] * own.table.num_rows, dtype=np.str_)
