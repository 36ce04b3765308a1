"""`python -m tasks explain KEY`: the life of one label, from what was given to what is trained on.

No stage: it reads what the stages wrote and changes nothing. What is not there yet is left out, and said.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks import ArtifactError, RelabelError, plugins
from tasks.contents import OF_KIND
from tasks.decisions.apply import why_refused
from tasks.decisions.log import PATH, Decision, digest_of, outcomes, parse_decisions, read_whole
from tasks.decisions.provenance import current_revision
from tasks.params import Params, load_params
from tasks.tables.catalog import (
    EXAMPLES,
    FEATURES,
    FILTER_COLUMNS,
    GIVEN_LABELS,
    LABEL_ISSUES,
    PRED_PROBS,
    SPLIT_ROWS,
    TRAINING_SET,
    UNLABELED,
    UNLABELED_PROBS,
)
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import damaged
from tasks.tables.keys import example_id_of
from tasks.tables.portions import TableReader
from tasks.tables.proofs import OUT_OF_FOLD
from tasks.tables.schemas import Artifact, column_array, tensor_rows

_SCORES = (
    "error_prob",
    "self_confidence",
    "normalized_margin",
    "confidence_weighted_entropy",
    "importance",
    "importance_percentile",
    "contrast",
)
# Classes that a line names, the most probable first.
_MOST_CLASSES = 3
# Why a row was shown to the person who decided.
_REASONS = {"suspect": "shown as a suspect, ", "audit": "drawn at random, ", "": ""}


class Prediction(TypedDict):
    """What is predicted of a row, of no `fold` where it has no label, by class name."""

    fold: int | None
    is_out_of_fold: bool
    pred_probs: dict[str, float]


class Issue(TypedDict):
    """What `prune` says of a row: `rank` counts from 0, the most suspect, to `n_issues` less 1."""

    is_issue: bool
    contradicts: bool
    rank: int | None
    n_issues: int
    suggested_label: str
    suggested_prob: float
    second_opinion: str | None
    scores: dict[str, float | None]
    filters: dict[str, bool]
    filter_by: str
    rule: str | None


class Training(TypedDict):
    """What `pseudo_label` did, whether with the decisions as they are now, and what is trained on, if any."""

    action: str
    label: str | None
    soft_label: NotRequired[dict[str, float]]
    weight: NotRequired[float]
    source: NotRequired[str]
    up_to_date: bool


class Life(TypedDict):
    """All that is known of one example, labels by class name; None where there is no label.

    `prediction`, `issue` and `training` are None where the stage has not run or does not know the row.
    """

    example_id: int
    key: str
    dataset: str
    revision: str
    split: str
    original_split: str
    given_label: str | None
    true_label: str | None
    prediction: Prediction | None
    issue: Issue | None
    decisions: list[dict[str, str]]
    training: Training | None
    classifiers: dict[str, dict[str, float]]


class ExplainError(RelabelError):
    """There is nothing to explain."""


def explain(workspace: Path, arguments: Sequence[str]) -> None:
    """Print the life of the label that the command line names.

    Raises:
        RelabelError: there is no such example, or a file is not what it should be.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tasks explain",
        description="The life of one label: what was given, found and decided.",
        epilog="Over versions: `relabel explain KEY --history`, or `python -m flows.history KEY`.",
    )
    parser.add_argument("key", metavar="KEY", help="what you call the row: a path, a name, a number")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--no-classifiers", action="store_true", help="do not ask the retrained classifiers (some seconds)"
    )
    chosen = parser.parse_args(arguments)
    params = load_params(workspace / "params.yaml")
    life = describe_life(params, workspace, chosen.key, not chosen.no_classifiers)
    if chosen.json:
        print(json.dumps(life, indent=2))
    else:
        _print(life)


