import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from examples import some_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import ArtifactError
from tasks.label_quality.class_moments import ClassMoments
from tasks.label_quality.confident_joint import noise_matrix
from tasks.label_quality.confusions import count_confusions
from tasks.label_quality.health import health_metrics, mean_l1_error
from tasks.label_quality.importance import (
    importance_of,
    leverage_of_given,
    lowest_leverage,
    percentile_in_class,
    whiten,
)
from tasks.label_quality.issues import find_issues, find_label_issues
from tasks.label_quality.metrics import detection_quality, ranking_quality
from tasks.label_quality.rows import ArrayRows
from tasks.label_quality.scores import SCORES
from tasks.label_quality.self_tests import run
from tasks.params import load_params
from tasks.prune import prune
from tasks.prune.labelled_rows import LabelledRows
from tasks.prune.row_importance import in_blocks
from tasks.tables.catalog import FILTER_COLUMNS, GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS, SPLIT_ROWS
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.portions import Scratch, TableReader
from tasks.tables.proofs import OUT_OF_FOLD, folds_digest
from tasks.tables.schemas import column_array

# Names may look like markup, which what is printed must not take them for.
FACTS = DatasetFacts("toy", ("[/b]", "[red]", "[cat]"), "features", (2,))


@pytest.fixture
def params(pytestconfig):
    return load_params(pytestconfig.rootpath / "params.yaml")


def choose(params, **values):
    """`params` with other values in the section `prune`."""
    return params.model_copy(update={"prune": params.prune.model_copy(update=values)})


def write_inputs(workspace, *, known=True, pred_probs=None, embedded=False):
    """80 training rows, a fifth noisy, and 10 test rows; returns ids, labels, truth and pred_probs."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(1000, size=90, replace=False)).astype(np.int64)
    true = rng.integers(3, size=90)
    given = np.where(rng.random(90) < 0.2, (true + 1) % 3, true)
    given[80:] = true[80:]
    if pred_probs is None:
        logits = 3 * np.eye(3)[true[:80]] + rng.normal(size=(80, 3))
        pred_probs = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    labels_table = make_table(
        GIVEN_LABELS,
        FACTS,
        {
            "example_id": ids,
            "key": [f"row {example_id}" for example_id in ids],
            "split": np.repeat(["train", "test"], [80, 10]),
            "given_label": given,
            "true_label": pa.array(true, pa.int16(), mask=np.full(90, not known)),
            "is_noisy": pa.array(given != true, pa.bool_(), mask=np.full(90, not known)),
        },
    )
    columns = {"example_id": ids[:80], "fold": np.arange(80) % 2, "pred_probs": pred_probs}
    if embedded:
        columns["embedding"] = embeddings(true[:80])
    probs_table = make_table(PRED_PROBS, FACTS, columns)
    write_table(workspace / "data" / "given_labels.parquet", labels_table, GIVEN_LABELS)
    write_table(workspace / "data" / "pred_probs.parquet", probs_table, PRED_PROBS)
    write_splits(workspace, ids, ids)
    return ids[:80], given[:80], true[:80], pred_probs


def write_splits(workspace, ids, groups, facts=FACTS):
    words = dict.fromkeys(("split", "original_split"), ["train"] * len(ids))
    table = make_table(SPLIT_ROWS, facts, {"example_id": ids, "group": groups, **words})
    write_table(workspace / "data" / "splits.parquet", table, SPLIT_ROWS)


def embeddings(true):
    """(80, 4), each fold's from a model of its own."""
    rng = np.random.default_rng(1)
    seen = 4 * np.eye(4)[true] + rng.normal(size=(80, 4))
    return np.where((np.arange(80) % 2 == 0)[:, None], seen, seen @ rng.normal(size=(4, 4)))


def read_issues(workspace):
    return read_table(workspace / "data" / "label_issues.parquet", LABEL_ISSUES)


def read_metrics(workspace):
    return json.loads((workspace / "metrics" / "label_issues.json").read_text())


def test_the_table_has_its_schema_facts_and_every_training_row(params, tmp_path):
    ids, labels, _, probs = write_inputs(tmp_path)
    prune(params, tmp_path)
    issues = read_issues(tmp_path)
    assert issues.column_names == [column.name for column in LABEL_ISSUES.columns]
    assert set(FILTER_COLUMNS) <= set(issues.column_names)
    assert read_facts(issues) == FACTS
    assert np.array_equal(column_array(issues, "example_id"), ids)
    assert np.array_equal(column_array(issues, "given_label"), labels)
    assert np.array_equal(column_array(issues, "suggested_label"), probs.argmax(axis=1))
    assert np.array_equal(column_array(issues, "suggested_prob"), probs.max(axis=1))
    assert issues.column("key").to_pylist() == [f"row {example_id}" for example_id in ids]
    ranked = np.argsort(-probs, axis=1, kind="stable")
    assert np.array_equal(column_array(issues, "second_label"), ranked[:, 1])
    assert np.array_equal(column_array(issues, "second_prob"), np.sort(probs, axis=1)[:, 1])
    found = find_issues(ArrayRows(labels, probs), with_error_prob=True)
    right = found.error_model.label_right_prob(labels, probs)
    assert column_array(issues, "error_prob") == pytest.approx(1 - right, abs=1e-6)
    assert issues.schema.metadata[b"filter_by"] == b"auto"
    metrics = read_metrics(tmp_path)
    assert issues.schema.metadata[b"rule"].decode() == metrics["rule"] == found.rules["auto"]
    n_issues = column_array(issues, "is_issue").sum()
    assert metrics["n_issues"] == n_issues > 0
    assert f"It flags {n_issues:,} of {len(ids):,} rows" in metrics["rule"]
    for name, score in SCORES.items():
        assert np.array_equal(column_array(issues, name), score(labels, probs))
    flags = find_label_issues(labels, probs).flags
    assert set(flags) == set(FILTER_COLUMNS)
    for name, expected in flags.items():
        assert np.array_equal(column_array(issues, name), expected)


