"""The pipeline on scikit-learn's digits, in `.cache/first-look`: nothing of the main job is touched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.workspaces import make_workspace

# Few rows make few batches: smaller ones and more epochs take as many steps as a large data set does.
SETTINGS = {
    "download.dataset": "digits",
    "train_fold.batch_size": 32,
    "train_fold.epochs": 12,
    "models.convnet.max_lr": 0.05,
    "models.convnet.shift": 0,
    "models.convnet.eval_shift": 0,
}


def main() -> int:
    folder = Path(".cache/first-look")
    shutil.rmtree(folder, ignore_errors=True)
    make_workspace(folder, SETTINGS)
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], cwd=folder, env=os.environ, check=False
    ).returncode
    if status == 0:
        print(f"The report: {folder}/report/index.html")
    return status


if __name__ == "__main__":
    sys.exit(main())
