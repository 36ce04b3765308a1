"""`make bench-unlabeled`: what rows without a label are worth, by method and number of labels.

Each cell is a run of a preset through the pipeline (of MNIST `mnist_few_labels`, else the data set's), in a
workspace of its own (`.cache/unlabeled`, kept: a second call runs what is new alone), with all training
labels hidden but some of each class. It runs what its retraining needs: of objectives, no folds. Its figure
is the test error of data/test_probs. The labelled rows of a seed are the same for all methods: those of
`download.labels_seed`. Beside them stands scikit-learn's `SelfTrainingClassifier` on the same rows.

All of MNIST in all columns takes hours without a GPU; `--labels`, `--methods`, `--seeds`, `--dataset` choose
a few cells.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from benchmarks.workspaces import code_digest, make_workspace
from tasks.presets import read_preset
from tasks.tables.catalog import EXAMPLES, TEST_PROBS
from tasks.tables.io import read_table
from tasks.tables.joins import locate
from tasks.tables.schemas import column_array

CACHE = Path(".cache/unlabeled")
LABELS = (20, 100, 600, 1_000, 3_000)
N_CLASSES = 10
# Five passes over the rows without a label in each of four epochs, whatever the number of labels.
STEPS = 1900

# Labels are right here, and none is to be doubted: what differs between cells is the use of unlabelled rows.
_COMMON: dict[str, object] = {
    "inject_noise.kind": "none",
    "inject_noise.rate": 0.0,
    "pseudo_label.otherwise": "keep",
    "pseudo_label.min_confidence": 1.0,
    "pseudo_label.on_weak_model": "go_on",
    "train_fold.folds": [0, 1],
    "train_fold.gce_q": 0.0,
    "split_rows.near_duplicates": False,
    "prune.importance": "none",
}
_GIVEN = {"given": {"table": "given_labels", "checkpoint": "classifier_given"}}
_CLEANED = {"cleaned": {"table": "training_set", "checkpoint": "classifier"}}


_SMOOTHED = {"retrain.label_smoothing": 0.1}


def _by_objective(name: str, **options: object) -> dict[str, object]:
    """Settings of a cell in which an objective of `retrain` learns from all rows that it can use."""
    chosen = {f"objectives.{name}.{option}": value for option, value in options.items()}
    learned = {"retrain.objective": name, "retrain.label_sets": _GIVEN, "pseudo_label.rounds": 0}
    return learned | _SMOOTHED | chosen


# As in the preset.
_FIXMATCH = _by_objective("fixmatch") | {"retrain.label_smoothing": 0.0}
_OF_STUDENTS = {"retrain.objective": "supervised", "retrain.label_sets": _CLEANED, "pseudo_label.rounds": 1}
_OF_STUDENTS |= _SMOOTHED


METHODS: dict[str, dict[str, object]] = {
    "supervised": _by_objective("supervised"),
    "threshold": _OF_STUDENTS,
    "threshold, 3 rounds": _OF_STUDENTS | {"pseudo_label.rounds": 3},
    "propagation": _OF_STUDENTS | {"pseudo_label.method": "propagation"},
    "lee2013": _by_objective("lee2013"),
    "lee2013 of the paper": _by_objective("lee2013", align=False, min_confidence=0.0),
    "consistency": _by_objective("consistency"),
    "fixmatch": _FIXMATCH,
    "fixmatch, labels smoothed by 0.1": _FIXMATCH | {"retrain.label_smoothing": 0.1},
    "fixmatch without alignment": _FIXMATCH | {"objectives.fixmatch.align": False},
    "fixmatch, one cut for all classes": _FIXMATCH | {"objectives.fixmatch.class_cuts": False},
    "fixmatch without slant and bend": _FIXMATCH
    | {"objectives.fixmatch.shear": 0.0, "objectives.fixmatch.elastic": 0.0},
    "arazo2020": _by_objective("arazo2020"),
    "arazo2020 of the paper": _by_objective("arazo2020", align=False, warm_up=0.1),
    "arazo2020 without mixup": _by_objective("arazo2020", alpha=0.0),
    "arazo2020 without balance": _by_objective("arazo2020", balance=0.0),
    "arazo2020 without entropy": _by_objective("arazo2020", entropy=0.0),
    "arazo2020, few labels a batch": _by_objective("arazo2020", ratio=64),
}


def settings(
    method: str, dataset: str, n_labels: int, seed: int, n_steps: int, others: dict[str, object] | None = None
) -> dict[str, object]:
    """The parameters of a cell; `others` outrank them."""
    return {
        **read_preset("mnist_few_labels" if dataset == "mnist" else dataset),
        "download.labels_per_class": n_labels // N_CLASSES,
        "download.labels_seed": seed,
        "train_fold.epochs": 4,
        "train_fold.min_steps": n_steps,
        "train_fold.seed": seed,
        "retrain.seed": seed,
        "pseudo_label.seed": seed,
        **_COMMON,
        **METHODS[method],
        **(others or {}),
    }


def run_cell(chosen: dict[str, Any]) -> tuple[float, Path]:
    """The test error of the cell with these parameters, in percent, and its workspace.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    digest = hashlib.sha256(json.dumps([code_digest(), chosen], sort_keys=True).encode()).hexdigest()
    folder = CACHE / digest[:16]
    if not folder.exists():
        make_workspace(folder, chosen)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    (label_set,) = chosen["retrain.label_sets"]
    command = [sys.executable, "-m", "dvc", "repro", "--quiet", f"retrain@{label_set}"]
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    return error_on_test_rows(folder, label_set), folder


