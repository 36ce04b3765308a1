import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tasks.label_quality.rows import ArrayRows
from tasks.label_quality.scores import self_confidence
from tasks.label_quality.self_tests import planted
from tasks.label_quality.self_tests.planted import (
    Pool,
    RowsWithOtherLabels,
    choose_doubtful,
    choose_uniform,
    draw_pool,
    plant_errors,
)


def make_rows(skill: float, n: int = 2_000, n_classes: int = 5, batch_rows: int = 300) -> ArrayRows:
    """Rows whose model names the given class with probability `skill`, and is as sure as that."""
    rng = np.random.default_rng(3)
    labels = rng.integers(n_classes, size=n)
    named = np.where(rng.random(n) < skill, labels, (labels + rng.integers(1, n_classes, size=n)) % n_classes)
    pred_probs = rng.dirichlet(np.ones(n_classes), size=n)
    pred_probs[np.arange(n), named] += 4
    return ArrayRows(labels, pred_probs / pred_probs.sum(axis=1, keepdims=True), batch_rows)


def plant(rows: ArrayRows, seed: int = 0, **options):
    rng = np.random.default_rng(seed)
    return plant_errors(
        rows,
        draw_pool(rows, rng),
        rng,
        filter_by="predicted_neq_given",
        score=self_confidence,
        **options,
    )


@given(st.integers(1, 40), st.lists(st.integers(0, 39), unique=True, min_size=1))
def test_the_other_labels_reach_every_batch_and_the_rows_stay_as_they_were(batch_rows, places) -> None:
    rows = ArrayRows(np.zeros(40, dtype=np.int64), np.full((40, 2), 0.5), batch_rows)
    at = np.sort(np.array(places))
    other = RowsWithOtherLabels(rows, at, np.arange(1, len(at) + 1))
    found = np.concatenate(list(other.map(lambda batch: batch.labels)))
    assert found[at].tolist() == list(range(1, len(at) + 1))
    assert not np.delete(found, at).any()
    assert not rows.labels.any()


def test_a_good_model_finds_and_repairs_what_a_model_that_guesses_does_not() -> None:
    good, guess = plant(make_rows(1.0)), plant(make_rows(0.2))
    for kind in ("uniform", "doubtful"):
        assert good[kind].found.value == good[kind].repaired.value == 1
        assert good[kind].auroc > 0.99
    # Where the model guesses, others are as suspect as those that were planted.
    assert guess["uniform"].auroc < 0.75
    assert good["uniform"].found.n_rows == 50


def test_what_is_planted_is_never_the_given_label_and_the_doubtful_are_doubtful() -> None:
    rows = make_rows(0.9)
    pool = draw_pool(rows, np.random.default_rng(0))
    chosen, wrong = choose_uniform(pool, 400, np.random.default_rng(1))
    assert len(np.unique(chosen)) == 400
    assert (wrong != pool.labels[chosen]).all()
    assert pool.agrees[chosen].all()
    # Any other class is as likely as the next.
    assert np.bincount((wrong - pool.labels[chosen]) % 5)[1:] == pytest.approx([100] * 4, abs=35)
    chosen, wrong = choose_doubtful(pool, 100, np.random.default_rng(1))
    runner_up = np.argsort(pool.pred_probs[chosen], axis=1)[:, -2]
    assert wrong.tolist() == runner_up.tolist()
    margins = pool.pred_probs.max(axis=1) - np.sort(pool.pred_probs, axis=1)[:, -2]
    assert margins[chosen].mean() < margins[pool.agrees].mean()


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3_000), st.integers(0, 3))
def test_neither_batches_nor_a_second_run_change_the_result(batch_rows: int, seed: int) -> None:
    rows = make_rows(0.8, batch_rows=batch_rows)
    assert plant(rows, seed) == plant(make_rows(0.8), seed)


def test_of_many_rows_a_pool_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "_POOL_ROWS", 200)
    rows = make_rows(0.8)
    pool = draw_pool(rows, np.random.default_rng(0))
    assert len(pool.places) == 200
    assert (np.diff(pool.places) > 0).all()
    assert pool.labels.tolist() == rows.labels[pool.places].tolist()
    assert pool.pred_probs.tolist() == rows.pred_probs[pool.places].tolist()
    assert plant(rows)["uniform"].found.n_rows == 20


def test_the_auroc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    suspects, others = rng.integers(5, size=30) / 4, rng.integers(8, size=90) / 4
    expected = roc_auc_score(np.repeat([1, 0], [30, 90]), -np.concatenate([suspects, others]))
    assert planted._auroc(suspects, np.sort(others)) == pytest.approx(expected)


def test_of_a_handful_of_rows_nothing_is_measured() -> None:
    rows = make_rows(1.0, n=5)
    found = plant(rows)["uniform"]
    assert (found.found.n_rows, found.found.low, found.found.high) == (0, 0, 1)


def test_a_model_that_never_agrees_leaves_nothing_to_plant() -> None:
    pool = Pool(np.arange(3), np.zeros(3, dtype=np.int64), np.tile([0.1, 0.9], (3, 1)))
    for choose in (choose_uniform, choose_doubtful):
        places, wrong = choose(pool, 2, np.random.default_rng(0))
        assert len(places) == len(wrong) == 0
