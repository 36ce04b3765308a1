"""Exports of folders of pictures: which file belongs where, and on request a copy that is so."""

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa

from tasks import plugins
from tasks.datasets._own import are_unreadable, place_of
from tasks.export.rows import ACTION, DECIDED_BY, ERROR_PROB, LABEL, SUGGESTED, Written
from tasks.export.tables import extend_file, in_order, write_list_of
from tasks.own_files.own_tables import texts_of
from tasks.own_files.picture_folders import find_pictures, match_files
from tasks.params import Params

_MOVES = ("file", "to", "given_label", LABEL, ACTION, SUGGESTED, ERROR_PROB, DECIDED_BY)


def write_folder(params: Params, workspace: Path, rows: pa.Table, out: Path, copy: bool) -> Written:
    """Write `moves.csv`, the files whose class changed; `labels.csv`, all files; with `copy` also `pictures`.

    A folder whose labels came as a table gets that table again, with columns added, in place of `labels.csv`.
    """
    options = params.options("datasets", "folder")
    folder = place_of(workspace / "inputs" / "examples", options)  # type: ignore[arg-type]
    pictures = find_pictures(folder)
    reader = plugins.load("datasets", "folder")
    found = reader.find(folder, options)

    def are_left_out(places: Sequence[int]) -> bool:
        return are_unreadable(reader.pictures_at(folder, [found.key[place] for place in places]))

    rows = in_order(rows, found, are_left_out)
    by_table: str | None = options.labels  # type: ignore[attr-defined]
    to = new_paths(rows, is_nested=by_table is None)
    named = rows.append_column("file", rows.column("key")).append_column("to", pa.array(to, pa.string()))
    changed = named.filter(
        [bool(row["to"]) and row[LABEL] != row["given_label"] for row in named.to_pylist()]
    ).select(_MOVES)
    write_list_of(changed, out / "moves.csv")
    said = f"moves.csv, {changed.num_rows:,} files to another class"
    if by_table is None or by_table.lower().endswith(".xml"):
        write_list_of(rows.drop_columns(["split", "why"]), out / "labels.csv")
        said += f"; labels.csv, all {rows.num_rows:,}"
    else:
        own = reader.label_table(folder / by_table)
        places = match_files(texts_of(own.column(str(options.file), "file")), pictures, by_table)  # type: ignore[attr-defined]
        name = Path(by_table).name
        extend_file(folder / by_table, own, 0, rows.take(places), str(options.label), out / name)  # type: ignore[attr-defined]
        said += f"; {name} with columns added"
    if copy:
        kept = [(picture.path, path) for picture, path in zip(pictures, to, strict=True) if path]
        for source, path in kept:
            target = out / "pictures" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / source, target)
        said += f"; pictures, {len(kept):,} files in folders of their classes"
    return Written(rows, said)


def new_paths(rows: pa.Table, *, is_nested: bool) -> list[str | None]:
    """(N,) where each file belongs: its path with its class for the old one; None for those without a class.

    Args:
        rows: see `collect_rows`, `key` being the path.
        is_nested: whether the folders are the classes; else a folder for each class is put before the path.

    Files that would get one path are told apart by their old class.
    """
    found: list[str | None] = []
    taken = set(rows.column("key").to_pylist()) if is_nested else set()
    for row in rows.select(["key", "given_label", LABEL]).to_pylist():
        key, given, label = PurePosixPath(row["key"]), row["given_label"], row[LABEL]
        if label is None:
            found.append(None)
            continue
        if not is_nested:
            new = PurePosixPath(_folder_of(label)) / key
        elif label == given:
            found.append(str(key))
            continue
        else:
            parts = list(key.parts)
            parts[parts.index(given) if given in parts[:-1] else 0] = _folder_of(label)
            new = PurePosixPath(*parts)
        if str(new) in taken:
            new = new.with_name(f"{new.stem} ({given}){new.suffix}")
        while str(new) in taken:
            new = new.with_name(f"{new.stem}_{new.suffix}")
        taken.add(str(new))
        found.append(str(new))
    return found


def _folder_of(label: str) -> str:
    """The folder of a class: one visible name, whatever the class is called.

    A label of a table may be a path. What would lead elsewhere, or hide the folder, stands as in a URL.
    """
    name = label.replace("/", "%2F").replace("\0", "%00")
    return f"%2E{name[1:]}" if name.startswith(".") else name