def error_on_test_rows(folder: Path, label_set: str) -> float:
    """The share of test rows, in percent, whose most probable class is not the true one."""
    examples = read_table(EXAMPLES.at(folder), EXAMPLES, columns=["true_label"])
    found = read_table(TEST_PROBS.at(folder, labels=label_set), TEST_PROBS)
    rows = locate(column_array(examples, "example_id"), column_array(found, "example_id"))
    wrong = column_array(found, "pred_probs").argmax(axis=1) != column_array(examples, "true_label")[rows]
    return float(100 * wrong[column_array(found, "split") == "test"].mean())


def read_setting(text: str) -> tuple[str, object]:
    """`download.pool=[test]` as a name and a value of YAML."""
    name, _, value = text.partition("=")
    return name, YAML(typ="safe").load(value)


def self_training_error(folder: Path) -> float:
    """The test error, in percent, of scikit-learn's self-training on the rows of a cell."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.semi_supervised import SelfTrainingClassifier

    table = read_table(EXAMPLES.at(folder), EXAMPLES)
    split, true = column_array(table, "split"), column_array(table, "true_label")
    pixels = column_array(table, "image").reshape(len(true), -1) / 255
    learned = split != "test"
    labels = np.where(split == "train", true, -1)[learned]
    model = SelfTrainingClassifier(LogisticRegression(C=0.1, max_iter=1_000), threshold=0.95)
    predicted = model.fit(pixels[learned], labels).predict(pixels[~learned])
    return float(100 * np.mean(predicted != true[~learned]))


def cell_text(errors: list[float]) -> str:
    """Mean, spread (standard deviation over the seeds) and number of runs."""
    spread = f" ± {np.std(errors, ddof=1):.2f}" if len(errors) > 1 else ""
    return f"{np.mean(errors):.2f}{spread} ({len(errors)})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.unlabeled", description=str(__doc__).splitlines()[0])
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--labels", type=int, nargs="+", default=LABELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--methods", nargs="+", default=tuple(METHODS), choices=tuple(METHODS))
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps of each training")
    parser.add_argument("--set", type=read_setting, nargs="+", default=(), metavar="NAME=VALUE")
    chosen = parser.parse_args()
    seeds = ", ".join(map(str, chosen.seeds))
    table = Table(title=f"Test error in % on {chosen.dataset}, labelled rows of seeds {seeds} (runs)")
    for column in ("method", *(f"{n_labels:,} labels" for n_labels in chosen.labels)):
        table.add_column(column, justify="left" if column == "method" else "right")
    folders: dict[tuple[int, int], Path] = {}
    for method in chosen.methods:
        cells = []
        for n_labels in chosen.labels:
            errors = []
            for seed in chosen.seeds:
                cell = settings(method, chosen.dataset, n_labels, seed, chosen.steps, dict(chosen.set))
                error, folders[n_labels, seed] = run_cell(cell)
                errors.append(error)
                print(f"{method}, {n_labels:,} labels, seed {seed}: {error:.2f} %", file=sys.stderr)
            cells.append(cell_text(errors))
        table.add_row(method, *cells)
    theirs = [
        cell_text([self_training_error(folders[n_labels, seed]) for seed in chosen.seeds])
        for n_labels in chosen.labels
    ]
    table.add_row("SelfTrainingClassifier (scikit-learn)", *theirs)
    Console(width=130).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
