"""`python -m benchmarks.resnet [ROWS]`: Imagenette by ResNet-18 from random weights.

Pictures of 64 pixels with 25 and 50 % official wrong labels, five folds, by the RECIPES of each level: what
the default filter finds out of fold, also by the mean of the last two. Then accuracy on the validation rows
against epochs, trained on the labels given at 50 % and on repaired ones: issues get their suggested label
where its probability is at least SURE, the default of pseudo_label.min_confidence, and are dropped otherwise.
The gate is not asked. All in one process, on a GPU if there is one: a CPU takes days for all ROWS.
"""

import sys
import tempfile
from dataclasses import dataclass, field, replace
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

SIDE = 64
SHIFT = 0.25
"""So much of its side a training picture moves at most; chosen as docs/results.md says."""
EPOCHS = (5, 20, 80)
SURE = 0.8


@dataclass(frozen=True)
class Recipe:
    """How ResNet-18 is trained; names as in params.yaml."""

    epochs: int = 20
    batch_size: int = 32
    max_lr: float = 0.001
    objective: str = "supervised"
    objective_options: dict[str, object] = field(default_factory=dict)
    gce_q: float = 0.0
    label_smoothing: float = 0.0

    def apply(self, params: Params) -> Params:
        """The parameters with this recipe in them."""
        names = ("epochs", "batch_size", "objective", "gce_q", "label_smoothing")
        train_fold = {"model": "resnet18"} | {name: getattr(self, name) for name in names}
        model = plugins.read_options("models", "resnet18", {"shift": SHIFT, "max_lr": self.max_lr})
        objective = plugins.read_options("objectives", self.objective, self.objective_options)
        return params.model_copy(
            update={
                "train_fold": params.train_fold.model_copy(update=train_fold),
                "models": {**params.models, "resnet18": model},
                "objectives": {**params.objectives, self.objective: objective},
            }
        )

    def __str__(self) -> str:
        changed = [f"{name} {value}" for name, value in vars(self).items() if value != getattr(PLAIN, name)]
        return ", ".join(changed) or "plain"


PLAIN = Recipe()
_SMOOTH = Recipe(label_smoothing=0.1)
_MIXED = Recipe(30, max_lr=0.002, objective="mixup", objective_options={"alpha": 1.0})
RECIPES = {25: (PLAIN, _SMOOTH, _MIXED), 50: (PLAIN, _SMOOTH, replace(_SMOOTH, gce_q=0.5))}
"""The last of each level has the highest agreement with labels given to unseen rows (docs/results.md)."""
CURVE = Recipe(batch_size=64, max_lr=0.002)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def read_pictures(level: int) -> Examples:
    """All pictures with the wrong labels of a level."""
    options = imagenette.Options.model_validate({"noise_level": level, "image_size": SIDE})
    return imagenette.read(Path("inputs"), options, Fetch((), 5, 0, Console(stderr=True)))


def predict_out_of_fold(trainer: Trainer, rows: Ints, given: Ints) -> Floats:
    """(N, K) what models say of the rows that they did not see; `given` are the labels of all pictures."""
    fold = np.random.default_rng(0).permutation(len(rows)) % N_FOLDS
    probs = np.zeros((len(rows), trainer.examples.facts.n_classes), dtype=np.float32)
    for k in range(N_FOLDS):
        learned, own = rows[fold != k], rows[fold == k]
        taught = take(trainer.examples, learned, given[learned])
        _, probs[fold == k], _ = trainer.train(taught, own, given, seed=k)
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


def judge(name: str, given: Ints, truth: Ints, probs: Floats) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """A line of the table, and (N,) the issues of the default filter."""
    is_wrong = given != truth
    is_issue = find_label_issues(given, probs, filters=["auto"]).flags["auto"]
    f1 = detection_quality(is_wrong, is_issue)["f1"]
    found = f"{is_issue.sum():,} flagged, {(is_wrong & is_issue).sum():,} right of {is_wrong.sum():,}"
    # Who chooses a recipe may look at the agreement, not at the rest.
    agreement, accuracy = ((probs.argmax(axis=1) == labels).mean() for labels in (given, truth))
    line = [name, f"{agreement:.1%}", f"{accuracy:.1%}", found, f"{f1:.3f}"]
    print(*line, flush=True)
    return line, is_issue


def measure(params: Params, n_rows: int | None, folder: Path) -> list[list[str]]:
    """The lines of the table."""
    lines = []
    for level, recipes in RECIPES.items():
        examples = read_pictures(level)
        assert examples.true_label is not None
        assert examples.given_label is not None
        truth, given = (each.astype(np.int64) for each in (examples.true_label, examples.given_label))
        train = np.flatnonzero(examples.split == "train")[:n_rows]
        found = []
        for recipe in recipes:
            probs = predict_out_of_fold(Trainer(recipe.apply(params), examples, folder), train, given)
            line, is_issue = judge(f"{level} %, {recipe}", given[train], truth[train], probs)
            lines.append(line)
            found.append((probs, is_issue))
        mean = (found[-2][0] + found[-1][0]) / 2
        lines.append(judge(f"{level} %, mean of the last two", given[train], truth[train], mean)[0])
    # Of the last level, with label smoothing.
    keep, repaired = repair(given[train], *found[1], SURE)
    sets = {"given": (train, given[train]), "repaired": (train[keep], repaired[keep])}
    test = np.flatnonzero(examples.split == "test")[:n_rows]
    trainer = Trainer(CURVE.apply(params), examples, folder)
    for name, (places, labels) in sets.items():
        for n_epochs in EPOCHS:
            taught = take(examples, places, labels)
            _, probs, _ = trainer.train(taught, test, truth, seed=0, epochs=n_epochs)
            accuracy = (probs.argmax(axis=1) == truth[test]).mean()
            right = (labels == truth[places]).mean()
            title = f"{name}, {replace(CURVE, epochs=n_epochs)}"
            lines.append([title, "", f"{accuracy:.1%}", f"{len(places):,} rows, {right:.1%} right", ""])
            print(*lines[-1], flush=True)
    return lines


def main() -> int:
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else None
    params = load_params(Path("params.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        lines = measure(params, n_rows, Path(folder))
    plain = (
        f"plain: {PLAIN.epochs} epochs, batches of {PLAIN.batch_size}, max_lr {PLAIN.max_lr}, shift {SHIFT}"
    )
    table = Table(title=f"Imagenette, {SIDE} pixels, ResNet-18 from random weights", caption=plain)
    for column in ("labels and recipe", "agreement with given labels", "accuracy", "rows", "F1"):
        table.add_column(column, justify="left" if column == "labels and recipe" else "right")
    for line in lines:
        table.add_row(*line)
    Console(width=110).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
