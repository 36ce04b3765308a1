"""Exports as tables: the owner's own table with columns added, or a list of keys and labels."""

import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks import DatasetError, plugins
from tasks.datasets._own import Found, place_of
from tasks.export.rows import ACTION, COLUMNS, LABEL, NOT_JUDGED, SUGGESTED, Written
from tasks.own_files.columns import is_arrow_file, open_file, read_arrow, readable
from tasks.own_files.json_tables import LINES, LISTS, read_objects
from tasks.own_files.own_tables import OwnTable, read_own_table, table_files
from tasks.own_files.spreadsheets import write_rows, write_sheet
from tasks.params import Params

_DIGITS = 6


def write_list(params: Params, workspace: Path, rows: pa.Table, out: Path, copy: bool) -> Written:  # noqa: ARG001
    """Write `labels.csv`: a row for each key."""
    write_list_of(rows.drop_columns(["split", "why"]), out / "labels.csv")
    return Written(rows, f"labels.csv, {rows.num_rows:,} rows by their keys")


def write_list_of(rows: pa.Table, path: Path) -> None:
    """Write rows of `collect_rows` as CSV."""
    write_sheet(
        path, rows.column_names, zip(*(_cells(rows, name) for name in rows.column_names), strict=True)
    )


def write_own_table(params: Params, workspace: Path, rows: pa.Table, out: Path, copy: bool) -> Written:  # noqa: ARG001
    """Write the owner's table, file by file, each with all its columns and those of `COLUMNS`."""
    options = params.options("datasets", "table")
    place = place_of(workspace / "inputs" / "examples", options)  # type: ignore[arg-type]
    own = read_own_table(place)
    table = plugins.load("datasets", "table")
    found = table.find_all(own, options)
    added = in_order(rows, found, lambda lacking: table.are_left_out(own, options, lacking))
    start = 0
    for file, (_, n) in zip(table_files(place), own.parts, strict=True):
        name = file.relative_to(place) if place.is_dir() else Path(file.name)
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        extend_file(file, own, start, added.slice(start, n), str(options.label), out / name)  # type: ignore[attr-defined]
        start += n
    files = ", ".join(name for name, _ in own.parts)
    return Written(added, f"{files}, {start:,} rows with {', '.join(COLUMNS)}")


def write_parquet_set(params: Params, workspace: Path, rows: pa.Table, out: Path, copy: bool) -> Written:  # noqa: ARG001
    """Write the own examples of the data set `parquet`, with columns added."""
    path = workspace / "inputs" / "examples" / "examples.parquet"
    with readable(path, "Parquet file"), pq.ParquetFile(path) as file:
        table = file.read()
    keys = [str(key) for key in table.column("example_id").to_pylist()]
    added = _by_keys(rows, keys, str(path))
    pq.write_table(_with_columns(table, added, "given_label", {}), out / path.name)
    return Written(added, f"{path.name}, {table.num_rows:,} rows with {', '.join(COLUMNS)}")


def in_order(rows: pa.Table, found: Found, are_left_out: Callable[[Sequence[int]], bool]) -> pa.Table:
    """(N,) `rows` in the order of the owner's; those that were left out keep their label, `not judged`.

    Args:
        rows: see `collect_rows`.
        found: the owner's rows, whatever they hold.
        are_left_out: whether no run can learn from any of the rows at these places.

    Raises:
        DatasetError: a row is another: the data have changed since they were read.
    """
    known = set(rows.column("key").to_pylist())
    lacking = [place for place, key in enumerate(found.key) if key not in known]
    if lacking and are_left_out(lacking):
        left = found.take(lacking)
        labels = [found.class_names[label] if label >= 0 else None for label in left.labels.tolist()]
        columns = {"key": left.key, "given_label": labels, LABEL: labels, ACTION: [NOT_JUDGED] * len(lacking)}
        kept = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        rows = pa.concat_tables(
            [rows, pa.table({**kept, "split": list(left.split)})], promote_options="default"
        )
    return _by_keys(rows.combine_chunks(), found.key, found.where)


def _by_keys(rows: pa.Table, keys: Sequence[str], where: str) -> pa.Table:
    place = pa.compute.index_in(pa.array(keys, pa.string()), value_set=rows.column("key").combine_chunks())
    if place.null_count:
        lacking = keys[place.is_null().to_pylist().index(True)]
        raise DatasetError(
            f"{where}: expected the rows that the pipeline has read, found {place.null_count:,} others, the "
            f"first {lacking}. Run `dvc repro` again."
        )
    if len(keys) < rows.num_rows:
        gone = sorted(set(rows.column("key").to_pylist()) - set(keys))
        raise DatasetError(
            f"{where}: expected the rows that the pipeline has read, found {len(gone):,} of them gone, the "
            f"first {gone[0]}. Run `dvc repro` again."
        )
    return rows.take(place)


