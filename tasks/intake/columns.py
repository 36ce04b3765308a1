"""Which column of a person's table is what, by what was said, by names that are usual, and by the values."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

import pyarrow as pa
import pyarrow.compute as pc

from tasks import DatasetError
from tasks.own_files.columns import is_text
from tasks.own_files.ids import ID_COLUMNS
from tasks.own_files.names import listed, shown
from tasks.own_files.own_tables import SPLIT_WORDS, OwnTable

LABELS = ("given_label", "label", "labels", "class", "class_name", "category", "target")
TEXTS = (
    *("text", "sentence", "review", "tweet", "comment", "message", "content", "body", "document"),
    *("abstract", "headline", "question", "utterance", "prompt", "description"),
)
IDS = (*ID_COLUMNS, "uuid", "guid", "row_id", "sample_id", "image_id", "text_id", "tweet_id")
SPLITS = ("split", "subset", "partition", "set")
GROUPS = ("group", "group_id")
TRUTHS = ("true_label",)
_FEW = 50
# Text of so many characters in the mean is no category and no name, however its column is called.
_LONG = 40
_MOSTLY = 0.5
_NUMBER = r"^\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*$"


def find_label(own: OwnTable, asked: str | None) -> str:
    """The column of given labels.

    Raises:
        DatasetError: it is not certain; lists the columns, those with few different values first.
    """
    if asked:
        own.column(asked, "label")
        return asked
    found = list(own.class_names) or _called(own, LABELS)
    if len(found) == 1:
        return found[0]
    few = [name for name in own.names if _n_different(own, name) <= _FEW]
    columns = listed([*few, *(name for name in own.names if name not in few)], 20)
    problem = f"{listed(found)} may hold the labels" if found else "no column called label, class or target"
    raise DatasetError(f"{own.path}: {problem}. Name the one that does: --label COLUMN, of {columns}.")


def find_by_name(own: OwnTable, asked: str | None, usual: Sequence[str], option: str) -> str | None:
    """A column that was asked for, or the first that has a usual name; None where there is none.

    Raises:
        DatasetError: there is no column of the name that was asked for.
    """
    if asked:
        own.column(asked, option)
        return asked
    return next(iter(_called(own, usual)), None)


def find_id(own: OwnTable, asked: str | None, taken: Sequence[str]) -> str | None:
    """The column that names the rows: by its name, or the first if it holds single words, all different.

    Numbers are no words: those that differ in all rows are as likely a measurement.

    Raises:
        DatasetError: there is no column of the name that was asked for.
    """
    found = find_by_name(own, asked, [name for name in IDS if name not in taken], "id")
    if found or own.ids is not None:
        return found
    column = own.table.column(0)
    if own.names[0] in taken or not 0 < _mean_length(own, own.names[0]) < _LONG or column.null_count:
        return None
    are_words = not pc.any(pc.match_substring_regex(column.cast(pa.large_string()), r"\S\s+\S")).as_py()
    return own.names[0] if are_words and len(pc.unique(column)) == len(column) else None


def n_repeats(own: OwnTable, name: str | None) -> int:
    """How many rows have the value of an earlier one in a column; 0 where there is no column."""
    return 0 if name is None else own.table.num_rows - len(pc.unique(own.table.column(name)))


def find_split(own: OwnTable, asked: str | None) -> str | None:
    """The column of splits; one that is called so counts if its values are splits.

    Raises:
        DatasetError: there is no column of the name that was asked for.
    """
    name = find_by_name(own, asked, SPLITS, "split")
    if name is None or asked:
        return name
    column = own.table.column(name)
    if not is_text(column.type):
        return None
    values = pc.unique(column.cast(pa.large_string())).drop_null().to_pylist()
    return name if values and all(value.strip().casefold() in SPLIT_WORDS for value in values) else None


def find_text(own: OwnTable, asked: str | None, others: Sequence[str]) -> str | None:
    """The column of texts among `others`, which are no label, id or split; None where there is none.

    Raises:
        DatasetError: several may be it; names them. Or there is none of the name that was asked for.
    """
    if asked:
        own.column(asked, "text")
        return asked
    lengths = {name: _mean_length(own, name) for name in others}
    long = [name for name, length in lengths.items() if length >= _LONG]
    named = [name for name in _called(own, TEXTS) if lengths.get(name, 0) > 0]
    # Of two columns of text, the one with a usual name; of none so called, the long one.
    for found in (named if len(named) == 1 else [], [] if named else long):
        if len(found) == 1:
            return found[0]
    if named or long:
        raise DatasetError(
            f"{own.path}: {listed(named or long)} may hold the texts. Name the one to "
            "learn from: --text COLUMN."
        )
    # Short texts that differ are the content where nothing else could be.
    different = [name for name, length in lengths.items() if length > 0 and _differs(own.table.column(name))]
    return different[0] if len(different) == 1 == len(others) else None


def nearest_file(name: str, files: Sequence[str]) -> str:
    """A sentence that names the nearest of files; empty where none is near."""
    near = get_close_matches(name, files, n=1)
    return f" Did you mean {shown(near[0])}?" if near else ""


def _called(own: OwnTable, usual: Sequence[str]) -> list[str]:
    """The columns of usual names, in any case of letters, with blanks or dashes for underscores."""
    plain = {name: re.sub(r"[\s-]+", "_", name.strip().casefold()) for name in own.names}
    return [name for wanted in usual for name in own.names if plain[name] == wanted]


def _n_different(own: OwnTable, name: str) -> int:
    column = own.table.column(name)
    nested = pa.types.is_nested(column.type) or isinstance(column.type, pa.BaseExtensionType)
    return _FEW + 1 if nested else len(pc.unique(column))


def _mean_length(own: OwnTable, name: str) -> float:
    """The mean number of characters of a column of text; 0 of another, and of one that is mostly numbers."""
    column = own.table.column(name)
    if not is_text(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return 0.0
    text = column.cast(pa.large_string())
    if (pc.mean(pc.match_substring_regex(text, _NUMBER)).as_py() or 0) > _MOSTLY:
        return 0.0
    return float(pc.mean(pc.utf8_length(text)).as_py() or 0)


def _differs(column: pa.ChunkedArray) -> bool:
    return bool(len(pc.unique(column)) > _MOSTLY * len(column))
