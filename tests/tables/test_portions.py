"""Tables in portions: the same content, the same checks, the same bytes as tables at once."""

import json
import os
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import some_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import ArtifactError
from tasks.tables import io, portions
from tasks.tables.catalog import EXAMPLES, FOLDS, GIVEN_LABELS, PRED_PROBS, TEST_PROBS, TRAINING_SET
from tasks.tables.facts import DatasetFacts
from tasks.tables.io import make_table, read_table, tensor_column, write_stream, write_table
from tasks.tables.portions import Scratch, TableReader, map_in_order
from tasks.tables.schemas import column_array

FACTS = DatasetFacts("mine", ("cat", "dog", "bird"), "features", (2,))
N_ROWS = 40_000
one_folder = settings(
    max_examples=some_of(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


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


def rewrite(path, row_group_size, order=None, **options):
    """The same rows as another program might write them."""
    table = pq.read_table(path)
    if order is not None:
        table = table.take(pa.array(order))
    pq.write_table(table, path, row_group_size=row_group_size, **options)


# --- writing --------------------------------------------------------------------------------------------


@st.composite
def rows_and_cuts(draw):
    """An artifact, columns of it, and where to cut them into portions."""
    n = draw(st.integers(0, 40))
    lengths = st.sampled_from([0, 1, 30, 300])
    text = draw(st.lists(lengths.map(lambda length: "ä" * length), min_size=n, max_size=n))
    label = draw(st.lists(st.none() | st.integers(0, 2), min_size=n, max_size=n))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    ids = {"example_id": np.arange(n) * 7 - 50}
    kind = draw(st.sampled_from(["text", "image", "colour", "soft", "empty"]))
    if kind == "soft":
        is_null = rng.random(n) < 0.5
        soft = tensor_column(rng.random((n, 3), dtype=np.float32), is_null)
        words = {"action": ["kept"] * n, "source": ["given"] * n}
        numbers = {"label": np.zeros(n), "weight": np.ones(n), "given_label": pa.array(label, pa.int16())}
        return TRAINING_SET, ids | {"soft_label": soft} | words | numbers, draw(cuts(n))
    if kind == "empty":
        columns = {"split": ["test"] * n, "pred_probs": rng.random((n, 3), dtype=np.float32)}
        return TEST_PROBS, ids | columns, draw(cuts(n))
    labels = {name: pa.array(label, pa.int16()) for name in ("given_label", "true_label")}
    content = {"text": text}
    if kind != "text":
        shape = (n, 4, 5, 3) if kind == "colour" else (n, 4, 5)
        content = {"image": rng.integers(0, 255, shape, dtype=np.uint8)}
    return EXAMPLES, ids | {"key": text, "split": ["train"] * n} | labels | content, draw(cuts(n))


def cuts(n):
    return st.lists(st.integers(0, n), max_size=6).map(lambda found: [0, *sorted(found), n])


@one_folder
@given(
    drawn=rows_and_cuts(), group_bytes=st.sampled_from([1, 100, 1_000, 2**22]), rows=st.sampled_from([3, 99])
)
def test_equal_rows_make_equal_bytes_whatever_the_portions(drawn, group_bytes, rows, tmp_path):
    artifact, columns, ends = drawn
    n_rows = ends[-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "GROUP_BYTES", group_bytes)
        patch.setattr(io, "GROUP_ROWS", rows)
        files = [tmp_path / "whole.parquet", tmp_path / "stream.parquet"]

        def write_whole():
            write_table(files[0], make_table(artifact, FACTS, columns), artifact, extra={"digest": "x"})

        def write_portions():
            with write_stream(files[1], artifact, FACTS, extra={"digest": "x"}) as append:
                for start, stop in pairwise(ends):
                    append({name: values[start:stop] for name, values in columns.items()})

        if not n_rows and not artifact.may_be_empty:
            for write in write_whole, write_portions:
                with pytest.raises(ArtifactError, match="rows were expected, found none"):
                    write()
            return
        write_whole()
        write_portions()
    assert files[0].read_bytes() == files[1].read_bytes()
    metadata = pq.read_metadata(files[0])
    groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert sum(groups) == n_rows
    table = read_table(files[0], artifact)
    sizes = io.row_bytes(table)
    start = 0
    for number, count in enumerate(groups):
        assert count <= rows
        assert sizes[start : start + count - 1].sum() < group_bytes
        is_full = count == rows or sizes[start : start + count].sum() >= group_bytes
        assert is_full or number == len(groups) - 1
        start += count
    reader = TableReader(files[0], artifact)
    assert pa.concat_tables([reader.nothing(), *reader.portions()]).equals(table)


@pytest.mark.parametrize("portion", [1_000, 16_384, N_ROWS])
def test_large_portions_give_the_bytes_of_the_table_at_once(columns, whole, tmp_path, portion):
    path = tmp_path / "stream.parquet"
    with write_stream(path, PRED_PROBS, FACTS, extra={"digest": "x"}) as append:
        for start in range(0, N_ROWS, portion):
            append({name: values[start : start + portion] for name, values in columns.items()})
    assert path.read_bytes() == whole.read_bytes()


def test_a_row_group_takes_about_4_mb_whatever_a_row_weighs(tmp_path):
    path = tmp_path / "table.parquet"
    for n_rows, n_classes, n_groups in ((5_000, 500, 3), (140_000, 2, 3)):
        probs = np.full((n_rows, n_classes), 1 / n_classes, np.float32)
        columns = {"example_id": np.arange(n_rows), "fold": np.zeros(n_rows), "pred_probs": probs}
        write_table(path, make_table(PRED_PROBS, FACTS, columns), PRED_PROBS)
        reader = TableReader(path, PRED_PROBS)
        assert len(reader) == n_groups
        assert reader.part_bytes <= 1.01 * 2**22


def test_rows_out_of_order_are_refused_and_nothing_is_left(tmp_path):
    path = tmp_path / "folds.parquet"
    first = {"example_id": [4, 5], "fold": [0, 0]}
    for later in ({"example_id": [3], "fold": [0]}, {"example_id": [5], "fold": [0]}):
        with (
            pytest.raises(ArtifactError, match=rf"found {later['example_id'][0]} after 5"),
            write_stream(path, FOLDS, FACTS) as append,
        ):
            list(map(append, [first, {"example_id": [], "fold": []}, later]))
    with pytest.raises(ArtifactError, match="found none"), write_stream(path, FOLDS, FACTS):
        pass
    with (
        pytest.raises(ArtifactError, match="`fold` was not given"),
        write_stream(path, FOLDS, FACTS) as append,
    ):
        list(map(append, [first, {"example_id": [6]}]))
    table = make_table(FOLDS, FACTS, first).take(pa.array([1, 0]))
    with pytest.raises(ArtifactError, match="found 4 after 5"):
        write_table(path, table, FOLDS)
    assert not list(tmp_path.iterdir())


def test_a_table_that_may_be_empty_needs_a_portion_that_tells_its_shapes(tmp_path):
    path = tmp_path / "probs.parquet"
    with write_stream(path, TEST_PROBS, FACTS) as append:
        append({"example_id": [], "split": [], "pred_probs": np.zeros((0, 3), np.float32)})
    reader = TableReader(path, TEST_PROBS)
    assert (len(reader), reader.n_rows, reader.nothing().num_rows) == (0, 0, 0)
    assert reader.shape_of("pred_probs") == (3,)
    assert reader.column("pred_probs").shape == (0, 3)
    assert reader.find(np.array([1])).num_rows == 0
    with pytest.raises(ArtifactError, match="found none"), write_stream(path, TEST_PROBS, FACTS):
        pass
    assert read_table(path, TEST_PROBS).num_rows == 0


# --- reading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row_group_size", [777, 16_384, 10**6])
@pytest.mark.parametrize("any_layout", [False, True])
def test_parts_together_are_the_table(columns, whole, row_group_size, any_layout):
    rewrite(whole, row_group_size)
    reader = TableReader(whole, PRED_PROBS, ["pred_probs"], any_layout=any_layout)
    assert reader.facts == FACTS
    assert reader.n_rows == N_ROWS
    assert reader.shape_of("pred_probs") == (3,)
    assert len(reader) == -(-N_ROWS // row_group_size)
    assert reader.starts[-1] == N_ROWS
    for _ in range(2):
        for parts in (map_in_order(reader.read, len(reader), 2), reader.portions()):
            joined = pa.concat_tables(parts)
            assert joined.column_names == ["example_id", "pred_probs"]
            for name in ("example_id", "pred_probs"):
                assert np.array_equal(column_array(joined, name), columns[name])
    assert reader.read(0, ["fold"]).column_names == ["example_id", "fold"]
    for name in columns:
        assert np.array_equal(reader.column(name), columns[name])
    for part, (low, high) in enumerate(reader.bounds):
        rows = columns["example_id"][reader.starts[part] : reader.starts[part + 1]]
        assert (rows[0], rows[-1]) == (low, high)


@one_folder
@given(data=st.data(), row_group_size=st.sampled_from([1, 7, 100]), any_layout=st.booleans())
def test_rows_come_by_id_and_only_from_the_parts_that_may_hold_them(
    data, row_group_size, any_layout, tmp_path
):
    ids = np.array(sorted(data.draw(st.sets(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60))))
    path = tmp_path / "folds.parquet"
    write_table(path, make_table(FOLDS, FACTS, {"example_id": ids, "fold": np.arange(len(ids))}), FOLDS)
    order = data.draw(st.permutations(range(len(ids)))) if any_layout else None
    rewrite(path, row_group_size, order)
    reader = TableReader(path, FOLDS, any_layout=any_layout)
    places = np.array(data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=20)), dtype=np.intp)
    read = []
    reader.read = lambda part, *rest: read.append(part) or TableReader.read(reader, part, *rest)
    found = reader.rows(ids[places])
    assert column_array(found, "example_id").tolist() == ids[places].tolist()
    assert column_array(found, "fold").tolist() == places.tolist()
    if not any_layout:
        assert set(read) == set(places // row_group_size)
    missing = data.draw(st.integers(-(2**63), 2**63 - 1).filter(lambda value: value not in ids))
    with pytest.raises(ArtifactError, match=f"1 missing, the first {missing}"):
        reader.rows(np.array([*ids[places], missing]))
    found = reader.find(np.array([*ids[places], missing]))
    assert sorted(column_array(found, "fold")) == sorted(set(places.tolist()))


def test_few_rows_hold_no_whole_part_in_memory(tmp_path):
    path = tmp_path / "examples.parquet"
    images = np.random.default_rng(0).integers(0, 255, (200, 256, 256), dtype=np.uint8)
    nothing = [None] * len(images)
    columns = {"example_id": np.arange(200), "key": list(map(str, range(200))), "split": ["train"] * 200}
    labels = {"given_label": nothing, "true_label": nothing}
    write_table(path, make_table(EXAMPLES, FACTS, columns | labels | {"image": images}), EXAMPLES)
    reader = TableReader(path, EXAMPLES, ["image"])
    assert len(reader) == 4
    before = pa.total_allocated_bytes()
    found = reader.rows(np.array([150, 0, 70]))
    assert np.array_equal(column_array(found, "image"), images[[150, 0, 70]])
    assert pa.total_allocated_bytes() - before < 2**19


def test_null_and_optional_columns(tmp_path):
    path = tmp_path / "given.parquet"
    columns = {
        "example_id": [1, 2, 3],
        "key": ["a", "b", "c"],
        "split": ["train", "test", "train"],
        "given_label": [0, 1, 2],
        "true_label": [0, None, 2],
        "is_noisy": [False, None, False],
    }
    write_table(path, make_table(GIVEN_LABELS, FACTS, columns), GIVEN_LABELS)
    reader = TableReader(path, GIVEN_LABELS, ["true_label"], optional=["is_noisy", "original_split"])
    assert reader.read(0).column_names == ["example_id", "true_label", "is_noisy"]
    found = reader.column("true_label", null=-1)
    assert (found.tolist(), found.dtype) == ([0, -1, 2], np.int16)
    assert reader.column("key").tolist() == ["a", "b", "c"]
    with pytest.raises(ArtifactError, match=r"`true_label` was expected without nulls"):
        reader.column("true_label")
    soft = tensor_column(np.zeros((3, 2), np.float32), np.array([True, False, True]))
    with pytest.raises(ArtifactError, match=r"`soft_label`.*2 of 3"):
        column_array(pa.table({"soft_label": soft}), "soft_label")


def test_a_file_that_is_replaced_is_read_on_as_it_was(columns, whole):
    rewrite(whole, 1_000)
    reader = TableReader(whole, PRED_PROBS)
    other = make_table(PRED_PROBS, FACTS, columns | {"pred_probs": 1 - columns["pred_probs"]})
    write_table(whole, other, PRED_PROBS)
    found = list(map_in_order(reader.read, len(reader), 3))
    assert np.array_equal(column_array(pa.concat_tables(found), "pred_probs"), columns["pred_probs"])


# --- what is refused ------------------------------------------------------------------------------------


def test_row_groups_of_another_program_are_refused_with_what_to_do(columns, whole, monkeypatch):
    monkeypatch.setattr(portions, "_LARGEST_GROUP", 30 * 1_000)
    rewrite(whole, 1_000)
    TableReader(whole, PRED_PROBS, ["pred_probs"])
    rewrite(whole, 2_000)
    with pytest.raises(
        ArtifactError, match=r"row groups.*found one.*2,000 rows.*dvc repro aggregate.*import-probs"
    ):
        TableReader(whole, PRED_PROBS, ["pred_probs"])
    found = TableReader(whole, PRED_PROBS, ["pred_probs"], any_layout=True).column("pred_probs")
    assert np.array_equal(found, columns["pred_probs"])
    # A row that is larger than that alone is no fault.
    monkeypatch.setattr(portions, "_LARGEST_GROUP", 19)
    pq.write_table(pq.read_table(whole).slice(0, 50), whole, row_group_size=1)
    assert TableReader(whole, PRED_PROBS, ["pred_probs"]).n_rows == 50


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
def test_rows_out_of_order_are_refused_with_what_to_do_or_sorted(columns, whole, kind):
    order = np.arange(N_ROWS)
    order = np.roll(order, 1_000) if kind == "between" else np.random.default_rng(1).permutation(N_ROWS)
    rewrite(whole, 1_000, order)
    with pytest.raises(
        ArtifactError, match=r"ascending order of `example_id`, found .* after .*import-probs"
    ):
        TableReader(whole, PRED_PROBS, ["pred_probs"])
    reader = TableReader(whole, PRED_PROBS, any_layout=True)
    for name in columns:
        assert np.array_equal(reader.column(name), columns[name])
    assert np.array_equal(column_array(reader.rows(columns["example_id"][5:9]), "fold"), columns["fold"][5:9])


@pytest.mark.parametrize("any_layout", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["pred_probs"]), "`pred_probs`.*was expected"),
        (lambda table: pa.concat_tables([table, table.slice(5, 1)]), "unique, found"),
        (lambda table: pa.concat_tables([table.slice(0, 1), table]), "unique, found"),
        (lambda table: table.cast(loosely_typed(table)), "`fold`.*was expected as int16, found string"),
    ],
)
def test_what_read_table_refuses_is_refused(whole, change, message, any_layout):
    pq.write_table(change(pq.read_table(whole)), whole, row_group_size=1_000)
    with pytest.raises(ArtifactError, match=message) as caught:
        TableReader(whole, PRED_PROBS, any_layout=any_layout, where="v1: data/x.parquet")
    assert str(caught.value).startswith("v1: data/x.parquet: ")


