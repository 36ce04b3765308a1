"""Stage `pseudo_label`: the repaired training set, with the source of every label."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from tasks import ArtifactError
from tasks.decisions.apply import Verdicts, apply_decisions, match_decisions
from tasks.decisions.log import PATH, digest_of, parse_decisions, read_whole, standing
from tasks.params import Params
from tasks.pseudo_labels.selection import repair_labels
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS, TRAINING_SET
from tasks.tables.facts import read_facts
from tasks.tables.files import write_json
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.joins import locate
from tasks.tables.schemas import column_array

# So many of the decisions that are not applied are named.
_NAMED = 5
# So often the stage begins again because somebody decided meanwhile.
_ATTEMPTS = 10


def pseudo_label(params: Params, workspace: Path) -> None:
    """Write data/training_set.parquet (dropped rows are not in it) and metrics/training_set.json.

    What people decided in reviews/decisions.csv outranks the model. Decisions that no longer fit their row
    are counted and printed, not applied. DVC takes the digest of that file after the stage: a decision that
    comes while it runs would count as applied, so the stage ends only with the file that it began with.

    Raises:
        ArtifactError: an input is missing or not what it should be, or people decide faster than this runs.
    """
    for _ in range(_ATTEMPTS):
        decided = read_whole(workspace / PATH)
        metrics, verdicts = _write_training_set(params, workspace, decided)
        if read_whole(workspace / PATH) == decided:
            _say_refused(verdicts)
            _say_done(metrics)
            return
    raise ArtifactError(
        f"{workspace / PATH}: expected a file that stays as it is while the labels are repaired, found it "
        f"changed {_ATTEMPTS} times in a row. Run this stage again when nobody decides."
    )


def _write_training_set(params: Params, workspace: Path, decided: bytes) -> tuple[dict[str, Any], Verdicts]:
    """Write both files; `decided` is what reviews/decisions.csv holds. Returns the metrics too."""
    section = params.pseudo_label
    decisions = standing(parse_decisions(decided, workspace / PATH))
    data = workspace / "data"
    issues = read_table(data / "label_issues.parquet", LABEL_ISSUES, columns=["given_label", "is_issue"])
    predictions = read_table(data / "pred_probs.parquet", PRED_PROBS, columns=["pred_probs"])
    given = read_table(data / "given_labels.parquet", GIVEN_LABELS, columns=["true_label"])
    facts = read_facts(issues, str(data / "label_issues.parquet"))
    ids = column_array(issues, "example_id")
    labels = column_array(issues, "given_label")
    rows = locate(column_array(predictions, "example_id"), ids, str(data / "pred_probs.parquet"))
    repair = repair_labels(
        labels,
        column_array(predictions, "pred_probs")[rows],
        column_array(issues, "is_issue"),
        section.min_confidence,
        section.otherwise,
    )
    verdicts = match_decisions(decisions, ids, labels, facts.class_names)
    repair = apply_decisions(repair, verdicts)
    keep = repair.keep
    table = make_table(
        TRAINING_SET,
        facts,
        {
            "example_id": ids[keep],
            "label": repair.label[keep],
            "soft_label": repair.soft_label[keep],
            "weight": np.ones(int(keep.sum()), dtype=np.float32),
            "source": np.select(
                [repair.action == "reviewed", repair.is_pseudo], ["reviewed", "pseudo"], "given"
            )[keep],
            "given_label": labels[keep],
        },
    )
    write_table(data / "training_set.parquet", table, TRAINING_SET)

    actions, counts = np.unique(repair.action, return_counts=True)
    found = dict(zip(actions.tolist(), counts.tolist(), strict=True))
    metrics: dict[str, Any] = {
        "n_rows_before": len(ids),
        "n_rows_after": int(keep.sum()),
        "actions": {
            name: found.get(name, 0)
            for name in ("trusted", "relabelled", "softened", "kept", "dropped", "reviewed")
        },
        "decisions": {
            "md5": digest_of(decided),
            **verdicts.counts(),
            "not_applied": len(verdicts.refused),
            "not_applied_first": [
                {"example_id": decision.example_id, "reason": reason}
                for decision, reason in verdicts.refused[:_NAMED]
            ],
        },
    }
    true_label = given.column("true_label")
    if not true_label.null_count:
        truth = column_array(given, "true_label")[locate(column_array(given, "example_id"), ids)]
        pseudo = repair.is_pseudo
        metrics["label_accuracy"] = {
            "before": _accuracy(labels, truth),
            "after": _accuracy(repair.label[keep], truth[keep]),
            "of_pseudo_labels": _accuracy(repair.label[pseudo], truth[pseudo]),
        }
    write_json(workspace / "metrics" / "training_set.json", metrics)
    return metrics, verdicts


def _say_done(metrics: dict[str, Any]) -> None:
    done = ", ".join(f"{count:,} {name}" for name, count in metrics["actions"].items() if count)
    print(
        f"pseudo_label: {metrics['n_rows_after']:,} of {metrics['n_rows_before']:,} rows to train on "
        f"({done}), data/training_set.parquet"
    )


def _say_refused(verdicts: Verdicts) -> None:
    console = Console(markup=False, highlight=False)
    if verdicts.refused:
        console.print(f"{PATH}: {len(verdicts.refused)} decision(s) not applied:")
    for decision, reason in verdicts.refused[:_NAMED]:
        console.print(f"  example {decision.example_id} ({decision.decision}, {decision.reviewer}): {reason}")


def _accuracy(labels: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    return float(np.mean(labels == truth)) if len(labels) else float("nan")
