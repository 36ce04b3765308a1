"""Damage of Parquet and .npy files that a writer might do: right bytes of wrong or odd content."""

import io
import json
import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Damage = Callable[[bytes, random.Random], bytes]


def _change(change: Callable[[pa.Table, random.Random], pa.Table]) -> Damage:
    def damage(content: bytes, draw: random.Random) -> bytes:
        try:
            table = change(pq.read_table(io.BytesIO(content)), draw)
        except (pa.ArrowNotImplementedError, IndexError, ValueError):
            # Columns without rows or of nulls alone cannot be damaged so.
            return content
        buffer = io.BytesIO()
        pq.write_table(table, buffer, write_page_checksum=True)
        return buffer.getvalue()

    return damage


def _place(table: pa.Table, draw: random.Random) -> int:
    return draw.randrange(table.num_columns)


def lose_column(table: pa.Table, draw: random.Random) -> pa.Table:
    return table.remove_column(_place(table, draw))


def rename_column(table: pa.Table, draw: random.Random) -> pa.Table:
    names, place = list(table.column_names), _place(table, draw)
    names[place] = draw.choice(["", "x", names[place].upper(), names[0], "=cmd", "n" * 70_000])
    return table.rename_columns(names)


def other_type(table: pa.Table, draw: random.Random) -> pa.Table:
    place, n = _place(table, draw), table.num_rows
    column = draw.choice(
        [
            pa.array(["x"] * n),
            pa.array([b"\xff\xfe"] * n),
            pa.array([None] * n, pa.null()),
            pa.array([[1]] * n),
            pa.array([{"a": 1}] * n),
            pa.array([1.5] * n),
            pa.array([2**63] * n, pa.uint64()),
            pa.array([True] * n),
            pa.array([0] * n, pa.timestamp("us")),
            pa.array([0] * n, pa.int8()).dictionary_encode(),
        ]
    )
    return table.set_column(place, table.column_names[place], column)


def bad_utf8(table: pa.Table, draw: random.Random) -> pa.Table:
    """Bytes that are no UTF-8 in a column that is said to be text."""
    place, n = _place(table, draw), table.num_rows
    raw = pa.array([b"ok"] * (n - 1) + [b"\xff\xfe\xfa"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), n, raw.buffers())
    return table.set_column(place, table.column_names[place], text)


def nulls(table: pa.Table, draw: random.Random) -> pa.Table:
    place = _place(table, draw)
    column = table.column(place)
    taken = pa.array([None if draw.random() < 0.2 else row for row in range(table.num_rows)], pa.int64())
    field = table.schema.field(place).with_nullable(True)
    return table.set_column(place, field, column.take(taken))


def shuffle_rows(table: pa.Table, draw: random.Random) -> pa.Table:
    rows = list(range(table.num_rows))
    draw.shuffle(rows)
    return table.take(rows)


def repeat_row(table: pa.Table, draw: random.Random) -> pa.Table:
    return pa.concat_tables([table, table.slice(draw.randrange(table.num_rows), 1)])


def lose_rows(table: pa.Table, draw: random.Random) -> pa.Table:
    return table.slice(0, draw.choice([0, 1, table.num_rows - 1]))


def odd_number(table: pa.Table, draw: random.Random) -> pa.Table:
    numbers = [n for n, field in enumerate(table.schema) if pa.types.is_primitive(field.type)]
    if not numbers:
        return lose_rows(table, draw)
    place = draw.choice(numbers)
    kind = table.schema.field(place).type
    odd = [-1, 0, 2**15 - 1] if pa.types.is_integer(kind) else [float("nan"), float("inf"), -1.0, 2.0, 1e300]
    if pa.types.is_boolean(kind):
        odd = [True, False]
    values = table.column(place).to_pylist()
    values[draw.randrange(len(values))] = draw.choice(odd)
    try:
        column = pa.array(values, kind)
    except (pa.ArrowException, OverflowError, ValueError):
        column = pa.array([0] * len(values), kind)
    return table.set_column(place, table.schema.field(place), column)


def odd_vector(table: pa.Table, draw: random.Random) -> pa.Table:
    """NaN or a number out of range in a column of vectors, or pixels of another shape."""
    vectors = [n for n, field in enumerate(table.schema) if isinstance(field.type, pa.FixedShapeTensorType)]
    if not vectors:
        return other_type(table, draw)
    place = draw.choice(vectors)
    column = table.column(place).combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    if column.null_count:
        return lose_rows(table, draw)
    values = np.array(column.to_numpy_ndarray())
    values[draw.randrange(len(values))] = draw.choice([np.nan, np.inf, -5.0, 7.0])
    return table.set_column(
        place, table.schema.field(place).name, pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    )


