"""A folder of pictures: which there are, and what the folders in it say of them."""

import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import pyarrow as pa

from tasks import DatasetError
from tasks.own_files.columns import readable
from tasks.own_files.label_studio import file_names
from tasks.own_files.names import listed, shown
from tasks.own_files.own_tables import SPLIT_WORDS
from tasks.own_files.pictures import SUFFIXES

FILE, LABEL = "file", "label"
"""The columns of what `read_cvat` gives."""
_MOST_XML_BYTES = 2**29
# What cameras and programs write that Pillow does not decode by itself.
_OTHER_PICTURES = frozenset(
    (
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
        ".svg",
        ".psd",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".raw",
    )
)


@dataclass(frozen=True)
class PictureFile:
    """A picture by its path in the folder, with / between names; its split and class, None where not said."""

    path: str
    split: str | None
    label: str | None


def find_pictures(folder: Path) -> list[PictureFile]:
    """The pictures in a folder, in order of their paths; names that begin with a dot are left aside, and
    links that lead to nothing.

    Where the first folders are all called as splits are (train, val, test), they are splits, and the classes
    are the folders in them; else the first folders are the classes. Links to folders are not followed.

    Raises:
        DatasetError: the name of a file is not in UTF-8.
    """
    paths = sorted(path for path in _files_below(folder) if _is_picture(path) and (folder / path).exists())
    tops = {path.parts[0] for path in paths if len(path.parts) > 1}
    are_splits = bool(tops) and all(top.lower() in SPLIT_WORDS for top in tops)
    return [_picture(path, are_splits) for path in paths]


def check_classes(folder: Path, pictures: Sequence[PictureFile]) -> None:
    """Check that no folder that is taken for a class is one of a split: called so, with folders alone in it.

    A class may be called `train`, too; then its pictures lie in it.

    Raises:
        DatasetError: a folder of a split lies beside others; names them.
    """
    classes = {picture.label for picture in pictures if picture.split is None and picture.label}
    with_pictures = {
        path.parts[0] for picture in pictures if len((path := PurePosixPath(picture.path)).parts) == 2
    }
    splits = sorted(name for name in classes - with_pictures if name.lower() in SPLIT_WORDS)
    if splits:
        raise DatasetError(
            f"{folder}: expected folders of splits alone ({', '.join(sorted(SPLIT_WORDS))}), or of classes "
            f"alone, found {listed(splits)}, which has folders in it, beside "
            f"{listed(sorted(classes - set(splits))) or 'nothing'}. Rename or move what is no split."
        )


def _files_below(folder: Path) -> Iterable[PurePosixPath]:
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        for name in files:
            if not name.startswith("."):
                path = Path(at) / name
                if _is_picture(path):
                    _check_name(path)
                yield PurePosixPath(path.relative_to(folder).as_posix())


def _is_picture(path: PurePath) -> bool:
    return path.suffix.lower() in SUFFIXES


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"{str(path)!r}: expected a name of a file in UTF-8, found other bytes. Rename it."
        ) from error


def _picture(path: PurePosixPath, are_splits: bool) -> PictureFile:
    folders = path.parts[:-1]
    split = SPLIT_WORDS[folders[0].lower()] if are_splits and folders else None
    classes = folders[1:] if are_splits else folders
    return PictureFile(str(path), split, classes[0] if classes else None)


def say_not_read(folder: Path) -> list[str]:
    """Sentences about what `find_pictures` does not read: linked folders, lost links, other pictures."""
    linked = sorted(path.name for path in folder.iterdir() if path.is_symlink() and path.is_dir())
    files = sorted(_files_below(folder))
    lost = [str(path) for path in files if _is_picture(path) and not (folder / path).exists()]
    others = Counter(path.suffix.lower() for path in files if path.suffix.lower() in _OTHER_PICTURES)
    said = [f"Links to folders are not followed: {listed(linked)}."] if linked else []
    if lost:
        said.append(f"{len(lost):,} of the files are links that lead to nothing: {listed(lost)}.")
    if others:
        counts = listed([f"{n:,} {suffix}" for suffix, n in sorted(others.items())])
        said.append(f"Files that are not read: {counts}. Save them as JPEG or PNG if they count.")
    return said


def match_files(names: Sequence[str | None], pictures: Sequence[PictureFile], where: str) -> list[int]:
    """The place among the pictures of each file that a table names, by its path, its name, or a URL.

    A name may lack its suffix, too.

    Raises:
        DatasetError: a name is missing, is of no picture or of several, or stands twice; names the row.
    """
    by_path = {picture.path: place for place, picture in enumerate(pictures)}
    by_name: dict[str, list[int]] = {}
    by_stem: dict[str, list[int]] = {}
    for place, picture in enumerate(pictures):
        by_name.setdefault(PurePosixPath(picture.path).name, []).append(place)
        by_stem.setdefault(PurePosixPath(picture.path).stem, []).append(place)
    places: list[int] = []
    lacking: list[str] = []
    seen: dict[int, int] = {}
    for row, name in enumerate(names):
        path = (name or "").replace("\\", "/").removeprefix("./")
        ways = ([by_path[each]] if each in by_path else by_name.get(each, []) for each in file_names(path))
        found = next((places for places in ways if places), by_stem.get(PurePosixPath(path).name, []))
        if len(found) > 1:
            raise DatasetError(
                f"{where}: expected the path of one picture in row {row}, found {shown(name)}, which may be "
                f"{listed([pictures[place].path for place in found])}."
            )
        if not found:
            lacking.append(f"{shown(name)} in row {row}")
            continue
        if found[0] in seen:
            raise DatasetError(
                f"{where}: expected each picture in one row, found {shown(name)} in rows "
                f"{seen[found[0]]} and {row}."
            )
        seen[found[0]] = row
        places.append(found[0])
    if lacking:
        raise DatasetError(
            f"{where}: expected a picture for every row, found none for {len(lacking):,} of {len(names):,}: "
            f"{listed(lacking, 2)}."
        )
    return places


def read_cvat(path: Path) -> pa.Table:
    """The tags of pictures from CVAT's own format ("CVAT for images"), version 1.1.

    https://docs.cvat.ai/docs/dataset_management/formats/format-cvat

    Raises:
        DatasetError: it is not such a file, or a picture has several tags.
    """
    with readable(path, "XML file"):
        if path.stat().st_size > _MOST_XML_BYTES:
            raise DatasetError(f"{path}: expected at most 512 MB of XML, found more.")
        content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise DatasetError(f"{path}: expected XML without entities of its own, found some.")
    try:
        root = ElementTree.fromstring(content)  # noqa: S314  # it has no entities
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DatasetError(f"{path}: expected XML, found text that is none ({error}).") from error
    images = root.findall("image")
    if root.tag != "annotations" or not images:
        raise DatasetError(
            f"{path}: expected CVAT's format for images (annotations of image), found {root.tag}."
        )
    files, labels = [], []
    for image in images:
        name, tags = image.get("name", ""), [tag.get("label") for tag in image.findall("tag")]
        if len(set(tags)) > 1:
            raise DatasetError(
                f"{path}: expected one tag for each picture, found {listed(list(map(str, tags)))} "
                f"for {shown(name)}."
            )
        files.append(name)
        labels.append(tags[0] if tags else None)
    return pa.table({FILE: pa.array(files, pa.string()), LABEL: pa.array(labels, pa.string())})
