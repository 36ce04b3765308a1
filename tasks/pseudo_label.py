"""Stage `pseudo_label`: the repaired training set, with what became of every row and why.

Memory follows the rows, some 200 bytes each, not the probabilities: of those, a portion is read at a time.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console

from tasks import RepairError, plugins
from tasks.decisions.apply import Verdicts, apply_decisions, match_decisions
from tasks.decisions.audited import audit_cut
from tasks.decisions.log import PATH, Decision, digest_of, parse_decisions, standing, with_whole
from tasks.gated_repair import Held, gate_metrics, hold_back, judge
from tasks.held_out_proof import compare_on_held_out
from tasks.label_quality.class_losses import describe_losses
from tasks.label_quality.gate_words import describe_gate
from tasks.label_quality.self_tests.words import SelfTestMetrics
from tasks.params import Params, PseudoLabel
from tasks.repair import (
    AuditMetrics,
    Evidence,
    Repair,
    RepairMetrics,
    Train,
    Unlabeled,
    UnlabeledMetrics,
    label_unlabeled,
    least_taken,
)
from tasks.students import Round, best_of, is_of_use, make_train, teach, unlabeled_of
from tasks.tables.catalog import (
    EXAMPLES,
    FOLD_UNLABELED_PROBS,
    GIVEN_LABELS,
    LABEL_ISSUES,
    PRED_PROBS,
    TRAINING_SET,
    UNLABELED_PROBS,
)
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.files import write_json
from tasks.tables.io import read_table, tensor_column, write_stream
from tasks.tables.joins import join
from tasks.tables.portions import TableReader
from tasks.tables.proofs import MARK, check_same_import
from tasks.tables.schemas import column_array

# So many of the decisions that are not applied are named.
_NAMED = 5
# Soft labels, as numbers, that are in memory at a time.
_PORTION_ENTRIES = 2**21
# The actions that metrics always name, whatever the method.
_ACTIONS = ("trusted", "relabelled", "softened", "kept", "dropped", "reviewed")


def pseudo_label(params: Params, workspace: Path) -> None:
    """Write data/training_set.parquet, of every row what became of it, and metrics/training_set.json.

    What people decided in reviews/decisions.csv outranks the model. Decisions that no longer fit their row
    are counted and printed, not applied; those about rows that measure the repair are for `report`.

    Raises:
        ArtifactError: an input is missing or not what it should be, or people decide faster than this runs.
        RepairError: no label may be changed, and `on_weak_model` is `stop`.
    """
    metrics, verdicts = with_whole(
        workspace / PATH, lambda decided: _write_training_set(params, workspace, decided)
    )
    _say_refused(verdicts)
    _say_done(metrics)


def _write_training_set(params: Params, workspace: Path, decided: bytes) -> tuple[RepairMetrics, Verdicts]:
    """Write both files; `decided` is what reviews/decisions.csv holds. Returns the metrics too."""
    section = params.pseudo_label
    decisions = of_training_rows(workspace, standing(parse_decisions(decided, workspace / PATH)))
    evidence, facts = read_evidence(workspace, section)
    check_every_class_has_a_label(evidence, facts)
    verdicts = match_decisions(decisions, evidence.ids, evidence.labels, facts.class_names)
    audited: AuditMetrics | None = None
    if section.min_confidence == "audited":
        evidence, audited = audit_cut(evidence, verdicts, section.audit.seed, section.audit.precision)
    train = make_train(params, workspace)
    evidence, rounds = teach_students(params, workspace, evidence, train)
    made = repair_by(params, evidence, train)
    if rounds and not is_of_use(rounds):
        made = take_none(made, evidence)
    second, self_tests = read_self_tests(workspace)
    gate = judge(made, evidence, section.max_changed_share, second, self_tests)
    nothing = np.zeros(len(evidence.ids), dtype=bool)
    held = Held(made, nothing, nothing, nothing)
    is_applied = section.on_weak_model != "go_on"
    if is_applied:
        left = hold_back(made, evidence, gate, second).repair
        gate = gate.after_proof(compare_on_held_out(params, workspace, evidence, left, train))
        del left
        held = hold_back(made, evidence, gate, second)
        if "join" in gate.closed:
            held = replace(held, repair=take_none(held.repair, evidence))
        if gate.closed and section.on_weak_model == "stop":
            raise RepairError(describe_gate(gate))
    del made
    repair = apply_decisions(held.repair, verdicts)
    write_training_set(TRAINING_SET.at(workspace), evidence, repair, facts)

    actions, counts = np.unique(repair.action, return_counts=True)
    found = dict(zip(actions.tolist(), counts.tolist(), strict=True))
    metrics: RepairMetrics = {
        "n_rows_before": len(evidence.ids),
        "n_rows_after": int(repair.is_kept.sum()) + repair.n_joined,
        "actions": {**dict.fromkeys(_ACTIONS, 0), **found},
        "gate": gate_metrics(gate, held, evidence.labels, facts.class_names, is_applied=is_applied),
        "decisions": {
            "md5": digest_of(decided),
            **verdicts.counts(),
            "not_applied": len(verdicts.refused),
            "not_applied_first": [
                {"key": decision.key, "example_id": decision.example_id, "reason": reason}
                for decision, reason in verdicts.refused[:_NAMED]
            ],
        },
    }
    if audited:
        metrics["audited"] = audited
    if (truth := read_truth(workspace, evidence.ids)) is not None:
        pseudo, kept = repair.source == "pseudo", repair.is_kept
        metrics["label_accuracy"] = {
            "before": _accuracy(evidence.labels, truth),
            "after": _accuracy(repair.label[kept], truth[kept]),
            "of_pseudo_labels": _accuracy(repair.label[pseudo], truth[pseudo]),
        }
    if evidence.unlabeled is not None and repair.unlabeled is not None:
        metrics["unlabeled"] = describe_unlabeled(
            workspace, evidence.unlabeled, repair.unlabeled, rounds, facts
        )
    write_json(workspace / "metrics" / "training_set.json", metrics)
    return metrics, verdicts


def of_training_rows(workspace: Path, decisions: list[Decision]) -> list[Decision]:
    """The decisions without those about labelled rows that are not trained on."""
    path = GIVEN_LABELS.at(workspace)
    if not decisions or not path.exists():
        return decisions
    table = read_table(path, GIVEN_LABELS, columns=["split"])
    ids, split = column_array(table, "example_id"), column_array(table, "split")
    others = set(ids[split != "train"].tolist())
    return [decision for decision in decisions if decision.example_id not in others]


def describe_unlabeled(
    workspace: Path, rows: Unlabeled, made: Repair, rounds: Sequence[Round], facts: DatasetFacts
) -> UnlabeledMetrics:
    """How many rows without a label joined the training set, of which classes, and how many are right."""
    joined = made.is_kept
    counts = np.bincount(made.label[joined], minlength=facts.n_classes)
    found: UnlabeledMetrics = {
        "n_rows": len(rows.ids),
        "n_joined": int(joined.sum()),
        "joined_by_class": dict(zip(facts.class_names, counts.tolist(), strict=True)),
        "is_of_use": is_of_use(rounds) if rounds else None,
        "rounds": [
            {"out_of_fold_accuracy": each.accuracy, "n_joined": round(each.n_joined)} for each in rounds
        ],
    }
    true = (
        TableReader(EXAMPLES.at(workspace), EXAMPLES, []).rows(rows.ids, ["true_label"]).column("true_label")
    )
    if not true.null_count:
        truth = true.to_numpy()
        for shown, each in zip(found["rounds"], rounds, strict=True):
            shown["label_accuracy"] = _accuracy(each.pred_probs.mean(axis=0).argmax(axis=1), truth)
        found["label_accuracy"] = {
            "of_all": _accuracy(rows.suggested, truth),
            "of_joined": _accuracy(made.label[joined], truth[joined]),
        }
    return found


def read_evidence(workspace: Path, section: PseudoLabel) -> tuple[Evidence, DatasetFacts]:
    """What is known of the rows of data/label_issues.parquet.

    Raises:
        ArtifactError: a table is missing or not what it should be.
    """
    path = LABEL_ISSUES.at(workspace)
    tables = [TableReader(each.at(workspace), each, []) for each in (LABEL_ISSUES, PRED_PROBS, GIVEN_LABELS)]
    check_same_import({table.where: table.metadata(MARK) for table in tables})
    columns = ["given_label", "suggested_label", "suggested_prob", "error_prob", "is_issue"]
    issues = read_table(path, LABEL_ISSUES, columns=columns)
    facts = read_facts(issues, str(path))
    ids = column_array(issues, "example_id")
    predictions = TableReader(PRED_PROBS.at(workspace), PRED_PROBS, ["pred_probs"])

    def pred_probs(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
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
        # Verdicts choose the cut later: until then no suggestion is taken.
        min_confidence=least_taken(1.0 if section.min_confidence == "audited" else section.min_confidence),
        otherwise=section.otherwise,
        error_prob=issues.column("error_prob").to_numpy(),
        unlabeled=read_unlabeled(workspace),
    )
    return evidence, facts


def read_unlabeled(workspace: Path) -> Unlabeled | None:
    """What is known of the rows of data/unlabeled_probs.parquet; None where there are none.

    Beside probabilities of one's own there is no such table.

    Raises:
        ArtifactError: the table is not what it should be.
    """
    path = UNLABELED_PROBS.at(workspace)
    reader = TableReader(path, UNLABELED_PROBS, []) if path.exists() else ()
    if not reader:
        return None
    ids = reader.column("example_id")
    suggested, prob = np.empty(len(ids), dtype=np.int64), np.empty(len(ids), dtype=np.float32)
    start = 0
    for table in reader.portions(["pred_probs"]):
        probs = column_array(table, "pred_probs")
        part = slice(start, start + len(probs))
        suggested[part], prob[part] = probs.argmax(axis=1), probs.max(axis=1)
        start = part.stop
    return Unlabeled(
        ids=ids,
        suggested=suggested,
        suggested_prob=prob,
        pred_probs=lambda rows: column_array(reader.rows(ids[rows], ["pred_probs"]), "pred_probs"),
    )


def check_every_class_has_a_label(evidence: Evidence, facts: DatasetFacts) -> None:
    """Refuse rows without a label that may be of a class that no model has seen.

    Raises:
        RepairError: there are such rows, and a class that no row is given.
    """
    counts = np.bincount(evidence.labels, minlength=facts.n_classes)
    for k in np.flatnonzero(counts == 0) if evidence.unlabeled else ():
        raise RepairError(
            f"Class `{facts.class_names[k]}` was expected to have at least one labelled training row, as "
            "rows without a label may be of it; found none. Label some, or take it out of the class names."
        )


def teach_students(
    params: Params, workspace: Path, evidence: Evidence, train: Train | None
) -> tuple[Evidence, list[Round]]:
    """The evidence with what the best round of students says of rows without a label, and all rounds.

    There are none without such rows, or where `pseudo_label.rounds` is 0. Memory holds the probabilities of
    the rows without a label once for each fold.

    Raises:
        ArtifactError: a table is missing or not what it should be.
        TrainingError: a student cannot learn.
    """
    rows, section = evidence.unlabeled, params.pseudo_label
    if rows is None or train is None or not section.rounds:
        return evidence, []
    fold = TableReader(PRED_PROBS.at(workspace), PRED_PROBS, ["fold"]).rows(evidence.ids, ["fold"])
    of_folds = [FOLD_UNLABELED_PROBS.at(workspace, fold=name) for name in params.train_fold.folds]
    tables = [read_table(path, FOLD_UNLABELED_PROBS) for path in of_folds]
    rounds = teach(
        evidence,
        rows,
        column_array(fold, "fold"),
        np.stack([column_array(join(table, rows.ids), "pred_probs") for table in tables]),
        lambda each: repair_by(params, each, train),
        train,
        section.rounds,
    )
    best = best_of(rounds)
    if best is not rounds[0]:
        evidence = replace(evidence, unlabeled=unlabeled_of(rows.ids, best.pred_probs.mean(axis=0)))
    return evidence, rounds


def repair_by(params: Params, evidence: Evidence, train: Train | None) -> Repair:
    """What the chosen method makes of the rows."""
    name = params.pseudo_label.method
    method = plugins.load("pseudo_labels", name)
    made: Repair = method.repair(
        evidence,
        params.options("pseudo_labels", name),
        train,
        np.random.default_rng(params.pseudo_label.seed),
    )
    return made if made.unlabeled else take_none(made, evidence)


def take_none(made: Repair, evidence: Evidence) -> Repair:
    """The same, with no row without a label joining the training set."""
    rows = evidence.unlabeled
    if rows is None:
        return made
    nothing = np.zeros(len(rows.ids), dtype=bool)
    return replace(made, unlabeled=label_unlabeled(rows, evidence.n_classes, nothing))


def read_self_tests(workspace: Path) -> tuple[npt.NDArray[np.int64] | None, SelfTestMetrics]:
    """(N,) the second opinion on each row, -1 where there is none, and what the self-tests found.

    The one is None, the other empty, where `prune` left none.
    """
    issues = TableReader(LABEL_ISSUES.at(workspace), LABEL_ISSUES, [], optional=["second_opinion"])
    self_tests: SelfTestMetrics = json.loads(issues.metadata("self_tests") or "{}")
    is_asked = self_tests and self_tests["second_opinion"]
    return (issues.column("second_opinion", null=-1) if is_asked else None), self_tests


def write_training_set(path: Path, evidence: Evidence, repair: Repair, facts: DatasetFacts) -> None:
    """Write what became of every row; `soft_label` is null where the label is hard.

    `given_label` is null of a row that had none.
    """
    ids, given, repair = in_order_of_ids(evidence, repair)
    step = max(_PORTION_ENTRIES // facts.n_classes, 1)
    with write_stream(path, TRAINING_SET, facts) as append:
        for start in range(0, len(ids), step):
            part = slice(start, min(start + step, len(ids)))
            n = part.stop - part.start
            first, last = np.searchsorted(repair.soft_rows, (part.start, part.stop))
            soft = np.zeros((n, facts.n_classes), dtype=np.float32)
            is_hard = np.ones(n, dtype=bool)
            places = repair.soft_rows[first:last] - part.start
            soft[places], is_hard[places] = repair.soft_label[first:last], False
            append(
                {
                    "example_id": ids[part],
                    "label": repair.label[part],
                    "soft_label": tensor_column(soft, is_hard),
                    "weight": repair.weight[part],
                    "action": repair.action[part],
                    "source": repair.source[part],
                    "given_label": pa.array(given[part], pa.int16(), mask=given[part] < 0),
                }
            )


def in_order_of_ids(
    evidence: Evidence, repair: Repair
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Repair]:
    """(N + U,) ids ascending, given labels (-1: none), and what became of all rows, as one."""
    rows, others = evidence.unlabeled, repair.unlabeled
    if rows is None or others is None:
        return evidence.ids, evidence.labels, repair
    ids = np.concatenate([evidence.ids, rows.ids])
    order = np.argsort(ids)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    soft_rows = place[np.concatenate([repair.soft_rows, len(evidence.ids) + others.soft_rows])]
    by_place = np.argsort(soft_rows)
    both = Repair(
        label=np.concatenate([repair.label, others.label])[order],
        weight=np.concatenate([repair.weight, others.weight])[order],
        action=np.concatenate([repair.action, others.action])[order],
        source=np.concatenate([repair.source, others.source])[order],
        soft_rows=soft_rows[by_place],
        soft_label=np.concatenate([repair.soft_label, others.soft_label])[by_place],
    )
    given = np.concatenate([evidence.labels, np.full(len(rows.ids), -1)])
    return ids[order], given[order], both


def read_truth(workspace: Path, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.integer] | None:
    """(N,) the true label of each row, if that is known of all of them."""
    path = GIVEN_LABELS.at(workspace)
    given = join(read_table(path, GIVEN_LABELS, columns=["true_label"]), ids, str(path))
    return None if given.column("true_label").null_count else column_array(given, "true_label")


def _say_done(metrics: RepairMetrics) -> None:
    done = ", ".join(f"{count:,} {name}" for name, count in metrics["actions"].items() if count)
    if "audited" in metrics:
        print(f"pseudo_label: {metrics['audited']['sentence']}")
    if metrics["gate"]["sentence"]:
        print(f"pseudo_label: {metrics['gate']['sentence']}")
    if contested := metrics["gate"]["n_contested"]:
        print(f"pseudo_label: labels kept, as the second opinion takes their side: {contested:,}")
    if doubtful := metrics["gate"]["n_doubtful"]:
        print(
            f"pseudo_label: rows not dropped, as their label may well be right (relabel review): {doubtful:,}"
        )
    for sentence in describe_losses(metrics["gate"]["class_losses"]):
        print(f"pseudo_label: {sentence}")
    others = metrics.get("unlabeled")
    for number, found in enumerate(others["rounds"] if others else ()):
        right = f", {found['label_accuracy']:.2%} of all right" if "label_accuracy" in found else ""
        print(
            f"pseudo_label: round {number}: {found['out_of_fold_accuracy']:.2%} of the labelled rows "
            f"predicted as given out of fold, from {found['n_joined']:,} rows without a label{right}"
        )
    if others and others["is_of_use"] is False:
        is_tried = any(found["n_joined"] for found in others["rounds"])
        why = (
            "models that learned from such rows too know labelled rows no better out of fold"
            if is_tried
            else "the models are sure of hardly any"
        )
        print(
            f"pseudo_label: no row without a label joins, as {why}. More labels or a stronger model help; "
            "pseudo_label.rounds 0 skips this proof."
        )
    n_labelled = metrics["n_rows_after"] - (others["n_joined"] if others else 0)
    joined = f", and {others['n_joined']:,} of {others['n_rows']:,} without a label" if others else ""
    print(
        f"pseudo_label: {n_labelled:,} of {metrics['n_rows_before']:,} rows to train on ({done}){joined}, "
        f"{TRAINING_SET.path}"
    )


def _say_refused(verdicts: Verdicts) -> None:
    console = Console(markup=False, highlight=False)
    if verdicts.refused:
        console.print(f"{PATH}: {len(verdicts.refused)} decision(s) not applied:")
    for decision, reason in verdicts.refused[:_NAMED]:
        console.print(f"  example {decision.key} ({decision.decision}, {decision.reviewer}): {reason}")


def _accuracy(labels: npt.NDArray[np.integer], truth: npt.NDArray[np.integer]) -> float:
    return float(np.mean(labels == truth)) if len(labels) else float("nan")
