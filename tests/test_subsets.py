"""A coreset and a random subset: what `prune` draws, and that `retrain` learns from it."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import write_params

from tasks import ArtifactError, ParamsError
from tasks.params import load_params
from tasks.prune import prune
from tasks.prune.subsets import draw_subsets
from tasks.report import report
from tasks.retrain import retrain
from tasks.tables.catalog import CORESET, GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS, RANDOM_SUBSET
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.schemas import column_array

SETS = {
    "given": {"table": "given_labels", "checkpoint": "classifier_given"},
    "coreset": {"table": "coreset", "checkpoint": "classifier_coreset"},
    "random_subset": {"table": "random_subset", "checkpoint": "classifier_random_subset"},
}


@given(
    importance=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=50),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 2**31),
)
def test_subsets_are_of_one_size_and_weights_have_mean_1(
    importance: list[float], share: float, seed: int
) -> None:
    rows = 3 * np.arange(len(importance)) + 7
    coreset, weight, at_random = draw_subsets(rows, np.array(importance), share, seed)
    assert len(coreset) == len(at_random) == len(weight) <= max(round(share * len(rows)), 1)
    for chosen in (coreset, at_random):
        assert (np.diff(chosen) > 0).all()
        assert np.isin(chosen, rows).all()
    assert weight.mean() == pytest.approx(1)
    assert (weight > 0).all()


def test_a_coreset_prefers_important_rows_and_its_weights_undo_that() -> None:
    rows = np.arange(40_000)
    importance = np.where(rows < 4_000, 9.0, 1.0)
    drawn = [draw_subsets(rows, importance, 0.005, seed) for seed in range(200)]
    shares = [(coreset < 4_000).mean() for coreset, _, _ in drawn]
    # 9 x 4,000 of 9 x 4,000 + 36,000.
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    weighted = [weight[coreset < 4_000].sum() / weight.sum() for coreset, weight, _ in drawn]
    assert np.mean(weighted) == pytest.approx(0.1, abs=0.01)


def test_without_a_row_there_is_nothing_to_draw() -> None:
    assert all(not len(found) for found in draw_subsets(np.zeros(0, np.int64), np.zeros(0), 0.1, 0))


def test_unless_asked_for_both_tables_have_no_row_and_no_set_may_train_on_them(
    finished_run: Path, tmp_path: Path
) -> None:
    for artifact in (CORESET, RANDOM_SUBSET):
        assert read_table(artifact.at(finished_run), artifact).num_rows == 0
    with pytest.raises(ParamsError, match=r"prune\.coreset_share"):
        write_params(tmp_path, retrain__label_sets=SETS)
    with pytest.raises(ParamsError, match="importance"):
        write_params(tmp_path, prune__coreset_share=0.1, prune__importance="none")


def test_subsets_are_drawn_from_rows_that_are_no_issue_and_retrain_learns_from_them(
    workspace_copy: Path,
) -> None:
    write_params(workspace_copy, prune__coreset_share=0.2, retrain__label_sets=SETS)
    params = load_params(workspace_copy / "params.yaml")
    prune(params, workspace_copy)
    issues = read_table(LABEL_ISSUES.at(workspace_copy), LABEL_ISSUES, columns=["is_issue"])
    given_labels = read_table(GIVEN_LABELS.at(workspace_copy), GIVEN_LABELS, columns=["given_label"])
    tables = {name: read_table(workspace_copy / f"data/{name}.parquet", CORESET) for name in list(SETS)[1:]}
    for table in tables.values():
        ids = column_array(table, "example_id")
        assert not column_array(join(issues, ids), "is_issue").any()
        expected = column_array(join(given_labels, ids), "given_label")
        np.testing.assert_array_equal(column_array(table, "label"), expected)
    n_rows = tables["coreset"].num_rows
    others = int((~column_array(issues, "is_issue")).sum())
    assert 0.15 * others < n_rows == tables["random_subset"].num_rows <= round(0.2 * others)
    assert (column_array(tables["random_subset"], "weight") == 1).all()

    before = CORESET.at(workspace_copy).read_bytes()
    prune(params, workspace_copy)
    assert CORESET.at(workspace_copy).read_bytes() == before
    for labels in SETS:
        retrain(params, workspace_copy, labels=labels)  # type: ignore[arg-type]
    report(params, workspace_copy)
    for labels in list(SETS)[1:]:
        found = json.loads((workspace_copy / "metrics" / f"retrain_{labels}.json").read_text())
        assert found["n_rows"] == n_rows
        assert found["test"]["accuracy"] > 0.5


def test_without_embeddings_no_coreset_is_drawn(workspace_copy: Path) -> None:
    write_params(workspace_copy, prune__coreset_share=0.1)
    path = PRED_PROBS.at(workspace_copy)
    pq.write_table(pq.read_table(path).drop_columns(["embedding"]), path)
    with pytest.raises(ArtifactError, match=r"embedding.*prune\.coreset_share"):
        prune(load_params(workspace_copy / "params.yaml"), workspace_copy)


def test_an_empty_subset_is_not_trained_on(workspace_copy: Path) -> None:
    write_params(workspace_copy, prune__coreset_share=0.1, retrain__label_sets=SETS)
    with pytest.raises(ArtifactError, match=r"coreset\.parquet: expected rows"):
        retrain(load_params(workspace_copy / "params.yaml"), workspace_copy, labels="coreset")
