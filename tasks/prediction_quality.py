"""How good predictions of training rows are against given labels, and true ones: metrics and plots of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.label_quality.metrics import PredictionCounts
from tasks.tables.files import write_csv, write_json


def labels_to_meet(
    labels: npt.NDArray[np.integer], truth: npt.NDArray[np.integer] | None
) -> dict[str, npt.NDArray[Any]]:
    """What predictions are measured against, by name; `truth` (N,) is None where it is not known of all."""
    return {"given": labels} if truth is None else {"given": labels, "true": truth}


class Counts:
    """What is counted of predictions while they pass by: see `PredictionCounts`, and hits by class."""

    def __init__(self, n_classes: int, n_bins: int) -> None:
        self.predictions = PredictionCounts.of(np.zeros(0, np.int64), np.zeros((0, n_classes)), n_bins)
        self.hits = np.zeros(n_classes, dtype=np.int64)
        self._n_bins = n_bins

    def add(self, labels: npt.NDArray[np.integer], pred_probs: npt.NDArray[np.floating]) -> None:
        """Count rows: labels (n,), probabilities (n, K)."""
        self.predictions += PredictionCounts.of(labels, pred_probs, self._n_bins)
        hit = labels[pred_probs.argmax(axis=1) == labels]
        self.hits += np.bincount(hit, minlength=len(self.hits))


def write_quality(
    workspace: Path,
    counts: Mapping[str, Counts],
    labels: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer] | None,
    class_names: tuple[str, ...],
) -> dict[str, Any]:
    """Write metrics/cross_validation.json, plots/reliability/out_of_fold.csv and plots/per_class.csv.

    Args:
        workspace: where.
        counts: of all rows, by what they were measured against (`labels_to_meet`).
        labels: (N,) given class indices.
        truth: (N,) true ones, if they are known of all rows.
        class_names: (K,) by class index.

    Returns:
        the metrics.
    """
    metrics: dict[str, Any] = {"n_rows": len(labels)}
    metrics |= {name: found.predictions.quality() for name, found in counts.items()}
    write_json(workspace / "metrics" / "cross_validation.json", metrics)
    by_confidence = {name: found.predictions.reliability() for name, found in counts.items()}
    write_csv(
        workspace / "plots" / "reliability" / "out_of_fold.csv",
        pa.concat_tables(
            [pa.table({"labels": [name] * len(bins["rows"]), **bins}) for name, bins in by_confidence.items()]
        ),
    )
    write_csv(workspace / "plots" / "per_class.csv", per_class_table(labels, truth, counts, class_names))
    return metrics


def per_class_table(
    labels: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer] | None,
    counts: Mapping[str, Counts],
    class_names: tuple[str, ...],
) -> pa.Table:
    """One row a class: rows given it, share of them predicted as it, and the same against the truth."""
    n_classes = len(class_names)

    def counts_and_recall(
        of: npt.NDArray[Any], hits: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        rows = np.bincount(of, minlength=n_classes)
        return rows, hits / np.maximum(rows, 1)

    columns: dict[str, Any] = {"class": list(class_names)}
    columns["rows_given"], columns["recall_given"] = counts_and_recall(labels, counts["given"].hits)
    if truth is not None:
        columns["rows_true"], columns["recall_true"] = counts_and_recall(truth, counts["true"].hits)
        wrong = np.bincount(labels[labels != truth], minlength=n_classes)
        columns["wrong_share_of_given"] = wrong / np.maximum(columns["rows_given"], 1)
    return pa.table(columns)
