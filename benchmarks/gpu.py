"""`python -m benchmarks.gpu [RUNS] [EPOCHS ...]`: trains MNIST in one process, on a GPU if there is one.

The eight trainings of the default run: five folds of 60,000 rows of which 10 % have a wrong label, and three
retrainings. `fit` is timed without import, and after a training of an epoch, which loads and compiles what a
GPU needs. The folds are trained RUNS times (2): weights and probabilities must be equal to the bit. Each
number in EPOCHS gets a table; without one, there is a table for the epochs of params.yaml.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from tasks import plugins
from tasks.contents import Examples, Fetch
from tasks.params import Params, load_params
from tasks.train_fold import fold_seed
from tasks.training.protocol import Loss, Model, Rows
from tasks.training.setup import make_model

N_FOLDS, NOISE = 5, 0.1
FIT_S, ALL_S, ACCURACY = 2.0, 20.0, 0.993


def read_mnist(params: Params) -> Examples:
    fetch = Fetch(params.download.sources, 5, 1, Console(stderr=True))
    found: Examples = plugins.load("datasets", "mnist").read(
        Path("inputs"), params.options("datasets", "mnist"), fetch
    )
    return found


def with_noise(true_label: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The labels, `NOISE` of them replaced by another class."""
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(true_label), round(NOISE * len(true_label)), replace=False)
    given = true_label.copy()
    given[wrong] = (given[wrong] + rng.integers(1, 10, len(wrong))) % 10
    return given


class Trainer:
    """Trains as the stages do, by the recipe of params.yaml, and notes seconds."""

    def __init__(self, params: Params, examples: Examples, folder: Path) -> None:
        self.params, self.examples, self.folder = params, examples, folder
        self.all_s = 0.0

    def train(
        self,
        rows: Rows,
        others: npt.NDArray[np.intp],
        labels: npt.NDArray[np.int64],
        *,
        seed: int,
        **changes: object,
    ) -> tuple[Model, npt.NDArray[np.float32], float]:
        """A model, what it says of the rows `others`, and the seconds of `fit`."""
        params = self.params
        if changes:
            params = params.model_copy(update={"train_fold": params.train_fold.model_copy(update=changes)})
        content = self.examples.content
        started = time.monotonic()
        model = make_model(
            params,
            self.examples.facts,
            content,
            seed=seed,
            loss=Loss(params.train_fold.gce_q, params.train_fold.label_smoothing),
            objective=params.train_fold.objective,
            log_dir=self.folder / "log",
            title=f"seed {seed}",
        )
        curve = others[:2000]
        held_out = Rows(content.take(curve), labels[curve], np.ones(len(curve), dtype=np.float32))
        model.fit(rows, held_out)
        fit_s = time.monotonic() - started
        probs = model.predict(content.take(others)).pred_probs
        self.all_s += time.monotonic() - started
        return model, probs, fit_s


def measure(params: Params, examples: Examples, n_runs: int, folder: Path) -> tuple[list[list[str]], bool]:
    """The lines of the table, and whether all is as it should be."""
    import torch

    assert examples.true_label is not None
    truth = examples.true_label.astype(np.int64)
    train, test = np.flatnonzero(examples.split == "train"), np.flatnonzero(examples.split == "test")
    given = truth.copy()
    given[train] = with_noise(truth[train])
    fold = np.random.default_rng(1).permutation(len(train)) % N_FOLDS

    def rows_of(places: npt.NDArray[np.intp], labels: npt.NDArray[np.int64]) -> Rows:
        return Rows(examples.content.take(places), labels[places], np.ones(len(places), dtype=np.float32))

    trainer = Trainer(params, examples, folder)
    trainer.train(rows_of(train[:9000], given), test, truth, seed=9, epochs=1)
    trainer.all_s = 0.0
    lines, same, fits = [], True, []
    right = np.zeros(len(train), dtype=bool)
    for k in range(N_FOLDS):
        learned, own = train[fold != k], train[fold == k]
        digests = []
        for run in range(n_runs):
            before = trainer.all_s
            model, probs, fit_s = trainer.train(
                rows_of(learned, given), own, given, seed=fold_seed(params.train_fold.seed, k)
            )
            if run:
                trainer.all_s = before
            model.save(folder / "model.ckpt")
            digests.append((folder / "model.ckpt").read_bytes() + probs.tobytes())
            fits.append(fit_s)
        is_same = all(each == digests[0] for each in digests)
        same &= is_same
        right[fold == k] = probs.argmax(axis=1) == truth[own]
        seconds = ", ".join(f"{each:.2f}" for each in fits[-n_runs:])
        lines.append([f"fold {k}", seconds, f"{right[fold == k].mean():.4f}", "yes" if is_same else "NO"])
    for name, labels in (("given", given), ("given again", given), ("true", truth)):
        _, probs, fit_s = trainer.train(rows_of(train, labels), test, truth, seed=0)
        accuracy = np.mean(probs.argmax(axis=1) == truth[test])
        lines.append([f"all rows, {name} labels", f"{fit_s:.2f}", f"{accuracy:.4f}", ""])
    mean = f"mean {np.mean(fits):.2f}"
    lines.append(["folds together", mean, f"{right.mean():.4f}", "yes" if same else "NO"])
    lines.append(["eight trainings, with prediction", f"{trainer.all_s:.1f}", "", ""])
    on_gpu = torch.cuda.is_available()
    fast = np.mean(fits) <= FIT_S and trainer.all_s <= ALL_S
    return lines, bool(same and right.mean() >= ACCURACY and (fast or not on_gpu))


def main() -> int:
    n_runs, *epochs = [int(each) for each in sys.argv[1:]] or [2]
    import torch

    import tasks.training.torch_model  # noqa: F401  # before anything is timed

    on_gpu = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if on_gpu else f"{os.cpu_count()} cores"
    params = load_params(Path("params.yaml"))
    examples = read_mnist(params)
    all_good = True
    for n_epochs in epochs or [params.train_fold.epochs]:
        train_fold = params.train_fold.model_copy(update={"epochs": n_epochs})
        with tempfile.TemporaryDirectory() as folder:
            changed = params.model_copy(update={"train_fold": train_fold})
            lines, is_good = measure(changed, examples, n_runs, Path(folder))
        all_good &= is_good
        table = Table(title=f"MNIST, {n_epochs} epochs, {where}, torch {torch.__version__}")
        for column in ("training", "fit, s", "accuracy", f"equal bits, n = {n_runs}"):
            table.add_column(column, justify="left" if column == "training" else "right")
        for line in lines:
            table.add_row(*line)
        Console(width=110).print(table)
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
