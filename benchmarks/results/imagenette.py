"""Noisy Imagenette, frozen EfficientNet-Lite0: what each filter finds, and what each repair is worth.

The pictures and their features are the same at each level of noise, so one workspace serves all: the given
labels come from a file in inputs/labels, written from the archive's own table.
"""

import csv
import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.results.page import describe_origin, share_cell, table
from benchmarks.results.runs import open_workspace, read_issues, read_metrics, reproduce
from tasks.datasets.imagenette import CLASSES
from tasks.label_quality.metrics import detection_quality
from tasks.reporting.worth import RunMetrics
from tasks.tables.files import write_csv
from tasks.tables.schemas import column_array

LEVELS = (1, 5, 25, 50)
FILTERS = ("prune_by_noise_rate", "both", "auto")
POLICIES: dict[str, dict[str, object]] = {
    "repaired": {},
    "pruned": {"pseudo_label.min_confidence": 1.0},
    "relabelled": {"pseudo_label.min_confidence": 0.0},
    "soft": {"pseudo_label.min_confidence": 1.0, "pseudo_label.otherwise": "soft"},
}
"""What is done with the issues; the default first. A cut of 1 takes no suggestion."""


def measure() -> dict[str, object]:
    """Flags, precision, recall and F1 of each filter, and test accuracy after each repair, by level."""
    write_official_labels(open_workspace("imagenette", "imagenette", noise_of(0)))
    levels = {}
    for level in LEVELS:
        repairs = {}
        for policy, settings in POLICIES.items():
            folder = open_workspace("imagenette", "imagenette", noise_of(level) | settings)
            reproduce(folder)
            if policy == "repaired":
                issues, is_wrong = read_issues(folder, list(FILTERS))
            repairs[policy] = read_repair(folder)
        flags = {name: column_array(issues, name) for name in FILTERS}
        levels[str(level)] = {
            "n_rows": len(is_wrong),
            "n_wrong": int(is_wrong.sum()),
            "out_of_fold": read_metrics(folder, "cross_validation"),
            "filters": {
                name: {
                    "flagged": int(flag.sum()),
                    "right": int((flag & is_wrong).sum()),
                    **detection_quality(is_wrong, flag),
                }
                for name, flag in flags.items()
            },
            "given": read_metrics(folder, "retrain_given"),
            "true": read_metrics(folder, "retrain_true"),
            "repairs": repairs,
        }
        print(f"finished: {level} %", flush=True)
    return {"n": 1, "levels": levels}


def read_repair(folder: Path) -> dict[str, object]:
    """What a repair changed and what it was worth."""
    repair = read_metrics(folder, "training_set")
    return {
        "cleaned": read_metrics(folder, "retrain_cleaned"),
        "gain": read_metrics(folder, "report"),
        "label_accuracy": repair["label_accuracy"],
        "n_rows": repair["n_rows_after"],
        "is_closed": repair["gate"]["is_closed"],
    }


def noise_of(level: int) -> dict[str, object]:
    """The parameters that give the training rows the official labels of a level."""
    right = {"datasets.imagenette.noise_level": 0}
    return right | ({"inject_noise.kind": "file", "inject_noise.path": f"noisy_{level}.csv"} if level else {})


def write_official_labels(folder: Path) -> None:
    """inputs/labels/noisy_1.csv and so on in a workspace: the labels of the training rows at each level."""
    archive = next((folder / "inputs" / "examples").glob("imagenette*.t*"))
    with tarfile.open(archive) as files:
        name = next(name for name in files.getnames() if name.endswith("noisy_imagenette.csv"))
        content = files.extractfile(name)
        assert content is not None
        rows = list(csv.DictReader(io.StringIO(content.read().decode("utf-8-sig"), newline="")))
    rows = [row for row in rows if row["path"].startswith("train/")]
    for level in LEVELS:
        columns = {
            "key": [row["path"] for row in rows],
            "given_label": [CLASSES[row[f"noisy_labels_{level}"]] for row in rows],
        }
        write_csv(folder / "inputs" / "labels" / f"noisy_{level}.csv", pa.table(columns))


def describe(found: dict[str, Any]) -> list[str]:
    """Two tables: what is found, and what that is worth."""
    levels = found["levels"].items()
    of_filters = [
        [
            f"{level} %",
            f"`{name}`",
            f"{at['n_wrong']:,}",
            f"{figures['flagged']:,}",
            f"{figures['right']:,}",
            *(share_cell(figures[measure]) for measure in ("precision", "recall", "f1")),
        ]
        for level, at in levels
        for name, figures in at["filters"].items()
    ]
    header = ["noise", "filter", "wrong", "flagged", "right", "precision", "recall", "F1"]
    policies = ("pruned", "relabelled", "soft", "repaired")
    of_repairs = [
        [
            f"{level} %",
            _accuracy(at["given"]),
            *(
                _accuracy(at["repairs"][policy]["cleaned"]) + "*" * at["repairs"][policy]["is_closed"]
                for policy in policies
            ),
            _accuracy(at["true"]),
            f"{at['repairs']['repaired']['label_accuracy']['before']:.1%}, "
            f"{at['repairs']['repaired']['label_accuracy']['after']:.1%}",
            f"{at['out_of_fold']['true']['accuracy']:.2%}",
        ]
        for level, at in levels
    ]
    n_test = next(iter(found["levels"].values()))["given"]["n_test_rows"]
    return [
        *table(header, of_filters),
        "",
        f"Accuracy of the same recipe on the {n_test:,} clean validation rows, trained on:",
        "",
        *table(
            ["noise", "given", *policies, "true", "labels right before, after (repaired)", "out of fold"],
            of_repairs,
        ),
        "",
        *(
            ["\\* The gate refused a part of this repair.", ""]
            if any(each["is_closed"] for _, at in levels for each in at["repairs"].values())
            else []
        ),
        describe_origin(found),
    ]


def _accuracy(run: RunMetrics) -> str:
    return f"{run['test']['accuracy']:.2%}"