def describe_life(params: Params, workspace: Path, key: str, ask_classifiers: bool = True) -> Life:
    """All that is known of one example, as plain values.

    Raises:
        RelabelError: see `explain`.
    """
    data, example_id = workspace / "data", example_id_of(key)
    table = _row(data / "given_labels.parquet", GIVEN_LABELS, example_id)
    if table is None:
        columns = ["key", "split", "given_label", "true_label"]
        table = _row_if_made(data / "examples.parquet", EXAMPLES, example_id, columns)
    if table is None:
        said = f"expected the key of a row of the data set, found {key[:80]!r}, which is none."
        raise ExplainError(" ".join([said, *_left_out(data / "examples.parquet")]))
    facts = read_facts(table, str(data))
    names = facts.class_names
    (row,) = table.to_pylist()
    label = None if row["given_label"] is None else names[row["given_label"]]
    issue = _issue(data, example_id, names, params.prune.filter_by)
    decided = read_whole(workspace / PATH)
    lines = [line for line in parse_decisions(decided, workspace / PATH) if line.example_id == example_id]
    # `pseudo_label` knows the rows of the issues alone.
    is_known = issue is not None or not (data / "label_issues.parquet").exists()
    return {
        "example_id": example_id,
        "key": row["key"],
        "dataset": facts.dataset,
        "revision": current_revision(workspace),
        "split": row["split"],
        "original_split": _original_split(data, example_id) or row["split"],
        "given_label": label,
        "true_label": None if row["true_label"] is None else names[row["true_label"]],
        "prediction": _prediction(data, example_id, names, label is not None),
        "issue": issue,
        "decisions": _decisions(lines, label if is_known else None, names),
        "training": _training(workspace, example_id, names, issue, digest_of(decided)),
        "classifiers": _classifiers(params, workspace, example_id, facts) if ask_classifiers else {},
    }


def _row(
    path: Path, artifact: Artifact, example_id: int, columns: Sequence[str] | None = None
) -> pa.Table | None:
    """The row of a table, as a table; None if there is none. Only the part that may hold it is read."""
    table = TableReader(path, artifact, columns).find(np.array([example_id]))
    return table if table.num_rows else None


def _left_out(path: Path) -> list[str]:
    """What `download` said of rows that it left out, if there are any."""
    said = TableReader(path, EXAMPLES, []).metadata("left_out") if path.exists() else None
    return [] if said is None else [said]


def _original_split(data: Path, example_id: int) -> str | None:
    """The split that the data set came with; None where no stage wrote it down."""
    table = _row_if_made(data / "splits.parquet", SPLIT_ROWS, example_id)
    return None if table is None else str(table.column("original_split")[0])


def _row_if_made(
    path: Path, artifact: Artifact, example_id: int, columns: Sequence[str] | None = None
) -> pa.Table | None:
    return _row(path, artifact, example_id, columns) if path.exists() else None


def _prediction(data: Path, example_id: int, names: tuple[str, ...], is_labelled: bool) -> Prediction | None:
    """What is predicted of the row, and whether `aggregate` proved that its model did not learn from it."""
    artifact = PRED_PROBS if is_labelled else UNLABELED_PROBS
    path = artifact.at(data.parent)
    table = _row_if_made(path, artifact, example_id)
    if table is None:
        return None
    probs = column_array(table, "pred_probs")[0].tolist()
    return {
        "fold": table.column("fold")[0].as_py() if is_labelled else None,
        "is_out_of_fold": OUT_OF_FOLD.encode() in (pq.read_schema(path).metadata or {}),
        "pred_probs": dict(zip(names, probs, strict=True)),
    }


def _issue(data: Path, example_id: int, names: tuple[str, ...], filter_by: str) -> Issue | None:
    path = data / "label_issues.parquet"
    table = _row_if_made(path, LABEL_ISSUES, example_id)
    if table is None:
        return None
    (row,) = table.to_pylist()
    with damaged(path, LABEL_ISSUES):
        n_issues = pc.count(pq.read_table(path, columns=["rank"]).column("rank")).as_py()
    return {
        "is_issue": row["is_issue"],
        "contradicts": row["contradicts"],
        "rank": row["rank"],
        "n_issues": n_issues,
        "suggested_label": names[row["suggested_label"]],
        "suggested_prob": row["suggested_prob"],
        "second_opinion": None if row.get("second_opinion") is None else names[row["second_opinion"]],
        "scores": {name: row[name] for name in _SCORES},
        "filters": {name: row[name] for name in FILTER_COLUMNS},
        "filter_by": filter_by,
        "rule": (pq.read_schema(path).metadata or {}).get(b"rule", b"").decode() or None,
    }


