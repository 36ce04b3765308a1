"""A person's own file as columns: CSV as spreadsheets and programs write it, Parquet, Arrow, or .npy.

All come in portions, so that a file may exceed the memory. A .npy file is one column: of values, or of lists
of one length.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tasks import DatasetError
from tasks.own_files.array_archives import read_npz
from tasks.own_files.dialects import SAMPLE_BYTES, Dialect, find_dialect, open_bytes
from tasks.own_files.names import shown

MOST_ROWS = 10**8
"""A file of more rows is a mistake, or made to fill the memory."""
ARRAY = "values"
"""The name of a .npy file's column."""
_KINDS = {
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather"), "arrow"),
    **{".npy": "npy", ".npz": "npz"},
}
_PORTION_ROWS = 2**17
_BUFFER_BYTES = 2**18
# A small Parquet file can unpack to gigabytes: it holds a text once, however many rows have it.
_TEXT_LEAST, _TEXT_RATIO, _TEXT_ROWS = 2**29, 100, 1024
# How a file of Arrow begins; a stream has no such mark.
_ARROW_FILE = b"ARROW1"
_ADVICE = {
    "invalid UTF8": " Save the file as UTF-8.",
    "Invalid UTF8": " Save the text as UTF-8.",
    "straddling": " A row is longer than 1 MB: look for a quote that is not closed.",
}


@dataclass(frozen=True)
class OwnFile:
    """A person's file of columns, opened and not yet read.

    `schema` names the columns without blanks around; `headings` are the same as the file spells them. What
    `schema` says of the types of a CSV is true of its beginning. `n_rows` is not known of CSV.
    """

    path: Path
    kind: str
    schema: pa.Schema
    headings: tuple[str, ...]
    n_rows: int | None
    dialect: Dialect | None = None

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.schema.names)

    def portions(
        self, names: Sequence[str], as_text: bool = False, n_rows: int = _PORTION_ROWS
    ) -> Iterator[pa.Table]:
        """Some columns, at most `n_rows` rows at a time.

        Columns of a CSV come as numbers, or as text where an empty cell alone is null; others as they are.

        Raises:
            DatasetError: the file is damaged or not what it should be.
        """
        if self.kind == "npy":
            for start in range(0, self.n_rows or 0, n_rows):
                yield pa.table({ARRAY: _arrow(load_array(self.path)[start : start + n_rows])})
            return
        if self.kind == "npz":
            arrays = read_npz(self.path)
            for start in range(0, self.n_rows or 0, n_rows):
                yield pa.table({name: _arrow(arrays[name][start : start + n_rows]) for name in names})
            return
        headings = [self.headings[self.schema.get_field_index(name)] for name in names]
        with readable(self.path, self.form):
            if self.dialect:
                batches = _csv_batches(self.path, self.dialect, headings, as_text)
            elif self.kind == "arrow":
                batches = _arrow_batches(self.path, n_rows)
            else:
                batches = _parquet_batches(self.path, headings, n_rows)
            done = 0
            for batch in batches:
                done += batch.num_rows
                _check_rows(self.path, done)
                yield pa.table(batch).select(headings).rename_columns(list(names))

    @property
    def form(self) -> str:
        """What it is, for a sentence."""
        return str(self.dialect or f"{self.kind} file")


def open_file(path: Path) -> OwnFile:
    """Look at a file without reading its rows.

    Raises:
        DatasetError: the file is missing, not of a known kind, not readable, or two columns have one name.
    """
    kind = _kind(path)
    if kind == "npy":
        array = load_array(path)
        _check_rows(path, len(array))
        return OwnFile(path, kind, pa.schema([(ARRAY, _arrow(array[:0]).type)]), (ARRAY,), len(array))
    if kind == "npz":
        arrays = read_npz(path)
        for array in arrays.values():
            _check_array(array, path, 2)
            _check_rows(path, len(array))
        types = pa.schema([(name, _arrow(array[:0]).type) for name, array in arrays.items()])
        return OwnFile(path, kind, types, tuple(arrays), len(array))
    dialect = n_rows = None
    if kind == "csv":
        with readable(path, "csv file"):
            dialect = find_dialect(path)
    with readable(path, str(dialect or f"{kind} file")):
        if dialect:
            options = pacsv.ConvertOptions(decimal_point=dialect.decimal)
            with open_bytes(path) as stream, _open_csv(stream, dialect, options) as reader:
                schema = reader.schema
        elif kind == "arrow":
            schema, n_rows = _look_at_arrow(path)
        else:
            with _open_parquet(path) as file:
                schema, n_rows = file.schema_arrow, file.metadata.num_rows
            _check_rows(path, n_rows)
            check_texts(path)
        headings = tuple(schema.names)
        # A damaged length makes one. Arrow then finds no column by its name.
        if any("\0" in heading for heading in headings):
            raise pa.ArrowInvalid("the name of a column holds a zero byte")
    names = [heading.strip() for heading in headings]
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        first = "; the first line of a CSV holds the names" if kind == "csv" else ""
        raise DatasetError(
            f"{path}: expected a name of its own for each column, found {shown(repeated)!r} again{first}."
        )
    stripped = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
    return OwnFile(path, kind, stripped.with_metadata(schema.metadata), headings, n_rows, dialect)


