"""Runs with a network, through both doors: what only a model with torch, epochs and a stage server can show.

All other tests of whole runs train `nearest_mean`.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from added_files import DATASET, FILTER, METHOD, MODEL, OBJECTIVE
from doors import Door, outcomes, wait_for
from small_runs import ENVIRONMENT, NETWORK, ROOT, SETTINGS, dvc
from warm import run_warm, with_warm_programs

from benchmarks.killing import find
from benchmarks.workspaces import make_workspace
from tasks.params import load_params
from tasks.reading import read_content
from tasks.reporting.provenance import describe_altered
from tasks.tables.catalog import (
    EXAMPLES,
    FOLD_PRED_PROBS,
    FOLDS,
    GIVEN_LABELS,
    TEST_PROBS,
    TRAINING_SET,
    TRAINING_SIGNALS,
)
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.schemas import column_array
from tasks.train_fold import fold_seed, train_fold
from tasks.training.checkpoints import load_model

pytestmark = pytest.mark.slow

# One final training: each imports torch.
FEW = NETWORK | {"retrain.label_sets": {"cleaned": {"table": "training_set", "checkpoint": "classifier"}}}


class TorchDoor(Door):
    """A door whose stages are forked from a process that imported torch."""

    def run(self, *words: str, status: int = 0) -> str:
        found, log, _ = run_warm(words, self.folder, self.environment, with_torch=True)
        assert found == status, log
        return log


@pytest.fixture(scope="module")
def network(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Door:
    """A workspace in which `dvc repro` trained a network. Leave it as it is."""
    folder = tmp_path_factory.mktemp("network") / "workspace"
    make_workspace(folder, FEW, source=ROOT)
    door = TorchDoor(folder, environment)
    door.dvc("repro")
    return door


@pytest.fixture
def copied(network: Door, tmp_path: Path) -> Door:
    """A copy of it, to be changed."""
    folder = Path(shutil.copytree(network.folder, tmp_path / "workspace", symlinks=True))
    return TorchDoor(folder, network.environment)


def test_labels_were_found_and_repaired(network: Door) -> None:
    found = json.loads((network.folder / "metrics" / "label_issues.json").read_text())
    assert found["n_errors"] == 144
    assert found["f1"] > 0.7
    accuracy = json.loads((network.folder / "metrics" / "training_set.json").read_text())["label_accuracy"]
    assert accuracy["after"] > accuracy["before"] + 0.05


def test_learning_curves_have_a_row_for_each_epoch_and_dvc_shows_them(copied: Door) -> None:
    curves = copied.folder / "plots" / "train_fold" / "fold_0" / "plots" / "metrics"
    for name in ("train/loss", "train/accuracy", "validation/loss", "validation/accuracy"):
        lines = (curves / f"{name}.tsv").read_text().splitlines()
        assert [line.split("\t")[0] for line in lines] == ["step", "1", "2", "3", "4"]
    copied.dvc("plots", "show")
    page = (copied.folder / "dvc_plots" / "index.html").read_text()
    for title in ("Given against suggested labels", "Funnel of labels", "Learning curves"):
        assert title in page


def test_a_curve_that_was_altered_is_told_by_the_checksum_of_its_folder(copied: Door) -> None:
    assert describe_altered(copied.folder, {}) is None
    path = next((copied.folder / "plots" / "retrain" / "cleaned").rglob("accuracy.tsv"))
    path.chmod(0o644)
    path.write_text(path.read_text() + "9\t0.5\n")
    assert "has it: plots/retrain/cleaned. " in (describe_altered(copied.folder, {}) or "")


def test_training_signals_are_of_the_rows_that_the_model_learned_from(network: Door) -> None:
    folds = read_table(FOLDS.at(network.folder), FOLDS)
    ids, fold_of = column_array(folds, "example_id"), column_array(folds, "fold")
    given = read_table(GIVEN_LABELS.at(network.folder), GIVEN_LABELS)
    for fold in (0, 1):
        signals = read_table(TRAINING_SIGNALS.at(network.folder, fold=fold), TRAINING_SIGNALS)
        np.testing.assert_array_equal(column_array(signals, "example_id"), ids[fold_of != fold])
        # Wrong labels have the lower margins: that is what the signal is for.
        wrong = column_array(join(given, ids[fold_of != fold]), "is_noisy").astype(bool)
        margin = column_array(signals, "mean_margin")
        assert np.median(margin[wrong]) < np.median(margin[~wrong])


def test_the_same_seed_gives_the_same_bytes_in_a_process_that_did_other_things(copied: Door) -> None:
    path = FOLD_PRED_PROBS.at(copied.folder, fold=1)
    curves = copied.folder / "plots" / "train_fold" / "fold_1"
    before = path.read_bytes(), {file: file.read_bytes() for file in curves.rglob("*.*")}
    train_fold(load_params(copied.folder / "params.yaml"), copied.folder, fold=1)
    assert before == (path.read_bytes(), {file: file.read_bytes() for file in curves.rglob("*.*")})


def test_two_networks_predict_by_the_mean_of_each_alone(
    copied: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, path = load_params(copied.folder / "params.yaml"), FOLD_PRED_PROBS.at(copied.folder, fold=1)
    curves = copied.folder / "plots" / "train_fold" / "fold_1"

    def found() -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
        table = read_table(path, FOLD_PRED_PROBS)
        drawn = {str(file.relative_to(curves)): file.read_bytes() for file in curves.rglob("*.tsv")}
        return {name: column_array(table, name) for name in ("pred_probs", "embedding")}, drawn

    first, its_curves = found()
    two = params.train_fold.model_copy(update={"ensemble": 2})
    train_fold(params.model_copy(update={"train_fold": two}), copied.folder, fold=1)
    both, drawn = found()
    second_seed = fold_seed(params.train_fold.seed, 1, 1)
    monkeypatch.setattr("tasks.train_fold.fold_seed", lambda *_: second_seed)
    train_fold(params, copied.folder, fold=1)
    second, second_curves = found()

    mean = (first["pred_probs"].astype(np.float64) + second["pred_probs"]) / 2
    np.testing.assert_array_equal(both["pred_probs"], mean.astype(np.float32))
    assert not np.array_equal(first["pred_probs"], second["pred_probs"])
    np.testing.assert_array_equal(both["embedding"], first["embedding"])
    assert its_curves
    assert drawn == its_curves | {f"model_2/{name}": text for name, text in second_curves.items()}


def test_test_probabilities_are_those_of_the_checkpoint(network: Door) -> None:
    model, facts = load_model(network.folder / "models" / "classifier.ckpt")
    examples = read_table(EXAMPLES.at(network.folder), EXAMPLES, columns=["split"])
    rows = np.flatnonzero(column_array(examples, "split") == "test")
    found = read_table(TEST_PROBS.at(network.folder, labels="cleaned"), TEST_PROBS)
    predicted = model.predict(read_content(EXAMPLES.at(network.folder), facts).take(rows))
    np.testing.assert_array_equal(column_array(found, "pred_probs"), predicted.pred_probs)


def test_a_run_of_dvc_killed_in_training_recovers_to_the_same_bytes(copied: Door) -> None:
    fold = FOLD_PRED_PROBS.at(copied.folder, fold=0)
    before = fold.read_bytes(), copied.lock()
    warm = Door(copied.folder, with_warm_programs(copied.environment, with_torch=True))
    repro = ["python", "-m", "dvc", "repro"]
    process = warm.start("--force", "--single-item", "train_fold@0", command=repro)
    wait_for(process, "fold 0: epoch 1/")
    # With it, all that it started.
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    copied.assert_no_orphans()
    assert not fold.exists()
    copied.dvc("repro")
    assert (fold.read_bytes(), copied.lock()) == before
    assert not list(copied.folder.rglob("*.tmp"))


@pytest.mark.parametrize("is_warm", [True, pytest.param(False, marks=pytest.mark.endurance)])
def test_a_killed_flow_leaves_no_stage_server_and_the_next_run_gives_the_bytes_of_dvc_repro(
    copied: Door, is_warm: bool
) -> None:
    """Cold, the flow and each stage import for themselves what they need, torch too; the next run as well."""
    before, flow = copied.lock(), ["python", "-m", "flows.clean_labels"]
    own = copied.environment
    if is_warm:
        own = with_warm_programs(own, with_torch=True, with_stages=False)
    door = Door(copied.folder, own)
    process = door.start("--set", "train_fold.epochs=400", "--until", "train_fold@0", command=flow)
    wait_for(process, r"epoch \d+/400")
    assert find("stage server", copied.folder, "")
    # What is forked from a warm process is killed with it.
    process.kill()
    process.communicate()
    copied.assert_no_orphans()
    # Both folds are trained again, side by side.
    forced = ["--force", "train_fold", "--until", "aggregate", "--workers", "2"]
    words = ["--set", "train_fold.epochs=4", *forced]
    if is_warm:
        log = copied.flow(*words)
    else:
        process = door.start(*words, command=flow)
        log, _ = process.communicate(timeout=900)
        assert process.returncode == 0, log
    assert outcomes(log, "Completed") == {"train_fold@0", "train_fold@1"}
    assert len(re.findall(r"fold \d: epoch \d/4", log)) == 8
    assert copied.lock() == before
    copied.assert_no_orphans()


def test_a_file_of_each_kind_is_found_by_its_name_and_the_pipeline_runs(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    # As few trainings as tell.
    sets = {"cleaned": {"table": "training_set", "checkpoint": "classifier"}}
    make_workspace(folder, {**SETTINGS, "retrain.label_sets": sets}, source=ROOT)
    files = {
        "datasets": DATASET,
        "models": MODEL,
        "objectives": OBJECTIVE,
        "pseudo_labels": METHOD,
        "label_quality/filters": FILTER,
    }
    for kind, text in files.items():
        (folder / "tasks" / kind / "mine.py").write_text(text)
    names = ["download.dataset=mine", "train_fold.model=mine", "train_fold.objective=mine"]
    names += ["retrain.objective=mine", "pseudo_label.method=mine", "prune.filter_by=mine"]
    set_names = (
        "from flows.dvc_api.overrides import override_params; from pathlib import Path; "
        f"override_params(Path(), {names})"
    )
    subprocess.run([sys.executable, "-c", set_names], cwd=folder, env=ENVIRONMENT, check=True)
    said = dvc(folder, "repro", with_torch=True)
    assert read_facts(read_table(EXAMPLES.at(folder), EXAMPLES)).dataset == "clouds"
    found = json.loads((folder / "metrics" / "label_issues.json").read_text())
    assert found["n_issues"] > 0
    assert f"{found['n_issues']:,} by mine" in said
    actions = read_table(TRAINING_SET.at(folder), TRAINING_SET).column("action").to_pylist()
    gate = json.loads((folder / "metrics" / "training_set.json").read_text())["gate"]
    assert actions.count("dropped") == found["n_issues"] - gate["n_contested"] - gate["n_doubtful"] > 0
    assert re.search(r"<td>mine.*\(decides\)", (folder / "report" / "index.html").read_text())
