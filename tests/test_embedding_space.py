"""Embeddings that are the rows themselves lie in one space; learned ones in a space of their fold each."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_runs import write_params

from tasks.contents import Features, Images
from tasks.label_quality.class_moments import ClassMoments
from tasks.label_quality.importance import importance_of, leverage_of_given, whiten
from tasks.params import load_params
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.portions import TableReader
from tasks.tables.proofs import ONE_SPACE
from tasks.tables.schemas import column_array
from tasks.train_fold import is_row_itself

# nearest_mean, whose embedding is the row as it came.
FROZEN = """
from dataclasses import replace

from tasks.models import nearest_mean
from tasks.models.nearest_mean import TAKES, USES_TORCH, Options, restore


def build(facts, options, run):
    model = nearest_mean.build(facts, options, run)
    predict = model.predict
    model.predict = lambda content: replace(predict(content), embedding=content.values())
    return model
"""


def run_until_prune(folder: Path, model: str) -> None:
    """A table of 569 rows, two folds."""
    write_params(folder, download__dataset="breast_cancer", train_fold__model=model)
    params = load_params(folder / "params.yaml")
    for stage in ("download", "features", "split_rows", "inject_noise", "assign_folds", "train_fold"):
        run = getattr(importlib.import_module(f"tasks.{stage}"), stage)
        for options in [{"fold": 0}, {"fold": 1}] if stage == "train_fold" else [{}]:
            run(params, folder, **options)
    for stage in ("aggregate", "prune"):
        getattr(importlib.import_module(f"tasks.{stage}"), stage)(params, folder)


@pytest.mark.parametrize("is_frozen", [True, False])
def test_importance_is_that_of_all_rows_together_only_where_the_embedding_is_the_row(
    tmp_path: Path, add_plugin: Callable[[str, str, str], None], is_frozen: bool
) -> None:
    add_plugin("models", "frozen", FROZEN)
    run_until_prune(tmp_path, "frozen" if is_frozen else "nearest_mean")
    assert (TableReader(PRED_PROBS.at(tmp_path), PRED_PROBS, []).metadata(ONE_SPACE) == "yes") is is_frozen
    found = read_table(PRED_PROBS.at(tmp_path), PRED_PROBS, columns=["fold", "embedding"])
    ids, fold = (column_array(found, name) for name in ("example_id", "fold"))
    given = read_table(GIVEN_LABELS.at(tmp_path), GIVEN_LABELS, columns=["given_label"])
    labels = column_array(join(given, ids), "given_label").astype(np.int64)
    embedding = column_array(found, "embedding")
    expected = np.zeros(len(ids))
    for members in [np.ones(len(ids), bool)] if is_frozen else [fold == 0, fold == 1]:
        moments = ClassMoments(2, embedding.shape[1])
        moments.add(embedding[members], labels[members])
        whitening = whiten(moments)
        leverage = leverage_of_given(whitening, embedding[members], labels[members])
        expected[members] = importance_of(leverage, labels[members], whitening.n_rows)
    issues = read_table(LABEL_ISSUES.at(tmp_path), LABEL_ISSUES, columns=["importance"])
    importance = column_array(join(issues, ids), "importance")
    np.testing.assert_allclose(importance, expected, rtol=1e-6)


def test_a_row_is_itself_only_to_the_bit() -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    content = Features(values)
    assert is_row_itself(values.copy(), content)
    assert not is_row_itself(values + 1e-6, content)
    assert not is_row_itself(values[:, :1], content)
    pictures = np.zeros((3, 2, 2), dtype=np.uint8)
    assert not is_row_itself(pictures, Images(pictures))
