"""Tables in the forms in which people bring them."""

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# Suffix, separator, end of line, byte order mark, decimal comma.
CSV_FORMS = {
    "csv": (".csv", ",", "\n", False, False),
    "tsv": (".tsv", "\t", "\n", False, False),
    "excel": (".CSV", ",", "\r\n", True, False),
    "european": (".csv", ";", "\r\n", True, True),
    "csv.gz": (".csv.gz", ",", "\n", False, False),
}
FORMS = ("parquet", "npy", *CSV_FORMS)


def write_form(folder: Path, name: str, form: str, columns: Mapping[str, Sequence[Any]]) -> Path:
    """A table as a file of a form; a .npy file holds the values of the columns alone."""
    if form == "npy":
        path = folder / f"{name}.npy"
        values = [np.asarray(column) for column in columns.values()]
        np.save(path, values[0] if len(values) == 1 else np.column_stack(values))
        return path
    if form == "parquet":
        path = folder / f"{name}.parquet"
        pq.write_table(pa.table(dict(columns)), path, row_group_size=50)
        return path
    if form in ("arrow", "feather"):
        path, table = folder / f"{name}.{form}", pa.table(dict(columns))
        opened = pa.ipc.new_stream if form == "arrow" else pa.ipc.new_file
        with opened(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=50)
        return path
    suffix, separator, end, has_mark, has_comma = CSV_FORMS[form]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    writer.writerow(columns)
    rows = zip(
        *(column.tolist() if hasattr(column, "tolist") else column for column in columns.values()),
        strict=True,
    )
    for row in rows:
        writer.writerow(
            [str(cell).replace(".", ",") if has_comma and isinstance(cell, float) else cell for cell in row]
        )
    content = text.getvalue().encode("utf-8-sig" if has_mark else "utf-8")
    path = folder / f"{name}{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    return path