@contextmanager
def readable(path: Path | str, kind: str) -> Iterator[None]:
    """Turn complaints about a file into a `DatasetError` that names it."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: expected text in UTF-8, found other bytes. Save the file as UTF-8."
        ) from error
    except PermissionError as error:
        raise DatasetError(
            f"{path}: expected a file that you may read, found no permission ({error.strerror})."
        ) from error
    except MemoryError as error:
        raise DatasetError(f"{path}: expected memory enough to read this file, found too little.") from error
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        advice = next((words for sign, words in _ADVICE.items() if sign in str(error)), "")
        raise DatasetError(
            f"{path}: expected a readable {kind} ({shown(' '.join(str(error).split()), 200)}).{advice}"
        ) from error


def check_file(path: Path) -> None:
    """Refuse what is no file: a pipe that nobody writes to would block, a device may never end.

    Raises:
        DatasetError: nothing is there, or a folder, pipe or device, or it may not be looked at.
    """
    with readable(path, "file"):
        is_file = path.is_file()
    if not is_file:
        found = "a folder, pipe or device" if path.exists() else "none"
        raise DatasetError(f"{path}: expected a file here, found {found}.")


def _kind(path: Path) -> str:
    check_file(path)
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    kind = _KINDS.get(suffix)
    if kind is None or (kind != "csv" and name.endswith(".gz")):
        raise DatasetError(
            f"{path}: expected a .parquet, .arrow, .csv, .tsv, .csv.gz, .npy or .npz file, found "
            f"{shown(path.suffix) if path.suffix else 'no suffix'}."
        )
    return kind


def _check_rows(path: Path, n_rows: int) -> None:
    if n_rows > MOST_ROWS:
        raise DatasetError(f"{path}: expected at most {MOST_ROWS:,} rows, found {n_rows:,} or more.")


def _open_parquet(path: Path) -> pq.ParquetFile:
    # Other writers seldom add checksums to pages; where they did, these are looked at.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True)


def check_texts(path: Path) -> None:
    """Refuse a Parquet file whose texts take far more memory than its size lets expect; reads them once.

    As dictionaries texts take no more than they do in the file, so that nothing is unpacked here.

    Raises:
        DatasetError: they do.
    """
    most = max(_TEXT_LEAST, _TEXT_RATIO * path.stat().st_size)
    with _open_parquet(path) as file:
        names = [field.name for field in file.schema_arrow if is_text(field.type)]
    if not names:
        return
    n_bytes = 0
    with pq.ParquetFile(path, read_dictionary=names, page_checksum_verification=True) as file:
        for batch in file.iter_batches(_TEXT_ROWS, columns=names):
            for column in batch.columns:
                values = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
                lengths = pc.binary_length(values.dictionary).take(values.indices)
                n_bytes += pc.sum(lengths).as_py() or 0
            if n_bytes > most:
                raise DatasetError(
                    f"{path}: expected at most {most / 2**20:,.0f} MB of text in a file of this size, found "
                    "more. If it is what you mean, write the table without the column of long texts, or as "
                    "CSV."
                )


def is_text(kind: pa.DataType) -> bool:
    """Whether a column is text, which some writers store as bytes: `cast` to large_string proves it UTF-8."""
    return kind in (
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
    )


def _parquet_batches(path: Path, headings: list[str], n_rows: int) -> Iterator[pa.RecordBatch]:
    with _open_parquet(path) as file:
        for batch in file.iter_batches(n_rows, columns=headings):
            # Text that is no UTF-8 would end in a traceback wherever it is used first.
            batch.validate(full=True)
            yield batch


# -- Arrow, as the library datasets saves to disk, and as Feather.


def is_arrow_file(path: Path) -> bool:
    """Whether it has the form of a file of Arrow, as Feather has; else that of a stream."""
    with path.open("rb") as file:
        return file.read(len(_ARROW_FILE)) == _ARROW_FILE


def read_arrow(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a stream or a file of Arrow; the schema comes first, as a batch without rows.

    Raises:
        DatasetError: it unpacks to far more than its size lets expect.
    """
    n_bytes, most = 0, max(_TEXT_LEAST, _TEXT_RATIO * path.stat().st_size)
    is_file = is_arrow_file(path)
    with pa.OSFile(str(path)) as source:
        opened = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        with opened as reader:
            yield pa.RecordBatch.from_pylist([], schema=reader.schema)
            places = range(reader.num_record_batches) if is_file else ()
            for batch in map(reader.get_batch, places) if is_file else reader:
                n_bytes += batch.nbytes
                if n_bytes > most:
                    raise DatasetError(
                        f"{path}: expected at most {most / 2**20:,.0f} MB in a file of this size, found more."
                    )
                batch.validate(full=True)
                yield batch


