"""Stage assign_folds: every training row in one fold, classes spread evenly, groups kept together."""

from pathlib import Path

import numpy as np
import pytest
from examples import some_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from tasks import ArtifactError, DatasetError
from tasks.assign_folds import assign_folds, majority_classes, stratified_folds
from tasks.params import Params, load_params
from tasks.tables.catalog import FOLDS, GIVEN_LABELS, SPLIT_ROWS
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.schemas import column_array

SHIPPED = load_params(Path(__file__).parent.parent / "params.yaml")
FACTS = DatasetFacts("mine", ("cat", "dog", "bird"), "features", (2,))


def params(n_folds: int = 3, seed: int = 0) -> Params:
    changes = {
        "assign_folds": SHIPPED.assign_folds.model_copy(update={"seed": seed}),
        "train_fold": SHIPPED.train_fold.model_copy(update={"folds": tuple(range(n_folds))}),
    }
    return SHIPPED.model_copy(update=changes)


def write_labels(
    folder: Path, labels: list[int], split: list[str], groups: list[int] | None = None
) -> np.ndarray:
    """given_labels.parquet and, with one more row that has no label, splits.parquet; returns the ids."""
    ids = np.arange(len(labels)) * 5 + 2
    groups = groups or list(range(len(labels)))
    for artifact, columns in (
        (
            GIVEN_LABELS,
            {
                "example_id": ids,
                "key": [str(id_) for id_ in ids],
                "split": split,
                "given_label": labels,
                "true_label": [None] * len(labels),
                "is_noisy": [None] * len(labels),
            },
        ),
        (
            SPLIT_ROWS,
            {
                "example_id": [*ids, 0],
                "group": [*groups, groups[-1]],
                "split": [*split, "unlabeled"],
                "original_split": [*split, "unlabeled"],
            },
        ),
    ):
        write_table(artifact.at(folder), make_table(artifact, FACTS, columns), artifact)
    return ids


@st.composite
def labelled_groups(draw):
    """Labels (N,) of some classes, and groups (N,), most of them of one row or of one class."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, n_classes = draw(st.integers(1, 60)), draw(st.integers(1, 4))
    groups = rng.integers(draw(st.integers(1, 2 * n)), size=n) * 7 - 3
    labels = np.where(
        rng.random(n) < draw(st.sampled_from([0.1, 1.0])), rng.integers(n_classes, size=n), groups
    )
    return labels % n_classes, groups


@given(
    counts=st.lists(st.just(0) | st.integers(20, 60), min_size=1, max_size=5).filter(any),
    n_folds=st.integers(2, 20),
    seed=st.integers(0, 2**32 - 1),
    random=st.randoms(),
)
def test_single_rows_lie_where_scikit_learn_puts_them(counts, n_folds: int, seed: int, random) -> None:
    labels = np.array(random.sample(sorted(np.repeat(np.arange(len(counts)), counts)), sum(counts)))
    names = tuple(f"c{k}" for k in range(len(counts)))
    folds = stratified_folds(labels, np.array(random.sample(range(10**6), len(labels))), n_folds, seed, names)
    assert folds.dtype == np.int16
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(labels, labels)):
        assert np.flatnonzero(folds == fold).tolist() == held_out.tolist()


@settings(max_examples=some_of(300), deadline=None)
@given(case=labelled_groups(), n_folds=st.integers(2, 5))
def test_a_group_lies_in_one_fold_and_every_model_learns_from_every_class(case, n_folds: int) -> None:
    labels, groups = case
    counts = np.bincount(labels)
    short = [f"`{'abcd'[k]}`" for k in np.flatnonzero((counts > 0) & (counts < n_folds))]
    if short:
        with pytest.raises(DatasetError, match=f"Class {short[0]} .* one a fold"):
            stratified_folds(labels, groups, n_folds, 0, ("a", "b", "c", "d"))
        return
    try:
        folds = stratified_folds(labels, groups, n_folds, 0, ("a", "b", "c", "d"))
    except DatasetError:
        assert len(np.unique(groups)) < len(groups)
        return
    for group in np.unique(groups):
        assert len(set(folds[groups == group])) == 1
    for fold in range(n_folds):
        assert set(labels[folds != fold]) == set(labels)
        assert (folds == fold).any()


@settings(max_examples=some_of(100), deadline=None)
@given(case=labelled_groups())
def test_a_group_counts_for_the_class_of_most_of_its_rows(case) -> None:
    labels, groups = case
    classes, group_of_row = majority_classes(labels, groups)
    in_order = list(dict.fromkeys(groups.tolist()))
    assert [in_order[group] for group in group_of_row] == groups.tolist()
    for group, found in zip(in_order, classes, strict=True):
        assert found == np.bincount(labels[groups == group]).argmax()


@pytest.mark.parametrize(
    ("labels", "groups", "says"),
    [
        ([0] * 4 + [1] * 4, [1, 2, 3, 4, 5, 5, 5, 5], "Class `dog` .* rows that differ, found 4 near"),
        ([0] * 4, [1, 1, 1, 1], "at least 3 groups that differ"),
        ([], [], "split `train` were expected.*found none"),
    ],
)
def test_rows_that_are_all_near_duplicates_are_refused(labels, groups, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        stratified_folds(np.array(labels, int), np.array(groups, int), 3, 0, FACTS.class_names)


def test_groups_are_those_of_split_rows(tmp_path: Path) -> None:
    groups = [k // 4 for k in range(60)]
    write_labels(tmp_path, [0, 1] * 30, ["train"] * 60, groups)
    assign_folds(params(), tmp_path)
    folds = column_array(read_table(FOLDS.at(tmp_path), FOLDS), "fold")
    assert len({(group, fold) for group, fold in zip(groups, folds.tolist(), strict=True)}) == 15


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


def test_missing_labels_name_the_stage_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="`dvc repro inject_noise`"):
        assign_folds(params(), tmp_path)