@pytest.mark.parametrize("name", FILTER_COLUMNS)
def test_is_issue_is_the_chosen_filters_column(params, tmp_path, name):
    write_inputs(tmp_path)
    prune(choose(params, filter_by=name), tmp_path)
    issues = read_issues(tmp_path)
    is_issue = column_array(issues, "is_issue")
    assert np.array_equal(is_issue, column_array(issues, name))
    assert 0 < is_issue.sum() < len(is_issue)


@pytest.mark.parametrize("name", SCORES)
def test_rank_0_is_the_lowest_score_and_rows_without_issue_have_none(params, tmp_path, name):
    write_inputs(tmp_path)
    prune(choose(params, rank_by=name), tmp_path)
    issues = read_issues(tmp_path)
    is_issue = column_array(issues, "is_issue")
    rank = issues.column("rank").to_pylist()
    assert [value is None for value in rank] == (~is_issue).tolist()
    by_rank = sorted(np.flatnonzero(is_issue), key=lambda row: rank[row])
    assert [rank[row] for row in by_rank] == list(range(is_issue.sum()))
    assert (np.diff(column_array(issues, name)[by_rank]) >= 0).all()


def test_frac_noise_and_the_minimum_reach_the_filters(params, tmp_path):
    _, labels, _, probs = write_inputs(tmp_path)
    minimum = int(np.bincount(labels).min())
    prune(choose(params, frac_noise=0.4, min_examples_per_class=minimum), tmp_path)
    expected = find_label_issues(labels, probs, frac_noise=0.4, min_examples_per_class=minimum).flags
    plain = find_label_issues(labels, probs).flags
    found = column_array(read_issues(tmp_path), "prune_by_class")
    assert np.array_equal(found, expected["prune_by_class"])
    assert not np.array_equal(found, plain["prune_by_class"])


def test_a_class_with_too_few_rows_is_named_on_stderr(params, tmp_path, capsys):
    _, labels, _, _ = write_inputs(tmp_path)
    counts = np.bincount(labels)
    few = int(counts.min())
    prune(choose(params, min_examples_per_class=few, filter_by="noise_posterior"), tmp_path)
    assert capsys.readouterr().err == ""  # this filter skips no class
    prune(choose(params, min_examples_per_class=few, filter_by="both"), tmp_path)
    assert f"class {FACTS.class_names[counts.argmin()]} has too few rows" in capsys.readouterr().err


def test_metrics_are_those_of_the_tables(params, tmp_path, capsys):
    _, labels, true, _ = write_inputs(tmp_path)
    prune(params, tmp_path)
    issues, metrics = read_issues(tmp_path), read_metrics(tmp_path)
    is_noisy, is_issue = labels != true, column_array(issues, "is_issue")
    expected = {
        "n_rows": 80,
        "n_issues": int(is_issue.sum()),
        "n_errors": int(is_noisy.sum()),
        "n_contradicting": 0,
        **detection_quality(is_noisy, is_issue),
        **ranking_quality(is_noisy, column_array(issues, "error_prob")),
    }
    assert metrics.pop("rule").startswith("the noise model at sharpness")
    low, estimate, high = (metrics.pop(f"n_errors_{name}") for name in ("low", "estimated", "high"))
    assert 0 <= low <= estimate <= high <= 80
    assert estimate == pytest.approx(column_array(issues, "error_prob").sum(), abs=0.51)
    assert metrics == pytest.approx(expected)
    assert metrics["auroc"] > 0.8  # the lowest score is the most suspect, not the least
    said = f"prune: {is_issue.sum()} of 80 labels are issues (auto), data/label_issues.parquet\n"
    assert capsys.readouterr().out.startswith(said)


def test_of_a_classifier_that_guesses_no_number_of_errors_is_estimated(params, tmp_path):
    rng = np.random.default_rng(5)
    write_inputs(tmp_path, pred_probs=rng.dirichlet(np.ones(3), size=80).astype(np.float32))
    prune(params, tmp_path)
    metrics = read_metrics(tmp_path)
    assert [metrics[f"n_errors_{name}"] for name in ("low", "estimated", "high")] == [None] * 3
    # A filter that chooses no rule has none to tell.
    prune(choose(params, filter_by="both"), tmp_path)
    assert read_metrics(tmp_path)["rule"] is None
    assert b"rule" not in read_issues(tmp_path).schema.metadata


