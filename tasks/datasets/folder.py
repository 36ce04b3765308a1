"""A person's own folder of pictures: a folder for each class, or a table that names files and labels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks import DatasetError
from tasks.contents import Examples, Fetch
from tasks.datasets._own import (
    Found,
    ImageSize,
    OwnOptions,
    check_found,
    find_labels,
    inside,
    picture_examples,
    place_of,
    read_groups,
    read_splits,
)
from tasks.own_files.own_tables import OwnTable, read_own_table, texts_of
from tasks.own_files.picture_folders import PictureFile, check_classes, find_pictures, match_files, read_cvat
from tasks.own_files.pictures import Picture

GIVES = ("image",)


class Options(OwnOptions):
    """`labels` is a table in the folder, and the others are its columns; without it, folders are classes."""

    labels: str | None = None
    file: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    truth: str | None = None
    image_size: ImageSize = None


def read(inputs: Path, options: Options, fetch: Fetch) -> Examples:
    """Read the pictures.

    Raises:
        DatasetError: a file is missing or damaged, or rows are not what they should be.
    """
    folder = place_of(inputs / "examples", options)
    found = find(folder, options)
    pictures = pictures_at(folder, found.key)
    return picture_examples(found, pictures, options, options.image_size, fetch.console)


def pictures_at(folder: Path, keys: Sequence[str]) -> list[Picture]:
    """The pictures of the folder that have these keys."""
    return [Picture(str(folder / key), folder / key) for key in keys]


def find(folder: Path, options: Options) -> Found:
    """The pictures of the folder, each under its path.

    Raises:
        DatasetError: there are none, or rows are not what they should be.
    """
    pictures = find_pictures(folder)
    if not pictures:
        raise DatasetError(f"{folder}: expected pictures, found none.")
    found = Found(
        where=str(folder),
        kind="image",
        class_names=(),
        key=[picture.path for picture in pictures],
        keys_are="the path of the picture",
        split=np.array([picture.split or "train" for picture in pictures], dtype=np.str_),
        given=None,
        true=None,
    )
    if options.labels:
        own = label_table(inside(folder, options.labels, "labels"))
        return check_found(_by_table(found, pictures, own, options))
    check_classes(folder, pictures)
    label = pa.chunked_array([pa.array([picture.label for picture in pictures], pa.string())])
    names, (given, _) = find_labels([label, None], options.class_names, (), [str(folder)] * 2)
    return check_found(replace(found, class_names=names, given=given))


def label_table(path: Path) -> OwnTable:
    """A table of labels, or the tags that CVAT exports.

    Raises:
        DatasetError: it is damaged.
    """
    if path.suffix.lower() != ".xml":
        return read_own_table(path)
    table = read_cvat(path)
    return OwnTable(path, ((path.name, table.num_rows),), table, ".", {}, None)


def _by_table(found: Found, pictures: list[PictureFile], own: OwnTable, options: Options) -> Found:
    """The pictures with the labels of a table; those that it does not name have none."""
    where = f"{own.path}, column {options.file}"
    places = match_files(texts_of(own.column(str(options.file), "id")), pictures, where)
    row_of = np.full(len(pictures), -1)
    row_of[places] = np.arange(len(places))
    rows = pa.array(row_of, mask=row_of < 0)
    columns = [
        own.column(name, option).take(rows) if name else None
        for name, option in ((str(options.label), "label"), (options.truth, "truth"))
    ]
    names, (given, true) = find_labels(
        columns,
        options.class_names,
        own.class_names.get(str(options.label), ()),
        [f"{own.path}, column {name}" for name in (options.label, options.truth)],
    )
    group = own.column(options.group, "group").take(rows) if options.group else None
    split = found.split
    if options.split:
        split = read_splits(
            own.column(options.split, "split").take(rows), f"{own.path}, column {options.split}"
        )
    groups = None if group is None else read_groups(group)
    return replace(found, class_names=names, split=split, given=given, true=true, group=groups)
