"""Labels from a person's own file, as class indices."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks import DatasetError
from tasks.own_files.columns import ARRAY, is_text, open_file, readable
from tasks.own_files.ids import ID_COLUMNS, Ids, read_ids
from tasks.own_files.names import listed, nfc, shown

GIVEN, TRUE = "given_label", "true_label"
UNKNOWN = -1
"""In the place of a class index: the file says nothing of this row."""
MOST_CLASSES = 2**15 - 1
"""Class indices are kept in int16."""
# Longer runs of digits are no class index, and name nothing that one could be mistaken for. 1,0 is 1, but
# 1,000 may be a thousand.
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*|,0)?")
_TRUTH = {"false": 0, "true": 1}
# What a program writes of whole numbers that it holds as fractions.
_WHOLE_FLOAT = re.compile(r"-?[0-9]{1,18}\.0+")


@dataclass(frozen=True)
class Labels:
    """Class indices (N,) or `UNKNOWN` and, where the file has them, the ids of the rows."""

    path: Path
    indices: npt.NDArray[np.int16]
    ids: Ids | None

    @property
    def n_rows(self) -> int:
        """N."""
        return len(self.indices)


def read_labels(path: Path, names: Sequence[str], column: str, *, may_lack: bool = False) -> Labels:
    """The labels in `column`, as class indices, in the order of the file; a .npy file holds nothing else.

    Where rows `may_lack` one, as a true label, it is `UNKNOWN`.

    Raises:
        DatasetError: the file is missing or not readable, or a label is no class.
    """
    file = open_file(path)
    found = ARRAY if file.kind == "npy" else column
    if file.kind == "npz" and column not in file.names:
        # Of arrays, the one that has a value for each row.
        flat = [field.name for field in file.schema if not pa.types.is_nested(field.type)]
        flat = [name for name in flat if name not in (*ID_COLUMNS, "fold")]
        found = flat[0] if len(flat) == 1 else column
    if found not in file.names:
        raise DatasetError(f"{path}: expected the column {column}, found {listed(file.names, 10)}.")
    with readable(path, file.form):
        portions = (portion.column(found) for portion in file.portions([found], as_text=True))
        indices = class_indices(portions, names, str(path))
    if not may_lack and (indices == UNKNOWN).any():
        raise DatasetError(
            f"{path}: expected a class index or name in every row of column {column}, found none in row "
            f"{np.argmax(indices == UNKNOWN)}."
        )
    return Labels(path, indices, read_ids(file))


def class_indices(
    portions: Iterable[pa.ChunkedArray], names: Sequence[str], where: str
) -> npt.NDArray[np.int16]:
    """(N,) the class index of each label of a column in portions, `UNKNOWN` for a null or a NaN.

    Text is matched with `names` first, in NFC. Whole numbers (3.0 is 3), or texts of which none is a name and
    all are whole numbers, are indices, unless the names are whole numbers too and others than 0, 1, 2, ...:
    then a number might mean either. True and false, in any case of letters, are the classes that are called
    so, or those called 1 and 0.

    Raises:
        DatasetError: a label is no class, or might be either of two; names the first such row. Or there are
            more than `MOST_CLASSES`.
    """
    if len(names) > MOST_CLASSES:
        raise DatasetError(
            f"{where}: expected labels of at most {MOST_CLASSES:,} classes, found {len(names):,}."
        )
    meaning_of = _Meanings(names)
    parts = [np.empty(0, dtype=np.int16)]
    # The first row of each kind, and its label.
    first: dict[_Kind, tuple[int, str]] = {}
    done = 0
    for labels in portions:
        found, places = _encode(labels, where)
        meanings = [meaning_of(label) for label in found]
        kinds = np.array([kind for kind, _ in meanings], dtype=np.int8)[places]
        for kind in np.unique(kinds):
            row = int(np.argmax(kinds == kind))
            first.setdefault(_Kind(kind), (done + row, shown(found[places[row]])))
        _check_kinds(first, names, where)
        parts.append(np.array([index for _, index in meanings], dtype=np.int16)[places])
        done += len(labels)
    return np.concatenate(parts)


def label_names(labels: pa.ChunkedArray, where: str) -> pa.Array:
    """(N,) the name of each label as text, null where there is none.

    The rule for labels without a list of classes. Text is a name, in NFC and without blanks around; empty
    text, nulls and NaN are none. A whole number is the name that is written so (3.0 is `3`, and so are
    texts if all of them look like 3.0), true and false are `True` and `False`.

    Raises:
        DatasetError: the labels are of another type, or a number is not whole; names the first such row.
    """
    is_truth = pa.types.is_boolean(labels.type)
    found, places = _encode(labels, where)
    texts = [label for label in found if isinstance(label, str) and label.strip()]
    are_whole = bool(texts) and all(_WHOLE_FLOAT.fullmatch(text.strip()) for text in texts)
    names: list[str | None] = []
    for place, label in enumerate(found):
        if label is None or label != label:
            names.append(None)
        elif isinstance(label, str):
            text = nfc(label).strip()
            names.append((text.split(".")[0] if are_whole else text.title() if is_truth else text) or None)
        elif math.isfinite(label) and label == int(label):
            names.append(str(int(label)))
        else:
            row = int(np.argmax(places == place))
            raise DatasetError(
                f"{where}: expected labels that are names or whole numbers, found {label} in row {row}."
            )
    return pa.array(names, pa.string()).take(pa.array(places))


def sort_names(names: Iterable[str]) -> tuple[str, ...]:
    """Different names of classes in order: by size if all are numbers, else by letters in any case."""
    different = set(names)
    if all(_number(name) is not None for name in different):
        return tuple(sorted(different, key=lambda name: (_number(name), name)))
    return tuple(sorted(different, key=lambda name: (name.casefold(), name)))


class _Kind(IntEnum):
    """What a label may be."""

    NOTHING = 0
    NAME = 1
    INDEX = 2
    NO_CLASS = 3


def _check_kinds(first: Mapping[_Kind, tuple[int, str]], names: Sequence[str], where: str) -> None:
    """Check that all labels are names, or all are indices.

    Raises:
        DatasetError: they are not, or names of classes look like indices of others.
    """
    if _Kind.NO_CLASS in first:
        row, label = first[_Kind.NO_CLASS]
        raise DatasetError(
            f"{where}: expected labels among the {len(names)} classes {listed(names)} or their indices, "
            f"found {label} in row {row}."
        )
    if _Kind.INDEX in first:
        row, label = first[_Kind.INDEX]
        if _Kind.NAME in first:
            raise DatasetError(
                f"{where}: expected the name of a class ({listed(names)}) in every row, as in row "
                f"{first[_Kind.NAME][0]}, found {label} in row {row}."
            )
        if _are_other_numbers(names):
            raise DatasetError(
                f"{where}: expected the names of the classes ({listed(names)}), which are numbers but not "
                f"their indices, found {label} in row {row}, which might mean either. Give the names as "
                "they are, as text."
            )


class _Meanings:
    """What labels mean, given the names of the classes."""

    def __init__(self, names: Sequence[str]) -> None:
        self._n_classes = len(names)
        self._index_of = {nfc(name): index for index, name in enumerate(names)}
        folded = [name.casefold() for name in names]
        self._index_of_truth = {word: folded.index(word) for word in _TRUTH if folded.count(word) == 1}
        self._are_0_and_1 = list(names) == ["0", "1"]

    def __call__(self, label: str | float | None) -> tuple[_Kind, int]:
        """The kind of a label, and its class index or `UNKNOWN`."""
        if label is None or label != label:
            return _Kind.NOTHING, UNKNOWN
        if isinstance(label, str):
            text = label.strip()
            for name in (nfc(label), nfc(text)):
                if name in self._index_of:
                    return _Kind.NAME, self._index_of[name]
            word = text.casefold()
            if word in self._index_of_truth:
                return _Kind.NAME, self._index_of_truth[word]
            number = _TRUTH[word] if word in _TRUTH and self._are_0_and_1 else _number(text)
        else:
            number = int(label) if math.isfinite(label) and label == int(label) else None
        if number is None or not 0 <= number < self._n_classes:
            return _Kind.NO_CLASS, UNKNOWN
        return _Kind.INDEX, number


def _encode(labels: pa.ChunkedArray, where: str) -> tuple[list[str | float | None], npt.NDArray[np.integer]]:
    """The different labels of a column, and for each of its rows (N,) its label's place among them."""
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    kind = labels.type
    with readable(where, "column of labels"):
        if is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
            labels = labels.cast(pa.large_string())
        elif pa.types.is_floating(kind):
            labels = labels.cast(pa.float64())
        elif not pa.types.is_integer(kind):
            raise DatasetError(
                f"{where}: expected labels that are names (text), class indices (whole numbers) or true and "
                f"false, found {kind}."
            )
        encoded = labels.combine_chunks().dictionary_encode()
        encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
        found = encoded.dictionary.to_pylist()
    return [*found, None], encoded.indices.fill_null(len(found)).to_numpy()


def _number(text: str) -> int | None:
    """The whole number that a text is."""
    return int(re.split("[.,]", text)[0]) if _WHOLE.fullmatch(text) else None


def _are_other_numbers(names: Sequence[str]) -> bool:
    """Whether all names are whole numbers, but not each its own index."""
    numbers = [_number(name.strip()) for name in names]
    return None not in numbers and numbers != list(range(len(names)))