def loosely_typed(table):
    place = table.schema.get_field_index("fold")
    return table.schema.set(place, pa.field("fold", pa.string()))


def test_a_column_that_the_file_lacks_is_named_wherever_it_is_asked_for(whole):
    reader = TableReader(whole, PRED_PROBS)
    for ask in (
        lambda: reader.read(0, ["embedding"]),
        lambda: reader.column("embedding"),
        lambda: list(reader.portions(["embedding"])),
        lambda: reader.find(np.array([1]), ["embedding"]),
    ):
        with pytest.raises(ArtifactError, match=r"`embedding`.*was expected"):
            ask()


def test_facts_of_a_file_without_metadata_are_refused(whole):
    pq.write_table(pq.read_table(whole).replace_schema_metadata({}), whole)
    reader = TableReader(whole, PRED_PROBS)
    with pytest.raises(ArtifactError, match=r"whole\.parquet: .*metadata `relabel`"):
        _ = reader.facts


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
    for any_layout in (False, True):
        reader = TableReader(path, FOLDS, any_layout=any_layout)
        reader.read(0)
        for _ in range(2):
            with pytest.raises(ArtifactError, match=r"`fold` was expected without nulls, found 1 null"):
                reader.read(1)
        with pytest.raises(ArtifactError, match=r"`fold` was expected without nulls, found 1 null"):
            list(reader.portions())

    rewrite(whole, 16_384, write_page_checksum=True)
    content = bytearray(whole.read_bytes())
    content[int(0.97 * len(content))] ^= 1
    whole.write_bytes(content)
    reader = TableReader(whole, PRED_PROBS)
    for _ in range(2):
        with pytest.raises(ArtifactError, match=r"damaged.*dvc repro aggregate"):
            list(map_in_order(reader.read, len(reader), 3))
        with pytest.raises(ArtifactError, match=r"damaged.*dvc repro aggregate"):
            reader.column("pred_probs")
    with pytest.raises(ArtifactError, match="missing"):
        TableReader(whole.with_name("none.parquet"), PRED_PROBS)
    with pytest.raises(ArtifactError, match="folder"):
        TableReader(whole.parent, PRED_PROBS)