def odd_metadata(table: pa.Table, draw: random.Random) -> pa.Table:
    facts = draw.choice(
        [
            b"",
            b"{}",
            b"[]",
            b"null",
            b"\xff",
            b"[" * 100_000,
            json.dumps({"dataset": 1, "class_names": 7, "content": [], "shape": "x"}).encode(),
            json.dumps({"dataset": "d", "class_names": [], "content": "image", "shape": [2, 2]}).encode(),
            json.dumps({"dataset": "d", "class_names": ["a", "a"], "content": "x", "shape": [-1]}).encode(),
            json.dumps({"dataset": "d", "class_names": ["a"], "content": "image", "shape": [8, 8]}).encode(),
            json.dumps(
                {"dataset": "d", "class_names": [1, 2, 3], "content": "image", "shape": [8, 8]}
            ).encode(),
        ]
    )
    return table.replace_schema_metadata({b"relabel": facts, b"pandas": facts})


def bomb(content: bytes, draw: random.Random) -> bytes:
    """A small file whose text unpacks to 3 GB: one text of 10 MB, 300 times."""
    schema = pq.read_schema(io.BytesIO(content))
    n = 300
    columns = {name: pa.array(range(n)) for name in schema.names}
    name = draw.choice(schema.names)
    index = pa.array(np.zeros(n, np.int32))
    columns[name] = pa.DictionaryArray.from_arrays(index, pa.array(["x" * 10_000_000]))
    buffer = io.BytesIO()
    table = pa.table(columns).replace_schema_metadata(schema.metadata)
    pq.write_table(table, buffer, compression="zstd", store_schema=False, write_statistics=False)
    return buffer.getvalue()


PARQUET: dict[str, Damage] = {
    "a column lost": _change(lose_column),
    "a column of another name": _change(rename_column),
    "a column of another type": _change(other_type),
    "text that is no UTF-8": _change(bad_utf8),
    "nulls": _change(nulls),
    "rows in another order": _change(shuffle_rows),
    "a row twice": _change(repeat_row),
    "rows lost": _change(lose_rows),
    "an odd number": _change(odd_number),
    "an odd vector": _change(odd_vector),
    "odd metadata": _change(odd_metadata),
    "a small file of 3 GB": bomb,
}


# -- .npy.


def _npy(header: str | bytes, data: bytes = bytes(64), version: bytes = b"\x01\x00") -> bytes:
    text = header if isinstance(header, bytes) else header.encode()
    size = len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + text + data


def npy_header(content: bytes, draw: random.Random) -> bytes:
    """A header that lies, or is no header."""
    shape = draw.choice(
        [
            "(2,)",
            "(1000000000000,)",
            "(-1,)",
            "(2**40, 3)",
            "()",
            "(0, 3)",
            "(3, 0)",
            "(2, 2, 2)",
            "'x'",
            "(True,)",
            "(1e3,)",
            "(9999999999999999999999,)",
            "(4611686018427387904, 4)",
        ]
    )
    kind = draw.choice(
        [
            "<f8",
            "<f4",
            ">f8",
            "|O",
            "|V8",
            "<M8[s]",
            "<c16",
            "|b1",
            "<U1",
            "|S4",
            "<f16",
            "x",
            "",
            "<U99999999",
            "|S0",
        ]
    )
    return _npy(
        f"{{'descr': '{kind}', 'fortran_order': {draw.choice(['False', 'True', '7'])}, 'shape': {shape}, }}\n"
    )


def npy_bad_header(content: bytes, draw: random.Random) -> bytes:
    text = draw.choice(
        [
            "(" * 5_000,
            "{" * 60_000,
            "{'descr': [('a', '<f8'), ('b', '|O')], 'fortran_order': False, 'shape': (2,)}",
            "__import__('os').system('true')",
            "{}",
            "\n",
            "{'descr': '<f8'}",
            "[" * 3000 + "]" * 3000,
            "1" * 9000,
            "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'x': 1}",
            "'" * 99,
            "-" * 50_000,
            "\x00" * 10,
        ]
    )
    return _npy(text, version=draw.choice([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"]))


def npy_odd_values(content: bytes, draw: random.Random) -> bytes:
    values = np.load(io.BytesIO(content))
    if values.dtype.kind == "f":
        values[draw.randrange(len(values))] = draw.choice([np.nan, np.inf, -1, 2, 1e300])
    elif values.dtype.kind in "iu":
        values[draw.randrange(len(values))] = draw.choice([-1, 99, 2**40])
    return _saved(values)


def npy_other_type(content: bytes, draw: random.Random) -> bytes:
    values = np.load(io.BytesIO(content))
    kind = draw.choice(["<f4", ">f8", "<f2", "<c16", "|S5", "<U8", "|b1", "|u1", ">i4"])
    return _saved(values.astype(kind))


def npy_other_shape(content: bytes, draw: random.Random) -> bytes:
    values = np.load(io.BytesIO(content))
    return _saved(
        draw.choice(
            [values[:0], values[:1], values[None], values[..., None], values[:-1], np.asfortranarray(values)]
        )
    )


def _saved(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


NPY: dict[str, Damage] = {
    "a header that lies": npy_header,
    "no header": npy_bad_header,
    "odd values": npy_odd_values,
    "values of another type": npy_other_type,
    "another shape": npy_other_shape,
}
