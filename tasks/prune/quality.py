"""Metrics of the issues and health of the labels, as files: metrics/ and plots/."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.label_quality.confident_joint import noise_matrix
from tasks.label_quality.error_prob import NumberOfErrors
from tasks.label_quality.health import health_metrics, mean_l1_error
from tasks.label_quality.issues import IssueRows
from tasks.label_quality.metrics import FLAG_QUALITY, FlagQuality, IssueMetrics, RankQuality
from tasks.params import Prune
from tasks.tables.facts import DatasetFacts
from tasks.tables.files import write_csv, write_json

# Overlapping and confused pairs that metrics/health.json names.
_PAIRS = 10


@dataclass(frozen=True)
class Detection:
    """How the flags compare with the truth.

    Attributes:
        n_errors: wrong rows.
        by_filter: see `metrics.detection_quality`.
        ranking: see `metrics.ranking_quality`.
    """

    n_errors: int
    by_filter: dict[str, FlagQuality]
    ranking: RankQuality


@dataclass(frozen=True)
class Counts:
    """Rows by pair of classes.

    Attributes:
        suggested: (K, K) rows indexed [given, suggested].
        true: (K, K) rows indexed [given, true], where the truth is known of every row.
    """

    suggested: npt.NDArray[np.int64]
    true: npt.NDArray[np.int64] | None


def write_metrics(
    workspace: Path,
    n_rows: int,
    issues: IssueRows,
    detection: Detection | None,
    n_errors: NumberOfErrors | None,
    n_contradicting: int,
    section: Prune,
) -> None:
    """Write metrics/label_issues.json and plots/filters.csv.

    `n_errors` is None where the classifier is too weak to tell.
    """
    metrics: IssueMetrics = {
        "n_rows": n_rows,
        "n_issues": len(issues.flagged[section.filter_by].rows),
        "rule": issues.rules.get(section.filter_by),
        "n_errors_estimated": n_errors.estimate if n_errors else None,
        "n_errors_low": n_errors.low if n_errors else None,
        "n_errors_high": n_errors.high if n_errors else None,
        "n_contradicting": n_contradicting,
    }
    columns: dict[str, list[object]] = {"filter": list(issues.flagged)}
    columns["n_issues"] = [len(flagged.rows) for flagged in issues.flagged.values()]
    if detection:
        chosen = detection.by_filter[section.filter_by]
        metrics = {**metrics, "n_errors": detection.n_errors, **chosen, **detection.ranking}
        quality = detection.by_filter.values()
        columns |= {name: [entry[name] for entry in quality] for name in FLAG_QUALITY}
    write_json(workspace / "metrics" / "label_issues.json", metrics)
    write_csv(workspace / "plots" / "filters.csv", pa.table(columns))


def write_health(workspace: Path, facts: DatasetFacts, issues: IssueRows, counts: Counts) -> None:
    """Write metrics/health.json and, entry by entry, plots/noise_matrices.csv and plots/joints.csv."""
    metrics = health_metrics(
        issues.calibrated, issues.n_off_diagonal, counts.suggested, facts.class_names, _PAIRS
    )
    matrices = {"confident_joint": noise_matrix(issues.calibrated), **issues.noise_matrices}
    if counts.true is not None:
        injected, true_counts = noise_matrix(counts.true), counts.true.sum(axis=0)
        metrics["noise_matrix_l1_error"] = {
            name: mean_l1_error(estimated, injected, true_counts) for name, estimated in matrices.items()
        }
        matrices["injected"] = injected
    write_json(workspace / "metrics" / "health.json", metrics)
    # A model leaves a trace in every entry; those that the counts leave out would only be long.
    counted = [matrix > 0 for name, matrix in matrices.items() if name not in issues.noise_matrices]
    given, true = np.nonzero(np.any(counted, axis=0))
    names = np.array(facts.class_names)
    columns = {"given": names[given], "true": names[true]}
    joints = {"confident_joint": issues.calibrated}
    if counts.true is not None:
        joints["injected"] = counts.true
    for file, tables in ("noise_matrices.csv", matrices), ("joints.csv", joints):
        entries = columns | {name: table[given, true] for name, table in tables.items()}
        write_csv(workspace / "plots" / file, pa.table(entries))
