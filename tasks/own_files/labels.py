"""Labels from a person's own CSV or Parquet file, as class indices, and the keys of their rows."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tasks import DatasetError

UNKNOWN = -1
"""In the place of a class index: the file says nothing of this row."""
MOST_CLASSES = 2**15 - 1
"""Class indices are kept in int16."""
_SHOWN = 5
# Longer runs of digits are no class index, and name nothing that one could be mistaken for.
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")


def read_label_columns(
    path: Path, is_csv: bool, label: str, needed: Sequence[str], where: str, *, keys_as_text: bool = False
) -> pa.Table:
    """`label` and, where the file has it, `example_id`; nothing else is held in memory.

    Labels of a CSV come as text, since `01`, `True`, `NA` and dates may be names of classes; so does
    `example_id` with `keys_as_text`. An empty cell is null.

    Raises:
        DatasetError: the file is not readable, or a column of `needed` is not there once.
    """
    if is_csv:
        schema = csv_schema(path, where)
    else:
        with readable(where, "parquet"), pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            schema.names  # noqa: B018  # decodes them
    names = [name.strip() for name in schema.names]
    wanted = [name for name in ("example_id", label) if name in names]
    if any(names.count(name) != 1 for name in {*wanted, *needed}):
        raise DatasetError(
            f"{where}: expected the column{'s' if len(needed) > 1 else ''} {' and '.join(needed)} once"
            f"{' each' if len(needed) > 1 else ''}, found {listed(names, 10)}."
        )
    columns = [schema.names[names.index(name)] for name in wanted]
    texts = [column for name, column in zip(wanted, columns, strict=True) if name == label or keys_as_text]
    with readable(where, "csv" if is_csv else "parquet"):
        if is_csv:
            options = pacsv.ConvertOptions(
                include_columns=columns,
                column_types=dict.fromkeys(texts, pa.large_string()),
                null_values=[""],
                strings_can_be_null=True,
            )
            table = pacsv.read_csv(path, convert_options=options)
        else:
            # No `pq.read_table`: it would look for columns in the names of folders.
            with pq.ParquetFile(path) as file:
                table = file.read(columns)
    return table.select(columns).rename_columns(wanted)


def csv_schema(path: Path, where: str) -> pa.Schema:
    """The columns of a CSV file as its first block shows them.

    Raises:
        DatasetError: the file is not readable, or its headings are not in UTF-8.
    """
    with readable(where, "csv"), pacsv.open_csv(path) as reader:
        schema = reader.schema
        schema.names  # noqa: B018  # decodes them
    return schema


@contextmanager
def readable(where: str, kind: str) -> Iterator[None]:
    """Turn complaints about a file into a `DatasetError` that names it."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{where}: expected headings in UTF-8, found other bytes; save the file as UTF-8."
        ) from error
    except (pa.ArrowException, OSError) as error:
        advice = "; save the file as UTF-8" if "invalid UTF8" in str(error) else ""
        raise DatasetError(f"{where}: expected a readable {kind} file ({error}){advice}.") from error


def row_keys(column: pa.ChunkedArray, where: str) -> list[str]:
    """(N,) what the owner calls each row, from a column `example_id`.

    Raises:
        DatasetError: a cell is empty, or holds neither a whole number nor text in UTF-8.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_integer(column.type) or _is_text(column.type)) or column.null_count:
        raise DatasetError(
            f"{where}: expected whole numbers or texts in every cell of `example_id`, found {column.type} "
            f"with {column.null_count} empty."
        )
    try:
        return [str(key) for key in column.to_pylist()]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{where}: expected `example_id` in UTF-8, found other bytes.") from error


def class_indices(labels: pa.ChunkedArray, names: Sequence[str], where: str) -> npt.NDArray[np.int16]:
    """(N,) the class index of each label, `UNKNOWN` for a null.

    Text is matched with `names` first. Whole numbers, or texts of which none is a name and all are whole
    numbers, are indices, unless the names are whole numbers too and others than 0, 1, 2, ...: then a number
    might mean either.

    Raises:
        DatasetError: a label is no class, or might be either of two; names the first such row. Or there are
            more than `MOST_CLASSES`.
    """
    if len(names) > MOST_CLASSES:
        raise DatasetError(
            f"{where}: expected labels of at most {MOST_CLASSES:,} classes, found {len(names):,}."
        )
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    is_text = _is_text(labels.type)
    if not (is_text or pa.types.is_integer(labels.type)):
        raise DatasetError(
            f"{where}: expected class indices (integers) or names (text), found {labels.type}."
        )
    encoded = (labels.cast(pa.large_string()) if is_text else labels).combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    found = encoded.dictionary.to_pylist()
    places = encoded.indices.fill_null(len(found)).to_numpy()
    indices = _indices_of_names(found, names) if is_text else [UNKNOWN] * len(found)
    is_named = np.array(indices, dtype=np.int64) != UNKNOWN
    if is_named.any() and not is_named.all():
        row, first = _first_row(~is_named, places), _first_row(is_named, places)
        raise DatasetError(
            f"{where}: expected the name of a class ({listed(names)}) in every row, as in row {first}, found "
            f"{_shown(found[places[row]])} in row {row}."
        )
    if not is_named.any():
        numbers = [_number(str(label)) for label in found]
        if found and None not in numbers and _are_other_numbers(names):
            raise DatasetError(
                f"{where}: expected the names of the classes ({listed(names)}), which are numbers but not "
                f"their indices, found {found[0]}, which might mean either; give the names as they are, as "
                "text."
            )
        in_range = [number is not None and 0 <= number < len(names) for number in numbers]
        if not all(in_range):
            row = _first_row(~np.array(in_range), places)
            raise DatasetError(
                f"{where}: expected labels among the {len(names)} classes {listed(names)} or their indices, "
                f"found {_shown(found[places[row]])} in row {row}."
            )
        indices = [number for number in numbers if number is not None]
    values: npt.NDArray[np.int16] = np.array([*indices, UNKNOWN], dtype=np.int16)[places]
    return values


def _indices_of_names(found: Sequence[str], names: Sequence[str]) -> list[int]:
    index_of = {name: index for index, name in enumerate(names)}
    return [index_of.get(text, index_of.get(text.strip(), UNKNOWN)) for text in found]


def _number(text: str) -> int | None:
    """The whole number that a text is."""
    text = text.strip()
    return int(text.split(".")[0]) if _WHOLE.fullmatch(text) else None


def _are_other_numbers(names: Sequence[str]) -> bool:
    """Whether all names are whole numbers, but not each its own index."""
    numbers = [_number(name) for name in names]
    return None not in numbers and numbers != list(range(len(names)))


def _first_row(is_meant: npt.NDArray[np.bool_], places: npt.NDArray[np.integer]) -> int:
    """The first row whose label is meant; nulls never are."""
    return int(np.flatnonzero(np.append(is_meant, False)[places])[0])


def listed(names: Sequence[str], n_shown: int = _SHOWN) -> str:
    """The first names, for a sentence."""
    return f"{', '.join(names[:n_shown])}{', ...' if len(names) > n_shown else ''}"


def _shown(label: int | str) -> str:
    return str(label) if str(label).strip() else repr(label)


def _is_text(found: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)
    )
