"""A person's table as a whole, in one file or several: CSV, JSON lines, Parquet or Arrow."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa

from tasks import DatasetError
from tasks.own_files.columns import open_file, readable
from tasks.own_files.ids import ID_COLUMNS, Ids, read_ids
from tasks.own_files.json_tables import LINES, LISTS, read_objects, table_of
from tasks.own_files.names import listed, shown
from tasks.small_files import parse_json, read_small

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq", ".arrow", ".feather", *LINES, *LISTS)
SPLIT_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("unlabeled", "unlabelled", "unsupervised"), "unlabeled"),
}
"""What people call splits, in files, folders and columns."""
# What Hugging Face's datasets writes beside its tables: an object each, never rows.
_RECORDS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
# What it keeps there of earlier work, beside such a record.
_CACHED = re.compile(r"cache-.*\.arrow")
_SHOWN_COLUMNS = 20


@dataclass(frozen=True)
class OwnTable:
    """All rows of a table.

    Attributes:
        path: the file, or the folder of its files.
        parts: the path within `path` and the number of rows of each file, in the order of the rows.
        table: the columns; those of a CSV as text, null where a cell is empty.
        decimal: what stands before the fraction of a number in text.
        class_names: names by class index, of the columns for which the file says them.
        ids: the index of a pandas table, where that names the rows.
    """

    path: Path
    parts: tuple[tuple[str, int], ...]
    table: pa.Table
    decimal: str
    class_names: Mapping[str, tuple[str, ...]]
    ids: Ids | None

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.table.column_names)

    @property
    def folder(self) -> Path:
        """The folder in which files lie that the table names."""
        return self.path if self.path.is_dir() else self.path.parent

    def column(self, name: str, option: str) -> pa.ChunkedArray:
        """A column.

        Raises:
            DatasetError: there is none of this name; lists the columns, the nearest first.
        """
        if name not in self.names:
            near = get_close_matches(name, self.names, n=1) or get_close_matches(
                name.casefold(), [each.casefold() for each in self.names], n=1
            )
            nearest = [each for each in self.names if near and each.casefold() == near[0].casefold()]
            raise DatasetError(
                f"{self.path}: expected the column {shown(name)} (--{option}), found "
                f"{listed(self.names, _SHOWN_COLUMNS)}." + (f" Did you mean {nearest[0]}?" if nearest else "")
            )
        return self.table.column(name)

    def numbers(self) -> list[str]:
        """(N,) the number of each row, from 0; of several files the name of its file before it, too."""
        if len(self.parts) == 1:
            return [str(row) for row in range(self.table.num_rows)]
        names = [name.rsplit("/", 1)[-1] for name, _ in self.parts]
        if len(set(names)) < len(names):
            names = [name for name, _ in self.parts]
        return [f"{name}/{row}" for name, (_, n) in zip(names, self.parts, strict=True) for row in range(n)]

    def split_of_parts(self) -> list[str] | None:
        """(N,) the split of each row by the name of its file, or its folder; None where they name none.

        Raises:
            DatasetError: some names tell a split and others do not.
        """
        splits = [split_in_path(name) for name, _ in self.parts]
        if len(self.parts) == 1 or not any(splits):
            return None
        if not all(splits):
            (without, _) = self.parts[splits.index(None)]
            raise DatasetError(
                f"{self.path}: expected train, valid or test in the name of every file, or of none, found "
                f"{without}. Rename it, or give one file."
            )
        return [str(split) for split, (_, n) in zip(splits, self.parts, strict=True) for _ in range(n)]


def split_in_name(name: str) -> str | None:
    """The split that the name of a file or folder tells; None where it tells none, or several."""
    words = re.split(r"[^a-z]+", name.lower())
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def split_in_path(path: str) -> str | None:
    """The split that the name of a file tells, or else the nearest folder above it that tells one."""
    return next((split for name in reversed(path.split("/")) if (split := split_in_name(name))), None)


def is_table(path: Path) -> bool:
    """Whether a file has the suffix of a table."""
    return path.name.lower().endswith(SUFFIXES)


def is_aside(path: Path) -> bool:
    """Whether a file in a folder of tables is what a library keeps beside them.

    That is a hidden file, a record of Hugging Face's datasets, or Arrow that it keeps of earlier work beside
    such a record. A table of a person's own may have any of these names but the hidden ones.
    """
    name = path.name.lower()
    if _CACHED.fullmatch(name):
        return any(_is_record(path.with_name(record)) for record in _RECORDS)
    return name.startswith((".", "_")) or (name in _RECORDS and _is_record(path))


def _is_record(path: Path) -> bool:
    """Whether a file is there that holds no rows: neither a list in JSON nor an object a line."""
    try:
        content = read_small(path)
    except OSError:
        # Reading it as a table says what is wrong with it.
        return False
    with suppress(ValueError):
        return not isinstance(parse_json(content), list)
    lines = content.strip().splitlines()
    with suppress(ValueError):
        return not (len(lines) > 1 and isinstance(parse_json(lines[0]), dict))
    return True


def table_files(path: Path) -> list[Path]:
    """The files of a table: `path` itself, or all tables in the folder `path`, those of folders in it too."""
    if not path.is_dir():
        return [path]
    found = (file for file in path.rglob("*") if file.is_file() and is_table(file))
    return sorted(file for file in found if not is_aside(file))


def read_own_table(path: Path) -> OwnTable:
    """Read a table.

    Raises:
        DatasetError: there is none, it has no rows, is damaged, or its files have different columns.
    """
    files = table_files(path)
    if not files:
        raise DatasetError(f"{path}: expected tables ({', '.join(SUFFIXES)}), found none.")
    read = [_read(file) for file in files]
    tables = [table for table, _, _ in read]
    for file, table in zip(files[1:], tables[1:], strict=True):
        if table.column_names != tables[0].column_names:
            differing = set(table.column_names) ^ set(tables[0].column_names)
            raise DatasetError(
                f"{file}: expected the columns of {files[0].name}, found "
                f"{listed(sorted(differing)) or 'them in another order'} in one of them alone."
            )
    with readable(path, "table"):
        table = tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive")
    if not table.num_rows:
        raise DatasetError(f"{path}: expected rows, found none.")
    names = [file.relative_to(path).as_posix() if path.is_dir() else file.name for file in files]
    parts = tuple((name, part.num_rows) for name, part in zip(names, tables, strict=True))
    _, decimal, ids = read[0]
    return OwnTable(
        path, parts, table, decimal, _class_names(tables[0].schema), ids if len(files) == 1 else None
    )


def _read(path: Path) -> tuple[pa.Table, str, Ids | None]:
    """The columns of a file, what stands before fractions, and the index of a pandas table."""
    if path.name.lower().endswith((*LINES, *LISTS)):
        return table_of(read_objects(path), path), ".", None
    file = open_file(path)
    with readable(path, file.form):
        portions = list(file.portions(file.names, as_text=True))
        table = _decode(pa.concat_tables(portions) if portions else file.schema.empty_table())
    # A column of ids is an option; an index is what pandas adds unasked.
    ids = None if set(file.names) & set(ID_COLUMNS) else read_ids(file)
    return (
        table.replace_schema_metadata(file.schema.metadata),
        file.dialect.decimal if file.dialect else ".",
        ids,
    )


def _decode(table: pa.Table) -> pa.Table:
    """The columns, with values in place of the codes that pandas writes of a categorical."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
    return table


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Names by class index of columns, as Hugging Face's datasets writes them into a schema."""
    with suppress(KeyError, TypeError, ValueError, AttributeError, RecursionError):
        # Whatever else it is, that library did not write it.
        features: Mapping[str, object] = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return {
            column: tuple(feature["names"])
            for column, feature in features.items()
            if isinstance(feature, Mapping)
            and feature.get("_type") == "ClassLabel"
            and feature.get("names")
            and all(isinstance(name, str) for name in feature["names"])
        }
    return {}


def texts_of(column: pa.ChunkedArray) -> Sequence[str | None]:
    """(N,) the values of a column as text without blanks around; None where there is nothing."""
    texts = column.cast(pa.large_string()).to_pylist()
    return [None if text is None or not text.strip() else text.strip() for text in texts]
