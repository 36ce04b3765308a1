"""How good predictions of training rows are against given labels, and true ones: metrics and plots of it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.label_quality.metrics import CrossValidationMetrics, PredictionCounts
from tasks.tables.files import write_csv, write_json


def labels_to_meet(
    labels: npt.NDArray[np.integer], truth: npt.NDArray[np.integer] | None
) -> dict[str, npt.NDArray[np.integer]]:
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
) -> CrossValidationMetrics:
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
    metrics: CrossValidationMetrics = {"n_rows": len(labels), "given": counts["given"].predictions.quality()}
    if "true" in counts:
        metrics["true"] = counts["true"].predictions.quality()
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
    columns: dict[str, object] = {"class": list(class_names)}
    rows = {
        name: np.bincount(of, minlength=len(class_names))
        for name, of in labels_to_meet(labels, truth).items()
    }
    for name, n in rows.items():
        columns |= {f"rows_{name}": n, f"recall_{name}": counts[name].hits / np.maximum(n, 1)}
    if truth is not None:
        wrong = np.bincount(labels[labels != truth], minlength=len(class_names))
        columns["wrong_share_of_given"] = wrong / np.maximum(rows["given"], 1)
    return pa.table(columns)
