"""Tasks that Label Studio exported as JSON, with one choice each: texts, or pictures beside the file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks import DatasetError
from tasks.contents import Examples, Fetch, Texts
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
    place_of,
)
from tasks.own_files.label_studio import Task, file_names, read_tasks
from tasks.own_files.names import listed, shown
from tasks.own_files.picture_folders import find_pictures
from tasks.own_files.pictures import Picture

GIVES = ("text", "image")


class Options(OwnOptions):
    """`text` or `image` is the name of the data to show, `label` that of the choices if there are several."""

    text: str | None = None
    image: str | None = None
    label: str | None = None
    image_size: ImageSize = None


def read(inputs: Path, options: Options, fetch: Fetch) -> Examples:
    """Read the tasks.

    Raises:
        DatasetError: the file is missing or damaged, or a task lacks its text or picture.
    """
    path = export_in(place_of(inputs / "examples", options))
    tasks = read_tasks(path, options.label)
    found = find(path, tasks, options)
    if options.image:
        pictures = pictures_of(path, tasks, options.image)
        return picture_examples(found, pictures, options, options.image_size, fetch.console)
    return as_examples(found, options, Texts([text for text in _texts(tasks, str(options.text)) if text]))


def are_left_out(path: Path, tasks: list[Task], options: Options, places: Sequence[int]) -> bool:
    """Whether none of the tasks at these places has a text, or a picture that can be read."""
    if options.text is not None:
        texts = _texts(tasks, options.text)
        return not any(texts[place] for place in places)
    return are_unreadable(pictures_of(path, [tasks[place] for place in places], str(options.image)))


def export_in(path: Path) -> Path:
    """The exported file: `path`, or the one JSON file in that folder.

    Raises:
        DatasetError: there is not exactly one.
    """
    if path.is_file():
        return path
    found = sorted(file for file in path.glob("*.json") if file.is_file())
    if len(found) != 1:
        names = listed([file.name for file in found]) or "none"
        raise DatasetError(f"{path}: expected one .json file that Label Studio exported, found {names}.")
    return found[0]


def find(path: Path, tasks: list[Task], options: Options) -> Found:
    """The rows of the export, each under the id of its task; those without a text are left out.

    Raises:
        DatasetError: rows are not what they should be.
    """
    found = find_all(path, tasks, options)
    texts = [] if not options.text else _texts(tasks, options.text)
    reasons = {row: "no text" for row, text in enumerate(texts) if not text}
    if not reasons:
        return found
    first = tasks[min(reasons)]
    error = DatasetError(
        f"{path}: expected a text under {shown(options.text)} in the data of nearly every task (--text), "
        f"found {'none' if options.text in first.data else listed(list(first.data))} in task "
        f"{shown(first.key)} ({len(reasons):,} of {len(tasks):,} lack it)."
    )
    return leave_out(found, reasons, error)


def find_all(path: Path, tasks: list[Task], options: Options) -> Found:
    """The rows of the export, whatever they hold.

    Raises:
        DatasetError: rows are not what they should be.
    """
    label = pa.chunked_array([pa.array([task.label for task in tasks], pa.string())])
    names, (given, _) = find_labels([label, None], options.class_names, (), [str(path)] * 2)
    several = [task for task in tasks if task.n_annotations > 1]
    differing = sum(task.n_other > 0 for task in several)
    said = (
        f"{len(several):,} tasks have several annotations, and the newest counts; in {differing:,} of them "
        "others differ",
    )
    return check_found(
        Found(
            where=str(path),
            kind="image" if options.image else "text",
            class_names=names,
            key=[task.key for task in tasks],
            keys_are="the id of the task",
            split=np.repeat("train", len(tasks)),
            given=given,
            true=None,
            said=said if several else (),
        )
    )


def _texts(tasks: list[Task], name: str) -> list[str]:
    """(N,) the text of each task, empty where it has none."""
    texts = [task.data.get(name) for task in tasks]
    return [text.strip() if isinstance(text, str) else "" for text in texts]


def pictures_of(path: Path, tasks: list[Task], name: str) -> list[Picture]:
    """The picture of each task, from the files beside the export.

    Raises:
        DatasetError: a task names none that is there.
    """
    files = find_pictures(path.parent)
    by_path = {file.path: file.path for file in files}
    by_name: dict[str, str] = {}
    for file in files:
        by_name.setdefault(Path(file.path).name, file.path)
    pictures = []
    for task in tasks:
        names = file_names(str(task.data.get(name, "")))
        found = [by_path.get(each) or by_name.get(each) for each in names]
        chosen = next((each for each in found if each), None)
        if chosen is None:
            raise DatasetError(
                f"{path}: expected the picture of task {shown(task.key)} in {path.parent}, found no file "
                f"{shown(names[-1])}. Put the pictures beside the export."
            )
        pictures.append(Picture(chosen, path.parent / chosen))
    return pictures
