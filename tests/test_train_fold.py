"""Stage train_fold: predicts its own fold's rows, by a model that learned from the others."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from small_runs import ENVIRONMENT, ROOT, write_params

from tasks.assign_folds import assign_folds
from tasks.download import download
from tasks.features import features
from tasks.inject_noise import inject_noise
from tasks.params import load_params
from tasks.split_rows import split_rows
from tasks.tables.catalog import (
    FEATURES,
    FOLD_PRED_PROBS,
    FOLD_UNLABELED_PROBS,
    FOLDS,
    GIVEN_LABELS,
    TRAINING_SIGNALS,
)
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.proofs import rows_digest
from tasks.tables.schemas import column_array
from tasks.train_fold import fold_seed, train_fold
from tasks.training.protocol import Model
from tasks.training.setup import make_model


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


def test_models_of_a_fold_have_seeds_of_their_own_and_the_first_that_of_a_single_one() -> None:
    seeds = [fold_seed(*each) for each in np.ndindex(4, 5, 10)]
    assert len(set(seeds)) == len(seeds)
    for seed, fold in ((0, 0), (7, 3), (2**32 - 1, 19)):
        assert fold_seed(seed, fold) == int(np.random.SeedSequence([seed, fold]).generate_state(1)[0])


# It says which seed it had: by its probabilities, its embedding and its margins.
SAYS_ITS_SEED = (
    (ROOT / "tasks" / "models" / "nearest_mean.py").read_text().replace("run.threads)", "run.seed)")
    + """

from tasks.training.protocol import Signals


class NearestMean:
    def __init__(self, facts, options, threads):
        self.n_classes, self.number = facts.n_classes, threads

    def fit(self, rows, held_out, unlabeled=None):
        return Signals(np.full(len(rows.label), self.number, dtype=np.float32))

    def predict(self, content):
        draw = np.random.default_rng(self.number)
        probs = draw.dirichlet(np.ones(self.n_classes), len(content)).astype(np.float32)
        return Predictions(probs, np.full((len(content), 2), self.number, dtype=np.float32))
"""
)


def test_several_models_predict_by_the_mean_of_single_ones(
    workspace_copy: Path, add_plugin: Callable[[str, str, str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_plugin("models", "says_its_seed", SAYS_ITS_SEED)
    write_params(workspace_copy, train_fold__model="says_its_seed", download__labels_per_class=20)
    params = load_params(workspace_copy / "params.yaml")
    for stage in (download, split_rows, inject_noise, assign_folds):
        stage(params, workspace_copy)
    artifacts = (FOLD_PRED_PROBS, FOLD_UNLABELED_PROBS, TRAINING_SIGNALS)
    tables = [artifact.at(workspace_copy, fold=1) for artifact in artifacts]

    def trained(n_models: int) -> list[pa.Table]:
        section = params.train_fold.model_copy(update={"ensemble": n_models})
        train_fold(params.model_copy(update={"train_fold": section}), workspace_copy, fold=1)
        return [read_table(path, artifact) for path, artifact in zip(tables, artifacts, strict=True)]

    together = trained(3)
    seeds = [fold_seed(params.train_fold.seed, 1, member) for member in range(3)]
    single = []
    for seed in seeds:
        monkeypatch.setattr("tasks.train_fold.fold_seed", lambda *_, seed=seed: seed)
        single.append(trained(1))
    for place, column in enumerate(("pred_probs", "pred_probs", "mean_margin")):
        each = [column_array(tables[place], column).astype(np.float64) for tables in single]
        assert len(each[0])
        assert not np.array_equal(each[0], each[1])
        found = column_array(together[place], column)
        np.testing.assert_array_equal(found, ((each[0] + each[1] + each[2]) / 3).astype(np.float32))
    first = column_array(single[0][0], "embedding")
    np.testing.assert_array_equal(column_array(together[0], "embedding"), first)


def test_a_model_without_chance_is_trained_twice_and_changes_no_byte(
    workspace_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace_copy / "data" / "pred_probs" / "fold_1.parquet"
    before = path.read_bytes()
    params = load_params(workspace_copy / "params.yaml")
    section = params.train_fold.model_copy(update={"ensemble": 10})
    seeds: list[int] = []

    def make(*given: Any, seed: int, **named: Any) -> Model:
        seeds.append(seed)
        return make_model(*given, seed=seed, **named)

    monkeypatch.setattr("tasks.train_fold.make_model", make)
    train_fold(params.model_copy(update={"train_fold": section}), workspace_copy, fold=1)
    assert path.read_bytes() == before
    assert len(set(seeds)) == len(seeds) == 2
    assert "train_fold.ensemble: 10 changes nothing" in capsys.readouterr().err


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
