"""Stage `pseudo_label`: the repaired training set, with what became of every row and why.

Memory follows the rows, some 60 bytes each, not the probabilities: of those, a portion is read at a time.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from tasks import ArtifactError, RepairError, plugins
from tasks.decisions.apply import Verdicts, apply_decisions, match_decisions
from tasks.decisions.log import PATH, digest_of, parse_decisions, read_whole, standing
from tasks.label_quality.brake import LEAST_AGREEMENT, Brake, apply_brake
from tasks.label_quality.confusions import count_confusions
from tasks.params import Params, PseudoLabel
from tasks.repair import Evidence, Repair, leave_as_given
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS, TRAINING_SET
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.files import write_json
from tasks.tables.io import read_table, tensor_column, write_stream
from tasks.tables.joins import join
from tasks.tables.portions import TableReader
from tasks.tables.proofs import MARK, check_same_import
from tasks.tables.schemas import column_array

# So many of the decisions that are not applied are named.
_NAMED = 5
# So often the stage begins again because somebody decided meanwhile.
_ATTEMPTS = 10
# Soft labels, as numbers, that are in memory at a time.
_PORTION_ENTRIES = 2**21
# The actions that metrics always name, whatever the method.
_ACTIONS = ("trusted", "relabelled", "softened", "kept", "dropped", "reviewed")


def pseudo_label(params: Params, workspace: Path) -> None:
    """Write data/training_set.parquet, of every row what became of it, and metrics/training_set.json.

    What people decided in reviews/decisions.csv outranks the model. Decisions that no longer fit their row
    are counted and printed, not applied. DVC takes the digest of that file after the stage: a decision that
    comes while it runs would count as applied, so the stage ends only with the file that it began with.

    Raises:
        ArtifactError: an input is missing or not what it should be, or people decide faster than this runs.
        RepairError: no label may be changed, and `on_weak_model` is `stop`.
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
    evidence, facts = read_evidence(workspace, section)
    made = repair_by(params, evidence)
    confusion = count_confusions(evidence.labels, evidence.suggested, facts.n_classes)
    brake = apply_brake(confusion, float(made.is_changed.mean()), section.max_changed_share)
    sentence = describe_brake(brake, made, section)
    if sentence and section.on_weak_model == "stop":
        raise RepairError(sentence)
    if sentence and section.on_weak_model == "rank_only":
        made = leave_as_given(evidence.labels, evidence.is_issue, facts.n_classes)
    verdicts = match_decisions(decisions, evidence.ids, evidence.labels, facts.class_names)
    repair = apply_decisions(made, verdicts)
    write_training_set(TRAINING_SET.at(workspace), evidence, repair, facts)

    actions, counts = np.unique(repair.action, return_counts=True)
    found = dict(zip(actions.tolist(), counts.tolist(), strict=True))
    metrics: dict[str, Any] = {
        "n_rows_before": len(evidence.ids),
        "n_rows_after": int(repair.is_kept.sum()),
        "actions": {**dict.fromkeys(_ACTIONS, 0), **found},
        "brake": {
            "agreement": brake.agreement,
            "changed_share": brake.changed_share,
            "reason": brake.reason,
            "is_on": bool(sentence) and section.on_weak_model == "rank_only",
            "sentence": sentence,
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
    if (truth := read_truth(workspace, evidence.ids)) is not None:
        pseudo, kept = repair.source == "pseudo", repair.is_kept
        metrics["label_accuracy"] = {
            "before": _accuracy(evidence.labels, truth),
            "after": _accuracy(repair.label[kept], truth[kept]),
            "of_pseudo_labels": _accuracy(repair.label[pseudo], truth[pseudo]),
        }
    write_json(workspace / "metrics" / "training_set.json", metrics)
    return metrics, verdicts


def read_evidence(workspace: Path, section: PseudoLabel) -> tuple[Evidence, DatasetFacts]:
    """What is known of the rows of data/label_issues.parquet.

    Raises:
        ArtifactError: a table is missing or not what it should be.
    """
    path = LABEL_ISSUES.at(workspace)
    tables = [TableReader(each.at(workspace), each, []) for each in (LABEL_ISSUES, PRED_PROBS, GIVEN_LABELS)]
    check_same_import({table.where: table.metadata(MARK) for table in tables})
    columns = ["given_label", "suggested_label", "suggested_prob", "is_issue"]
    issues = read_table(path, LABEL_ISSUES, columns=columns)
    facts = read_facts(issues, str(path))
    ids = column_array(issues, "example_id")
    predictions = TableReader(PRED_PROBS.at(workspace), PRED_PROBS, ["pred_probs"])

    def pred_probs(rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        if not len(rows):
            return np.zeros((0, facts.n_classes), dtype=np.float32)
        return column_array(predictions.rows(ids[rows], ["pred_probs"]), "pred_probs")

    evidence = Evidence(
        ids=ids,
        labels=column_array(issues, "given_label").astype(np.int64),
        is_issue=column_array(issues, "is_issue"),
        suggested=column_array(issues, "suggested_label").astype(np.int64),
        suggested_prob=column_array(issues, "suggested_prob"),
        n_classes=facts.n_classes,
        pred_probs=pred_probs,
        min_confidence=section.min_confidence,
        otherwise=section.otherwise,
    )
    return evidence, facts


def repair_by(params: Params, evidence: Evidence) -> Repair:
    """What the chosen method makes of the rows."""
    name = params.pseudo_label.method
    method = plugins.load("pseudo_labels", name)
    made: Repair = method.repair(
        evidence, params.options("pseudo_labels", name), None, np.random.default_rng(params.pseudo_label.seed)
    )
    return made


def describe_brake(brake: Brake, made: Repair, section: PseudoLabel) -> str | None:
    """Why no label is changed, what helps, and how to change them all the same; None where labels may be."""
    n_changed, n_rows = int(made.is_changed.sum()), len(made.label)
    if brake.reason is None or not n_changed or section.on_weak_model == "go_on":
        return None
    overrule = "To change labels all the same, set pseudo_label.on_weak_model to go_on."
    if brake.reason == "near_chance":
        return (
            "No label is changed: the classifier agrees with the given labels little more than chance does "
            f"(agreement {brake.agreement:.2f}; 0 is chance, 1 is all, {LEAST_AGREEMENT} is needed), so its "
            f"{n_changed:,} changes of {n_rows:,} rows are not to be trusted. More rows, a stronger model "
            "(train_fold.model) or more epochs help. "
            f"{overrule}"
        )
    return (
        f"No label is changed: {n_changed:,} of {n_rows:,} rows ({brake.changed_share:.0%}) would be, more "
        f"than pseudo_label.max_changed_share ({section.max_changed_share:.0%}) allows. A stronger model "
        f"(train_fold.model) or a stricter filter (prune.filter_by) helps. {overrule}"
    )


def write_training_set(path: Path, evidence: Evidence, repair: Repair, facts: DatasetFacts) -> None:
    """Write what became of every row; `soft_label` is null where the label is hard."""
    step = max(_PORTION_ENTRIES // facts.n_classes, 1)
    with write_stream(path, TRAINING_SET, facts) as append:
        for start in range(0, len(evidence.ids), step):
            part = slice(start, min(start + step, len(evidence.ids)))
            n = part.stop - part.start
            first, last = np.searchsorted(repair.soft_rows, (part.start, part.stop))
            soft = np.zeros((n, facts.n_classes), dtype=np.float32)
            is_hard = np.ones(n, dtype=bool)
            places = repair.soft_rows[first:last] - part.start
            soft[places], is_hard[places] = repair.soft_label[first:last], False
            append(
                {
                    "example_id": evidence.ids[part],
                    "label": repair.label[part],
                    "soft_label": tensor_column(soft, is_hard),
                    "weight": repair.weight[part],
                    "action": repair.action[part],
                    "source": repair.source[part],
                    "given_label": evidence.labels[part],
                }
            )


def read_truth(workspace: Path, ids: npt.NDArray[np.int64]) -> npt.NDArray[Any] | None:
    """(N,) the true label of each row, if that is known of all of them."""
    path = GIVEN_LABELS.at(workspace)
    given = join(read_table(path, GIVEN_LABELS, columns=["true_label"]), ids, str(path))
    return None if given.column("true_label").null_count else column_array(given, "true_label")


def _say_done(metrics: dict[str, Any]) -> None:
    done = ", ".join(f"{count:,} {name}" for name, count in metrics["actions"].items() if count)
    if metrics["brake"]["sentence"]:
        print(f"pseudo_label: {metrics['brake']['sentence']}")
    print(
        f"pseudo_label: {metrics['n_rows_after']:,} of {metrics['n_rows_before']:,} rows to train on "
        f"({done}), {TRAINING_SET.path}"
    )


def _say_refused(verdicts: Verdicts) -> None:
    console = Console(markup=False, highlight=False)
    if verdicts.refused:
        console.print(f"{PATH}: {len(verdicts.refused)} decision(s) not applied:")
    for decision, reason in verdicts.refused[:_NAMED]:
        console.print(f"  example {decision.example_id} ({decision.decision}, {decision.reviewer}): {reason}")


def _accuracy(labels: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    return float(np.mean(labels == truth)) if len(labels) else float("nan")