def _look_at_arrow(path: Path) -> tuple[pa.Schema, int]:
    """What the columns are, and how many rows there are."""
    batches = read_arrow(path)
    schema, n_rows = next(batches).schema, 0
    for batch in batches:
        n_rows += batch.num_rows
        _check_rows(path, n_rows)
    return schema, n_rows


def _arrow_batches(path: Path, n_rows: int) -> Iterator[pa.RecordBatch]:
    for batch in read_arrow(path):
        for start in range(0, batch.num_rows, n_rows):
            yield batch.slice(start, n_rows)


# -- CSV.


def _csv_batches(
    path: Path, dialect: Dialect, headings: list[str], as_text: bool
) -> Iterator[pa.RecordBatch]:
    kind = pa.large_string() if as_text else pa.float64()
    only_empty: dict[str, object] = {"null_values": [""], "strings_can_be_null": True} if as_text else {}
    options = pacsv.ConvertOptions(
        include_columns=headings,
        column_types=dict.fromkeys(headings, kind),
        decimal_point=dialect.decimal,
        **only_empty,
    )
    with open_bytes(path) as stream, _open_csv(stream, dialect, options) as reader:
        yield from reader


def _open_csv(stream: BinaryIO, dialect: Dialect, options: pacsv.ConvertOptions) -> pacsv.CSVStreamingReader:
    return pacsv.open_csv(
        stream,
        read_options=pacsv.ReadOptions(skip_rows=dialect.lines_before, block_size=SAMPLE_BYTES),
        parse_options=pacsv.ParseOptions(
            delimiter=dialect.separator,
            quote_char='"' if dialect.has_quotes else False,
            newlines_in_values=dialect.has_quotes,
        ),
        convert_options=options,
    )


# -- .npy.


def load_array(path: Path, most_dimensions: int = 2) -> npt.NDArray[Any]:
    """The array, mapped; whoever reads a part of it lets go of the map, which counts as memory once read.

    Raises:
        DatasetError: it is damaged, or no array of numbers or texts of so many dimensions.
    """
    check_file(path)
    try:
        with np.errstate(over="raise"):
            array = np.lib.format.open_memmap(path, mode="r")
    except (
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        SyntaxError,
        RecursionError,
        TokenError,
    ) as error:
        raise DatasetError(
            f"{path}: expected a .npy file of numbers or texts, without pickled objects "
            f"({shown(' '.join(str(error).split()), 200)})."
            + (" Save texts as np.array(values, dtype=str)." if "objects" in str(error) else "")
        ) from error
    except (OSError, EOFError, MemoryError) as error:
        with readable(path, "npy file"):
            raise error
    _check_array(array, path, most_dimensions)
    return array


def _check_array(array: npt.NDArray[np.generic], path: Path, most_dimensions: int) -> None:
    is_wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
    if (
        not 1 <= array.ndim <= most_dimensions
        or array.dtype.kind not in "fiubUS"
        or is_wide
        or 0 in array.shape[1:]
    ):
        raise DatasetError(
            f"{path}: expected an array of numbers or texts with 1 to {most_dimensions} dimensions, found "
            f"{array.dtype} of shape {array.shape}."
        )


def _arrow(array: npt.NDArray[np.generic]) -> pa.Array:
    """An array in the memory's own order of bytes, as a column."""
    values = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    flat = pa.array(values.reshape(-1))
    return flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