def test_rank_0_is_the_row_that_is_most_probably_wrong(params, tmp_path):
    write_inputs(tmp_path)
    prune(params, tmp_path)
    issues = read_issues(tmp_path)
    rank, error_prob = issues.column("rank").to_pylist(), column_array(issues, "error_prob")
    ranked = sorted((place, row) for row, place in enumerate(rank) if place is not None)
    assert (np.diff(error_prob[[row for _, row in ranked]]) <= 0).all()
    assert len(ranked) > 5


def test_the_plot_compares_all_filters(params, tmp_path):
    _, labels, true, _ = write_inputs(tmp_path)
    prune(params, tmp_path)
    rows = pacsv.read_csv(tmp_path / "plots" / "filters.csv").to_pylist()
    issues = read_issues(tmp_path)
    assert [row["filter"] for row in rows] == list(FILTER_COLUMNS)
    for row in rows:
        flags = column_array(issues, row["filter"])
        quality = detection_quality(labels != true, flags)
        assert row["n_issues"] == flags.sum()
        assert {name: row[name] for name in quality} == pytest.approx(quality)


def test_without_the_truth_there_is_no_precision(params, tmp_path):
    write_inputs(tmp_path, known=False)
    prune(params, tmp_path)
    errors = {"n_errors_estimated", "n_errors_low", "n_errors_high"}
    assert set(read_metrics(tmp_path)) == {"n_rows", "n_issues", "rule", "n_contradicting", *errors}
    assert pacsv.read_csv(tmp_path / "plots" / "filters.csv").column_names == ["filter", "n_issues"]


