"""`python -m benchmarks.frozen WORKSPACE`: few labels on frozen features, by each way to label other rows.

The workspace has data/examples.parquet and data/features.parquet, as `dvc repro features` leaves them (preset
imagenette). The head of `efficientnet_lite0` learns from a few labelled training rows alone, and then from
those too that a pseudo-label method labels. The figure is the test error; there is no proof out of fold.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.unlabeled import cell_text
from tasks import plugins
from tasks.contents import Features
from tasks.repair import Evidence, Unlabeled
from tasks.tables.catalog import EXAMPLES, FEATURES
from tasks.tables.facts import DatasetFacts
from tasks.tables.io import read_table
from tasks.tables.joins import locate
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array
from tasks.training.protocol import Loss, Model, Predictions, Rows, Run, build_model

Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

WAYS: dict[str, tuple[str, Mapping[str, object]]] = {
    "threshold": ("threshold", {}),
    "threshold, min_confidence 0.8": ("threshold", {"min_confidence": 0.8}),
    "propagation": ("propagation", {}),
}


@dataclass(frozen=True)
class Split:
    """Features (N, d) and true classes (N,) of rows to learn from, and likewise of test rows."""

    features: Singles
    true: Ints
    test_features: Singles
    test_true: Ints
    n_classes: int


def read_split(workspace: Path) -> Split:
    """The rows of a workspace; every row that is not of the split `train` is a test row."""
    reader = TableReader(FEATURES.at(workspace), FEATURES, [], optional=["features"])
    examples = read_table(EXAMPLES.at(workspace), EXAMPLES, columns=["split", "true_label"])
    rows = locate(column_array(examples, "example_id"), reader.column("example_id"))
    true = column_array(examples, "true_label")[rows].astype(np.int64)
    is_train = column_array(examples, "split")[rows] == "train"
    features = reader.column("features")
    return Split(
        features[is_train], true[is_train], features[~is_train], true[~is_train], reader.facts.n_classes
    )


def draw_labelled(true: Ints, per_class: int, n_classes: int, rng: np.random.Generator) -> Ints:
    """Positions of `per_class` rows of each class, in the order of the classes."""
    drawn = [rng.choice(np.flatnonzero(true == k), per_class, replace=False) for k in range(n_classes)]
    return np.concatenate(drawn)


def errors(split: Split, own: Ints) -> dict[str, float]:
    """The test error in percent of the labelled rows `own` alone, and of each way to label the others."""
    others = np.setdiff1d(np.arange(len(split.true)), own)
    first = fitted(split, own, split.true[own], np.ones(len(own), dtype=np.float32))
    probs = first.predict(Features(split.features[others])).pred_probs
    found = {"labelled rows alone": error(split, first)}
    for name, (method, options) in WAYS.items():
        made = plugins.load("pseudo_labels", method).repair(
            evidence_of(split, own, probs),
            plugins.read_options("pseudo_labels", method, dict(options)),
            lambda ids, labels, of: Predictions(  # noqa: ARG005  # frozen features depend on no label
                np.zeros((len(of), split.n_classes), dtype=np.float32),
                split.features[np.concatenate([own, others])][of],
            ),
            np.random.default_rng(0),
        )
        joined = made.unlabeled.is_kept
        labels = np.concatenate([split.true[own], made.unlabeled.label[joined]])
        weight = np.concatenate([made.weight, made.unlabeled.weight[joined]])
        found[name] = error(split, fitted(split, np.concatenate([own, others[joined]]), labels, weight))
    return found


def evidence_of(split: Split, own: Ints, probs: Singles) -> Evidence:
    """Labelled rows 0, 1, ... without an issue, and after them the others with their probabilities (U, K)."""
    labels, n_labels = split.true[own], len(own)
    return Evidence(
        ids=np.arange(n_labels),
        labels=labels,
        is_issue=np.zeros(n_labels, dtype=bool),
        suggested=labels,
        suggested_prob=np.ones(n_labels),
        n_classes=split.n_classes,
        pred_probs=lambda rows: np.eye(split.n_classes)[labels[rows]],
        min_confidence=1.0,
        otherwise="keep",
        unlabeled=Unlabeled(
            n_labels + np.arange(len(probs)),
            probs.argmax(axis=1),
            probs.max(axis=1),
            lambda rows: probs[rows],
        ),
    )


def fitted(split: Split, rows: Ints, labels: Ints, weight: Singles) -> Model:
    """The head of `efficientnet_lite0`, trained on these rows."""
    facts = DatasetFacts(
        "features", tuple(map(str, range(split.n_classes))), "features", split.features.shape[1:]
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            seed=0,
            threads=1,
            accelerator="cpu",
            precision="auto",
            epochs=1,
            batch_size=256,
            loss=Loss(0.0, 0.0),
            objective="supervised",
            objective_options=plugins.read_options("objectives", "supervised"),
            log_dir=Path(folder),
            title="",
        )
        model = build_model(
            "efficientnet_lite0", facts, plugins.read_options("models", "efficientnet_lite0"), run
        )
        model.fit(Rows(Features(split.features[rows]), labels, weight.astype(np.float32)), None)
    return model


def error(split: Split, model: Model) -> float:
    """The test error in percent."""
    said = model.predict(Features(split.test_features)).pred_probs.argmax(axis=1)
    return float(100 * np.mean(said != split.test_true))


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.frozen", description=str(__doc__).splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--labels-per-class", type=int, nargs="+", default=(1, 4, 25))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    chosen = parser.parse_args()
    split = read_split(chosen.workspace)
    table = Table(title=f"Test error in % on {len(split.test_true):,} rows, seeds {chosen.seeds} (runs)")
    table.add_column("way")
    columns = []
    for per_class in chosen.labels_per_class:
        table.add_column(f"{per_class * split.n_classes} labels", justify="right")
        draws = [
            draw_labelled(split.true, per_class, split.n_classes, np.random.default_rng(seed))
            for seed in chosen.seeds
        ]
        columns.append([errors(split, own) for own in draws])
        print(columns[-1], file=sys.stderr)
    for way in columns[0][0]:
        table.add_row(way, *(cell_text([found[way] for found in column]) for column in columns))
    Console(width=130).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
