"""Imagenette: 13,394 photographs of ten classes of ImageNet, with official wrong labels (fast.ai 2019)."""

import csv
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks import DatasetError
from tasks.contents import Examples, Fetch, Images
from tasks.own_files.names import shown
from tasks.own_files.pictures import Picture, decode_pictures
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.tables.keys import example_id_of

GIVES = ("image",)
INPUTS = ("imagenette*.tar", "imagenette*.tgz", "imagenette*.tar.gz")
CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
_TABLE = "noisy_imagenette.csv"
_SPLITS = {"train": "train", "val": "test"}
# The whole archive has 13,395 files and 0.1 GB; that of full size has 1.5 GB.
_MOST_FILES, _MOST_BYTES = 50_000, 2**32


class Options(Section):
    """`archive` is its file name in inputs/examples, the only one by default.

    `noise_level` is the share of wrong training labels in percent, one of the five that come with the
    archive; `image_size` the height and width that pictures are brought to.
    """

    archive: str | None = None
    noise_level: Literal[0, 1, 5, 25, 50] = 5
    image_size: Annotated[int, Field(ge=8, le=512)] = 160


def read(inputs: Path, options: Options, fetch: Fetch) -> Examples:
    """The photographs: given labels from noisy_imagenette.csv, true ones from the names of folders.

    Those of `val` are the test rows; their given labels are right.

    Raises:
        DatasetError: the archive is missing, damaged or not what it should be.
    """
    path = _find(inputs / "examples", options.archive)
    pictures, table = _read_archive(path)
    given = _read_labels(table, f"{path}, {_TABLE}", f"noisy_labels_{options.noise_level}")
    # In the order of the table that they become, so that a gigabyte of pictures is not copied to sort it.
    names = sorted(pictures, key=example_id_of)
    lacking = sorted(set(names) ^ set(given))
    if lacking:
        raise DatasetError(
            f"{path}: expected a picture and a label under each name, found {shown(lacking[0])} with one of "
            f"them alone ({len(lacking):,} such names)."
        )
    folders = list(CLASSES)
    contents = [Picture(name, pictures[name]) for name in names]
    shape = (options.image_size, options.image_size, 3)
    return Examples(
        facts=DatasetFacts("imagenette", tuple(CLASSES.values()), "image", shape),
        key=names,
        split=np.array([_SPLITS[name.split("/")[0]] for name in names]),
        given_label=np.array([folders.index(given[name]) for name in names], dtype=np.int16),
        true_label=np.array([folders.index(name.split("/")[1]) for name in names], dtype=np.int16),
        content=Images(decode_pictures(contents, shape, fetch.console)),
    )


def _find(folder: Path, name: str | None) -> Path:
    """The archive, by its name or as the only one."""
    advice = f"Put imagenette2-160.tgz of https://github.com/fastai/imagenette into {folder}/"
    if name is not None:
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise DatasetError(
                f"datasets.imagenette.archive: expected the name of a file in {folder}, found {shown(name)}."
            )
        return path
    found = sorted({path for pattern in INPUTS for path in folder.glob(pattern)})
    if not found:
        raise DatasetError(f"{folder}: expected the archive of Imagenette here, found none. {advice}.")
    if len(found) > 1:
        raise DatasetError(
            f"{folder}: expected one archive of Imagenette, found {', '.join(path.name for path in found)}. "
            "Name one in datasets.imagenette.archive."
        )
    return found[0]


def _read_archive(path: Path) -> tuple[dict[str, bytes], bytes]:
    """The pictures by their names below the archive's own folder (`train/n01440764/x.JPEG`), and the table.

    Raises:
        DatasetError: the archive is damaged, leads out of itself, holds links or too much, or no table.
    """
    files: dict[PurePosixPath, bytes] = {}
    try:
        with tarfile.open(path, "r|*") as archive:
            for place, member in _check_members(archive, path):
                with archive.extractfile(member) or io.BytesIO() as file:
                    files[place] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: expected a tar archive, whole ({error}).") from error
    tables = [place for place in files if place.name == _TABLE]
    if len(tables) != 1:
        raise DatasetError(f"{path}: expected one {_TABLE} in it, found {len(tables)}.")
    root = tables[0].parent
    pictures = {}
    for place, content in files.items():
        parts = place.relative_to(root).parts if place.is_relative_to(root) else ()
        if len(parts) == 3 and parts[0] in _SPLITS and parts[1] in CLASSES:
            pictures["/".join(parts)] = content
    return pictures, files[tables[0]]


def _check_members(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[PurePosixPath, tarfile.TarInfo]]:
    """The regular files of an archive, each checked before it is read."""
    n_files = n_bytes = 0
    for member in archive:
        place = PurePosixPath(member.name)
        n_files, n_bytes = n_files + 1, n_bytes + member.size
        if place.is_absolute() or ".." in place.parts:
            raise DatasetError(
                f"{path}: expected names inside of the archive, found {shown(member.name)}, which leads out "
                "of it."
            )
        if not (member.isfile() or member.isdir()):
            raise DatasetError(f"{path}: expected files alone, found the link {shown(member.name)}.")
        if n_files > _MOST_FILES or n_bytes > _MOST_BYTES:
            raise DatasetError(
                f"{path}: expected at most {_MOST_FILES:,} files of {_MOST_BYTES >> 30} GB, found more."
            )
        if member.isfile():
            yield place, member


def _read_labels(table: bytes, where: str, column: str) -> dict[str, str]:
    """The folder that stands for the given label, by the name of the picture."""
    try:
        rows = list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{where}: expected a CSV file ({error}).") from error
    for name in ("path", column):
        if not rows or name not in rows[0]:
            raise DatasetError(
                f"{where}: expected the column {name}, found {', '.join(rows[0]) if rows else 'no row'}."
            )
    for number, row in enumerate(rows, start=2):
        if row[column] not in CLASSES:
            raise DatasetError(
                f"{where}, line {number}: expected one of {', '.join(CLASSES)}, found {shown(row[column])}."
            )
    return {row["path"]: row[column] for row in rows}
