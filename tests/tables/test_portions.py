"""Tables in parts: the same content, the same checks, the same bytes as tables at once."""

import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import ArtifactError
from tasks.tables.catalog import FOLDS, PRED_PROBS
from tasks.tables.facts import DatasetFacts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.portions import Scratch, TableReader, map_in_order, write_stream
from tasks.tables.schemas import column_array

FACTS = DatasetFacts("mine", ("cat", "dog", "bird"), "features", (2,))
N_ROWS = 40_000


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(10 * N_ROWS, size=N_ROWS, replace=False))
    probs = rng.dirichlet([1, 1, 1], size=N_ROWS).astype(np.float32)
    return {"example_id": ids, "fold": ids % 5, "pred_probs": probs}


@pytest.fixture
def whole(columns, tmp_path):
    path = tmp_path / "whole.parquet"
    write_table(path, make_table(PRED_PROBS, FACTS, columns), PRED_PROBS, extra={"digest": "x"})
    return path


def rewrite(path, row_group_size, order=None):
    table = pq.read_table(path)
    if order is not None:
        table = table.take(pa.array(order))
    pq.write_table(table, path, row_group_size=row_group_size)


@pytest.mark.parametrize("portion", [1_000, 16_384, 16_385, N_ROWS])
def test_portions_of_any_length_give_the_bytes_of_the_table_at_once(columns, whole, tmp_path, portion):
    path = tmp_path / "stream.parquet"
    with write_stream(path, PRED_PROBS, FACTS, extra={"digest": "x"}) as append:
        for start in range(0, N_ROWS, portion):
            append({name: values[start : start + portion] for name, values in columns.items()})
    assert path.read_bytes() == whole.read_bytes()