# --- older layouts --------------------------------------------------------------------------------------


def first_edition(path, n_rows, shape, **options):
    """Pictures as the first edition wrote them: tensors of uint8 in row groups of 16,384 rows."""
    images = np.random.default_rng(0).integers(0, 255, (n_rows, *shape), dtype=np.uint8)
    facts = {"dataset": "old", "class_names": ["a", "b"], "content": "image", "shape": shape}
    table = pa.table(
        {
            "example_id": pa.array(np.arange(n_rows) * 3),
            "split": ["train"] * n_rows,
            "true_label": pa.array(np.zeros(n_rows), pa.int16()),
            "image": tensor_column(images),
        },
        metadata={"relabel": json.dumps(facts)},
    )
    pq.write_table(table, path, row_group_size=16_384, compression="zstd", **options)
    return images


def test_files_of_the_first_edition_are_read_where_any_layout_is_taken(tmp_path):
    path = tmp_path / "examples.parquet"
    images = first_edition(path, 20_000, (28, 28))
    with pytest.raises(ArtifactError, match=r"`image`.*fixed_size_binary"):
        TableReader(path, EXAMPLES, ["image"])
    reader = TableReader(path, EXAMPLES, ["image"], any_layout=True)
    assert len(reader) == 2
    pieces = list(reader.portions())
    assert all(piece.num_rows * 28 * 28 <= 2**22 for piece in pieces)
    assert np.array_equal(np.concatenate([column_array(piece, "image") for piece in pieces]), images)
    ids = np.array([59_997, 3, 30_000])
    assert np.array_equal(column_array(reader.rows(ids), "image"), images[ids // 3])
    with pytest.raises(ArtifactError, match="`key`"):
        TableReader(path, EXAMPLES, ["key"], any_layout=True)


MEASURE = """
import sys
from pathlib import Path

import numpy as np

from tasks.tables import portions
from tasks.tables.catalog import EXAMPLES
from tasks.tables.io import read_table

def memory(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1024

reader = portions.TableReader(Path(sys.argv[1]), EXAMPLES, ["image"], any_layout=True)
before = memory("VmRSS")
reader.rows(np.array([3, 2_100]))
for _ in reader.portions():
    pass
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_large_row_group_of_an_older_file_is_decoded_in_pieces(pytestconfig, tmp_path):
    path = tmp_path / "examples.parquet"
    first_edition(path, 1_000, (128, 128, 3))
    environment = os.environ | {"PYTHONPATH": str(pytestconfig.rootpath)}
    program = [sys.executable, "-c", MEASURE, str(path)]
    grown = subprocess.run(program, env=environment, check=True, capture_output=True, text=True).stdout
    # All of it is 49 MB, and takes more than ten times that while it is decoded at once.
    assert float(grown) < 110


# --- beside -----------------------------------------------------------------------------------------------


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
    with pytest.raises(OSError, match="ends too early"):
        scratch.read(99, 2)
    assert Scratch.fits(tmp_path, 1000)
    assert not Scratch.fits(tmp_path, 2**60)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_full_disk_is_an_error_of_scratch(tmp_path, monkeypatch):
    scratch = Scratch(tmp_path, (7,), np.float32)
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr(scratch, "_handle", full.fileno())
        with pytest.raises(OSError, match="No space left"):
            scratch.write(0, np.zeros((3, 7), np.float32))
