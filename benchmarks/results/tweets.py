"""COVID tweets: F1 of INFORMATIVE, and suspected errors in the labels of `valid` and `test`.

Tweets are for research alone: no text goes into docs/. The table with texts lies in `.cache/results`, for who
brought them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.results.page import describe_origin, table
from benchmarks.results.runs import FOLDER, open_workspace, read_metrics, reproduce
from tasks.repair import GateMetrics
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS, SPLIT_ROWS, TEST_PROBS
from tasks.tables.facts import read_facts
from tasks.tables.files import write_csv
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.schemas import Artifact, column_array

SUSPECTS = FOLDER / "covid_tweets_suspects.csv"
_INFORMATIVE = 1


def measure() -> dict[str, object]:
    """F1 of the preset as it is; then the number of issues where all 10,000 rows are judged."""
    own = open_workspace("covid_tweets", "covid_tweets", {})
    reproduce(own)
    pooled = open_workspace("covid_tweets_pooled", "covid_tweets", {"download.pool": ["valid", "test"]})
    reproduce(pooled)
    return {
        "n": 1,
        "f1": {
            "train, out of fold": {"given": read_f1(own, PRED_PROBS.at(own), PRED_PROBS, "train")},
            **{
                split: {
                    labels: read_f1(own, TEST_PROBS.at(own, labels=labels), TEST_PROBS, split)
                    for labels in ("given", "cleaned")
                }
                for split in ("valid", "test")
            },
        },
        "gate": read_metrics(own, "training_set")["gate"],
        "suspects": write_suspects(pooled, SUSPECTS),
        "estimated": {
            name: value
            for name, value in read_metrics(pooled, "label_issues").items()
            if name.startswith("n_")
        },
    }


def read_f1(folder: Path, path: Path, artifact: Artifact, split: str) -> dict[str, float]:
    """F1 of INFORMATIVE and accuracy of the rows of a split, against the labels that people gave."""
    from sklearn.metrics import accuracy_score, f1_score

    given = read_table(GIVEN_LABELS.at(folder), GIVEN_LABELS, columns=["split", "given_label"])
    given = given.filter(pa.array(column_array(given, "split") == split))
    probs = join(read_table(path, artifact, columns=["pred_probs"]), column_array(given, "example_id"))
    label, predicted = column_array(given, "given_label"), column_array(probs, "pred_probs").argmax(axis=1)
    return {
        "n_rows": len(label),
        "f1": float(f1_score(label, predicted, pos_label=_INFORMATIVE)),
        "accuracy": float(accuracy_score(label, predicted)),
    }


def write_suspects(folder: Path, path: Path) -> dict[str, dict[str, int]]:
    """Write the issues of `valid` and `test` with their texts, most suspect first; count those of each."""
    columns = ["given_label", "suggested_label", "suggested_prob", "error_prob", "is_issue", "rank"]
    issues = read_table(LABEL_ISSUES.at(folder), LABEL_ISSUES, columns=columns)
    names = np.array(read_facts(issues, str(folder)).class_names)
    ids = column_array(issues, "example_id")
    splits = read_table(SPLIT_ROWS.at(folder), SPLIT_ROWS, columns=["original_split"])
    split = column_array(join(splits, ids), "original_split")
    is_issue = column_array(issues, "is_issue")
    counts = {
        name: {"rows": int((split == name).sum()), "issues": int((is_issue & (split == name)).sum())}
        for name in ("train", "valid", "test")
    }
    chosen = np.flatnonzero(is_issue & np.isin(split, ("valid", "test")))
    found = issues.take(pa.array(chosen))
    chosen = chosen[np.argsort(column_array(found, "rank"), kind="stable")]
    found = issues.take(pa.array(chosen))
    examples = join(read_table(EXAMPLES.at(folder), EXAMPLES, columns=["key", "text"]), ids[chosen])
    rows = {
        "key": examples.column("key"),
        "split": pa.array(split[chosen]),
        "text": examples.column("text"),
        "given": pa.array(names[column_array(found, "given_label")]),
        "suggested": pa.array(names[column_array(found, "suggested_label")]),
        "probability": found.column("suggested_prob"),
        "error_prob": found.column("error_prob"),
    }
    write_csv(path, pa.table(rows))
    return counts


def describe_gate(gate: GateMetrics) -> str:
    """Why no label, or not all, was changed: the first sentence of what the run says."""
    why = str(gate["sentence"]).partition(". ")[0].removesuffix(".")
    return f"Both columns are of the given labels, as the [gate](do_no_harm.md) refused the repair: {why}."


def describe(found: dict[str, Any]) -> list[str]:
    """F1, and the numbers of suspected errors."""
    of_f1 = [
        [
            split,
            f"{by_labels['given']['n_rows']:,}",
            *(f"{by_labels[name]['f1']:.4f}" if name in by_labels else "" for name in ("given", "cleaned")),
            *(
                f"{by_labels[name]['accuracy']:.2%}" if name in by_labels else ""
                for name in ("given", "cleaned")
            ),
        ]
        for split, by_labels in found["f1"].items()
    ]
    of_suspects = [
        [split, f"{counts['rows']:,}", f"{counts['issues']:,}", f"{counts['issues'] / counts['rows']:.1%}"]
        for split, counts in found["suspects"].items()
    ]
    number = found["estimated"]
    return [
        *table(
            ["rows", "n", "F1, given labels", "F1, repaired", "accuracy, given labels", "accuracy, repaired"],
            of_f1,
        ),
        "",
        *([describe_gate(found["gate"]), ""] if found["gate"]["is_closed"] else []),
        "Suspected errors, all 10,000 rows judged out of fold (`download.pool=[valid, test]`):",
        "",
        *table(["split", "rows", "suspected", "share"], of_suspects),
        "",
        f"Estimated number of wrong labels among the {number['n_rows']:,}: "
        f"{number['n_errors_low']:,} to {number['n_errors_high']:,}.",
        "",
        describe_origin(found),
    ]