def _decisions(
    lines: list[Decision], given_label: str | None, names: tuple[str, ...]
) -> list[dict[str, str]]:
    """The example's lines, with what became of each and why it is not applied, if it stands and is not."""
    return [
        {
            "decision": line.decision,
            "label": line.label,
            "given_label": line.given_label,
            "reviewer": line.reviewer,
            "time": line.time,
            "revision": line.revision,
            "reason": line.reason,
            "outcome": outcome,
            "not_applied": why_refused(line, given_label, names) if outcome == "stands" else "",
        }
        for line, outcome in zip(lines, outcomes(lines), strict=True)
    ]


def _training(
    workspace: Path, example_id: int, names: tuple[str, ...], issue: Issue | None, digest: str
) -> Training | None:
    path = workspace / "data" / "training_set.parquet"
    table = _row_if_made(path, TRAINING_SET, example_id)
    if table is None and (issue is None or not path.exists()):
        return None
    up_to_date = _applied(workspace / "metrics" / "training_set.json") == digest
    if table is None:
        raise ArtifactError(
            f"{path}: expected a row for every label issue, found none for {example_id}. Rebuild it with "
            "`dvc repro pseudo_label`."
        )
    (row,) = table.select(["label", "weight", "action", "source"]).to_pylist()
    if not row["weight"]:  # dropped, or only its content is used
        return {"action": row["action"], "label": None, "up_to_date": up_to_date}
    _, soft = tensor_rows(table, "soft_label")
    hard = [float(k == row["label"]) for k in range(len(names))]
    return {
        "action": row["action"],
        "label": names[row["label"]],
        "soft_label": dict(zip(names, soft[0].tolist() if len(soft) else hard, strict=True)),
        "weight": row["weight"],
        "source": row["source"],
        "up_to_date": up_to_date,
    }


