"""`make bench`: the recipe of cleanlab's MNIST tutorial and ours, on the same 70,000 rows and cores.

Both give out-of-fold probabilities for all rows over 5 folds, in turn, each as a program from its start to
its result, imports included. The tutorial's: its ConvNet under skorch, 10 epochs, scikit-learn's
`cross_val_predict`, as many threads as there are cores. Ours: the stages `assign_folds` to `aggregate` with
all rows pooled, folds side by side, one a core, in forks of one process that has imported torch; folds that
do not fill the cores share them. `SETTINGS` are for clean labels, which need no noise-robust loss and fewer
epochs.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.workspaces import make_workspace

N_FOLDS = 5
SETTINGS = {
    "download.pool": ["test"],
    "inject_noise.kind": "none",
    "retrain.label_sets": {"given": {"table": "given_labels", "checkpoint": "classifier_given"}},
    "train_fold.epochs": 2,
    "models.convnet.muon_lr": 0.2,
    "train_fold.gce_q": 0.0,
    "train_fold.label_smoothing": 0.1,
    "models.convnet.shift": 1,
    "models.convnet.eval_shift": 0,
}
FOLDER = Path(".cache/bench").resolve()


def train_fold_here(fold: int, threads: int) -> None:
    """Train one fold in this process, in the workspace that it stands in."""
    from tasks.params import load_params
    from tasks.train_fold import train_fold

    params = load_params(Path("params.yaml"))
    recipe = params.train_fold.model_copy(update={"threads": threads})
    train_fold(params.model_copy(update={"train_fold": recipe}), Path(), fold)


def run_ours() -> float:
    """Out-of-fold accuracy of the stages from split to joined predictions, in this workspace."""
    cores = os.cpu_count() or 1
    side_by_side = N_FOLDS - N_FOLDS % min(cores, N_FOLDS)
    # One process imports torch and Lightning; the workers are forks of it.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tasks.training.torch_model", "tasks.train_fold"])
    with ProcessPoolExecutor(min(cores, N_FOLDS), processes) as pool:
        pool.submit(os.getpid)
        subprocess.run([sys.executable, "-m", "tasks", "assign_folds"], check=True)
        list(pool.map(train_fold_here, range(side_by_side), [1] * side_by_side))
        rest = range(side_by_side, N_FOLDS)
        list(pool.map(train_fold_here, rest, [cores // max(len(rest), 1)] * len(rest)))
    subprocess.run([sys.executable, "-m", "tasks", "aggregate"], check=True)
    metrics = json.loads(Path("metrics/cross_validation.json").read_text())
    return float(metrics["given"]["accuracy"])


def run_tutorial() -> float:
    """Out-of-fold accuracy of the tutorial's recipe on the rows of this workspace."""
    import torch
    from sklearn.model_selection import cross_val_predict
    from skorch import NeuralNetClassifier
    from torch import nn

    from tasks.tables.catalog import EXAMPLES
    from tasks.tables.io import read_table
    from tasks.tables.schemas import column_array

    examples = read_table(Path("data/examples.parquet"), EXAMPLES)
    images, labels = column_array(examples, "image"), column_array(examples, "true_label")

    class ClassifierModule(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cnn = nn.Sequential(
                nn.Conv2d(1, 6, 3),
                nn.ReLU(),
                nn.BatchNorm2d(6),
                nn.MaxPool2d(kernel_size=2, stride=2),
                nn.Conv2d(6, 16, 3),
                nn.ReLU(),
                nn.BatchNorm2d(16),
                nn.MaxPool2d(kernel_size=2, stride=2),
            )
            self.out = nn.Sequential(
                nn.Flatten(), nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, 10), nn.Softmax(dim=-1)
            )

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return self.out(self.cnn(batch))

    torch.manual_seed(0)
    content = (images.astype(np.float32) / 255)[:, None]
    model = NeuralNetClassifier(ClassifierModule, max_epochs=10)
    probs = cross_val_predict(model, content, labels.astype(np.int64), cv=N_FOLDS, method="predict_proba")
    return float(np.mean(probs.argmax(axis=1) == labels))


RECIPES = {"tutorial": run_tutorial, "ours": run_ours}


def time_recipe(name: str, workspace: Path) -> tuple[float, float]:
    """Seconds and accuracy of a recipe as a program of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path().resolve())}
    command = [sys.executable, "-m", "benchmarks.baseline", name]
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=workspace, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return time.monotonic() - started, float(done.stdout.split()[-1])


def main() -> int:
    if len(sys.argv) > 1 and sys.argv[1] in RECIPES:
        print(RECIPES[sys.argv[1]]())
        return 0
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    workspace = FOLDER / f"run_{time.time_ns()}"
    make_workspace(workspace, SETTINGS)
    for stage in ("download", "features", "split_rows", "inject_noise"):
        subprocess.run([sys.executable, "-m", "tasks", stage], cwd=workspace, check=True)
    ratios, ours, tutorial = np.zeros(n_runs), np.zeros(n_runs), np.zeros(n_runs)
    for run in range(n_runs):
        ours_s, ours[run] = time_recipe("ours", workspace)
        tutorial_s, tutorial[run] = time_recipe("tutorial", workspace)
        ratios[run] = ours_s / tutorial_s
        print(f"run {run + 1} of {n_runs}: time ratio {ratios[run]:.3f}", flush=True)
    table = Table(title=f"70,000 rows, {N_FOLDS} folds, {os.cpu_count()} cores, n = {n_runs} in turn")
    for column in ("recipe", "out-of-fold accuracy", "time, of the tutorial's"):
        table.add_column(column, justify="left" if column == "recipe" else "right")
    table.add_row("cleanlab tutorial (skorch, 10 epochs)", f"{tutorial.mean():.4f}", "1")
    spread = f"{ratios.mean():.3f} ({ratios.min():.3f} to {ratios.max():.3f})"
    table.add_row(f"Relabel ({SETTINGS['train_fold.epochs']} epochs)", f"{ours.mean():.4f}", spread)
    Console(width=110).print(table)
    return 0 if ratios.mean() <= 0.25 and ours.min() >= 0.992 else 1


if __name__ == "__main__":
    sys.exit(main())
