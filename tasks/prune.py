"""Stage `prune`: which rows are label issues, in which order, and what their labels should be."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from rich.console import Console

from tasks import ArtifactError
from tasks.artifacts import (
    GIVEN_LABELS,
    LABEL_ISSUES,
    PRED_PROBS,
    atomic_path,
    column_array,
    locate,
    make_table,
    read_facts,
    read_table,
    write_json,
    write_table,
)
from tasks.label_quality.filters import PRUNE_FILTERS, find_label_issues
from tasks.label_quality.metrics import detection_quality, ranking_quality
from tasks.label_quality.scores import SCORES, rank_issues
from tasks.params import Params


def prune(params: Params, workspace: Path) -> None:
    """Write data/label_issues.parquet, metrics/label_issues.json and plots/filters.csv.

    Raises:
        ArtifactError: an input is missing or not what it should be.
    """
    section = params.prune
    data = workspace / "data"
    predictions = read_table(data / "pred_probs.parquet", PRED_PROBS, columns=["fold", "pred_probs"])
    given = read_table(data / "given_labels.parquet", GIVEN_LABELS)
    facts = read_facts(given, str(data / "given_labels.parquet"))
    ids = column_array(predictions, "example_id")
    pred_probs = column_array(predictions, "pred_probs")
    rows = locate(column_array(given, "example_id"), ids, str(data / "given_labels.parquet"))
    labels = column_array(given, "given_label")[rows].astype(np.int64)

    if pred_probs.shape[1] != facts.n_classes:
        raise ArtifactError(
            f"{data / 'pred_probs.parquet'}: column `pred_probs` was expected with one probability for "
            f"each of {facts.n_classes} classes, found {pred_probs.shape[1]}. Rebuild it with "
            "`dvc repro aggregate`."
        )
    try:
        issues = find_label_issues(
            labels,
            pred_probs,
            frac_noise=section.frac_noise,
            min_examples_per_class=section.min_examples_per_class,
        )
    except ValueError as error:
        raise ArtifactError(
            f"{data / 'pred_probs.parquet'}: {error}. Rebuild it with `dvc repro aggregate`."
        ) from error
    console = Console(stderr=True)
    skipped = issues.skipped_classes if section.filter_by in PRUNE_FILTERS else ()
    for k in skipped:
        console.print(
            f"prune: class {facts.class_names[k]} has too few rows for the prune filters "
            f"(prune.min_examples_per_class = {section.min_examples_per_class}), which leave it as it is"
        )
    is_issue = issues.flags[section.filter_by]
    scores = {name: score(labels, pred_probs) for name, score in SCORES.items()}
    rank = rank_issues(is_issue, scores[section.rank_by], ids)
    suggested = pred_probs.argmax(axis=1)
    nothing = pa.nulls(len(ids), pa.float64())
    table = make_table(
        LABEL_ISSUES,
        facts,
        {
            "example_id": ids,
            "given_label": labels,
            "suggested_label": suggested,
            "suggested_prob": pred_probs[np.arange(len(ids)), suggested],
            **scores,
            "importance": nothing,
            "importance_percentile": nothing,
            "is_issue": is_issue,
            "rank": pa.array(rank, pa.int64(), mask=rank < 0),
            **issues.flags,
        },
    )
    write_table(data / "label_issues.parquet", table, LABEL_ISSUES)

    metrics: dict[str, Any] = {
        "n_rows": len(ids),
        "n_issues": int(is_issue.sum()),
        "n_errors_estimated": issues.n_errors,
    }
    known = not given.column("is_noisy").null_count
    columns: dict[str, list[Any]] = {"filter": list(issues.flags)}
    columns["n_issues"] = [int(flags.sum()) for flags in issues.flags.values()]
    if known:
        is_noisy = column_array(given, "is_noisy")[rows]
        metrics["n_errors"] = int(is_noisy.sum())
        metrics |= detection_quality(is_noisy, is_issue)
        metrics |= ranking_quality(is_noisy, 1 - scores[section.rank_by])
        quality = [detection_quality(is_noisy, flags) for flags in issues.flags.values()]
        columns |= {name: [entry[name] for entry in quality] for name in ("precision", "recall", "f1")}
    write_json(workspace / "metrics" / "label_issues.json", metrics)
    with atomic_path(workspace / "plots" / "filters.csv") as temporary:
        pacsv.write_csv(pa.table(columns), temporary)