def test_rows_out_of_order_are_refused_and_nothing_is_left(tmp_path):
    path = tmp_path / "folds.parquet"
    portions = [{"example_id": [4, 5], "fold": [0, 0]}, {"example_id": [3], "fold": [0]}]
    with pytest.raises(ArtifactError, match="found 3 after 5"), write_stream(path, FOLDS, FACTS) as append:
        list(map(append, portions))
    with pytest.raises(ArtifactError, match="found none"), write_stream(path, FOLDS, FACTS):
        pass
    with (
        pytest.raises(ArtifactError, match="`fold` was not given"),
        write_stream(path, FOLDS, FACTS) as append,
    ):
        list(map(append, [portions[0], {"example_id": [6]}]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("row_group_size", [777, 16_384, 10**6])
def test_parts_together_are_the_table(columns, whole, row_group_size):
    rewrite(whole, row_group_size)
    reader = TableReader(whole, PRED_PROBS, ["pred_probs"])
    assert reader.facts == FACTS
    assert reader.n_rows == N_ROWS
    assert reader.shape_of("pred_probs") == (3,)
    assert len(reader) == -(-N_ROWS // row_group_size)
    assert reader.starts[-1] == N_ROWS
    for _ in range(2):
        parts = list(map_in_order(reader.read, len(reader), 2))
        assert parts[0].column_names == ["example_id", "pred_probs"]
        joined = pa.concat_tables(parts)
        for name in ("example_id", "pred_probs"):
            assert np.array_equal(column_array(joined, name), columns[name])
    for low, high in ((-5, -1), (columns["example_id"][100], columns["example_id"][20_000])):
        ids = [column_array(reader.read(int(part)), "example_id") for part in reader.parts_with(low, high)]
        found = np.concatenate([np.zeros(0, np.int64), *ids])
        wanted = columns["example_id"][(columns["example_id"] >= low) & (columns["example_id"] <= high)]
        assert np.isin(wanted, found).all()
        assert len(found) <= len(wanted) + 2 * min(row_group_size, N_ROWS)


def in_order(reader):
    return list(map_in_order(reader.read, len(reader), 3))


@pytest.mark.parametrize("row_group_size", [777, 16_384, 10**6])
@pytest.mark.parametrize("most_rows", [1, 700, 5_000])
def test_row_groups_that_are_too_large_are_cut(columns, whole, row_group_size, most_rows):
    # Few rows, where each of them is a part.
    n_rows = 300 if most_rows == 1 else N_ROWS
    pq.write_table(pq.read_table(whole).slice(0, n_rows), whole, row_group_size=row_group_size)
    reader = TableReader(whole, PRED_PROBS, ["pred_probs"])
    row_bytes = 8 + 3 * 4
    reader.cut(most_rows * row_bytes + row_bytes - 1)
    lengths = np.diff(reader.starts)
    assert (reader.n_rows, reader.starts[-1]) == (n_rows, n_rows)
    assert lengths.max() <= most_rows
    assert reader.part_bytes <= most_rows * 2 * row_bytes
    for parts in (in_order(reader), in_order(reader), [reader.read(part) for part in range(len(reader))]):
        assert [part.num_rows for part in parts] == lengths.tolist()
        joined = pa.concat_tables(parts)
        for name in ("example_id", "pred_probs"):
            assert np.array_equal(column_array(joined, name), columns[name][:n_rows])
    runs = [table for part in range(len(reader)) for table in reader.read_runs(part, 300)]
    assert np.array_equal(column_array(pa.concat_tables(runs), "pred_probs"), columns["pred_probs"][:n_rows])
    for part in np.random.default_rng(0).permutation(len(reader))[:20]:
        rows = slice(reader.starts[part], reader.starts[part + 1])
        ids = columns["example_id"][rows]
        assert np.array_equal(column_array(reader.read_only(part, ["fold"]), "fold"), columns["fold"][rows])
        assert np.array_equal(column_array(reader.read(part), "pred_probs"), columns["pred_probs"][rows])
        assert reader.bounds[part].tolist() == [ids[0], ids[-1]]
        assert part in reader.parts_with(ids[0], ids[0])


@pytest.mark.parametrize("n_rows", [1, 300, 10**6])
def test_a_part_may_be_read_in_runs(columns, whole, n_rows):
    rewrite(whole, N_ROWS if n_rows > 1 else 500)
    reader = TableReader(whole, PRED_PROBS, ["pred_probs"])
    for _ in range(2):
        runs = list(reader.read_runs(0, n_rows))
        n_read = int(reader.starts[1])
        assert [len(run) for run in runs[:-1]] == [n_rows] * (len(runs) - 1)
        for name in ("example_id", "pred_probs"):
            assert np.array_equal(column_array(pa.concat_tables(runs), name), columns[name][:n_read])


def test_parts_that_are_small_enough_are_not_cut(whole):
    reader = TableReader(whole, PRED_PROBS, ["pred_probs"])
    sizes = np.diff(reader.starts).tolist()
    reader.cut(reader.part_bytes)
    assert np.diff(reader.starts).tolist() == sizes == [16_384, 16_384, 7_232]
    reader.cut(16_383 * 20)
    assert max(np.diff(reader.starts)) <= 16_383


def test_what_a_part_takes_is_told_by_its_numbers_not_by_how_few_bytes_they_are_encoded_in(tmp_path):
    n_rows, path = 100_000, tmp_path / "flat.parquet"
    columns = {
        "example_id": np.arange(n_rows),
        "fold": np.zeros(n_rows, np.int16),
        "pred_probs": np.full((n_rows, 4), 0.25, np.float32),
    }
    pq.write_table(make_table(PRED_PROBS, FACTS, columns), path, row_group_size=n_rows)
    assert pq.ParquetFile(path).metadata.row_group(0).total_byte_size < 5 * n_rows + 2**20
    assert TableReader(path, PRED_PROBS).part_bytes >= n_rows * (8 + 2 + 16)


@pytest.mark.parametrize("kind", ["within", "between"])
def test_a_file_out_of_order_is_sorted_or_refused_where_that_takes_too_much(columns, whole, kind):
    order = np.arange(N_ROWS)
    order = np.roll(order, 1_000) if kind == "between" else np.random.default_rng(1).permutation(N_ROWS)
    rewrite(whole, 1_000, order)
    reader = TableReader(whole, PRED_PROBS, ["pred_probs"])
    joined = pa.concat_tables([reader.read(part) for part in range(len(reader))])
    assert np.array_equal(column_array(joined, "example_id"), columns["example_id"])
    assert np.array_equal(column_array(joined, "pred_probs"), columns["pred_probs"])
    reader.cut(1_000 * 20)
    assert max(np.diff(reader.starts)) <= 1_000
    joined = pa.concat_tables(in_order(reader))
    assert np.array_equal(column_array(joined, "pred_probs"), columns["pred_probs"])
    with pytest.raises(ArtifactError, match=r"ascending order of `example_id`.*takes about 3 MB where 1"):
        TableReader(whole, PRED_PROBS, ["pred_probs"], max_bytes=2**20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["pred_probs"]), "`pred_probs`.*was expected"),
        (lambda table: pa.concat_tables([table, table.slice(5, 1)]), "unique, found"),
        (lambda table: pa.concat_tables([table.slice(0, 1), table]), "unique, found"),
        (lambda table: table.replace_schema_metadata({}), "metadata `relabel`"),
    ],
)
def test_what_read_table_refuses_is_refused(whole, change, message):
    pq.write_table(change(pq.read_table(whole)), whole, row_group_size=1_000)
    with pytest.raises(ArtifactError, match=message):
        TableReader(whole, PRED_PROBS)