@settings(max_examples=some_of(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=st.lists(st.integers(0, 25), min_size=90, max_size=90), kind=st.sampled_from([0, 1, 3]))
def test_a_label_contradicts_where_a_training_copy_has_another(params, tmp_path, groups, kind):
    _, labels, *_ = write_inputs(tmp_path)
    given = read_table(tmp_path / "data" / "given_labels.parquet", GIVEN_LABELS)
    all_ids = column_array(given, "example_id")
    # A few large groups, many small ones, or none; a group is called by its lowest id.
    several = np.array(groups) * kind if kind else np.arange(90)
    several = np.where(np.arange(90) % 3 == 0, several, 1_000 + np.arange(90))
    lowest = np.array([all_ids[several == group].min() for group in several])
    write_splits(tmp_path, all_ids, lowest)
    prune(choose(params, rank_by="self_confidence"), tmp_path)
    issues = read_issues(tmp_path)
    expected = [
        any(lowest[row] == lowest[other] and labels[row] != labels[other] for other in range(80))
        for row in range(80)
    ]
    assert column_array(issues, "contradicts").tolist() == expected
    assert read_metrics(tmp_path)["n_contradicting"] == sum(expected)
    # They are issues of their own kind, ranked with those that the filter found.
    ranked = issues.column("rank").to_pylist()
    shown = [row for row in range(80) if expected[row] or issues.column("is_issue")[row].as_py()]
    scores = column_array(issues, "self_confidence")
    in_order = sorted(shown, key=lambda row: (scores[row], row))
    assert [ranked[row] for row in in_order] == list(range(len(shown)))
    assert sum(rank is not None for rank in ranked) == len(shown)


def test_splits_are_needed_where_aggregate_made_the_probabilities(params, tmp_path):
    ids, *_ = write_inputs(tmp_path)
    (tmp_path / "data" / "splits.parquet").unlink()
    prune(params, tmp_path)
    assert not column_array(read_issues(tmp_path), "contradicts").any()
    path = tmp_path / "data" / "pred_probs.parquet"
    proof = folds_digest(ids, np.arange(80) % 2)
    write_table(path, read_table(path, PRED_PROBS), PRED_PROBS, extra={OUT_OF_FOLD: proof})
    with pytest.raises(ArtifactError, match=r"splits.parquet.*missing.*dvc repro split_rows"):
        prune(params, tmp_path)


@pytest.mark.parametrize("name", ["pred_probs", "splits"])
def test_tables_of_another_number_of_classes_are_refused(params, tmp_path, name):
    write_inputs(tmp_path)
    path = tmp_path / "data" / f"{name}.parquet"
    artifact = {"pred_probs": PRED_PROBS, "splits": SPLIT_ROWS}[name]
    table = read_table(path, artifact)
    other = DatasetFacts("toy", ("a", "b"), "features", (2,))
    columns = {column: table.column(column) for column in table.column_names}
    write_table(path, make_table(artifact, other, columns), artifact)
    with pytest.raises(ArtifactError, match=rf"{name}.parquet: 3 classes were expected.*found 2"):
        prune(params, tmp_path)
    assert not (tmp_path / "data" / "label_issues.parquet").exists()


@pytest.mark.parametrize("name", ["given_labels", "pred_probs"])
def test_rows_out_of_order_are_refused(params, tmp_path, name):
    write_inputs(tmp_path)
    path = tmp_path / "data" / f"{name}.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(pa.array(np.arange(table.num_rows)[::-1])), path)
    with pytest.raises(ArtifactError, match=rf"{name}.parquet.*ascending order.*import-probs"):
        prune(params, tmp_path)


def test_equal_inputs_give_equal_bytes(params, tmp_path):
    write_inputs(tmp_path)
    path = tmp_path / "data" / "label_issues.parquet"
    prune(params, tmp_path)
    first = path.read_bytes()
    prune(params, tmp_path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("pred_probs", "message"),
    [
        (np.full((80, 2), 0.5, np.float32), "3 classes were expected.*found 2"),
        (np.full((80, 4), 0.25, np.float32), "3 classes were expected.*found 4"),
        (np.full((80, 3), np.nan, np.float32), "found nan in row 0, column 0"),
        (np.full((80, 3), 1.5, np.float32), "found 1.5 in row 0, column 0"),
    ],
)
def test_unfit_probabilities_of_ones_own_are_an_error_that_names_the_file(
    params, tmp_path, pred_probs, message
):
    write_inputs(tmp_path, pred_probs=pred_probs)
    with pytest.raises(ArtifactError, match=message) as error:
        prune(params, tmp_path)
    assert "pred_probs.parquet" in str(error.value)
    assert "dvc repro" in str(error.value)
    assert not (tmp_path / "data" / "label_issues.parquet").exists()


def test_a_table_without_rows_is_an_error_in_one_sentence(params, tmp_path):
    write_inputs(tmp_path, embedded=True)
    path = tmp_path / "data" / "pred_probs.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(ArtifactError, match=r"pred_probs.parquet: expected at least one row, found none\."):
        prune(params, tmp_path)


def test_float_noise_outside_0_to_1_is_scored_and_not_refused_as_an_output(params, tmp_path):
    probs = np.tile(np.float32([1 + 9e-7, -9e-7, 0]), (80, 1))
    write_inputs(tmp_path, pred_probs=probs)
    prune(choose(params, rank_by="confidence_weighted_entropy"), tmp_path)
    scores = column_array(read_issues(tmp_path), "confidence_weighted_entropy")
    assert not scores.any()


def test_a_row_without_given_label_is_an_error_that_names_it(params, tmp_path):
    ids, *_ = write_inputs(tmp_path)
    path = tmp_path / "data" / "given_labels.parquet"
    write_table(path, read_table(path, GIVEN_LABELS).slice(1), GIVEN_LABELS)
    with pytest.raises(ArtifactError, match=f"1 missing, the first {ids[0]}"):
        prune(params, tmp_path)


def test_a_missing_input_is_an_error_that_names_the_command(params, tmp_path):
    write_inputs(tmp_path)
    (tmp_path / "data" / "pred_probs.parquet").unlink()
    with pytest.raises(ArtifactError, match="dvc repro aggregate"):
        prune(params, tmp_path)


def test_predictions_need_no_embedding(params, tmp_path):
    write_inputs(tmp_path)
    assert "embedding" not in pq.read_schema(tmp_path / "data" / "pred_probs.parquet").names
    prune(params, tmp_path)
    issues = read_issues(tmp_path)
    assert issues.num_rows == 80
    for name in ("importance", "importance_percentile", "contrast"):
        assert issues.column(name).null_count == 80


def test_importance_is_measured_in_the_space_of_each_folds_model(params, tmp_path):
    _, labels, true, _ = write_inputs(tmp_path, embedded=True)
    prune(params, tmp_path)
    issues = read_issues(tmp_path)
    importance = column_array(issues, "importance")
    features = embeddings(true).astype(np.float32)
    for fold in (0, 1):
        rows = np.arange(80) % 2 == fold
        moments = ClassMoments(3, 4)
        moments.add(features[rows], labels[rows])
        whitening = whiten(moments)
        leverage = leverage_of_given(whitening, features[rows], labels[rows])
        expected = importance_of(leverage, labels[rows], whitening.n_rows)
        assert importance[rows] == pytest.approx(expected)
        contrast = leverage - lowest_leverage(whitening, features[rows])
        assert column_array(issues, "contrast")[rows] == pytest.approx(contrast, abs=1e-12)
    percentile = column_array(issues, "importance_percentile")
    assert np.array_equal(percentile, percentile_in_class(importance, labels))
    wrong = labels != true
    assert column_array(issues, "contrast")[wrong].mean() > column_array(issues, "contrast")[~wrong].mean()


@pytest.mark.parametrize("n_rows", [1, 13, 80])
def test_embeddings_are_taken_in_blocks_of_one_size_whatever_the_row_groups(tmp_path, n_rows):
    *_, true, _ = write_inputs(tmp_path, embedded=True)
    path = tmp_path / "data" / "pred_probs.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=9)
    blocks = list(in_blocks(TableReader(path, PRED_PROBS, ["embedding"]), n_rows))
    assert [len(block) for block in blocks] == [n_rows] * (80 // n_rows) + [80 % n_rows] * (80 % n_rows > 0)
    assert np.array_equal(np.concatenate(blocks), embeddings(true).astype(np.float32))


def test_contrast_and_importance_are_left_out_on_request(params, tmp_path):
    write_inputs(tmp_path, embedded=True)
    nulls = {}
    for choice in ("all_classes", "given_class", "none"):
        prune(choose(params, importance=choice), tmp_path)
        issues = read_issues(tmp_path)
        nulls[choice] = [issues.column(name).null_count for name in ("importance", "contrast")]
    assert nulls == {"all_classes": [0, 0], "given_class": [0, 80], "none": [80, 80]}


def test_memory_for_the_embeddings_is_part_of_the_limit(params, tmp_path, monkeypatch):
    write_inputs(tmp_path, embedded=True)
    monkeypatch.setattr("tasks.prune.memory_plan._BLOCK_COPIES", 2**20)
    with pytest.raises(ArtifactError, match=r"embeddings of 4 numbers .* set prune.importance to none"):
        prune(params, tmp_path)
    assert not (tmp_path / "data" / "label_issues.parquet").exists()


def test_an_embedding_that_is_not_finite_is_an_error_that_names_the_file(params, tmp_path):
    write_inputs(tmp_path, embedded=True)
    path = tmp_path / "data" / "pred_probs.parquet"
    table = read_table(path, PRED_PROBS)
    columns = {name: column_array(table, name) for name in table.column_names}
    columns["embedding"] = columns["embedding"].copy()
    columns["embedding"][5, 2] = np.nan
    write_table(path, make_table(PRED_PROBS, FACTS, columns), PRED_PROBS)
    with pytest.raises(ArtifactError, match=r"pred_probs\.parquet: column `embedding`: .*found nan"):
        prune(params, tmp_path)


def test_health_is_that_of_the_joint_and_of_the_table(params, tmp_path):
    _, labels, true, probs = write_inputs(tmp_path)
    prune(params, tmp_path)
    found = json.loads((tmp_path / "metrics" / "health.json").read_text())
    issues = find_label_issues(labels, probs)
    injected = noise_matrix(count_confusions(labels, true, 3))
    n_true = np.bincount(true)
    errors = found.pop("noise_matrix_l1_error")
    assert errors == pytest.approx(
        {
            "confident_joint": mean_l1_error(noise_matrix(issues.calibrated), injected, n_true),
            **{
                name: mean_l1_error(issues.noise_matrices[name], injected, n_true)
                for name in ("auto", "noise_posterior")
            },
        }
    )
    assert all(0 < error < 0.4 for error in errors.values())
    confusion = count_confusions(labels, probs.argmax(axis=1), 3)
    n_off = int(issues.flags["confident_learning"].sum())
    assert found == health_metrics(issues.calibrated, n_off, confusion, FACTS.class_names, 10)


def test_the_noise_matrices_stand_beside_each_other(params, tmp_path):
    _, labels, true, _ = write_inputs(tmp_path)
    prune(params, tmp_path)
    rows = pacsv.read_csv(tmp_path / "plots" / "noise_matrices.csv").to_pylist()
    assert list(rows[0]) == ["given", "true", "confident_joint", "auto", "noise_posterior", "injected"]
    injected = {(row["given"], row["true"]): row["injected"] for row in rows}
    for k, name in enumerate(FACTS.class_names):
        following = FACTS.class_names[(k + 1) % 3]
        assert injected[following, name] == pytest.approx((labels[true == k] == (k + 1) % 3).mean())
        for matrix in ("confident_joint", "auto", "noise_posterior", "injected"):
            assert sum(row[matrix] for row in rows if row["true"] == name) == pytest.approx(1, abs=1e-6)


def test_the_confident_joint_stands_beside_the_rows_that_are_so(params, tmp_path):
    _, labels, true, probs = write_inputs(tmp_path)
    prune(params, tmp_path)
    rows = pacsv.read_csv(tmp_path / "plots" / "joints.csv").to_pylist()
    assert list(rows[0]) == ["given", "true", "confident_joint", "injected"]
    calibrated = find_label_issues(labels, probs).calibrated
    place = {name: k for k, name in enumerate(FACTS.class_names)}
    found = np.zeros((2, 3, 3), dtype=np.int64)
    for row in rows:
        found[:, place[row["given"]], place[row["true"]]] = row["confident_joint"], row["injected"]
    np.testing.assert_array_equal(found, [calibrated, count_confusions(labels, true, 3)])


def test_without_the_truth_nothing_is_compared_with_it(params, tmp_path):
    write_inputs(tmp_path, known=False)
    prune(params, tmp_path)
    assert "noise_matrix_l1_error" not in json.loads((tmp_path / "metrics" / "health.json").read_text())
    columns = pacsv.read_csv(tmp_path / "plots" / "noise_matrices.csv").column_names
    assert columns == ["given", "true", "confident_joint", "auto", "noise_posterior"]


WRITTEN = (
    *("data/label_issues.parquet", "metrics/label_issues.json", "plots/filters.csv"),
    *("data/coreset.parquet", "data/random_subset.parquet"),
    *("metrics/health.json", "plots/noise_matrices.csv", "plots/joints.csv"),
)


def regroup(workspace, *sizes):
    """Rewrite pred_probs and given_labels with row groups of these sizes."""
    for table, size in zip(("pred_probs", "given_labels"), sizes, strict=True):
        path = workspace / "data" / f"{table}.parquet"
        pq.write_table(pq.read_table(path), path, row_group_size=size)


def test_row_groups_and_threads_change_no_byte(params, tmp_path, monkeypatch):
    files = {}
    kinds = (("whole", 80, 1), ("few", 7, 1), ("threads", 11, 4), ("full", 9, 2), ("filling", 9, 2))

    def write_once(scratch, start, rows, write=Scratch.write):
        if start:
            raise OSError(28, "No space left on device")
        write(scratch, start, rows)

    for name, rows_a_group, n_threads in kinds:
        write_inputs(tmp_path / name, embedded=True)
        regroup(tmp_path / name, rows_a_group, rows_a_group)
        monkeypatch.setattr("tasks.prune.memory_plan.available_cores", lambda n_threads=n_threads: n_threads)
        monkeypatch.setattr(Scratch, "fits", lambda *_, name=name: name != "full")
        if name == "filling":
            monkeypatch.setattr(Scratch, "write", write_once)
        prune(params, tmp_path / name)
        files[name] = [(tmp_path / name / path).read_bytes() for path in WRITTEN]
    assert all(content == files["whole"] for content in files.values())


@settings(max_examples=some_of(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.tuples(st.sampled_from([1, 7, 40, 80]), st.sampled_from([1, 13, 90])),
    batch_entries=st.sampled_from([1, 20, 2**20]),
    n_threads=st.sampled_from([1, 2, 5]),
    room=st.booleans(),
)
def test_no_layout_changes_a_byte(params, tmp_path, sizes, batch_entries, n_threads, room):
    params = choose(params, coreset_share=0.2)
    if not (tmp_path / "plain").exists():
        write_inputs(tmp_path / "plain", embedded=True)
        prune(params, tmp_path / "plain")
    write_inputs(tmp_path / "cut", embedded=True)
    regroup(tmp_path / "cut", *sizes)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("tasks.prune.labelled_rows._BATCH_ENTRIES", batch_entries)
        monkeypatch.setattr("tasks.prune.memory_plan.available_cores", lambda: n_threads)
        monkeypatch.setattr(Scratch, "fits", lambda *_: room)
        prune(params, tmp_path / "cut")
    for path in WRITTEN:
        assert (tmp_path / "cut" / path).read_bytes() == (tmp_path / "plain" / path).read_bytes()
    assert sorted(path.name for path in (tmp_path / "cut" / "data").iterdir()) == [
        *("coreset.parquet", "given_labels.parquet", "label_issues.parquet", "pred_probs.parquet"),
        *("random_subset.parquet", "splits.parquet"),
    ]


def test_the_truth_of_a_part_keeps_no_other_rows_in_memory(tmp_path):
    write_inputs(tmp_path)
    data = tmp_path / "data"
    regroup(tmp_path, 10, 90)
    rows = LabelledRows(
        TableReader(data / "pred_probs.parquet", PRED_PROBS, ["pred_probs"]),
        TableReader(data / "given_labels.parquet", GIVEN_LABELS),
    )
    part = rows.part(3)
    assert len(part.is_noisy) == 10
    held = part.is_noisy
    while isinstance(held.base, np.ndarray):
        held = held.base
    assert held.nbytes == 10


MEASURED = """
import sys
from pathlib import Path

from tasks.label_quality.issues import find_issues
from tasks.prune.labelled_rows import LabelledRows
from tasks.prune.memory_plan import threads_within
from tasks.tables.catalog import GIVEN_LABELS, PRED_PROBS
from tasks.tables.portions import TableReader

def memory(name):
    status = Path("/proc/self/status").read_text()
    return int(status.split(name + ":")[1].split()[0]) / 1024

data, limit = Path(sys.argv[1]), int(sys.argv[2]) * 2**20
predictions = TableReader(data / "pred_probs.parquet", PRED_PROBS, ["pred_probs"])
given = TableReader(data / "given_labels.parquet", GIVEN_LABELS)
before = memory("VmRSS")
rows = LabelledRows(predictions, given, threads_within(limit, predictions, given))
issues = find_issues(rows, filters=["prune_by_class"])
for _ in rows.map_parts(lambda part: len(part.keys)):
    pass
print(len(issues.flagged["prune_by_class"].rows))
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_table_larger_than_the_memory_allowed_is_worked_on_within_it(pytestconfig, tmp_path):
    n_rows, n_classes, limit = 600_000, 64, 192
    rng = np.random.default_rng(0)
    labels = rng.integers(n_classes, size=n_rows)
    probs = rng.random((n_rows, n_classes), dtype=np.float32)
    probs[np.arange(n_rows), np.where(rng.random(n_rows) < 0.05, labels[::-1], labels)] += 20
    probs /= probs.sum(axis=1, keepdims=True)
    facts = DatasetFacts("large", tuple(map(str, range(n_classes))), "features", (1,))
    nothing = {"true_label": pa.nulls(n_rows, pa.int16()), "is_noisy": pa.nulls(n_rows, pa.bool_())}
    columns = {"example_id": range(n_rows), "key": list(map(str, range(n_rows))), "split": ["train"] * n_rows}
    given = make_table(GIVEN_LABELS, facts, columns | {"given_label": labels} | nothing)
    write_table(tmp_path / "given_labels.parquet", given, GIVEN_LABELS)
    columns = {"example_id": range(n_rows), "fold": labels, "pred_probs": probs}
    write_table(tmp_path / "pred_probs.parquet", make_table(PRED_PROBS, facts, columns), PRED_PROBS)
    program = [sys.executable, "-c", MEASURED, str(tmp_path), str(limit)]
    environment = os.environ | {"PYTHONPATH": str(pytestconfig.rootpath)}
    output = subprocess.run(program, env=environment, check=True, capture_output=True, text=True).stdout
    n_issues, peak_mb = output.split()
    expected = find_label_issues(labels, probs, filters=["prune_by_class"]).flags["prune_by_class"].sum()
    assert int(n_issues) == expected > 1_000
    # The probabilities are 146 MB, and take some three times that while they are decoded at once.
    assert float(peak_mb) < limit


def test_adjusted_probabilities_change_the_ranks_alone(params, tmp_path):
    write_inputs(tmp_path)
    prune(choose(params, rank_by="self_confidence"), tmp_path)
    plain = read_issues(tmp_path)
    prune(choose(params, rank_by="self_confidence", adjust_pred_probs=True), tmp_path)
    adjusted = read_issues(tmp_path)
    assert adjusted.drop_columns("rank").equals(plain.drop_columns("rank"))
    assert sorted(adjusted.column("rank").drop_null().to_pylist()) == list(
        range(column_array(plain, "is_issue").sum())
    )
    assert not adjusted.column("rank").equals(plain.column("rank"))


@pytest.mark.parametrize(
    ("n_rows", "n_classes", "message"),
    [
        (300_000, 10, "the noise model's fit on 300,000 rows of 10 classes takes about 57 MB"),
        (1_000, 100, "counts for each pair of 100 classes, and the rows at work, take about 6[0-9] MB"),
    ],
)
def test_too_little_memory_is_one_error_that_says_what_takes_it(params, tmp_path, n_rows, n_classes, message):
    facts = DatasetFacts("toy", tuple(map(str, range(n_classes))), "features", (2,))
    write_inputs(tmp_path)
    given = read_table(tmp_path / "data" / "given_labels.parquet", GIVEN_LABELS)
    given = make_table(GIVEN_LABELS, facts, {name: given.column(name) for name in given.column_names})
    write_table(tmp_path / "data" / "given_labels.parquet", given, GIVEN_LABELS)
    write_splits(tmp_path, [0], [0], facts)
    columns = {
        "example_id": np.arange(n_rows),
        "fold": np.zeros(n_rows, np.int16),
        "pred_probs": np.full((n_rows, n_classes), 1 / n_classes, np.float32),
    }
    path = tmp_path / "data" / "pred_probs.parquet"
    pq.write_table(make_table(PRED_PROBS, facts, columns), path, row_group_size=n_rows)
    with pytest.raises(ArtifactError, match=rf"{message}, found prune.memory_limit_mb = 32. Raise it"):
        prune(choose(params, memory_limit_mb=32), tmp_path)
    assert not (tmp_path / "data" / "label_issues.parquet").exists()


def test_probabilities_of_other_folds_than_those_proved_are_refused(params, tmp_path):
    ids, _, _, probs = write_inputs(tmp_path)
    path = tmp_path / "data" / "pred_probs.parquet"
    fold = np.arange(80) % 2
    table = make_table(PRED_PROBS, FACTS, {"example_id": ids, "fold": fold, "pred_probs": probs})
    write_table(path, table, PRED_PROBS, extra={OUT_OF_FOLD: folds_digest(ids[::-1], fold[::-1])})
    prune(params, tmp_path)
    fold[17] = 1 - fold[17]
    for proof in (folds_digest(ids, fold), folds_digest(ids[1:], fold[1:])):
        write_table(path, table, PRED_PROBS, extra={OUT_OF_FOLD: proof})
        with pytest.raises(ArtifactError, match=r"proved to be out-of-fold, found others.*aggregate"):
            prune(params, tmp_path)


def test_probabilities_without_proof_that_look_in_sample_are_warned_about(params, tmp_path, capsys):
    write_inputs(tmp_path)
    prune(params, tmp_path)
    assert capsys.readouterr().err == ""
    _, labels, _, _ = write_inputs(tmp_path)
    memorised = np.where(np.eye(3)[labels] > 0, 0.9, 0.05).astype(np.float32)
    ids, *_ = write_inputs(tmp_path, pred_probs=memorised)
    prune(params, tmp_path)
    assert "100.0% of the given labels are predicted, with 27% of the surprise" in capsys.readouterr().err
    path = tmp_path / "data" / "pred_probs.parquet"
    proof = folds_digest(ids, np.arange(80) % 2)
    write_table(path, read_table(path, PRED_PROBS), PRED_PROBS, extra={OUT_OF_FOLD: proof})
    prune(params, tmp_path)
    assert capsys.readouterr().err == ""


def test_probabilities_without_proof_that_do_not_sum_to_1_are_warned_about(
    params, tmp_path, capsys, monkeypatch
):
    ids, _, _, probs = write_inputs(tmp_path)
    off = probs.copy()
    off[50:53] /= 2
    off[10] *= np.float32(1.0009)
    write_inputs(tmp_path, pred_probs=off)
    monkeypatch.setattr("tasks.prune.doubts.PIECE_ENTRIES", 3 * 7)
    prune(params, tmp_path)
    warning = capsys.readouterr().err
    assert f"do not sum to 1: 3, the first with key row {ids[50]} and a sum of 0.5." in warning
    path = tmp_path / "data" / "pred_probs.parquet"
    proof = folds_digest(ids, np.arange(80) % 2)
    write_table(path, read_table(path, PRED_PROBS), PRED_PROBS, extra={OUT_OF_FOLD: proof})
    prune(params, tmp_path)
    assert capsys.readouterr().err == ""


# --- self-tests -----------------------------------------------------------------------------------------


def read_self_tests(workspace):
    return json.loads((workspace / "metrics" / "self_tests.json").read_text())


def test_the_run_tests_itself_and_says_so(params, tmp_path, capsys):
    ids, labels, true, probs = write_inputs(tmp_path, embedded=True)
    prune(choose(params, filter_by="noise_posterior"), tmp_path)
    found, issues = read_self_tests(tmp_path), read_issues(tmp_path)
    assert found == json.loads(issues.schema.metadata[b"self_tests"])
    assert found["planted"]["uniform"]["n_planted"] == 8
    assert found["planted"]["uniform"]["found"]["share"] == 1
    assert not found["class_shares"]["is_shifted"]
    second = issues.column("second_opinion").to_numpy()
    views = found["second_opinion"]
    assert views["n_rows"] == len(ids)
    assert views["agrees_with_given"]["share"] == (second == labels).mean()
    assert views["agrees_with_model"]["share"] == (second == probs.argmax(axis=1)).mean()
    # The embedding tells the classes well, and the labels are not used.
    assert (second == true).mean() > 0.7
    assert views["right_labels"]["low"] <= (labels == true).mean()
    said = capsys.readouterr().out
    assert "Of 100 labels made wrong on purpose it finds 100" in said
    assert "A second opinion agrees with the classifier on" in said


def test_without_self_tests_the_rest_is_the_same(params, tmp_path, capsys):
    write_inputs(tmp_path, embedded=True)
    prune(params, tmp_path)
    tested = read_issues(tmp_path)
    capsys.readouterr()
    prune(choose(params, self_tests=False), tmp_path)
    plain = read_issues(tmp_path)
    assert read_self_tests(tmp_path) == {}
    assert "on purpose" not in capsys.readouterr().out
    assert plain.column("second_opinion").null_count == plain.num_rows
    columns = [name for name in tested.column_names if name != "second_opinion"]
    assert tested.select(columns).equals(plain.select(columns))


def test_a_second_table_of_probabilities_is_the_second_opinion(params, tmp_path):
    *_, probs = write_inputs(tmp_path)
    path = tmp_path / "data" / "pred_probs.parquet"
    table = read_table(path, PRED_PROBS)
    columns = {name: column_array(table, name) for name in table.column_names}
    columns["second_probs"] = probs[::-1].copy()
    write_table(path, make_table(PRED_PROBS, FACTS, columns), PRED_PROBS)
    prune(params, tmp_path)
    second = column_array(read_issues(tmp_path), "second_opinion")
    assert second.tolist() == probs[::-1].argmax(axis=1).tolist()


def test_beyond_so_many_rows_a_sample_and_the_issues_are_asked(params, tmp_path, monkeypatch):
    write_inputs(tmp_path, embedded=True)
    prune(params, tmp_path)
    whole = read_issues(tmp_path)
    monkeypatch.setattr(run, "ALL_ROWS", 40)
    monkeypatch.setattr(run, "_SAMPLE_ROWS", 20)
    prune(params, tmp_path)
    issues = read_issues(tmp_path)
    second = issues.column("second_opinion").to_numpy(zero_copy_only=False)
    is_asked = ~np.isnan(second)
    assert is_asked[column_array(issues, "is_issue")].all()
    assert 20 <= is_asked.sum() <= 37
    assert second[is_asked].tolist() == column_array(whole, "second_opinion")[is_asked].tolist()
    assert read_self_tests(tmp_path)["second_opinion"]["n_rows"] == 20


def test_probabilities_with_another_prior_than_the_labels_are_warned_of(params, tmp_path, capsys):
    _, labels, _, probs = write_inputs(tmp_path)
    weighted = probs * np.where(np.arange(3) == 2, 300, 1)
    write_inputs(tmp_path, pred_probs=(weighted / weighted.sum(axis=1, keepdims=True)).astype(np.float32))
    prune(params, tmp_path)
    shares = read_self_tests(tmp_path)["class_shares"]
    assert shares["given"] == (labels == FACTS.class_names.index(shares["class"])).mean()
    assert shares["is_shifted"]
    assert f"expect class {shares['class']} in" in capsys.readouterr().out
