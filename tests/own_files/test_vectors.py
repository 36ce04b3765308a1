"""Probabilities and embeddings of a person's file: the same in every form and order, or one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import some_of
from forms import CSV_FORMS, write_form
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import DatasetError
from tasks.own_files.vectors import EMBEDDINGS, PROBABILITIES, Content, open_vectors
from tasks.tables.keys import example_ids_of

NAMES = ("ant", "bee", "cat")
FORMS = ("npy", "lists", "lists of arrow", "tensor", "parquet", "feather", *CSV_FORMS)
PER_EXAMPLE = settings(max_examples=some_of(40), suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(
    folder: Path, form: str, values: Any, more: dict[str, Any] | None = None, names: Any = None
) -> Path:
    """Vectors (N, K) in a form; `more` are columns beside them."""
    more = more or {}
    if form == "npy":
        np.save(folder / "v.npy", values)
        return folder / "v.npy"
    if form == "lists of arrow":
        return write_form(folder, "v", "arrow", more | {"pred_probs": list(values)})
    if form in ("lists", "tensor", "embedding", "features"):
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(values) if form == "tensor" else list(values)
        name = form if form in EMBEDDINGS.columns else "pred_probs"
        return write_form(folder, "v", "parquet", more | {name: column})
    names = names or (NAMES if values.shape[1] == 3 else tuple(f"e{k}" for k in range(values.shape[1])))
    wide = {name: values[:, k] for k, name in enumerate(names)}
    return write_form(folder, "v", form, more | wide)


def read(path: Path, content: Content = PROBABILITIES, n_rows: int = 64) -> np.ndarray:
    return np.concatenate(list(open_vectors(path, content).in_order(n_rows, path.parent)))


@pytest.fixture
def probs() -> np.ndarray:
    return np.random.default_rng(0).dirichlet([1, 1, 1], size=200)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_every_form_gives_the_same_probabilities(
    tmp_path: Path, probs: np.ndarray, form: str, kind: type
) -> None:
    if kind is np.float16 and form in CSV_FORMS:
        pytest.skip("text has no float16")
    values = probs.astype(kind)
    path = write(tmp_path, form, values)
    assert open_vectors(path, PROBABILITIES).width == 3
    np.testing.assert_array_equal(read(path), values.astype(np.float32))


@pytest.mark.parametrize("form", ["npy", "parquet", "csv", "embedding", "features"])
@pytest.mark.parametrize(("kind", "width"), [(np.float64, 40), (np.float32, 2), (np.int64, 1)])
def test_embeddings_are_any_numbers(tmp_path: Path, form: str, kind: type, width: int) -> None:
    vectors = np.random.default_rng(2).normal(scale=9, size=(200, width)).astype(kind)
    more = {"note": [0.5] * 200} if form in EMBEDDINGS.columns else None
    path = write(tmp_path, form, vectors, more)
    np.testing.assert_array_equal(read(path, EMBEDDINGS), vectors.astype(np.float32))


@PER_EXAMPLE
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), step=st.integers(1, 70), as_text=st.booleans())
@pytest.mark.parametrize("form", ["lists", "parquet", "csv"])
def test_rows_come_by_id_in_whole_portions_whatever_their_order(
    tmp_path: Path, form: str, seed: int, n: int, step: int, as_text: bool
) -> None:
    rng = np.random.default_rng(seed)
    keys = [f"site/{k:03}" if as_text else str(k * 3) for k in rng.permutation(n)]
    values, folds = rng.dirichlet([1, 1, 1], size=n), rng.integers(0, 5, n)
    path = write(tmp_path, form, values, {"id": keys if as_text else list(map(int, keys)), "fold": folds})
    vectors = open_vectors(path, PROBABILITIES)
    order = np.argsort(example_ids_of(keys, ""))
    portions = list(vectors.in_order(step, tmp_path))
    np.testing.assert_array_equal(np.concatenate(portions), values[order].astype(np.float32))
    assert [len(portion) for portion in portions[:-1]] == [step] * (len(portions) - 1)
    assert vectors.folds is not None
    assert vectors.folds.tolist() == folds.tolist()
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def spoiled(probs: np.ndarray, row: int, values: list[float]) -> np.ndarray:
    return np.vstack([probs[:row], [values], probs[row + 1 :]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: spoiled(p, 150, [np.inf, 0.5, 0.5]), "inf in row 150"),
        (lambda p: spoiled(p, 150, [1.5, -0.5, 0]), "1.5 in row 150"),
        (lambda p: spoiled(p, 150, [0.5, 0.3, 0.1]), "found 0.9 in row 150"),
    ],
)
@pytest.mark.parametrize("form", ["npy", "lists", "parquet", "csv", "european"])
def test_what_is_no_probability_is_one_sentence(
    tmp_path: Path, probs: np.ndarray, form: str, change: Any, words: str
) -> None:
    path = write(tmp_path, form, change(probs))
    with pytest.raises(DatasetError) as error:
        read(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_values_that_are_not_there_are_named(tmp_path: Path, probs: np.ndarray) -> None:
    for kind, words in ((float, "none in row 150"), (str, "expected only columns of float probabilities")):
        cells = [kind(value) for value in probs[:, 0]]
        cells[150] = None
        path = write_form(tmp_path, "v", "parquet", {"ant": cells, "bee": probs[:, 1], "cat": probs[:, 2]})
        with pytest.raises(DatasetError, match=words):
            read(path)
    lists = [[0.5, 0.25, 0.25], [0.5, 0.5], [0.25] * 4, *[[1.0, 0.0, 0.0]] * 197]
    with pytest.raises(DatasetError, match=r"expected 3 numbers.*found 2 in row 1"):
        read(write_form(tmp_path, "v", "parquet", {"pred_probs": lists}))


@pytest.mark.parametrize(
    ("form", "array", "words"),
    [
        ("npy", np.ones((9, 3), int), "float probabilities"),
        ("npy", np.ones(9), "float probabilities"),
        ("npy", np.ones((9, 1)), "K >= 2"),
        ("csv", np.ones((9, 1)), "K >= 2"),
        ("npy", np.ones((9, 3), bool), "float probabilities"),
        ("npy", np.eye(2, 32_768), "at most 32,767 float probabilities in a row, found 32,768"),
        ("parquet", np.ones((9, 3), int), "only columns of float probabilities, found ant: int64"),
        ("lists", np.ones((9, 3), int), "column pred_probs to hold lists"),
        ("lists", np.ones(9), "column pred_probs to hold lists"),
        ("tensor", np.ones((9, 3, 3)), "column pred_probs to hold lists"),
    ],
)
def test_numbers_of_another_kind_or_shape_are_refused(
    tmp_path: Path, form: str, array: np.ndarray, words: str
) -> None:
    path = tmp_path / "v.npy"
    np.save(path, array)
    with pytest.raises(DatasetError) as error:
        open_vectors(path if form == "npy" else write(tmp_path, form, array), PROBABILITIES)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("head", "row", "words"),
    [
        ("Unnamed: 5,ant,bee", "0.5,0.25,0.25", "'Unnamed: 5' in place 0"),
        ("ant,,cat", "0.5,0.25,0.25", "'' in place 1"),
        ("row,ant,bee,cat", "2,0.5,0.25,0.25", "2.0 in row 0, column row; logits"),
        ("0.5,0.25,0.2501", "0.5,0.25,0.25", "found probabilities (0.5, 0.25, 0.2501)"),
        ("key,lock,door", "0.5,0.25,0.25", "found 0.5 in 2 rows"),
        ("ant,bee,cat", "0.5,0.5,", "column cat, found none in row 0"),
        ("ant,bee,cat", "nan,0.5,0.5", "column ant, found none in row 0"),
        ("ant,bee,cat,fold", "0.5,0.25,0.25,one", "column fold of whole numbers"),
        ("ant,bee,cat,fold", "0.5,0.25,0.25,1.5", "found 1.5 in row 0"),
        ("ant,bee,cat,fold", "0.5,0.25,0.25,70000", "found 70000 in row 0"),
        ("ant,bee,cat,fold", "0.5,0.25,0.25,-2", "found -2 in row 0"),
        ("ant,bee,cat,fold", "0.5,0.25,0.25,", "in row 0"),
        ("ant,bee,note", "0.5,0.5,x", "only columns of float probabilities, found note: string"),
    ],
)
def test_a_csv_that_is_not_what_it_should_be_is_one_sentence(
    tmp_path: Path, head: str, row: str, words: str
) -> None:
    path = tmp_path / "v.csv"
    path.write_text(f"{head}\n{row}\n{row}\n")
    with pytest.raises(DatasetError) as error:
        read(path)
    assert words.replace("0.5 in 2 rows", "'0.5' twice") in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_embeddings_are_finite_in_float32(tmp_path: Path, value: float) -> None:
    vectors = np.zeros((200, 3))
    vectors[150, 1] = value
    for form in ("npy", "embedding"):
        with pytest.raises(DatasetError, match="in row 150, column 1"):
            read(write(tmp_path, form, vectors), EMBEDDINGS)


def test_a_named_index_and_labels_are_no_entries(tmp_path: Path, probs: np.ndarray) -> None:
    wide = {name: probs[:, k] for k, name in enumerate(NAMES)}
    path = write_form(
        tmp_path, "v", "csv", {"": np.arange(200), "given_label": [1] * 200, "true_label": [1] * 200} | wide
    )
    vectors = open_vectors(path, PROBABILITIES)
    assert vectors.columns == NAMES
    assert vectors.ids is None
    pq.write_table(pa.table({"__index_level_0__": np.arange(200)[::-1]} | wide), tmp_path / "v.parquet")
    np.testing.assert_array_equal(read(tmp_path / "v.parquet"), probs[::-1].astype(np.float32))


def test_numbers_in_csv_that_begin_like_whole_ones_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pyarrow infers types from the first block.
    for module in ("columns", "dialects"):
        monkeypatch.setattr(f"tasks.own_files.{module}.SAMPLE_BYTES", 100)
    probs = np.repeat([[1, 0, 0], [0.25, 0.5, 0.25]], 100, axis=0)
    path = tmp_path / "v.csv"
    path.write_text("ant,bee,cat\n" + "\n".join(",".join(f"{p:g}" for p in row) for row in probs))
    np.testing.assert_array_equal(read(path), probs)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "tensor"])
def test_a_file_without_rows_is_refused(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, np.zeros((0, 3), np.float32))
    with pytest.raises(DatasetError, match="found"):
        read(path)
