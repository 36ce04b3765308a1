"""Small real runs of the pipeline on digits, shared by the tests of stages that train."""

import atexit
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from warm import run_warm

from benchmarks.workspaces import set_params
from tasks.command_line import STAGES
from tasks.params import load_params

ROOT = Path(__file__).parents[1]

# What DVC remembers of the files of a workspace is in memory, and goes when the tests end. Workers are told
# where by whoever starts them.
if "DVC_SITE_CACHE_DIR" not in os.environ:
    _MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    os.environ["DVC_SITE_CACHE_DIR"] = tempfile.mkdtemp(prefix="relabel-dvc-", dir=_MEMORY)
    atexit.register(shutil.rmtree, os.environ["DVC_SITE_CACHE_DIR"], ignore_errors=True)

DVC = [sys.executable, "-m", "dvc"]
ENVIRONMENT = {
    **os.environ,
    # dvc.yaml says `python`, which is the interpreter of the environment that runs the tests.
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    # Stages of a workspace need not be compiled each time.
    "PYTHONDONTWRITEBYTECODE": "",
    "OMP_NUM_THREADS": "1",
}

# What most tests need of a run is its files, not its accuracy: this model takes a second and no torch.
SETTINGS: dict[str, Any] = {
    "download.dataset": "digits",
    "train_fold.model": "nearest_mean",
    "train_fold.folds": [0, 1],
}
# The same run with a network, for the tests that are about training.
NETWORK = SETTINGS | {
    "train_fold.model": "convnet",
    "train_fold.epochs": 4,
    "train_fold.batch_size": 32,
    "models.convnet.max_lr": 0.05,
    "models.convnet.shift": 0,
    "models.convnet.eval_shift": 0,
    "train_fold.precision": "32-true",
    "train_fold.accelerator": "cpu",
}


def write_params(folder: Path, **changes: Any) -> None:
    """The shipped params.yaml with small settings; `changes` name values as section__name."""
    path = folder / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    set_params(path, SETTINGS | {name.replace("__", "."): value for name, value in changes.items()})


def run_pipeline(folder: Path) -> None:
    """Run every stage in this process, in the order of dvc.yaml, in a git repository made for it."""
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    commit = [*author, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "-m", "Start"]
    for command in (["init", "--quiet"], commit):
        subprocess.run(["git", *command], cwd=folder, check=True)
    params = load_params(folder / "params.yaml")
    choices = {
        "train_fold": [{"fold": fold} for fold in params.train_fold.folds],
        "retrain": [{"labels": name} for name in params.retrain.label_sets],
    }
    for stage in STAGES:
        run = getattr(importlib.import_module(f"tasks.{stage}"), stage)
        for options in choices.get(stage, [{}]):
            run(params, folder, **options)


def dvc(folder: Path, *arguments: str, with_torch: bool = False, **environment: str) -> str:
    """Run a command of DVC that must succeed, in a warm process; what it said."""
    told = ENVIRONMENT | environment
    status, said, _ = run_warm(["dvc", *arguments], folder, told, with_torch=with_torch)
    assert status == 0, said
    return said