def extend_file(path: Path, own: OwnTable, start: int, added: pa.Table, label: str, out: Path) -> None:
    """Write one file of the owner's table again, with the columns of `COLUMNS`, in its own format.

    Args:
        path: the file.
        own: the whole table.
        start: the place of the file's first row in it.
        added: (n,) what became of its rows.
        label: the owner's column of labels.
        out: where to write.
    """
    suffixes = path.name.lower()
    if suffixes.endswith((".parquet", ".pq")):
        with readable(path, "Parquet file"), pq.ParquetFile(path) as file:
            pq.write_table(_with_columns(file.read(), added, label, own.class_names), out)
    elif suffixes.endswith((".arrow", ".feather")):
        with readable(path, "Arrow file"):
            first, *batches = read_arrow(path)
            table = pa.Table.from_batches(batches, first.schema)
        # Feather cannot be a stream, and a file has one dictionary for all batches of a column.
        table = _with_columns(table, added, label, own.class_names).unify_dictionaries()
        start_writing = pa.ipc.new_file if is_arrow_file(path) else pa.ipc.new_stream
        with pa.OSFile(str(out), "wb") as sink, start_writing(sink, table.schema) as writer:
            writer.write_table(table)
    elif suffixes.endswith((*LINES, *LISTS)):
        _write_json(read_objects(path), added, out)
    else:
        _write_csv(path, own.table.slice(start, added.num_rows), added, out)


def new_names(taken: Sequence[str]) -> dict[str, str]:
    """The names of the added columns: those of `COLUMNS`, and others where the owner has such columns."""
    found: dict[str, str] = {}
    for name in COLUMNS:
        new = name if name.startswith("relabel_") or name not in taken else f"relabel_{name}"
        while new in taken:
            new += "_new"
        found[name] = new
    return found


def _write_csv(path: Path, table: pa.Table, added: pa.Table, out: Path) -> None:
    dialect = open_file(path).dialect
    delimiter, decimal = (dialect.separator, dialect.decimal) if dialect else (",", ".")
    columns = [table.column(name).to_pylist() for name in table.column_names]
    columns += [_cells(added, name, decimal) for name in COLUMNS]
    text = io.StringIO(newline="")
    names = [*table.column_names, *new_names(table.column_names).values()]
    write_rows(text, [names], delimiter)
    write_rows(text, zip(*columns, strict=True), delimiter)
    content = text.getvalue().encode()
    # Without a time in it, equal labels give equal bytes.
    out.write_bytes(gzip.compress(content, mtime=0) if path.name.lower().endswith(".gz") else content)


def _write_json(objects: list[dict[str, object]], added: pa.Table, out: Path) -> None:
    names = new_names([name for each in objects for name in each])
    extended = [
        {**each, **{names[name]: row[name] for name in COLUMNS}}
        for each, row in zip(objects, added.select(list(COLUMNS)).to_pylist(), strict=True)
    ]
    if out.name.lower().endswith(LISTS):
        text = json.dumps(extended, ensure_ascii=False, indent=1) + "\n"
    else:
        text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in extended)
    content = text.encode(errors="surrogatepass")
    out.write_bytes(gzip.compress(content, mtime=0) if out.name.lower().endswith(".gz") else content)


def _with_columns(
    table: pa.Table, added: pa.Table, label: str, class_names: Mapping[str, tuple[str, ...]]
) -> pa.Table:
    """The columns added; classes as Hugging Face's ClassLabel where the owner's column is one."""
    names = new_names(table.column_names)
    features = {}
    for name in COLUMNS:
        column = added.column(name)
        if name in (LABEL, SUGGESTED) and label in class_names:
            of = list(class_names[label])
            column = pa.compute.index_in(column, value_set=pa.array(of)).cast(pa.int64())
            features[names[name]] = {"names": of, "_type": "ClassLabel"}
        else:
            # `datasets` says float32 where Arrow says float.
            kind = "float32" if column.type == pa.float32() else str(column.type)
            features[names[name]] = {"dtype": kind, "_type": "Value"}
        table = table.append_column(names[name], column)
    metadata = dict(table.schema.metadata or {})
    if b"huggingface" in metadata and class_names:
        info = json.loads(metadata[b"huggingface"])
        info["info"]["features"].update(features)
        metadata[b"huggingface"] = json.dumps(info).encode()
    return table.replace_schema_metadata(metadata or None)


def _cells(table: pa.Table, name: str, decimal: str = ".") -> list[Any]:
    """A column for CSV: numbers with six digits, nothing for null."""
    values: list[Any] = table.column(name).to_pylist()
    if not pa.types.is_floating(table.column(name).type):
        return values
    texts = ["" if value is None else f"{value:.{_DIGITS}g}" for value in values]
    return [text.replace(".", decimal) for text in texts] if decimal != "." else texts
