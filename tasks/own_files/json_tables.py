"""A person's rows in JSON: an object a line, or one list of objects."""

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from tasks import DatasetError
from tasks.own_files.columns import check_file, readable
from tasks.own_files.dialects import open_bytes
from tasks.own_files.names import listed, shown

LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
LISTS = (".json", ".json.gz")
_MOST_BYTES = 2**31


def read_objects(path: Path) -> list[dict[str, object]]:
    """The objects of a file, in its order.

    Raises:
        DatasetError: it is not JSON, too large, or holds something other than objects; names the first.
    """
    check_file(path)
    with readable(path, "JSON file"), open_bytes(path) as stream:
        content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise DatasetError(f"{path}: expected at most 2 GB of JSON, found more. Give it as Parquet.")
        text = content.decode("utf-8-sig")
    if path.name.lower().endswith(LISTS) and text.lstrip().startswith("["):
        found = _parse(text, path, 1)
        if not isinstance(found, list):
            raise DatasetError(f"{path}: expected a list of objects, found {type(found).__name__}.")
        numbered = list(enumerate(found))
        noun = "item"
    else:
        lines = enumerate(text.split("\n"), start=1)
        numbered = [(number, _parse(line, path, number)) for number, line in lines if line.strip()]
        noun = "line"
    for number, found in numbered:
        if not isinstance(found, dict):
            raise DatasetError(f"{path}: expected an object in {noun} {number}, found {shown(found)}.")
    return [found for _, found in numbered]


def _parse(text: str, path: Path, line: int) -> object:
    try:
        return json.loads(text)
    except ValueError as error:  # JSONDecodeError, and numbers of too many digits
        at = line + getattr(error, "lineno", 1) - 1
        raise DatasetError(f"{path}, line {at}: expected JSON, found text that is none ({error}).") from error
    except RecursionError as error:
        raise DatasetError(f"{path}: expected JSON, found it too deeply nested.") from error


def table_of(objects: list[dict[str, object]], path: Path) -> pa.Table:
    """The objects as a table: a column for each name, null where an object lacks it.

    Columns of one type have it; those of several are text. NaN, which Python writes, is null. Lists of one
    value, as programs with several labels a row write them, are that value; empty ones are null.

    Raises:
        DatasetError: the only object holds columns, or lists of rows.
    """
    names = list(dict.fromkeys(name for each in objects for name in each))
    # pandas' `to_json` writes so where it is not told otherwise; as one row it would say nothing.
    if (
        len(objects) == 1
        and objects[0]
        and all(isinstance(each, dict | list) for each in objects[0].values())
    ):
        raise DatasetError(
            f"{path}: expected a list of rows, or a row a line, found one object of {listed(names)}. "
            "Of pandas, write it with to_json(orient='records')."
        )
    return pa.table({name: _column([each.get(name) for each in objects]) for name in names})


def _column(values: list[object]) -> pa.Array:
    values = [None if value != value else value for value in values]
    if all(value is None or (isinstance(value, list) and len(value) < 2) for value in values):
        values = [value[0] if isinstance(value, list) and value else None for value in values]
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and not kinds & {dict, list}):
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeError):  # integers beyond 64 bits
            pass
    return pa.array([None if value is None else _text(value) for value in values], pa.large_string())


def _text(value: object) -> str:
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value).encode(errors="replace").decode()
