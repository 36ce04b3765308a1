"""Parquet artifacts: what is written is what is read, and what does not fit is refused by name."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import some_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks import ArtifactError
from tasks.tables.catalog import (
    EXAMPLES,
    FEATURES,
    FILTER_COLUMNS,
    FOLD_PRED_PROBS,
    FOLD_UNLABELED_PROBS,
    FOLDS,
    GIVEN_LABELS,
    LABEL_ISSUES,
    PRED_PROBS,
    SPLIT_ROWS,
    TEST_PROBS,
    TRAINING_SET,
    TRAINING_SIGNALS,
    UNLABELED_PROBS,
)
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import make_table, read_table, tensor_column, write_table
from tasks.tables.portions import TableReader
from tasks.tables.schemas import Artifact, Pictures, Tensor, column_array

FACTS = DatasetFacts("mine", ("cat", "dög", "bird"), "image", (2, 3))
ARTIFACTS = (
    *(EXAMPLES, FEATURES, SPLIT_ROWS, GIVEN_LABELS, FOLDS, FOLD_PRED_PROBS, FOLD_UNLABELED_PROBS, TEST_PROBS),
    *(TRAINING_SIGNALS, PRED_PROBS, UNLABELED_PROBS, LABEL_ISSUES, TRAINING_SET),
)
# Files are written anew for every drawn table, so one folder serves all of them.
one_folder = settings(
    max_examples=some_of(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def columns_of(draw: Any, artifact: Artifact, n: int, content: str | None = None) -> dict[str, Any]:
    """Random columns of `n` rows that fit `artifact`."""
    ids = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=n, max_size=n, unique=True))
    columns: dict[str, Any] = {"example_id": np.array(ids, dtype=np.int64)}
    for column in artifact.columns:
        if column.name == "example_id" or (column.name in artifact.one_of and column.name != content):
            continue
        if isinstance(column.type, Tensor | Pictures):
            is_tensor = isinstance(column.type, Tensor)
            dtype = column.type.value_type.to_pandas_dtype() if is_tensor else np.uint8
            least, most = (1, 1) if is_tensor else (2, 3)
            row = draw(hnp.array_shapes(min_dims=least, max_dims=most, max_side=4))
            columns[column.name] = draw(hnp.arrays(dtype, (n, *row)))
            continue
        if column.name in artifact.allowed:
            cell = st.sampled_from(artifact.allowed[column.name])
        elif pa.types.is_string(column.type):
            cell = st.text(max_size=5)
        elif pa.types.is_boolean(column.type):
            cell = st.booleans()
        elif column.name.endswith("label"):
            cell = st.integers(0, FACTS.n_classes - 1)
        elif pa.types.is_floating(column.type):
            cell = st.floats(width=column.type.bit_width, allow_nan=False)
        else:
            bound = 2 ** (column.type.bit_width - 1)
            cell = st.integers(-bound, bound - 1)
        if column.nullable:
            cell = st.none() | cell
        columns[column.name] = draw(st.lists(cell, min_size=n, max_size=n))
    return columns


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact.name)
@one_folder
@given(data=st.data())
def test_every_artifact_is_read_as_written_in_example_id_order(
    artifact: Artifact, data: Any, tmp_path: Path
) -> None:
    content = data.draw(st.sampled_from(artifact.one_of)) if artifact.one_of else None
    n_rows = data.draw(st.integers(0 if artifact.may_be_empty else 1, 6))
    columns = columns_of(data.draw, artifact, n_rows, content)
    path = tmp_path / "table.parquet"
    write_table(path, make_table(artifact, FACTS, columns), artifact)
    table = read_table(path, artifact)

    assert set(table.column_names) == set(columns)
    assert read_facts(table) == FACTS
    order = sorted(range(len(columns["example_id"])), key=lambda row: columns["example_id"][row])
    for name, values in columns.items():
        if isinstance(values, np.ndarray):
            found = column_array(table, name)
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(found, values[order])
        else:
            assert table.column(name).to_pylist() == [values[row] for row in order]


@one_folder
@given(values=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4)), data=st.data())
def test_a_slice_of_a_tensor_column_is_the_slice_of_its_array(values: Any, data: Any) -> None:
    table = pa.table({"x": tensor_column(values)})
    start = data.draw(st.integers(0, len(values)))
    length = data.draw(st.integers(0, len(values)))
    np.testing.assert_array_equal(
        column_array(table.slice(start, length), "x"), values[start : start + length]
    )


def test_a_tensor_column_of_many_chunks_is_one_array() -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    parts = pa.concat_tables([pa.table({"x": tensor_column(half)}) for half in (values[:1], values[1:])])
    assert parts.column("x").num_chunks == 2
    np.testing.assert_array_equal(column_array(parts, "x"), values)


def test_a_transposed_array_keeps_its_values() -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4).transpose(2, 0, 1)
    np.testing.assert_array_equal(column_array(pa.table({"x": tensor_column(values)}), "x"), values)


def test_a_table_of_more_rows_than_one_row_group_comes_back_whole(tmp_path: Path) -> None:
    n = 140_000
    write_table(folds_path := tmp_path / "folds.parquet", folds(n), FOLDS)
    assert pq.ParquetFile(folds_path).num_row_groups > 1
    np.testing.assert_array_equal(column_array(read_table(folds_path, FOLDS), "example_id"), np.arange(n))


def folds(n: int) -> pa.Table:
    return make_table(FOLDS, FACTS, {"example_id": np.arange(n), "fold": np.arange(n) % 3})


def test_rows_in_any_order_make_equal_tables_and_equal_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids, probs = np.arange(50), rng.random((50, 3), dtype=np.float32)
    files = []
    for order in (ids, rng.permutation(50)):
        columns = {"example_id": ids[order], "fold": ids[order] % 5, "pred_probs": probs[order]}
        path = tmp_path / f"{len(files)}.parquet"
        write_table(path, make_table(PRED_PROBS, FACTS, columns), PRED_PROBS, extra={"digest": "x"})
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_ids_further_apart_than_int64_reaches_are_sorted() -> None:
    table = make_table(FOLDS, FACTS, {"example_id": [1, -(2**63)], "fold": [0, 1]})
    assert column_array(table, "example_id").tolist() == [-(2**63), 1]


def test_another_cell_makes_other_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, fold in zip(paths, (0, 1), strict=True):
        write_table(path, make_table(FOLDS, FACTS, {"example_id": [7], "fold": [fold]}), FOLDS)
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_extra_metadata_is_written_beside_the_facts(tmp_path: Path) -> None:
    path = tmp_path / "folds.parquet"
    write_table(path, folds(3), FOLDS, extra={"digest": "abc"})
    table = read_table(path, FOLDS)
    assert table.schema.metadata[b"digest"] == b"abc"
    assert read_facts(table) == FACTS


def test_chosen_columns_come_with_example_id_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "given.parquet"
    write_table(path, given_labels(), GIVEN_LABELS)
    table = read_table(path, GIVEN_LABELS, columns=["given_label"])
    assert table.column_names == ["example_id", "given_label"]
    assert read_facts(table) == FACTS
    assert read_table(path, GIVEN_LABELS, columns=["split", "example_id"]).num_columns == 2


def given_labels() -> pa.Table:
    columns = {
        "example_id": [1, 2],
        "key": ["one", "two"],
        "split": ["train", "test"],
        "given_label": [0, 1],
        "true_label": [0, None],
        "is_noisy": [False, None],
    }
    return make_table(GIVEN_LABELS, FACTS, columns)


# --- what is refused on reading -------------------------------------------------------------------------


def refused(path: Path, artifact: Artifact, columns: list[str] | None = None) -> str:
    """The message with which reading `path` is refused; it names the file and the remedy."""
    with pytest.raises(ArtifactError) as caught:
        read_table(path, artifact, columns=columns)
    assert str(path) in str(caught.value)
    assert f"`dvc repro {artifact.stage}`" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact.name)
def test_a_missing_file_names_the_stage_that_makes_it(artifact: Artifact, tmp_path: Path) -> None:
    assert "missing" in refused(tmp_path / "table.parquet", artifact)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "folds.parquet"
    for content in (b"", b"PAR1", b"example_id,fold\n1,2\n", b"PAR1" + bytes(100) + b"PAR1"):
        path.write_bytes(content)
        assert "damaged" in refused(path, FOLDS)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    assert "folder" in refused(tmp_path, FOLDS)


@one_folder
@given(data=st.data())
def test_a_file_truncated_anywhere_is_refused(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "folds.parquet"
    write_table(path, folds(50), FOLDS)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert "damaged" in refused(path, FOLDS)


@one_folder
@given(data=st.data())
def test_a_file_with_a_flipped_byte_is_read_or_refused_by_artifact_error(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "folds.parquet"
    write_table(path, folds(50), FOLDS)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(ArtifactError):
        assert read_table(path, FOLDS).column_names == ["example_id", "fold"]


def test_a_cell_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "given.parquet"
    split = pa.array([b"train", b"\xfftest"]).view(pa.string())
    pq.write_table(given_labels().set_column(2, "split", split), path)
    assert "damaged" in refused(path, GIVEN_LABELS)


def test_a_column_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "folds.parquet"
    pq.write_table(folds(3).append_column("extra", pa.array([1, 2, 3])), path)
    path.write_bytes(path.read_bytes().replace(b"extra", b"\xff\xfe\xff\xfe\xff"))
    assert "damaged" in refused(path, FOLDS)


def changed_file(path: Path, **changes: Any) -> Path:
    """folds.parquet with columns replaced, or dropped where None is given."""
    table = folds(3)
    for name, values in changes.items():
        index = table.column_names.index(name)
        table = table.remove_column(index)
        if values is not None:
            table = table.add_column(index, name, values)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("name", ["example_id", "fold"])
def test_a_missing_column_is_named_beside_those_found(name: str, tmp_path: Path) -> None:
    found = refused(changed_file(tmp_path / "f.parquet", **{name: None}), FOLDS)
    assert f"column `{name}` (int" in found
    assert f"found only {'fold' if name == 'example_id' else 'example_id'}." in found


def test_a_chosen_optional_column_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pred_probs.parquet"
    columns = {"example_id": [1], "fold": [0], "pred_probs": [[0.5, 0.5]]}
    write_table(path, make_table(PRED_PROBS, FACTS, columns), PRED_PROBS)
    assert "embedding" not in read_table(path, PRED_PROBS).column_names
    assert "column `embedding`" in refused(path, PRED_PROBS, ["embedding"])


@pytest.mark.parametrize(
    ("values", "found_type"),
    [
        (pa.array([0, 1, 2], pa.int32()), "int32"),
        (pa.array(["0", "1", "2"]), "string"),
        (pa.array([0.0, 1.0, 2.0]), "double"),
    ],
)
def test_a_column_of_the_wrong_type_is_named_with_both_types(values, found_type, tmp_path: Path) -> None:
    found = refused(changed_file(tmp_path / "f.parquet", fold=values), FOLDS)
    assert f"column `fold` was expected as int16, found {found_type}." in found


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((2, 3, 1), np.float32), "shape=[3,1]"),
        (np.zeros((2, 3), np.float64), "double"),
        (np.zeros((2, 3), np.uint8), "uint8"),
    ],
)
def test_a_tensor_of_the_wrong_kind_is_refused(values: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    fold = pa.array([0, 1], pa.int16())
    pq.write_table(pa.table({"example_id": [1, 2], "fold": fold, "pred_probs": tensor_column(values)}), path)
    found = refused(path, PRED_PROBS)
    assert "column `pred_probs` was expected as fixed_shape_tensor of float, 1 dimension(s), found" in found
    assert says in found


def test_a_list_column_in_place_of_a_tensor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    probs = pa.array([[0.5, 0.5]], pa.list_(pa.float32()))
    pq.write_table(
        pa.table({"example_id": [1], "fold": pa.array([0], pa.int16()), "pred_probs": probs}), path
    )
    assert "column `pred_probs`" in refused(path, PRED_PROBS)


@pytest.mark.parametrize("name", ["example_id", "fold"])
def test_nulls_are_counted_and_refused(name: str, tmp_path: Path) -> None:
    kind = pa.int64() if name == "example_id" else pa.int16()
    path = changed_file(tmp_path / "f.parquet", **{name: pa.array([1, None, None], kind)})
    assert f"column `{name}` was expected without nulls, found 2 null(s) in 3 rows." in refused(path, FOLDS)


def test_the_first_repeated_id_is_named_with_its_own_count(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    table = pa.table({"example_id": [9, 4, 9, 4, 9, 1], "fold": pa.array([0] * 6, pa.int16())})
    pq.write_table(table, path)
    assert "column `example_id` was expected to be unique, found 4 2 times." in refused(path, FOLDS)


def test_a_split_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "given.parquet"
    table = given_labels()
    table = table.set_column(2, "split", pa.array(["train", "dev"]))
    pq.write_table(table, path)
    found = refused(path, GIVEN_LABELS)
    allowed = "train, valid, test, unlabeled, held_out"
    assert f"column `split` was expected to hold only {allowed}, found dev." in found


@pytest.mark.parametrize("contents", [(), ("image", "features"), ("image", "text"), ("text", "features")])
def test_exactly_one_content_column_is_allowed(contents: tuple[str, ...], tmp_path: Path) -> None:
    values = {"image": np.zeros((1, 2, 2)), "features": [[0.5, 1]], "text": ["a"]}
    labels = {"given_label": [None], "true_label": [0]}
    columns = {"example_id": [1], "key": ["1"], "split": ["train"], **labels}
    path = tmp_path / "examples.parquet"
    unchecked = replace(EXAMPLES, one_of=())
    pq.write_table(
        make_table(unchecked, FACTS, {**columns, **{name: values[name] for name in contents}}), path
    )
    found = refused(path, EXAMPLES)
    assert f"exactly one of the columns image, text, features was expected, found {', '.join(contents)}" in (
        found if contents else found.replace("none", "")
    )


def test_facts_of_a_file_without_metadata_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(folds(3).replace_schema_metadata(None), path)
    with pytest.raises(
        ArtifactError, match=r"f\.parquet: expected the schema metadata `relabel`.*found None"
    ):
        read_facts(read_table(path, FOLDS), str(path))


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"3", b"null", b"{}", b'{"dataset": "x"}', b"\xff\xfe", b'{"class_names": 3}']
)
def test_facts_that_do_not_parse_are_refused(raw: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"`relabel`.*`dvc repro`"):
        read_facts(folds(1).replace_schema_metadata({b"relabel": raw}))


@given(
    facts=st.builds(
        DatasetFacts,
        st.text(st.characters(codec="utf-8")),
        st.lists(st.text(st.characters(codec="utf-8")), unique=True).map(tuple),
        st.sampled_from(["image", "text", "features"]),
        st.lists(st.integers(0, 10_000)).map(tuple),
        st.lists(st.text(st.characters(codec="utf-8"))).map(tuple),
    )
)
def test_facts_come_back_as_given(facts: DatasetFacts) -> None:
    assert read_facts(make_table(FOLDS, facts, {"example_id": [], "fold": []})) == facts


def test_the_number_of_classes_is_that_of_the_names() -> None:
    assert FACTS.n_classes == 3


# --- what is refused on making and writing --------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"example_id": [1]}, "column `fold` was not given"),
        ({"example_id": [1], "fold": ["a"]}, "column `fold` was expected as int16"),
        ({"example_id": [1], "fold": [2**15]}, "column `fold` was expected as int16"),
        ({"example_id": [1], "fold": np.array([0.5])}, "column `fold` was expected as int16"),
        ({"example_id": [1, 2], "fold": [0]}, "column `fold` was expected to have 2 rows, found 1"),
        ({"example_id": [1], "fold": [None]}, "column `fold` was expected without nulls"),
        ({"example_id": [None], "fold": [0]}, "column `example_id` was expected without nulls"),
        ({"example_id": [3, 3], "fold": [0, 1]}, "found 3 2 times"),
    ],
)
def test_columns_that_do_not_fit_make_no_table(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        make_table(FOLDS, FACTS, columns)
    assert says in str(caught.value)
    assert str(caught.value).startswith("folds: ")
    assert "`dvc repro assign_folds`" in str(caught.value)


@pytest.mark.parametrize("probs", [[["a", "b"]], [[0.1, 0.2], [0.3]], [0.1], [[[0.1]]]])
def test_probabilities_that_are_no_vectors_make_no_table(probs: Any) -> None:
    ids = list(range(len(probs)))
    with pytest.raises(ArtifactError, match="`pred_probs` was expected as fixed_shape_tensor of float"):
        make_table(PRED_PROBS, FACTS, {"example_id": ids, "fold": ids, "pred_probs": probs})


def test_a_float_column_with_nan_makes_no_table() -> None:
    with pytest.raises(ArtifactError, match="column `weight` was expected without nulls, found 1"):
        make_table(
            TRAINING_SET,
            FACTS,
            {
                "example_id": [1],
                "label": [0],
                "soft_label": [[1.0, 0.0, 0.0]],
                "weight": np.array([np.nan]),
                "action": ["kept"],
                "source": ["given"],
                "given_label": [0],
            },
        )


def test_a_masked_label_becomes_null() -> None:
    labels = np.ma.masked_array([5, 1], mask=[True, False], dtype=np.int16)
    images = np.zeros((2, 2, 3), np.uint8)
    columns = {"example_id": [1, 2], "key": ["1", "2"], "split": ["train"] * 2, "true_label": labels}
    columns |= {"given_label": [None, 0], "image": images}
    assert make_table(EXAMPLES, FACTS, columns).column("true_label").to_pylist() == [None, 1]


@pytest.mark.parametrize("label", [-1, 3, 2**15 - 1])
def test_a_label_that_is_no_class_is_refused(tmp_path: Path, label: int) -> None:
    path = tmp_path / "given_labels.parquet"
    table = given_labels()
    place = table.schema.get_field_index("given_label")
    labels = pa.array([label] * table.num_rows, pa.int16())
    pq.write_table(table.set_column(place, table.schema.field(place), labels), path)
    for read in (
        lambda: read_table(path, GIVEN_LABELS),
        lambda: list(TableReader(path, GIVEN_LABELS).portions()),
    ):
        with pytest.raises(ArtifactError, match=r"class indices 0\.\.2"):
            read()


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "given_labels.parquet"
    table = given_labels()
    place = table.schema.get_field_index("key")
    raw = pa.array([b"\xff"] * table.num_rows)
    keys = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    pq.write_table(table.set_column(place, table.schema.field(place), keys), path)
    assert "UTF-8" in refused(path, GIVEN_LABELS)


def test_a_pipe_in_place_of_the_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "folds.parquet"
    os.mkfifo(path)
    assert "pipe" in refused(path, FOLDS)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), "permission"),
        (MemoryError(), "memory"),
        (pa.ArrowMemoryError("malloc of size 9 failed"), "memory"),
    ],
)
def test_what_says_nothing_of_the_content_is_not_called_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    path = tmp_path / "given_labels.parquet"
    write_table(path, given_labels(), GIVEN_LABELS)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pyarrow.parquet.ParquetFile", refuse)
    for read in (read_table, TableReader):
        with pytest.raises(ArtifactError, match=said) as found:
            read(path, GIVEN_LABELS)
        assert "damaged" not in str(found.value)
        assert "dvc repro" not in str(found.value)


def test_a_label_that_is_null_is_not_silently_a_number() -> None:
    with pytest.raises(ArtifactError, match=r"`true_label`.*1 of 2"):
        column_array(given_labels(), "true_label")


def test_a_table_that_does_not_fit_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folds.parquet"
    write_table(path, folds(3), FOLDS)
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="column `fold`"):
        write_table(path, folds(3).drop_columns("fold"), FOLDS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_every_filter_has_its_column_in_label_issues() -> None:
    names = {column.name for column in LABEL_ISSUES.columns}
    assert set(FILTER_COLUMNS) <= names


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = make_table(
        FOLD_PRED_PROBS,
        DatasetFacts("test", ("a", "b", "c"), "image", (8, 8)),
        {
            "example_id": np.arange(300),
            "fold": np.zeros(300),
            "pred_probs": rng.dirichlet(np.ones(3), 300),
            "embedding": rng.normal(size=(300, 4)),
        },
    )
    path = tmp_path / "fold_0.parquet"
    write_table(path, table, FOLD_PRED_PROBS)
    whole = path.read_bytes()
    end_of_pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    refused = 0
    for place in rng.integers(4, end_of_pages, 200):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            assert read_table(path, FOLD_PRED_PROBS).equals(table)
        except ArtifactError:
            refused += 1
    assert refused > 150
