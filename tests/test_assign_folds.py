"""Stage assign_folds: every training row in one fold, classes spread evenly."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import ArtifactError, DatasetError
from tasks.assign_folds import assign_folds, stratified_folds
from tasks.params import Params, load_params
from tasks.tables.catalog import FOLDS, GIVEN_LABELS
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.schemas import column_array

SHIPPED = load_params(Path(__file__).parent.parent / "params.yaml")
FACTS = DatasetFacts("mine", ("cat", "dog", "bird"), "features", (2,))


def params(n_splits: int = 3, seed: int = 0) -> Params:
    section = SHIPPED.assign_folds.model_copy(update={"n_splits": n_splits, "seed": seed})
    return SHIPPED.model_copy(update={"assign_folds": section})


def write_labels(folder: Path, labels: list[int], split: list[str]) -> np.ndarray:
    """given_labels.parquet with the labels; returns the ids."""
    ids = np.arange(len(labels)) * 5 + 2
    columns = {
        "example_id": ids,
        "split": split,
        "given_label": labels,
        "true_label": [None] * len(labels),
        "is_noisy": [None] * len(labels),
    }
    table = make_table(GIVEN_LABELS, FACTS, columns)
    write_table(folder / "data" / "given_labels.parquet", table, GIVEN_LABELS)
    return ids


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_splits=st.integers(2, 20), seed=st.integers(0, 2**32 - 1))
def test_every_class_is_spread_within_one_row(data, n_splits: int, seed: int) -> None:
    counts = data.draw(st.lists(st.just(0) | st.integers(n_splits, 60), min_size=1, max_size=5).filter(any))
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.array(data.draw(st.randoms()).sample(labels.tolist(), len(labels)))
    folds = stratified_folds(labels, n_splits, seed, tuple(f"c{k}" for k in range(len(counts))))
    assert folds.dtype == np.int16
    assert folds.shape == labels.shape
    for k, count in enumerate(counts):
        sizes = np.bincount(folds[labels == k], minlength=n_splits)
        assert len(sizes) == n_splits
        assert sizes.sum() == count
        assert sizes.max() - sizes.min() <= 1


@given(
    counts=st.lists(st.integers(0, 8), min_size=2, max_size=5),
    n_splits=st.integers(2, 8),
)
def test_the_first_class_with_fewer_rows_than_folds_is_named(counts: list[int], n_splits: int) -> None:
    short = [k for k, count in enumerate(counts) if 0 < count < n_splits]
    labels = np.repeat(np.arange(len(counts)), counts)
    names = tuple(f"class {k}" for k in range(len(counts)))
    if not short and len(labels):
        assert len(stratified_folds(labels, n_splits, 0, names)) == len(labels)
        return
    with pytest.raises(DatasetError) as caught:
        stratified_folds(labels, n_splits, 0, names)
    if short:
        assert f"`class {short[0]}`" in str(caught.value)
        assert f"at least {n_splits} training rows" in str(caught.value)
        assert f"found {counts[short[0]]}." in str(caught.value)
        assert "assign_folds.n_splits" in str(caught.value)
    else:
        assert "found none" in str(caught.value)


def test_every_training_row_has_one_fold_and_no_other_row_has_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = ["train", "test", "train"] * 10
    ids = write_labels(tmp_path, [0, 1, 2] * 10, split)
    assign_folds(params(), tmp_path)
    table = read_table(tmp_path / "data" / "folds.parquet", FOLDS)
    np.testing.assert_array_equal(column_array(table, "example_id"), ids[np.array(split) == "train"])
    assert sorted(np.bincount(column_array(table, "fold")).tolist()) == [6, 7, 7]
    assert read_facts(table) == FACTS
    said = "assign_folds: 20 training rows in 3 folds, data/folds.parquet\n"
    assert capsys.readouterr().out == said


def test_one_seed_gives_equal_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    write_labels(tmp_path, [0, 1, 2] * 20, ["train"] * 60)
    written = []
    for seed in (0, 0, 1):
        assign_folds(params(seed=seed), tmp_path)
        written.append((tmp_path / "data" / "folds.parquet").read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]


def test_rows_are_stratified_on_the_given_label_within_the_training_split(tmp_path: Path) -> None:
    # Six training cats; the twelve test cats must not count.
    labels = [0] * 6 + [1] * 9 + [0] * 12
    write_labels(tmp_path, labels, ["train"] * 15 + ["test"] * 12)
    assign_folds(params(), tmp_path)
    fold = column_array(read_table(tmp_path / "data" / "folds.parquet", FOLDS), "fold")
    assert np.bincount(fold[:6]).tolist() == [2, 2, 2]
    assert np.bincount(fold[6:]).tolist() == [3, 3, 3]


def test_a_class_with_too_few_training_rows_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    write_labels(tmp_path, [0] * 9 + [1] * 6, ["train"] * 11 + ["test"] * 4)
    with pytest.raises(DatasetError, match=r"Class `dog` .* at least 3 training rows.*found 2\."):
        assign_folds(params(), tmp_path)
    assert not (tmp_path / "data" / "folds.parquet").exists()


def test_a_table_without_training_rows_is_refused(tmp_path: Path) -> None:
    write_labels(tmp_path, [0, 1], ["test", "test"])
    with pytest.raises(DatasetError, match=r"split `train` were expected.*found none"):
        assign_folds(params(), tmp_path)


def test_missing_labels_name_the_stage_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="`dvc repro inject_noise`"):
        assign_folds(params(), tmp_path)
