"""Columns of numbers and categories as vectors that a model can learn from.

A number is itself. Where training rows lack it, the median of those that have it stands in, and a column says
which rows lacked it. A category is a column of zeros and ones for each of its values. All is measured on
training rows alone.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
class NumberColumn:
    """How a column of numbers is encoded: what stands for a missing one, and whether an entry says so."""

    name: str
    median: float
    says_missing: bool

    def encode(self, column: pa.Array, decimal: str, where: str) -> npt.NDArray[np.float32]:
        """(N, 1) the numbers, or (N, 2), with the second saying which were missing.

        Raises:
            DatasetError: a value is no number, or not finite in float32; names the row.
        """
        found = as_numbers(column, decimal)
        values = np.full(len(column), np.nan) if found is None else found
        if found is None and column.null_count < len(column):
            values = np.array(
                [
                    _as_number(text, self.name, row, decimal, where)
                    for row, text in enumerate(_as_text(column).to_pylist())
                ]
            )
        is_missing = np.isnan(values)
        filled = np.where(is_missing, self.median, values)
        with np.errstate(over="ignore"):
            numbers = filled.astype(np.float32)
        if not np.isfinite(numbers).all():
            row = int(np.argmin(np.isfinite(numbers)))
            raise DatasetError(
                f"{where}: expected numbers that are finite in float32, found {filled[row]:g} in row {row} "
                f"of column {shown(self.name)}."
            )
        return (
            np.column_stack([numbers, is_missing.astype(np.float32)])
            if self.says_missing
            else numbers[:, None]
        )


@dataclass(frozen=True)
class CategoryColumn:
    """How a column of categories is encoded.

    `place` says which of `width` entries is 1 for a value. A value that is not in it has `other`; -1 is none.
    """

    name: str
    width: int
    place: Mapping[str, int]
    other: int

    def encode(self, column: pa.Array, decimal: str, where: str) -> npt.NDArray[np.float32]:  # noqa: ARG002
        """(N, width) zeros and ones."""
        found = np.zeros((len(column), self.width), dtype=np.float32)
        values = pc.fill_null(_as_text(column), _NO_CATEGORY).to_pylist()
        places = np.array([self.place.get(value, self.other) for value in values], dtype=np.intp)
        rows = np.flatnonzero(places >= 0)
        found[rows, places[rows]] = 1
        return found


LearnedColumn = NumberColumn | CategoryColumn


@dataclass(frozen=True)
class Encoded:
    """Vectors of a table.

    Attributes:
        values: (N, d) float32.
        names: (d,) what the entries are called.
        left_out: columns that are no part of it, each with the reason.
        columns: how each column is encoded, so that new rows can be.
    """

    values: npt.NDArray[np.float32]
    names: tuple[str, ...]
    left_out: tuple[str, ...]
    columns: tuple[LearnedColumn, ...]


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
    learned: list[LearnedColumn] = []
    for name in columns:
        column = table.column(name).combine_chunks()
        numbers = as_numbers(column, decimal)
        reason = _why_not(column, numbers, is_train)
        if reason:
            left_out.append(f"{shown(name)} ({reason})")
            continue
        how: LearnedColumn
        if numbers is not None:
            how, of = _learn_numbers(numbers, name, is_train)
        else:
            how, of = _learn_categories(_as_text(column), name, is_train)
        learned.append(how)
        parts.append(how.encode(column, decimal, where))
        names += of
    if not parts:
        reasons = f": {listed(left_out, 10)}" if left_out else ""
        raise DatasetError(
            f"{where}: expected columns of numbers or categories beside the label, found none{reasons}."
        )
    return Encoded(np.concatenate(parts, axis=1), tuple(names), tuple(left_out), tuple(learned))


def encode_like(
    table: pa.Table, columns: Sequence[LearnedColumn], decimal: str, where: str
) -> npt.NDArray[np.float32]:
    """(N, d) new rows, encoded as those were of which `columns` was learned.

    Raises:
        DatasetError: a column is missing, or a value is no number where one is expected; names the row.
    """
    missing = [column.name for column in columns if column.name not in table.column_names]
    if missing:
        raise DatasetError(
            f"{where}: expected the columns that the model learned from, found none called "
            f"{listed(missing, 10)}."
        )
    parts = [each.encode(table.column(each.name).combine_chunks(), decimal, where) for each in columns]
    return np.concatenate(parts, axis=1)


def columns_to_json(columns: Sequence[LearnedColumn]) -> tuple[dict[str, object], ...]:
    """What `columns_from_json` reads back."""
    return tuple(asdict(column) for column in columns)


def columns_from_json(entries: Sequence[Mapping[str, Any]]) -> tuple[LearnedColumn, ...]:
    """Columns as `columns_to_json` wrote them.

    Raises:
        ValueError: it did not.
    """
    try:
        return tuple(
            NumberColumn(str(each["name"]), float(each["median"]), bool(each["says_missing"]))
            if "median" in each
            else CategoryColumn(
                str(each["name"]),
                int(each["width"]),
                {str(value): int(place) for value, place in each["place"].items()},
                int(each["other"]),
            )
            for each in entries
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected how columns are encoded, found something else ({error!r})") from error


def _as_number(text: str | None, name: str, row: int, decimal: str, where: str) -> float:
    """One text as a number, NaN for none.

    Raises:
        DatasetError: it is none.
    """
    if text is None:
        return float("nan")
    found = as_numbers(pa.array([text]), decimal)
    if found is None:
        raise DatasetError(
            f"{where}: expected a number in row {row} of column {shown(name)}, found {shown(text)}."
        )
    return float(found[0])


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


def _as_text(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
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


def _learn_numbers(
    values: npt.NDArray[np.float64], name: str, is_train: npt.NDArray[np.bool_]
) -> tuple[NumberColumn, list[str]]:
    is_missing = np.isnan(values)
    how = NumberColumn(
        name, float(np.median(values[is_train & ~is_missing])), bool(is_missing[is_train].any())
    )
    return how, [name, f"{name} is missing"] if how.says_missing else [name]


def _learn_categories(
    text: pa.Array | pa.ChunkedArray, name: str, is_train: npt.NDArray[np.bool_]
) -> tuple[CategoryColumn, list[str]]:
    # Imported here: it costs a second that pictures and texts need not pay.
    from sklearn.preprocessing import OneHotEncoder

    values = np.array(pc.fill_null(text, _NO_CATEGORY).to_pylist(), dtype=object)[:, None]
    known = np.unique(values[is_train].astype(str)).astype(object)[:, None]
    has_rare = len(known) > MOST_CATEGORIES
    encoder = OneHotEncoder(
        max_categories=MOST_CATEGORIES,
        # Of few values none is rare: a class may hang on one.
        min_frequency=_RARE if has_rare else None,
        drop="if_binary",
        # A value that no training row has is rare where others are, and all zeros elsewhere.
        handle_unknown="infrequent_if_exist" if has_rare else "ignore",
        sparse_output=False,
        dtype=np.float32,
        feature_name_combiner=lambda column, value: (
            f"{column} = {str(value).replace(_RARE_BY_SKLEARN, 'rare')}"
        ),
    ).fit(values[is_train])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found unknown categories")
        codes = encoder.transform(np.append(known, [["\0 no training row has this"]], axis=0))
    places = np.where(codes.any(axis=1), codes.argmax(axis=1), -1).tolist()
    other = places.pop()
    place = {value: at for (value,), at in zip(known.tolist(), places, strict=True) if at != other}
    names = list(map(str, encoder.get_feature_names_out([name])))
    return CategoryColumn(name, len(names), place, other), names
