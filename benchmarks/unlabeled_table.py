"""`python -m benchmarks.unlabeled_table`: rows without a label on a real table of numbers, by all stages.

scikit-learn's breast cancer (569 rows, 30 measures) as a CSV file. A draw makes two fifths of the rows test
rows, leaves a few of the others their label, evenly by class, and hides the rest. The model is `qda`; the
figure is the area under the ROC curve (AUC) of `retrain@given`, which learned from the labelled rows, and of
`retrain@cleaned`, which learned from the rows that joined as well.
"""

import argparse
import contextlib
import csv
import importlib
import io
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.command_line import STAGES
from tasks.params import load_params
from tasks.params_file import change_params
from tasks.tables.catalog import EXAMPLES, TEST_PROBS
from tasks.tables.io import read_table
from tasks.tables.joins import locate
from tasks.tables.schemas import column_array

ROOT = Path(__file__).parents[1]
_TEST_SHARE = 0.4
SETTINGS: dict[str, object] = {
    "download.dataset": "table",
    "datasets.table.path": "cancer.csv",
    "datasets.table.label": "diagnosis",
    "datasets.table.truth": "truth",
    "datasets.table.split": "split",
    "split_rows.near_duplicates": False,
    "inject_noise.kind": "none",
    "inject_noise.rate": 0.0,
    "train_fold.model": "qda",
    # Labels that are there are right, and none is flagged: what counts here is what joins. (`qda` may be so
    # sure that its probability is 1, and no `min_confidence` would hold it up.)
    "prune.filter_by": "prune_by_noise_rate",
    "prune.frac_noise": 1e-6,
    "pseudo_label.on_weak_model": "go_on",
    "retrain.label_sets": {
        "given": {"table": "given_labels", "checkpoint": "classifier_given"},
        "cleaned": {"table": "training_set", "checkpoint": "classifier"},
    },
}


@dataclass(frozen=True)
class Worth:
    """AUC on test rows before and after, how many rows joined, and how many of them with the right class."""

    before: float
    after: float
    n_joined: int
    n_right: int


def write_table(path: Path, n_labels: int, draw: int) -> None:
    """Write the table of a draw, in which `n_labels` rows have a label."""
    from sklearn.datasets import load_breast_cancer

    cancer = load_breast_cancer()
    rng = np.random.default_rng(draw)
    order = rng.permutation(len(cancer.target))
    n_test = int(_TEST_SHARE * len(order))
    split = np.full(len(order), "unlabeled", dtype=object)
    split[order[:n_test]] = "test"
    for k in range(2):
        own = order[n_test:][cancer.target[order[n_test:]] == k]
        split[own[: n_labels // 2]] = "train"
    names = cancer.target_names[cancer.target]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*cancer.feature_names, "diagnosis", "truth", "split"])
        for values, name, where in zip(cancer.data.tolist(), names, split, strict=True):
            writer.writerow([*values, "" if where == "unlabeled" else name, name, where])


def measure(folder: Path, n_labels: int, draw: int, others: Mapping[str, object]) -> Worth:
    """Run every stage on a draw, in the empty `folder`; `others` outrank `SETTINGS`."""
    (folder / "inputs" / "examples").mkdir(parents=True)
    write_table(folder / "inputs" / "examples" / "cancer.csv", n_labels, draw)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = folder / "params.yaml"
    path.write_text(change_params(text, {**SETTINGS, **others}, path), encoding="utf-8")
    params = load_params(path)
    choices: dict[str, list[dict[str, object]]] = {
        "train_fold": [{"fold": fold} for fold in params.train_fold.folds],
        "retrain": [{"labels": name} for name in params.retrain.label_sets],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        for stage in STAGES[: STAGES.index("report")]:
            for options in choices.get(stage, [{}]):
                getattr(importlib.import_module(f"tasks.{stage}"), stage)(params, folder, **options)
    found = json.loads((folder / "metrics" / "training_set.json").read_text(encoding="utf-8"))["unlabeled"]
    n_joined = found["n_joined"]
    return Worth(
        auc(folder, "given"),
        auc(folder, "cleaned"),
        n_joined,
        round(n_joined * found["label_accuracy"]["of_joined"]) if n_joined else 0,
    )


def auc(folder: Path, label_set: str) -> float:
    """The area under the ROC curve on test rows."""
    from sklearn.metrics import roc_auc_score

    examples = read_table(EXAMPLES.at(folder), EXAMPLES, columns=["true_label"])
    found = read_table(TEST_PROBS.at(folder, labels=label_set), TEST_PROBS)
    is_test = column_array(found, "split") == "test"
    rows = locate(column_array(examples, "example_id"), column_array(found, "example_id")[is_test])
    truth = column_array(examples, "true_label")[rows]
    return float(roc_auc_score(truth, column_array(found, "pred_probs")[is_test][:, 1]))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks.unlabeled_table", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--labels", type=int, nargs="+", default=(10, 20, 50))
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--no-proof", action="store_true", help="let rows join without the proof out of fold")
    chosen = parser.parse_args()
    others = {"pseudo_label.rounds": 0} if chosen.no_proof else {}
    table = Table(title=f"AUC on test rows, mean of draws 0 to {chosen.draws - 1}")
    for column in ("labels", "before", "after", "rose", "fell", "greatest fall", "joined", "of these right"):
        table.add_column(column, justify="right")
    for n_labels in chosen.labels:
        worths = []
        for draw in range(chosen.draws):
            with tempfile.TemporaryDirectory() as folder:
                worths.append(measure(Path(folder), n_labels, draw, others))
            print(n_labels, draw, worths[-1], file=sys.stderr)
        before, after = (np.array([getattr(each, name) for each in worths]) for name in ("before", "after"))
        n_joined, n_right = (sum(getattr(each, name) for each in worths) for name in ("n_joined", "n_right"))
        table.add_row(
            str(n_labels),
            f"{before.mean():.4f}",
            f"{after.mean():.4f}",
            str((after > before).sum()),
            str((after < before).sum()),
            f"{max((before - after).max(), 0):.4f}",
            f"{n_joined / chosen.draws:.0f}",
            f"{n_right / n_joined:.1%}" if n_joined else "-",
        )
    Console(width=110).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
