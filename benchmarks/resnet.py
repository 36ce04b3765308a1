"""`python -m benchmarks.resnet [EPOCHS] [BATCH_SIZE] [ROWS]`: Imagenette by ResNet-18 from random weights.

Pictures of 64 pixels with 25 and 50 % official wrong labels, five folds, with and without label smoothing:
what the default filter finds out of fold. Then accuracy on the validation rows against epochs, trained on the
labels given at 50 % and on repaired ones: issues get their suggested label where its probability is at least
SURE, the default of pseudo_label.min_confidence, and are dropped otherwise. The gate is not asked. All in one
process, on a GPU if there is one: a CPU takes hours for all ROWS.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.gpu import N_FOLDS, Trainer
from tasks import plugins
from tasks.contents import Examples, Fetch
from tasks.datasets import imagenette
from tasks.label_quality.issues import find_label_issues
from tasks.label_quality.metrics import detection_quality
from tasks.params import Params, load_params
from tasks.training.protocol import Rows

LEVELS, SMOOTHINGS, CURVE = (25, 50), (0.0, 0.1), (5, 20, 80)
SIDE = 64
SHIFT = 0.25
"""So much of its side a training picture moves at most; chosen as docs/results.md says."""
SURE = 0.8

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def read_pictures(level: int) -> Examples:
    """All pictures with the wrong labels of a level."""
    options = imagenette.Options.model_validate({"noise_level": level, "image_size": SIDE})
    return imagenette.read(Path("inputs"), options, Fetch((), 5, 0, Console(stderr=True)))


def predict_out_of_fold(trainer: Trainer, rows: Ints, given: Ints, smoothing: float) -> Floats:
    """(N, K) what models say of the rows that they did not see; `given` are the labels of all pictures."""
    fold = np.random.default_rng(0).permutation(len(rows)) % N_FOLDS
    probs = np.zeros((len(rows), trainer.examples.facts.n_classes), dtype=np.float32)
    for k in range(N_FOLDS):
        learned, own = rows[fold != k], rows[fold == k]
        settings = {"gce_q": 0.0, "label_smoothing": smoothing}
        _, probs[fold == k], _ = trainer.train(
            take(trainer.examples, learned, given[learned]), own, given, seed=k, **settings
        )
    return probs


def take(examples: Examples, places: Ints, labels: Ints) -> Rows:
    """The pictures at these places (N,) with these labels (N,)."""
    return Rows(examples.content.take(places), labels, np.ones(len(places), dtype=np.float32))


def repair(
    given: Ints, probs: Floats, is_issue: npt.NDArray[np.bool_], least: float
) -> tuple[npt.NDArray[np.bool_], Ints]:
    """(N,) which rows are kept, and (N,) their labels: of issues a suggestion at least so probable."""
    is_sure = probs.max(axis=1) >= least
    return ~is_issue | is_sure, np.where(is_issue & is_sure, probs.argmax(axis=1), given)


def measure(params: Params, n_rows: int | None, epochs: tuple[int, ...], folder: Path) -> list[list[str]]:
    """The lines of the table."""
    lines = []
    for level in LEVELS:
        examples = read_pictures(level)
        assert examples.true_label is not None
        assert examples.given_label is not None
        truth, given = (each.astype(np.int64) for each in (examples.true_label, examples.given_label))
        train = np.flatnonzero(examples.split == "train")[:n_rows]
        test = np.flatnonzero(examples.split == "test")[:n_rows]
        trainer = Trainer(params, examples, folder)
        is_wrong = given[train] != truth[train]
        for smoothing in SMOOTHINGS:
            probs = predict_out_of_fold(trainer, train, given, smoothing)
            is_issue = find_label_issues(given[train], probs, filters=["auto"]).flags["auto"]
            quality = detection_quality(is_wrong, is_issue)
            lines.append(
                [
                    f"{level} %, smoothing {smoothing:g}",
                    f"{(probs.argmax(axis=1) == truth[train]).mean():.1%}",
                    f"{is_wrong.sum():,} wrong, {is_issue.sum():,} flagged, "
                    f"{(is_wrong & is_issue).sum():,} right",
                    f"{quality['f1']:.3f}",
                ]
            )
            print(*lines[-1], flush=True)
    # Of the last level and smoothing.
    keep, repaired = repair(given[train], probs, is_issue, SURE)
    sets = {"given": (train, given[train]), "repaired": (train[keep], repaired[keep])}
    for name, (places, labels) in sets.items():
        for n_epochs in epochs:
            settings = {"epochs": n_epochs, "gce_q": 0.0, "label_smoothing": 0.0}
            _, found, _ = trainer.train(take(examples, places, labels), test, truth, seed=0, **settings)
            accuracy = (found.argmax(axis=1) == truth[test]).mean()
            right = (labels == truth[places]).mean()
            lines.append(
                [
                    f"{name}, {n_epochs} epochs",
                    f"{accuracy:.1%}",
                    f"{len(places):,} rows, {right:.1%} right",
                    "",
                ]
            )
            print(*lines[-1], flush=True)
    return lines


def main() -> int:
    numbers = [int(each) for each in sys.argv[1:]]
    n_epochs, batch_size, n_rows = (*numbers, *(20, 32, None)[len(numbers) :])
    params = load_params(Path("params.yaml"))
    recipe = {"model": "resnet18", "epochs": n_epochs, "batch_size": batch_size}
    options = plugins.load("models", "resnet18").Options(shift=SHIFT)
    params = params.model_copy(
        update={
            "train_fold": params.train_fold.model_copy(update=recipe),
            "models": {**params.models, "resnet18": options},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        lines = measure(params, n_rows, CURVE if n_rows is None else (1,), Path(folder))
    table = Table(title=f"Imagenette, {SIDE} pixels, ResNet-18 from random weights, batches of {batch_size}")
    for column in ("labels and training", "accuracy", "rows", "F1"):
        table.add_column(column, justify="left" if column == "labels and training" else "right")
    for line in lines:
        table.add_row(*line)
    Console(width=110).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