def test_nulls_and_damage_are_found_as_the_part_is_read(whole):
    table = pq.read_table(whole, columns=["example_id", "fold"])
    fold = table.column("fold").to_pylist()
    fold[30_000] = None
    schema = pa.schema(
        [table.schema.field("example_id"), pa.field("fold", pa.int16())], metadata=table.schema.metadata
    )
    holed = pa.table([table.column("example_id"), pa.array(fold, pa.int16())], schema=schema)
    path = whole.with_name("folds.parquet")
    pq.write_table(holed, path, row_group_size=16_384)
    reader = TableReader(path, FOLDS)
    reader.read(0)
    with pytest.raises(ArtifactError, match=r"`fold` was expected without nulls, found 1 null"):
        reader.read(1)

    with pytest.raises(ArtifactError, match=r"`fold` was expected without nulls, found 1 null"):
        list(reader.read_runs(1, 1_000))
    reader.cut(10_000)
    with pytest.raises(ArtifactError, match=r"`fold` was expected without nulls, found 1 null"):
        in_order(reader)

    table = pq.read_table(whole)
    for row_group_size in (16_384, N_ROWS):
        pq.write_table(table, whole, row_group_size=row_group_size, write_page_checksum=True)
        content = bytearray(whole.read_bytes())
        content[int(0.97 * len(content))] ^= 1
        whole.write_bytes(content)
        reader = TableReader(whole, PRED_PROBS)
        for _ in range(2):
            with pytest.raises(ArtifactError, match=r"damaged.*dvc repro aggregate"):
                in_order(reader)
            with pytest.raises(ArtifactError, match=r"damaged.*dvc repro aggregate"):
                [list(reader.read_runs(part, 500)) for part in range(len(reader))]
            reader.cut(30_000)
    with pytest.raises(ArtifactError, match="missing"):
        TableReader(whole.with_name("none.parquet"), PRED_PROBS)


def test_a_table_without_rows_has_no_parts(tmp_path):
    path = tmp_path / "folds.parquet"
    write_table(path, make_table(FOLDS, FACTS, {"example_id": [], "fold": []}), FOLDS)
    reader = TableReader(path, FOLDS)
    assert (len(reader), reader.n_rows, reader.nothing.num_rows) == (0, 0, 0)
    assert read_table(path, FOLDS).num_rows == 0


def test_results_come_in_order_from_few_threads_that_run_little_ahead():
    running, most, asked = set(), 0, []
    lock = threading.Lock()

    def slow(item):
        nonlocal most
        with lock:
            running.add(item)
            asked.append(item)
            most = max(most, len(running))
        threading.Event().wait(0.002 * (item % 3))
        with lock:
            running.discard(item)
        return item * item

    results = map_in_order(slow, 50, 3)
    assert next(results) == 0
    assert len(asked) <= 5
    assert list(results) == [item * item for item in range(1, 50)]
    assert 1 < most <= 3

    def fail(item):
        if item == 4:
            raise ValueError("four")
        return item

    with pytest.raises(ValueError, match="four"):
        list(map_in_order(fail, 1000, 3))


def test_scratch_gives_back_what_was_written_and_leaves_no_file(tmp_path):
    rows = np.random.default_rng(0).random((100, 7), dtype=np.float32)
    scratch = Scratch(tmp_path, (7,), np.float32)
    for start in (60, 0, 30):
        scratch.write(start, rows[start : start + (40 if start == 60 else 30)])
    assert np.array_equal(scratch.read(0, 100), rows)
    assert np.array_equal(scratch.read(29, 3), rows[29:32])
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="ends at byte"):
        scratch.read(99, 2)
    assert Scratch.fits(tmp_path, 1000)
    assert not Scratch.fits(tmp_path, 2**60)