def _applied(path: Path) -> str | None:
    """The digest of the decisions that `pseudo_label` applied; None if its metrics do not say so."""
    try:
        found = json.loads(path.read_text())["decisions"]["md5"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return str(found)


def _classifiers(
    params: Params, workspace: Path, example_id: int, facts: DatasetFacts
) -> dict[str, dict[str, float]]:
    """What each retrained classifier that is there says of the row, by its label set."""
    checkpoints = {
        name: workspace / "models" / f"{label_set.checkpoint}.ckpt"
        for name, label_set in params.retrain.label_sets.items()
    }
    checkpoints = {name: path for name, path in checkpoints.items() if path.exists()}
    # Some models learn from features of the rows.
    is_extracted = hasattr(plugins.load("models", params.train_fold.model), "extract")
    artifact, kind = (FEATURES, "features") if is_extracted else (EXAMPLES, facts.content)
    path = artifact.at(workspace)
    if not checkpoints or not path.exists():
        return {}
    table = _row(path, artifact, example_id, [kind])
    if table is None:
        return {}
    # Imported here: a model may import torch, which takes seconds.
    from tasks.training.checkpoints import load_model

    content = OF_KIND[kind](column_array(table, kind))
    found = {}
    for name, checkpoint in checkpoints.items():
        model, learned = load_model(checkpoint)
        probs = model.predict(content).pred_probs[0]
        found[str(name)] = dict(zip(learned.class_names, probs.tolist(), strict=True))
    return found


def _print(life: Life) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, text in _lines(life):
        table.add_row(title, Text(text))
    Console().print(table)


def _lines(life: Life) -> list[tuple[str, str]]:
    prediction, issue, training = life["prediction"], life["issue"], life["training"]
    lines = [
        ("example", f"{life['key']} of {life['dataset']}, split {_split(life)}"),
        ("revision", life["revision"]),
        ("given label", life["given_label"] or "none: this row has no label"),
        ("true label", life["true_label"] or "not known"),
    ]
    if prediction:
        probs = _probabilities(prediction["pred_probs"], life["given_label"])
        if prediction["fold"] is None:
            lines += [
                ("prediction", probs),
                ("", "the mean of the folds' models; none learned a label of it"),
            ]
        elif prediction["is_out_of_fold"]:
            fold = f"fold {prediction['fold']}: its model did not learn from this row"
            lines += [("out of fold", probs), ("", fold)]
        else:
            unknown = "not by `aggregate`: whether its model learned from this row is not on record"
            lines += [("prediction", probs), ("", unknown)]
    else:
        lines.append(("out of fold", "no prediction of this row"))
    if issue:
        lines += _issue_lines(issue)
    else:
        lines.append(("label issue", "not looked for" if life["given_label"] else "none, without a label"))
    lines += [("decision", _decision_line(line)) for line in life["decisions"]] or [("decisions", "none")]
    if training:
        lines.append(("pseudo_label", training["action"]))
        label = (
            f"{training['label']}, source {training['source']}, weight {training['weight']:g}"
            if training["label"]
            else "not in it"
        )
        if not life["given_label"]:
            label = f"joined: {label}" if training["label"] else "did not join"
        if training["action"] == "softened":
            label += f"; {_probabilities(training['soft_label'])}"
        lines.append(("training set", label))
        if not training["up_to_date"]:
            lines.append(("", "data/training_set.parquet was made with other decisions: run `dvc repro`"))
    else:
        is_meant = life["split"] in ("train", UNLABELED)
        lines.append(("training set", "not made yet" if is_meant else "not in it"))
    for name, found in life["classifiers"].items():
        lines.append((f"trained on {name}", _probabilities(found, life["given_label"])))
    if life["classifiers"] and life["split"] == "train":
        lines.append(("", "these classifiers may have learned from this row"))
    return lines


def _split(life: Life) -> str:
    pooled = life["original_split"] != life["split"]
    return f"{life['original_split']}, pooled with {life['split']}" if pooled else str(life["split"])


def _issue_lines(issue: Issue) -> list[tuple[str, str]]:
    suggestion = f"suggested {issue['suggested_label']} ({issue['suggested_prob']:.2%})"
    flagged = [name for name, flag in issue["filters"].items() if flag]
    others = [name for name, flag in issue["filters"].items() if not flag]
    suspects = f"{issue['n_issues']:,} suspects"
    place = "no" if issue["rank"] is None else f"{_ordinal(issue['rank'] + 1)} of {suspects}"
    verdict = f"yes, {place}" if issue["is_issue"] else "no"
    if issue["second_opinion"]:
        suggestion += f", a second opinion says {issue['second_opinion']}"
    scores = ", ".join(
        f"{name} {'not measured' if value is None else f'{value:.4g}'}"
        for name, value in issue["scores"].items()
    )
    return [
        ("label issue", f"{verdict} (by {issue['filter_by']}); {suggestion}"),
        *(
            [("contradiction", f"yes, {place}: a copy of this row has another label")]
            if issue["contradicts"]
            else []
        ),
        *([("rule", issue["rule"])] if issue["rule"] else []),
        ("scores", scores),
        ("flagged by", ", ".join(flagged) or "no filter"),
        ("not by", ", ".join(others) or "none"),
    ]


def _ordinal(number: int) -> str:
    teens = number % 100 in (11, 12, 13)
    return f"{number:,}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _decision_line(line: dict[str, str]) -> str:
    said = f"{line['decision']} {line['label']}".rstrip()
    outcome = f"stands, not applied: {line['not_applied']}" if line["not_applied"] else line["outcome"]
    seen = f"{_REASONS[line['reason']]}of {line['given_label']}, at {line['revision']}"
    return f"{line['time']} {line['reviewer']}: {said} ({seen}): {outcome}"


def _probabilities(probs: dict[str, float], also: str | None = None) -> str:
    """The most probable classes, and `also` if it is not among them."""
    top = sorted(probs, key=lambda name: -probs[name])[:_MOST_CLASSES]
    named = top if also is None or also in top else [*top, also]
    return ", ".join(f"{name} ({probs[name]:.2%})" for name in named if name in probs)
