"""Columns of numbers and categories as vectors that a model can learn from.

A number is itself. Where training rows lack it, the median of those that have it stands in, and a column says
which rows lacked it. A category is a column of zeros and ones for each of its values. All is measured on
training rows alone.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks import DatasetError
from tasks.own_files.columns import is_text
from tasks.own_files.names import listed, shown

MOST_CATEGORIES = 20
"""Of more values than this, the rarest are one."""
_RARE = 0.01
"""Values of fewer than this share of the training rows are one too."""
_MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-")
_NO_CATEGORY = "(missing)"
_RARE_BY_SKLEARN = "infrequent_sklearn"
_DIFFERENT = 0.5
"""A column of text with more different values than this share of its rows names them: it is no category."""


@dataclass(frozen=True)
class Encoded:
    """Vectors (N, d) in float32, the name of each of the d entries, and columns left out with the reason."""

    values: npt.NDArray[np.float32]
    names: tuple[str, ...]
    left_out: tuple[str, ...]


def encode_columns(
    table: pa.Table, columns: Sequence[str], is_train: npt.NDArray[np.bool_], decimal: str, where: str
) -> Encoded:
    """Encode columns of a table, (N,) training rows deciding.

    Columns of one value, of dates and lists, of whole numbers that only count the rows, and of texts that
    hardly repeat are left out.

    Raises:
        DatasetError: nothing is left, or a number is not finite in float32; names the row.
    """
    parts: list[npt.NDArray[np.float32]] = []
    names: list[str] = []
    left_out: list[str] = []
    for name in columns:
        column = table.column(name).combine_chunks()
        numbers = as_numbers(column, decimal)
        reason = _why_not(column, numbers, is_train)
        if reason:
            left_out.append(f"{shown(name)} ({reason})")
            continue
        if numbers is not None:
            found, of = _numbers(numbers, name, is_train, where)
        else:
            found, of = _categories(_as_text(column), name, is_train)
        parts.append(found)
        names += of
    if not parts:
        reasons = f": {listed(left_out, 10)}" if left_out else ""
        raise DatasetError(
            f"{where}: expected columns of numbers or categories beside the label, found none{reasons}."
        )
    return Encoded(np.concatenate(parts, axis=1), tuple(names), tuple(left_out))


def as_numbers(column: pa.Array | pa.ChunkedArray, decimal: str = ".") -> npt.NDArray[np.float64] | None:
    """(N,) the values, NaN where there is none; None where some are no numbers or there is no value.

    Text counts as numbers if all of it is; `NA`, `null`, `?` and their like are no value.
    """
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    elif pa.types.is_decimal(kind):
        values = np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))
    elif is_text(kind):
        text = _as_text(column)
        if decimal == ",":
            text = pc.replace_substring(pc.replace_substring(text, ".", ""), ",", ".")
        try:
            values = np.asarray(pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            return None
    else:
        return None
    return None if np.isnan(values).all() else values


def _as_text(column: pa.Array | pa.ChunkedArray) -> Any:
    """Text without blanks around, null where it says that there is no value."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    is_missing = pc.is_in(pc.utf8_lower(text), value_set=pa.array(_MISSING, pa.large_string()))
    return pc.if_else(is_missing, pa.scalar(None, pa.large_string()), text)


def _why_not(
    column: pa.Array, numbers: npt.NDArray[np.float64] | None, is_train: npt.NDArray[np.bool_]
) -> str:
    """Why a column is left out; empty where it is not."""
    if numbers is not None:
        known = numbers[is_train & ~np.isnan(numbers)]
        steps = np.diff(numbers)
        if len(numbers) > 2 and numbers[0] in (0, 1) and (steps == 1).all():
            return "it counts the rows"
        # Where values are missing, that they are may tell something.
        is_constant = not len(known) or (np.ptp(known) == 0 and len(known) == is_train.sum())
        return "one value" if is_constant else ""
    if not (is_text(column.type) or pa.types.is_dictionary(column.type)):
        return f"{column.type}"
    text = _as_text(column).filter(pa.array(is_train))
    n_different, n_known = len(pc.unique(text.drop_null())), len(text) - text.null_count
    if n_different <= 1 and text.null_count in (0, len(text)):
        return "one value"
    if n_different > MOST_CATEGORIES and n_different > _DIFFERENT * n_known:
        return f"{n_different:,} different texts"
    return ""


def _numbers(
    values: npt.NDArray[np.float64], name: str, is_train: npt.NDArray[np.bool_], where: str
) -> tuple[npt.NDArray[np.float32], list[str]]:
    is_missing = np.isnan(values)
    filled = np.where(is_missing, np.median(values[is_train & ~is_missing]), values)
    with np.errstate(over="ignore"):
        found = filled.astype(np.float32)
    if not np.isfinite(found).all():
        row = int(np.argmin(np.isfinite(found)))
        raise DatasetError(
            f"{where}: expected numbers that are finite in float32, found {filled[row]:g} in row {row} of "
            f"column {shown(name)}."
        )
    if not is_missing[is_train].any():
        return found[:, None], [name]
    return np.column_stack([found, is_missing.astype(np.float32)]), [name, f"{name} is missing"]


def _categories(
    text: Any, name: str, is_train: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], list[str]]:
    # Imported here: it costs a second that pictures and texts need not pay.
    from sklearn.preprocessing import OneHotEncoder

    values = np.array(pc.fill_null(text, _NO_CATEGORY).to_pylist(), dtype=object)[:, None]
    n_different = len(np.unique(values[is_train].astype(str)))
    encoder = OneHotEncoder(
        max_categories=MOST_CATEGORIES,
        # Of few values none is rare: a class may hang on one.
        min_frequency=_RARE if n_different > MOST_CATEGORIES else None,
        drop="if_binary",
        # A value that no training row has is rare where others are, and all zeros elsewhere.
        handle_unknown="infrequent_if_exist" if n_different > MOST_CATEGORIES else "ignore",
        sparse_output=False,
        dtype=np.float32,
        feature_name_combiner=lambda column, value: (
            f"{column} = {str(value).replace(_RARE_BY_SKLEARN, 'rare')}"
        ),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found unknown categories")
        found = encoder.fit(values[is_train]).transform(values)
    return np.asarray(found), list(map(str, encoder.get_feature_names_out([name])))
