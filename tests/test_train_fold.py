"""Stage train_fold: predicts its own fold's rows, by a model that learned from the others."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from small_runs import ENVIRONMENT, ROOT, write_params

from tasks.features import features
from tasks.params import load_params
from tasks.tables.catalog import FEATURES, FOLD_PRED_PROBS, FOLDS, GIVEN_LABELS
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.proofs import rows_digest
from tasks.tables.schemas import column_array
from tasks.train_fold import fold_seed, train_fold


def test_the_fold_file_holds_its_rows_and_the_digest_of_the_others(finished_run: Path) -> None:
    folds = read_table(finished_run / "data" / "folds.parquet", FOLDS)
    ids, fold_of = column_array(folds, "example_id"), column_array(folds, "fold")
    for fold in (0, 1):
        table = read_table(finished_run / "data" / "pred_probs" / f"fold_{fold}.parquet", FOLD_PRED_PROBS)
        np.testing.assert_array_equal(column_array(table, "example_id"), ids[fold_of == fold])
        np.testing.assert_allclose(column_array(table, "pred_probs").sum(axis=1), 1, atol=1e-5)
        assert table.schema.metadata[b"trained_on"].decode() == rows_digest(ids[fold_of != fold])


def test_the_same_seed_gives_the_same_bytes(workspace_copy: Path) -> None:
    path = workspace_copy / "data" / "pred_probs" / "fold_1.parquet"
    curves = workspace_copy / "plots" / "train_fold" / "fold_1"
    before = path.read_bytes(), {file.name: file.read_bytes() for file in curves.rglob("*.*")}
    train_fold(load_params(workspace_copy / "params.yaml"), workspace_copy, fold=1)
    assert before == (path.read_bytes(), {file.name: file.read_bytes() for file in curves.rglob("*.*")})


def test_folds_have_seeds_of_their_own() -> None:
    assert len({fold_seed(seed, fold) for seed in range(5) for fold in range(20)}) == 100


def test_a_model_that_needs_no_torch_never_imports_it(workspace_copy: Path) -> None:
    write_params(workspace_copy, train_fold__model="nearest_mean")
    code = (
        "import sys; from tasks.command_line import main; "
        "assert main(['train_fold', '--fold', '0']) == 0; print('torch' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workspace_copy,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert found.stdout.splitlines()[-1:] == ["False"], found.stderr
    # dvc.yaml names the folder of curves; those of another model that ran before are gone.
    assert list((workspace_copy / "plots" / "train_fold" / "fold_0").iterdir()) == []


EXTRACTING = (
    (ROOT / "tasks" / "models" / "nearest_mean.py").read_text()
    + """

def extract(content, accelerator):
    pixels = content.values().reshape(len(content), -1).astype(np.float32)
    return pixels[:, ::2] / 255
"""
)


def test_a_model_learns_from_the_features_that_it_extracts(
    workspace_copy: Path, add_plugin: Callable[[str, str, str], object]
) -> None:
    add_plugin("models", "extracting", EXTRACTING)
    write_params(workspace_copy, train_fold__model="extracting")
    params = load_params(workspace_copy / "params.yaml")
    features(params, workspace_copy)
    assert column_array(read_table(FEATURES.at(workspace_copy), FEATURES), "features").shape == (1797, 32)
    train_fold(params, workspace_copy, fold=0)
    predicted = read_table(FOLD_PRED_PROBS.at(workspace_copy, fold=0), FOLD_PRED_PROBS)
    assert read_facts(predicted).content == "image"
    given = read_table(GIVEN_LABELS.at(workspace_copy), GIVEN_LABELS)
    labels = column_array(join(given, column_array(predicted, "example_id")), "true_label")
    assert (column_array(predicted, "pred_probs").argmax(axis=1) == labels).mean() > 0.7
