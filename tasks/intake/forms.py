"""Which form a person's data have, and the plan for each form."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa

from tasks import DatasetError, plugins
from tasks.datasets._own import MOST_LEFT_OUT, Found, read_readable
from tasks.intake.asked import Asked, Plan
from tasks.intake.columns import (
    GROUPS,
    TRUTHS,
    find_by_name,
    find_id,
    find_label,
    find_split,
    find_text,
    n_repeats,
    nearest_file,
)
from tasks.intake.earlier_export import columns_of_export
from tasks.own_files.columns import is_text, load_array
from tasks.own_files.encoding import encode_columns
from tasks.own_files.json_tables import LISTS, read_objects
from tasks.own_files.label_studio import are_tasks, file_names, read_tasks
from tasks.own_files.names import listed, shown
from tasks.own_files.own_tables import OwnTable, is_aside, is_table, read_own_table, table_files, texts_of
from tasks.own_files.picture_folders import PictureFile, find_pictures, match_files, say_not_read
from tasks.own_files.pictures import SUFFIXES, Header, is_encoded, read_headers, usual_size

FOLDER, TABLE, LABEL_STUDIO, ARRAYS = "folder", "table", "label_studio", "arrays"
_SHOWN_COLUMNS = 12


def make_plan(path: Path, asked: Asked) -> Plan:
    """Look at `path` and say what it is; nothing is changed.

    Raises:
        DatasetError: it is none of the forms, a choice is not certain, or the data are not as they should be.
    """
    if not path.exists():
        raise DatasetError(f"{path}: expected a file or folder, found none.")
    if path.is_dir():
        return _plan_folder(path, asked)
    if path.suffix.lower() == ".npy":
        return _plan_arrays(path.parent, path.name, asked)
    if path.suffix.lower() == ".xml":
        return _plan_labelled_pictures(path.parent, path, asked, whole=False)
    if not is_table(path):
        raise DatasetError(
            f"{path}: expected a folder of pictures, a table (.csv, .tsv, .parquet, .arrow, .jsonl, .json), "
            f".npy arrays, or a .zip or .tar of them, found a file {path.suffix or 'without suffix'}."
        )
    if _is_label_studio(path):
        return _plan_label_studio(path, asked)
    own = read_own_table(path)
    # The folder of a table without such a column may be anything, and of any size.
    if asked.text is None and _picture_columns(own) and _file_column(own, None, find_pictures(path.parent)):
        return _plan_labelled_pictures(path.parent, path, asked, whole=False)
    return _plan_table(own, asked)


def _plan_folder(path: Path, asked: Asked) -> Plan:
    pictures = find_pictures(path)
    files = [file for file in sorted(path.iterdir()) if file.is_file() and is_table(file)]
    tables = [file for file in files if not is_aside(file)]
    tables += sorted(path.glob("*.xml")) if pictures else []
    exports = [file for file in tables if _is_label_studio(file)]
    if pictures:
        if asked.labels:
            return _plan_labelled_pictures(path, _file_in(path, asked.labels, "labels"), asked, whole=True)
        if len({picture.label for picture in pictures} - {None}) > 1:
            return _plan_class_folders(path, pictures, tables, asked)
        if len(exports) == 1:
            return _plan_label_studio(exports[0], asked)
        if len(tables) == 1:
            return _plan_labelled_pictures(path, tables[0], asked, whole=True)
        inner = [folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
        if len(inner) == 1 and not tables:
            return _plan_folder(inner[0], asked)
        found = f"the tables {listed([table.name for table in tables])}" if tables else "no table"
        raise DatasetError(
            f"{path}: expected a folder for each class, or one table with the labels of the pictures, found "
            f"{len(pictures):,} pictures without classes and {found}. Name the table: --labels FILE."
            + _also_not_read(path)
        )
    if list(path.glob("*.npy")):
        return _plan_arrays(path, None, asked)
    if len(exports) == 1 and len(tables) == 1:
        return _plan_label_studio(exports[0], asked)
    if table_files(path):
        return _plan_table(read_own_table(path), asked)
    raise DatasetError(
        f"{path}: expected pictures ({', '.join(sorted(SUFFIXES))}), tables (.csv, .tsv, .parquet, .arrow, "
        f".jsonl, .json) or .npy arrays in this folder, found none." + _also_not_read(path)
    )


def _also_not_read(folder: Path) -> str:
    """What may be what its owner means, for the end of a sentence."""
    return "".join(f" {said}" for said in say_not_read(folder))


def _file_in(folder: Path, name: str, option: str) -> Path:
    """A file that an option names, within the folder or from here.

    Raises:
        DatasetError: there is none in the folder; names the nearest.
    """
    for file in (folder / name, Path(name)):
        if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
            return file
    files = sorted(file.name for file in folder.iterdir() if file.is_file())
    raise DatasetError(
        f"--{option}: expected a file in {folder}, found no {shown(name)}.{nearest_file(name, files)}"
    )


def _is_label_studio(path: Path) -> bool:
    return path.name.lower().endswith(LISTS) and are_tasks(read_objects(path))


# -- Pictures.


def _plan_class_folders(path: Path, pictures: list[PictureFile], tables: list[Path], asked: Asked) -> Plan:
    module = plugins.load("datasets", FOLDER)
    chosen: dict[str, object] = {"class_names": list(asked.class_names)}
    found = module.find(path, module.Options(**chosen))
    found, headers = read_readable(found, module.pictures_at(path, found.key), read_headers)
    chosen["image_size"] = asked.image_size or usual_size(headers)
    said = ["Each folder is a class" + (", in folders for splits." if _has_splits(pictures) else ".")]
    n_loose = sum(picture.label is None for picture in pictures)
    if n_loose:
        said.append(f"{n_loose:,} pictures lie in no folder of a class: they have no label.")
    said += [f"{table.name} is not read; its labels count with --labels {table.name}." for table in tables]
    said += say_not_read(path)
    files = tuple(picture.path for picture in pictures)
    return Plan(FOLDER, chosen, found, path, files, tuple(said), tuple(headers))


def _has_splits(pictures: list[PictureFile]) -> bool:
    return any(picture.split for picture in pictures)


def _picture_columns(own: OwnTable) -> dict[str, str]:
    """The columns whose values all are names of pictures, by paths or URLs, each with its first value."""
    found = {}
    for name in own.names:
        column = own.table.column(name)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        first = [value.strip().replace("\\", "/") for value in column.drop_null().slice(0, 100).to_pylist()]
        if first and all(
            any(Path(each).suffix.lower() in SUFFIXES for each in file_names(value)) for value in first
        ):
            found[name] = first[0]
    return found


def _file_column(own: OwnTable, asked: str | None, pictures: Sequence[PictureFile]) -> str | None:
    """The column that names pictures: by their suffix, and by the files that are there."""
    if asked:
        own.column(asked, "id")
        return asked
    columns = _picture_columns(own)
    known = {Path(picture.path).name for picture in pictures}
    return next((name for name, first in columns.items() if known & set(file_names(first))), None)


def _stem_column(own: OwnTable, pictures: Sequence[PictureFile]) -> str | None:
    """The column that names pictures without their suffix, a row each."""
    stems = {Path(picture.path).stem for picture in pictures}
    for name in own.names:
        column = own.table.column(name).slice(0, 100)
        if is_text(column.type) or pa.types.is_integer(column.type):
            first = texts_of(column)
            if len(set(first)) == len(first) and stems.issuperset(first):
                return name
    return None


def _check_no_lost_pictures(own: OwnTable, asked: Asked, text: str | None, taken: Sequence[str]) -> None:
    """Refuse a table whose content seems to be pictures that are not there: their names teach nothing.

    Args:
        own: the table.
        asked: what its owner said of it.
        text: the column of texts that was found, None where there is none.
        taken: columns that are something else: labels, splits, groups, the truth.

    Raises:
        DatasetError: a column names pictures, and there is no other text to learn from.
    """
    certain = (*taken, asked.id, *asked.drop)
    columns = {name: first for name, first in _picture_columns(own).items() if name not in certain}
    if asked.text is None and columns and (text is None or text in columns):
        name, first = next(iter(columns.items()))
        raise DatasetError(
            f"{own.path}: expected the pictures that the column {shown(name)} names in {own.folder} or a "
            f"folder in it, found no {shown(file_names(first)[-1])}. Put the table beside them. If the "
            f"column is no content: --drop {shown(name)}; if it only names the rows: --id {shown(name)}; if "
            f"its words are the content: --text {shown(name)}."
        )


class Roles(TypedDict):
    """The columns with the labels, the splits, the groups and the truth, and the classes by index."""

    label: str
    split: str | None
    group: str | None
    truth: str | None
    class_names: list[str]


def _roles(own: OwnTable, asked: Asked) -> Roles:
    label = find_label(own, asked.label)
    return {
        "label": label,
        "split": find_split(own, asked.split),
        "group": find_by_name(own, asked.group, GROUPS, "group"),
        "truth": find_by_name(own, asked.truth, [name for name in TRUTHS if name != label], "truth"),
        "class_names": list(asked.class_names),
    }


def _said_of_roles(roles: Roles) -> list[str]:
    said = (
        ("Splits", roles["split"]),
        ("Rows that belong together", roles["group"]),
        ("The truth", roles["truth"]),
    )
    return [f"{word}: column {column}." for word, column in said if column]


def _plan_labelled_pictures(folder: Path, table: Path, asked: Asked, whole: bool) -> Plan:
    """A table with the labels of pictures: of all in the folder, or (`whole` false) of those it names."""
    module = plugins.load("datasets", FOLDER)
    own = module.label_table(table)
    pictures = find_pictures(folder)
    file = _file_column(own, asked.id, pictures) or _stem_column(own, pictures)
    file = file or ("file" if table.suffix.lower() == ".xml" else None)
    if file is None:
        raise DatasetError(
            f"{table}: expected a column that names the pictures in {folder}, found {listed(own.names, 20)}. "
            "Name it: --id COLUMN."
        )
    roles = _roles(own, asked)
    named = match_files(module.texts_of(own.column(file, "id")), pictures, f"{table}, column {file}")
    if not whole:
        pictures = [pictures[place] for place in sorted(named)]
    labels = table.relative_to(folder).as_posix()
    chosen: dict[str, object] = {"labels": labels, "file": file, **roles}
    found = module.find(folder, module.Options(**chosen))
    if not whole:
        found = found.take(sorted(named))
    found, headers = read_readable(found, module.pictures_at(folder, found.key), read_headers)
    chosen["image_size"] = asked.image_size or usual_size(headers)
    said = [f"Labels: column {roles['label']} of {table.name}, for the files in its column {file}."]
    said += _said_of_roles(roles)
    if len(named) < len(pictures):
        said.append(f"{len(pictures) - len(named):,} pictures are not in the table: they have no label.")
    files = (*(picture.path for picture in pictures), labels)
    return Plan(FOLDER, chosen, found, folder, files, tuple(said), tuple(headers))


# -- Tables.


def _plan_table(own: OwnTable, asked: Asked) -> Plan:
    module = plugins.load("datasets", TABLE)
    roles = _roles(own, asked)
    of_roles = (roles["label"], roles["split"], roles["group"], roles["truth"])
    taken = [name for name in (*of_roles, asked.text) if name]
    key = find_id(own, asked.id, taken)
    drop = list(asked.drop)
    said_of_id: tuple[str, ...] = ()
    if asked.id is None and (repeats := n_repeats(own, key)):
        said_of_id = (f"The column {key} names no rows: {repeats:,} of them repeat another's name.",)
        drop.append(str(key))
        key = None
    exported = columns_of_export(own, [name for name in (*taken, key) if name])
    drop += [name for name in exported if name not in drop]
    chosen: dict[str, object] = {**roles, "id": key, "drop": drop}
    others = module.content_columns(own, module.Options(**chosen))
    images = [name for name in others if is_encoded(own.table.column(name).type)]
    headers: Sequence[Header] = ()
    if images and not asked.text:
        if len(images) > 1:
            raise DatasetError(f"{own.path}: expected one column of pictures, found {listed(images)}.")
        chosen["image"] = images[0]
    else:
        chosen["text"] = text = find_text(own, asked.text, others)
        _check_no_lost_pictures(own, asked, text, taken)
    found = module.find(own, module.Options(**chosen))
    if images and not asked.text:
        pictures = module.pictures_of(own, module.Options(**chosen), found.key)
        found, headers = read_readable(found, pictures, read_headers)
        chosen["image_size"] = asked.image_size or usual_size(headers)
    said = (*_said_of_columns(own, chosen, found, others), *_said_of_roles(roles))
    if exported:
        said += (f"Left out, as an earlier export wrote or read them: {listed(exported, _SHOWN_COLUMNS)}.",)
    files = (
        tuple(str(file.relative_to(own.path)) for file in table_files(own.path)) if own.path.is_dir() else ()
    )
    return Plan(TABLE, chosen, found, own.path, files, (*said, *said_of_id), tuple(headers))


def _said_of_columns(
    own: OwnTable, chosen: Mapping[str, object], found: Found, others: list[str]
) -> list[str]:
    said = [f"Labels: column {chosen['label']}."]
    content = chosen.get("text") or chosen.get("image")
    if content:
        said.append(f"{'Texts' if chosen.get('text') else 'Pictures'}: column {content}.")
        left = [name for name in others if name != content]
        if left:
            said.append(f"Left out: {listed(left, _SHOWN_COLUMNS)}.")
    else:
        encoded = encode_columns(own.table, others, found.split == "train", own.decimal, str(own.path))
        n_missing = sum(name.endswith(" is missing") for name in encoded.names)
        said.append(
            f"Content: {len(others) - len(encoded.left_out):,} columns as {len(encoded.names):,} numbers"
            + (f"; {n_missing:,} lack values, for which the median stands" if n_missing else "")
            + "."
        )
        if encoded.left_out:
            said.append(f"Left out: {listed(encoded.left_out, _SHOWN_COLUMNS)}.")
    return said


# -- Exports and arrays.


def _plan_label_studio(path: Path, asked: Asked) -> Plan:
    module = plugins.load("datasets", LABEL_STUDIO)
    tasks = read_tasks(path, asked.label)
    names = list(dict.fromkeys(name for task in tasks for name in task.data))
    texts = [
        name
        for name in names
        if np.mean([isinstance(task.data.get(name), str) for task in tasks]) >= 1 - MOST_LEFT_OUT
    ]
    first = {name: next((task.data[name] for task in tasks if task.data.get(name)), "") for name in texts}
    images = [name for name in texts if Path(str(first[name]).split("?d=")[-1]).suffix.lower() in SUFFIXES]
    chosen: dict[str, object] = {"label": asked.label, "class_names": list(asked.class_names)}
    headers: Sequence[Header] = ()
    files: tuple[str, ...] = ()
    source = path
    if images and not asked.text:
        chosen["image"] = images[0]
        pictures = module.pictures_of(path, tasks, images[0])
        source, files = path.parent, tuple(dict.fromkeys([path.name, *(each.name for each in pictures)]))
    else:
        usual = [name for name in texts if name.casefold() in ("text", "content", "body")] or texts
        if asked.text is None and len(usual) != 1:
            raise DatasetError(
                f"{path}: expected one text in the data of every task, found {listed(usual) or 'none'}. Name "
                f"it: --text NAME, of {listed(names, 20)}."
            )
        chosen["text"] = asked.text or usual[0]
    found = module.find(path, tasks, module.Options(**chosen))
    if "image" in chosen:
        found, headers = read_readable(found, pictures, read_headers)
        chosen["image_size"] = asked.image_size or usual_size(headers)
    content = chosen.get("text") or chosen.get("image")
    said = [
        "Tasks of Label Studio.",
        f"{'Texts' if chosen.get('text') else 'Pictures'}: {content} of their data.",
    ]
    return Plan(
        LABEL_STUDIO,
        chosen,
        found,
        source,
        files,
        (*said, *(f"{each}." for each in found.said)),
        tuple(headers),
    )


def _plan_arrays(folder: Path, name: str | None, asked: Asked) -> Plan:
    module = plugins.load("datasets", ARRAYS)
    arrays = {file.name: load_array(file, most_dimensions=4) for file in sorted(folder.glob("*.npy"))}
    wide = [name] if name else [each for each, array in arrays.items() if array.ndim > 1]
    flat = [each for each, array in arrays.items() if array.ndim == 1]
    others = {
        option: _file_in(folder, given, option).name if given else min(usual & set(flat), default=None)
        for option, given, usual in (
            ("ids", asked.id, {"ids.npy", "keys.npy"}),
            ("split", asked.split, {"split.npy", "splits.npy"}),
            ("truth", asked.truth, {"true_labels.npy", "truth.npy"}),
        )
    }
    flat = [each for each in flat if each not in others.values()]
    labels = _file_in(folder, asked.labels, "labels").name if asked.labels else None
    if len(wide) != 1:
        raise DatasetError(
            f"{folder}: expected one .npy file of features or pictures, found {listed(wide) or 'none'}. Give "
            "the path of one."
        )
    if labels is None:
        if len(flat) != 1:
            raise DatasetError(
                f"{folder}: expected one .npy file of labels, found {listed(flat) or 'none'}. Name "
                "it: --labels FILE."
            )
        labels = flat[0]
    class_names = list(asked.class_names)
    chosen: dict[str, object] = {"content": wide[0], "labels": labels, **others, "class_names": class_names}
    found = module.find(folder, module.Options(**chosen))
    shape = arrays[wide[0]].shape
    kind = (
        f"{shape[1]:,} numbers each" if len(shape) == 2 else f"pictures of {' x '.join(map(str, shape[1:]))}"
    )
    said = [f"Content: {wide[0]}, {kind}.", f"Labels: {labels}."]
    named = {option: name for option, name in others.items() if name}
    said += [f"{option.capitalize()}: {name}." for option, name in named.items()]
    return Plan(ARRAYS, chosen, found, folder, (wide[0], labels, *named.values()), tuple(said))


def sizes_of(plan: Plan) -> str:
    """The sizes of the pictures, for a sentence."""
    sides = np.array([(header.height, header.width) for header in plan.headers])
    low, high = sides.min(axis=0), sides.max(axis=0)
    span = f"{low[0]} x {low[1]}" if (low == high).all() else f"{low[0]} x {low[1]} to {high[0]} x {high[1]}"
    colour = "grey" if all(header.is_grey for header in plan.headers) else "in colour"
    return f"{span} pixels, {colour}"
