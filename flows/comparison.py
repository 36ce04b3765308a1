"""What differs between versions of the pipeline: parameters, metrics, and the labels row by row."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flows import FlowError
from flows.dvc_api.revisions import WORKSPACE, Revision, RevisionError, open_revisions
from flows.dvc_api.stale import behind, changed_since
from flows.first_edition import rename_parameters
from tasks import ArtifactError
from tasks.label_quality.changes import (
    ACTIONS,
    NO_LABEL,
    OUTCOMES,
    action_indices,
    common_rows,
    derive_actions,
    find_changes,
    flow_matrix,
    jaccard,
    judge_labels,
    most_changed,
    share_margin,
    sign_test,
    total_variation,
)
from tasks.page import Content, read_contents
from tasks.plugins import KINDS
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS, TRAINING_SET
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.joins import locate
from tasks.tables.schemas import column_array

Better = Literal["higher", "lower"]
Floats = npt.NDArray[np.float64]

ISSUES, TRAINING = "data/label_issues.parquet", "data/training_set.parquet"
GIVEN, PROBS = "data/given_labels.parquet", "data/pred_probs.parquet"
EXAMPLES = "data/examples.parquet"
MOST_CHANGED = 25
# From here on the probability of some set of classes moved by at least a percentage point.
MIN_DISTANCE = 0.01

_HIGHER = {
    *("accuracy", "precision", "recall", "f1", "average_precision", "auroc"),
    *("after", "of_pseudo_labels"),
}
_LOWER = {"log_loss", "expected_calibration_error"}
# More agreement with labels that may be wrong, or fewer errors in the data, is no merit of a version.
_NEUTRAL = ("cross_validation: given.",)
# Shares of rows, and of which rows they are shares; what is not here has no sampling error that is known.
_SHARE_OF = {
    "test.accuracy": ("n_test_rows",),
    "true.accuracy": ("n_rows",),
    "precision": ("n_issues",),
    "recall": ("n_errors",),
    "label_accuracy.after": ("n_rows_after",),
    "label_accuracy.of_pseudo_labels": ("actions.relabelled", "actions.softened"),
}
_LEAST_DIFFERENCE = 1e-4
_OF_CLASS = (
    *("newly flagged", "no longer flagged", "suggested differently"),
    *("newly relabelled", "newly dropped", "trained on another label"),
)
_SHOWN_CLASSES = 3


@dataclass(frozen=True)
class Version:
    """A version as the comparison names it; `commit` is None for the workspace."""

    name: str
    commit: str | None
    title: str


@dataclass(frozen=True)
class Param:
    """A parameter that differs. `values` has no entry for a version that does not know it."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A number of metrics/*.json in each version that has it, and less the base's in the others.

    `better` is None where neither direction is. `margins`: of shares of rows, by how much the version may
    differ from the base by the draw of the rows alone; see `share_margin`. `within_error`: versions that
    differ from the base by no more. `best` are the versions with the best value, and those that differ from
    that by no more; none where these are all. `differs`: not one value, or missing in a version that has
    metrics, or in all but one. `is_detail` marks numbers of single classes or pairs of them.
    """

    name: str
    better: Better | None
    values: Mapping[str, float]
    deltas: Mapping[str, float]
    margins: Mapping[str, float]
    within_error: tuple[str, ...]
    best: tuple[str, ...]
    differs: bool
    is_detail: bool


@dataclass(frozen=True)
class Judgement:
    """What one version says of a row; `action` and `label` are None where it has no training set."""

    given: str
    suggested: str
    suggested_prob: float
    is_issue: bool
    action: str | None
    label: str | None


@dataclass(frozen=True)
class ChangedRow:
    """One of the most changed rows.

    Attributes:
        example_id: its id.
        true: its true class, None where not known.
        distance: total variation between the versions' probabilities, in [0, 1].
        old, new: what the base and the other version say.
        probs: by class the probability in either, None where unknown; the classes in question alone.
        content: its picture or text, where it was asked for and is there.
    """

    example_id: int
    true: str | None
    distance: float
    old: Judgement
    new: Judgement
    probs: Mapping[str, tuple[float | None, float | None]]
    content: Content | None = None

    @property
    def key(self) -> str:
        """What a page calls the row."""
        return f"example {self.example_id}"


@dataclass(frozen=True)
class Truth:
    """Which version was right, over the rows whose truth is known.

    `table[i][j]`: rows that are OUTCOMES[i] in the base and OUTCOMES[j] in the other version. `ids` has the
    rows of each cell off the diagonal, by outcome in the base and in the other version. `p_value` is that of
    McNemar's exact test, on the rows that one version alone has right and neither drops.
    """

    n_rows: int
    table: tuple[tuple[int, ...], ...]
    p_value: float
    ids: Mapping[str, Mapping[str, tuple[int, ...]]]


@dataclass(frozen=True)
class RowChanges:
    """How the labels of a version differ from those of the base, over the rows that both have.

    Attributes:
        base, version: their names.
        n_rows: rows in both; the others are left out.
        n_only_base, n_only_version: rows that one alone has.
        n_issues: label issues of either.
        agreement: Jaccard index of the two sets of issues; None where both are empty.
        changes: ids of the changed rows, by kind of change; see `find_changes`.
        flow: `flow[i][j]` rows from ACTIONS[i] to ACTIONS[j]; None where a version has no training set.
        classes: by class, of the rows given it in the new version (or, no longer flagged, in the base), how
            many changed, by kind.
        truth: None where it is not known.
        n_changed: rows with another fate, judged otherwise, or with other probabilities.
        most_changed: those of them that changed most, the most first; see `most_changed`.
    """

    base: str
    version: str
    n_rows: int
    n_only_base: int
    n_only_version: int
    n_issues: tuple[int, int]
    agreement: float | None
    changes: Mapping[str, tuple[int, ...]]
    flow: tuple[tuple[int, ...], ...] | None
    classes: Mapping[str, Mapping[str, int]]
    truth: Truth | None
    n_changed: int
    most_changed: tuple[ChangedRow, ...]


@dataclass(frozen=True)
class Comparison:
    """Versions beside the first of them, the base.

    `params` are those that differ, `metrics` all, `rows` one for each version that can be compared row by
    row; `notes` are sentences on what cannot be compared, and on results that are not what they seem.
    """

    versions: tuple[Version, ...]
    params: tuple[Param, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[RowChanges, ...]
    notes: tuple[str, ...]

    def json(self) -> str:
        """The comparison as JSON: without contents, and with null for what is not known."""
        content = asdict(self)
        for rows in content["rows"]:
            for row in rows["most_changed"]:
                text = (row.pop("content") or {}).get("text")
                row |= {} if text is None else {"text": text}
        for param in content["params"]:
            param["values"] = {version: _finite(value) for version, value in param["values"].items()}
        content |= {"actions": ACTIONS, "outcomes": OUTCOMES}
        return json.dumps(content, indent=1, allow_nan=False, default=str)


@dataclass(frozen=True)
class Labels:
    """The labels of one version, in order of `ids`; `columns` as `find_changes` reads them."""

    revision: Revision
    facts: DatasetFacts
    ids: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[Any]]

    def of(self, places: npt.NDArray[np.intp]) -> dict[str, npt.NDArray[Any]]:
        """The columns of these rows."""
        return {name: values[places] for name, values in self.columns.items()}


def compare(revisions: Sequence[Revision], with_rows: bool = True, with_contents: bool = False) -> Comparison:
    """Compare versions with the first of them.

    Args:
        revisions: at least two, each once.
        with_rows: compare labels too, which needs the data of every version.
        with_contents: read the pictures or texts of the most changed rows. Texts are read in any case.

    Raises:
        FlowError: fewer than two versions, or one twice; a file cannot be had, or is of another layout.
    """
    names = [revision.name for revision in revisions]
    if len(names) < 2:
        raise FlowError(f"Expected at least two versions to compare, found {' '.join(names) or 'none'}.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise FlowError(f"Expected each version once, found {twice[0]} twice.")
    notes: list[str] = []
    params = {revision.name: rename_parameters(_params_of(revision, notes)) for revision in revisions}
    numbers = {revision.name: _metrics_of(revision) for revision in revisions}
    notes.extend(
        f"{name} has no metrics/*.json: none was made in that version, or committed."
        for name, found in numbers.items()
        if not found
    )
    other_data = {name: _other_data(params[names[0]], params[name]) for name in names[1:]}
    rows: list[RowChanges] = []
    if with_rows:
        rows, of_rows = _compare_rows(revisions, with_contents, notes)
        other_data |= of_rows
    notes.extend(
        f"The metrics of {name} and {names[0]} do not measure the same: {reason}. None is called better."
        for name, reason in other_data.items()
        if reason and numbers[name] and numbers[names[0]]
    )
    return Comparison(
        tuple(Version(revision.name, revision.commit, revision.title) for revision in revisions),
        tuple(_differing(params)),
        tuple(_measure(numbers, same_data=not any(other_data.values()))),
        tuple(rows),
        tuple(notes),
    )


def compare_versions(
    root: Path, names: Sequence[str], with_rows: bool = True, with_contents: bool = False
) -> Comparison:
    """Compare versions of the DVC repository `root` by name: `open_revisions`, then `compare`."""
    return compare(open_revisions(root, names), with_rows, with_contents)


# --- parameters ---------------------------------------------------------------------------------------------


def _params_of(revision: Revision, notes: list[str]) -> dict[str, Any]:
    """The parameters that made the results, as dvc.lock has them; of stages that never ran, params.yaml's."""
    wanted = flatten(revision.yaml("params.yaml"))
    stages: Mapping[str, Any] = revision.yaml("dvc.lock").get("stages") or {}
    used: dict[str, Any] = {}
    for name, stage in stages.items():
        found = flatten((stage.get("params") or {}).get("params.yaml") or {})
        own = {key: value for key, value in found.items() if key.split(".")[0] == name.split("@")[0]}
        used = found | used | own  # a stage's own section is as it last ran, whoever else lists it
    if not stages:
        notes.append(
            f"{revision.name} has no dvc.lock: no stage ran in that version, or its results "
            "were not committed (dvc.lock, metrics and params.yaml)."
        )
        return wanted
    sections = {key.split(".")[0] for key in used}
    stale = sorted(key for key in wanted.keys() | used.keys() if key.split(".")[0] in sections)
    stale = [key for key in stale if key not in used or key not in wanted or used[key] != wanted[key]]
    # Options of plug-ins that no stage used decide nothing.
    plug_ins = {_plug_in(key) for key in used}
    stale = [key for key in stale if _plug_in(key) is None or _plug_in(key) in plug_ins]
    if stale:
        said = ", ".join(f"{key} {show(used.get(key))}, now {show(wanted.get(key))}" for key in stale[:3])
        more = f" and {len(stale) - 3} more" if len(stale) > 3 else ""
        notes.append(
            f"{revision.name}: params.yaml was changed after the results were made ({said}{more}); results "
            "and parameters shown are those of the last run. `dvc repro` brings them together."
        )
    if late := behind(stages):
        notes.append(
            f"{revision.name}: {', '.join(late)} ran on older results than those of the stages before; "
            "`dvc repro` brings them together."
        )
    notes.extend(changed_since(revision, stages))
    made = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs") or ()}
    for path in (ISSUES, TRAINING) if revision.name == WORKSPACE else ():
        here, locked = revision.digest_on_disk(path), made.get(path)
        if here and locked and here != locked:
            notes.append(
                f"{WORKSPACE}: {path} is not the file that dvc.lock names; the rows shown are the file's. "
                "`dvc checkout` restores the one of dvc.lock, `dvc repro` makes a new one."
            )
    return {key: value for key, value in wanted.items() if key.split(".")[0] not in sections} | used


def _plug_in(key: str) -> str | None:
    """`models.convnet` of `models.convnet.max_lr`; None where a parameter is no option of a plug-in."""
    kind, name, *_ = [*key.split("."), ""]
    return f"{kind}.{name}" if kind in KINDS else None


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots; lists are values."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def show(value: Any) -> str:
    """A parameter's value as params.yaml would have it: a text in quotes where it were none without."""
    if not isinstance(value, str):
        found = _finite(value)
        return (
            found if isinstance(value, float) and isinstance(found, str) else json.dumps(found, default=str)
        )
    try:
        json.loads(value)
    except ValueError:
        return value if value.strip() else json.dumps(value)
    return json.dumps(value)


def _finite(value: Any) -> Any:
    """A parameter's value with YAML's names of the numbers that JSON has none for."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _differing(params: Mapping[str, Mapping[str, Any]]) -> Iterable[Param]:
    for name in dict.fromkeys(name for found in params.values() for name in found):
        values = {version: found[name] for version, found in params.items() if name in found}
        if len(values) < len(params) or len({show(value) for value in values.values()}) > 1:
            yield Param(name, values)


def _other_data(base: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Why the data of two versions are not the same by their parameters, if they are not."""
    old, new = (each.get("download.dataset") for each in (base, other))
    if None not in (old, new) and old != new:
        return _of_other_data_sets(old, new)
    old, new = (each.get("datasets.parquet.class_names") or [] for each in (base, other))
    return _of_other_classes(old, new) if old and new and old != new else None


def _of_other_data_sets(old: Any, new: Any) -> str:
    return f"they are of other data sets ({new} and {old})"


def _of_other_classes(old: Sequence[str], new: Sequence[str]) -> str:
    return f"their classes differ ({_list(new)} and {_list(old)})"


# --- metrics ------------------------------------------------------------------------------------------------


def _metrics_of(revision: Revision) -> dict[str, float]:
    """Every number of metrics/*.json, by `FILE: KEY`; entries of a list go by their `name`."""
    found: dict[str, float] = {}
    for path in revision.names("metrics/*.json"):
        try:
            content = json.loads(revision.text(path) or "{}")
        except ValueError as error:
            raise RevisionError(
                f"{revision.name}: {path}: expected JSON, found text that is none."
            ) from error
        stem = path.removeprefix("metrics/").removesuffix(".json")
        for key, value in flatten(_by_name(content)).items():
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                found[f"{stem}: {key}"] = value
    return found


def _by_name(content: Any) -> dict[str, Any]:
    """Metrics with lists of named entries, as in metrics/health.json, as mappings."""
    found = dict(content) if isinstance(content, dict) else {}
    for key, value in found.items():
        if isinstance(value, list) and all(isinstance(entry, dict) and "name" in entry for entry in value):
            found[key] = {str(entry["name"]): entry for entry in value}
    return found


def direction(name: str) -> Better | None:
    """Whether more or less of a metric is better."""
    leaf = name.split(": ")[-1].split(".")[-1]
    if name.startswith(_NEUTRAL):
        return None
    if leaf in _LOWER or "noise_matrix_l1_error" in name:
        return "lower"
    return "higher" if leaf in _HIGHER else None


def _measure(numbers: Mapping[str, Mapping[str, float]], same_data: bool) -> Iterable[Metric]:
    """All metrics; where the data are not alike in all versions none has a better value."""
    base, *others = numbers
    # Where one version alone has metrics, all of them are news.
    n_known = max(2, sum(bool(found) for found in numbers.values()))
    for name in dict.fromkeys(name for found in numbers.values() for name in found):
        values = {version: found[name] for version, found in numbers.items() if name in found}
        deltas = {each: values[each] - values[base] for each in others if each in values and base in values}
        better = direction(name) if same_data else None
        here = {each: numbers[each] for each in values}
        pairs = {each: (name, here[base], here[each]) for each in deltas if better}
        best: tuple[str, ...] = ()
        if better and len(set(values.values())) > 1:
            top = (max if better == "higher" else min)(values, key=values.__getitem__)
            best = tuple(each for each in values if _is_within_error(name, here[top], here[each]))
        differs = len(set(values.values())) > 1 or len(values) < n_known
        yield Metric(
            name,
            better,
            values,
            deltas,
            {each: margin for each, pair in pairs.items() if (margin := _margin(*pair)) is not None},
            tuple(each for each, pair in pairs.items() if _is_within_error(*pair)),
            best if len(best) < len(values) else (),
            differs,
            is_detail=name.count(".") > 1,
        )


def _margin(name: str, one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """The sampling error of the difference of a share of rows between two versions, where it is known."""
    stem, _, key = name.partition(": ")
    counts = [f"{stem}: {count}" for count in _SHARE_OF.get(key, ())]
    n_one, n_other = (sum(numbers.get(count, 0) for count in counts) for numbers in (one, other))
    return share_margin(one[name], n_one, other[name], n_other) if n_one and n_other else None


def _is_within_error(name: str, one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two versions differ by no more than the sampling error, or than four places show."""
    if abs(one[name] - other[name]) < _LEAST_DIFFERENCE:
        return True
    if name.endswith(": f1"):  # it is made of the two, and has no error of its own that is known
        parts = [name.removesuffix("f1") + part for part in ("precision", "recall")]
        return all(part in one and part in other and _is_within_error(part, one, other) for part in parts)
    margin = _margin(name, one, other)
    return margin is not None and abs(one[name] - other[name]) <= margin


# --- rows ---------------------------------------------------------------------------------------------------


def _compare_rows(
    revisions: Sequence[Revision], with_contents: bool, notes: list[str]
) -> tuple[list[RowChanges], dict[str, str]]:
    """What changed against the first; and by version why its rows are not those of the first, if so."""
    found = [_read_labels(revision, notes) for revision in revisions]
    base, others = found[0], [labels for labels in found[1:] if labels is not None]
    if base is None:
        return [], {}
    rows, reasons = [], {}
    for labels in others:
        reason = _incomparable(base, labels)
        if reason:
            reasons[labels.revision.name] = reason
            notes.append(
                f"The rows of {labels.revision.name} and {base.revision.name} cannot be compared: {reason}."
            )
        else:
            rows.append(_compare_labels(base, labels, with_contents, notes))
    return rows, reasons


def _read_labels(revision: Revision, notes: list[str]) -> Labels | None:
    if not revision.has(ISSUES):
        notes.append(
            f"{revision.name} has no {ISSUES}: `prune` has not run in it, so it has no rows to compare."
        )
        return None
    needed = ["given_label", "suggested_label", "suggested_prob", "self_confidence", "is_issue"]
    table = revision.table(ISSUES, LABEL_ISSUES, needed)
    ids = column_array(table, "example_id")
    columns = {name: column_array(table, name) for name in needed}
    columns |= {name: columns[name].astype(np.int64) for name in ("given_label", "suggested_label")}
    columns["truth"] = np.full(len(ids), NO_LABEL, dtype=np.int64)
    if revision.has(GIVEN):
        given = revision.table(GIVEN, GIVEN_LABELS, [], optional=["true_label"])
        if "true_label" in given.column_names:
            places = locate(column_array(given, "example_id"), ids, f"{revision.name}: {GIVEN}")
            columns["truth"] = (
                given.column("true_label").fill_null(NO_LABEL).to_numpy()[places].astype(np.int64)
            )
    if revision.has(TRAINING):
        columns |= _read_actions(revision, ids, columns["is_issue"])
    else:
        notes.append(f"{revision.name} has no {TRAINING}: what became of its label issues is not compared.")
    return Labels(revision, read_facts(table, f"{revision.name}: {ISSUES}"), ids, columns)


def _read_actions(
    revision: Revision, ids: npt.NDArray[np.int64], is_issue: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[Any]]:
    """What became of each row: `action`, an index in `ACTIONS`, and `label`, `NO_LABEL` where dropped."""
    table = revision.table(TRAINING, TRAINING_SET, ["label"], optional=["action"])
    of_table, places = _rows_among(ids, column_array(table, "example_id"))
    label = np.full(len(ids), NO_LABEL, dtype=np.int64)
    label[places] = column_array(table, "label")[of_table]
    if "action" in table.column_names:
        action = np.full(len(ids), ACTIONS.index("dropped"), dtype=np.int64)
        action[places] = action_indices(column_array(table, "action")[of_table])
        label[action == ACTIONS.index("dropped")] = NO_LABEL
        return {"label": label, "action": action}
    # The first edition wrote down neither dropped rows nor what became of the others.
    source = np.full(len(ids), "", dtype=object)
    there, is_soft = np.zeros((2, len(ids)), dtype=bool)
    for part in revision.portions(TRAINING, TRAINING_SET, ["source", "soft_label"]):
        of_part, places = _rows_among(ids, column_array(part, "example_id"))
        there[places] = True
        source[places] = column_array(part, "source")[of_part]
        is_soft[places] = column_array(part, "soft_label").max(axis=1)[of_part] < 1
    return {"label": label, "action": derive_actions(is_issue, there, source, is_soft)}


def _incomparable(old: Labels, new: Labels) -> str | None:
    """Why the rows of two versions are not the same things, if they are not."""
    if old.facts.dataset != new.facts.dataset:
        return _of_other_data_sets(old.facts.dataset, new.facts.dataset)
    if old.facts.class_names != new.facts.class_names:
        return _of_other_classes(old.facts.class_names, new.facts.class_names)
    if not np.intersect1d(old.ids, new.ids).size:
        return "they have no example_id in common"
    return None


def _list(names: Sequence[str]) -> str:
    return f"{len(names)}: {', '.join(map(str, names[:5]))}{', ...' if len(names) > 5 else ''}"


def _compare_labels(base: Labels, other: Labels, with_contents: bool, notes: list[str]) -> RowChanges:
    of_base, of_other = common_rows(base.ids, other.ids)
    ids = base.ids[of_base]
    old, new = base.of(of_base), other.of(of_other)
    names = base.facts.class_names
    title = f"{other.revision.name} and {base.revision.name}"
    if lost := len(base.ids) + len(other.ids) - 2 * len(ids):
        notes.append(f"{title}: {lost:,} rows are in one of them alone and left out.")
    files = [
        each.revision.digest_on_disk(EXAMPLES) or each.revision.digest(EXAMPLES) for each in (base, other)
    ]
    if None not in files and files[0] != files[1]:
        notes.append(
            f"{title}: {EXAMPLES} is not the same file; rows are taken to be the same by example_id."
        )
    known = (old["truth"] != NO_LABEL) & (new["truth"] != NO_LABEL)
    if n_other := int((known & (old["truth"] != new["truth"])).sum()):
        notes.append(
            f"{title}: {n_other:,} rows have another true label; which version is right is not asked there."
        )
    known &= old["truth"] == new["truth"]
    truth = np.where(known, old["truth"], NO_LABEL)

    masks = find_changes(old, new)
    with_actions = "action" in old and "action" in new
    judgement = masks["newly flagged"] | masks["no longer flagged"]
    fate = (
        judgement if not with_actions else (old["action"] != new["action"]) | (old["label"] != new["label"])
    )
    judgement = judgement | masks["suggested differently"] | masks["given differently"]
    distance = _distances(base.revision, other.revision, ids, old, new, notes)
    least = np.minimum(old["self_confidence"], new["self_confidence"])
    changed = most_changed(fate, judgement, distance, least, MIN_DISTANCE)
    rows = _describe(base, other, ids, changed[:MOST_CHANGED], old, new, truth, distance)
    if with_contents or base.facts.content == "text":
        rows = _with_contents(other.revision, base.revision, rows, notes)
    agreement = jaccard(old["is_issue"], new["is_issue"])
    return RowChanges(
        base.revision.name,
        other.revision.name,
        len(ids),
        len(base.ids) - len(ids),
        len(other.ids) - len(ids),
        (int(old["is_issue"].sum()), int(new["is_issue"].sum())),
        None if math.isnan(agreement) else agreement,
        {name: tuple(ids[mask].tolist()) for name, mask in masks.items()},
        _nested(flow_matrix(old["action"], new["action"])) if with_actions else None,
        _by_class(masks, old["given_label"], new["given_label"], names),
        _judge(ids, old["label"], new["label"], truth) if with_actions and known.any() else None,
        len(changed),
        tuple(rows),
    )


def _nested(matrix: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def _by_class(
    masks: Mapping[str, npt.NDArray[np.bool_]],
    old_given: npt.NDArray[np.int64],
    new_given: npt.NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    for change in (change for change in _OF_CLASS if change in masks):
        given = old_given if change == "no longer flagged" else new_given
        counts = np.bincount(given[masks[change]], minlength=len(names)).tolist()
        for name, count in zip(names, counts, strict=True):
            found[name][change] = count
    return found


def _judge(
    ids: npt.NDArray[np.int64],
    old: npt.NDArray[np.int64],
    new: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int64],
) -> Truth:
    known = truth != NO_LABEL
    of_old, of_new = (judge_labels(labels[known], truth[known]) for labels in (old, new))
    table = flow_matrix(of_old, of_new, len(OUTCOMES))
    right, wrong = OUTCOMES.index("right"), OUTCOMES.index("wrong")
    p_value = sign_test(int(table[right, wrong]), int(table[wrong, right]))
    cells = {
        was: {
            now: tuple(ids[known][(of_old == i) & (of_new == j)].tolist())
            for j, now in enumerate(OUTCOMES)
            if i != j
        }
        for i, was in enumerate(OUTCOMES)
    }
    return Truth(int(known.sum()), _nested(table), p_value, cells)


def _distances(
    base: Revision,
    other: Revision,
    ids: npt.NDArray[np.int64],
    old: Mapping[str, npt.NDArray[Any]],
    new: Mapping[str, npt.NDArray[Any]],
    notes: list[str],
) -> Floats:
    """Total variation between the probabilities of each row of `ids`, which ascend."""
    if not (base.has(PROBS) and other.has(PROBS)):
        notes.append(
            f"{other.name} and {base.name}: one of them has no {PROBS}; the most changed rows go by the "
            "probability of the given label alone."
        )
        same = old["given_label"] == new["given_label"]
        return np.where(same, np.abs(old["self_confidence"] - new["self_confidence"]), 0.0)
    digests = [each.digest_on_disk(PROBS) or each.digest(PROBS) for each in (base, other)]
    if digests[0] is not None and digests[0] == digests[1]:
        return np.zeros(len(ids))
    for revision in (base, other):
        found = revision.table(PROBS, PRED_PROBS, [])  # each id once
        locate(column_array(found, "example_id"), ids, f"{revision.name}: {PROBS}")
    distance = np.empty(len(ids))
    portions = (revision.portions(PROBS, PRED_PROBS, ["pred_probs"]) for revision in (base, other))
    for pair in _in_step(*portions):
        one, two = (column_array(part, "pred_probs") for part in pair)
        if one.shape[1] != two.shape[1]:
            raise RevisionError(
                f"{other.name}: {PROBS}: expected {one.shape[1]} probabilities a row as in {base.name}, "
                f"found {two.shape[1]}."
            )
        own = [column_array(part, "example_id") for part in pair]
        of_one, of_two = common_rows(*own)
        of_both, places = _rows_among(ids, own[0][of_one])
        distance[places] = total_variation(one[of_one[of_both]], two[of_two[of_both]])
    return distance


def _in_step(one: Iterator[pa.Table], other: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Pairs of portions such that rows of one id are together in one of them; ids ascend in either table."""
    first, second = next(one, None), next(other, None)
    while first is not None and second is not None:
        yield first, second
        ends = [column_array(part, "example_id")[-1] for part in (first, second)]
        if ends[0] <= ends[1]:
            first = next(one, None)
        if ends[1] <= ends[0]:
            second = next(other, None)


def _rows_among(
    ids: npt.NDArray[np.int64], own: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which of the ids of a portion, `own`, are among `ids`, and where they stand there; both ascend."""
    # Only the stretch of `ids` that the portion spans, or each portion would sort them all.
    low, high = np.searchsorted(ids, [own[0], own[-1] + 1]) if len(own) else (0, 0)
    rows, places = common_rows(own, ids[low:high])
    return rows, places + low


def _probabilities(revision: Revision, ids: npt.NDArray[np.int64]) -> dict[int, npt.NDArray[Any]]:
    """The probabilities of a few rows, by id; empty where the version has none."""
    found: dict[int, npt.NDArray[Any]] = {}
    ids = np.sort(ids)
    for part in revision.portions(PROBS, PRED_PROBS, ["pred_probs"]) if revision.has(PROBS) else ():
        rows, places = _rows_among(ids, column_array(part, "example_id"))
        found |= dict(zip(ids[places].tolist(), column_array(part, "pred_probs")[rows], strict=True))
    return found


def _describe(
    base: Labels,
    other: Labels,
    ids: npt.NDArray[np.int64],
    rows: npt.NDArray[np.intp],
    old: Mapping[str, npt.NDArray[Any]],
    new: Mapping[str, npt.NDArray[Any]],
    truth: npt.NDArray[np.int64],
    distance: Floats,
) -> list[ChangedRow]:
    names = base.facts.class_names
    before, after = (_probabilities(labels.revision, ids[rows]) for labels in (base, other))
    found = []
    for row in rows.tolist():
        example_id = int(ids[row])
        probs = [each.get(example_id) for each in (before, after)]
        ranked = [np.argsort(-each, kind="stable")[:_SHOWN_CLASSES] for each in probs if each is not None]
        shown = [int(version["given_label"][row]) for version in (old, new)]
        shown += [int(version["suggested_label"][row]) for version in (old, new)]
        classes = dict.fromkeys([*shown, *(int(k) for k in np.concatenate(ranked))] if ranked else [])
        found.append(
            ChangedRow(
                example_id,
                None if truth[row] == NO_LABEL else names[truth[row]],
                float(distance[row]),
                _judgement(old, row, names),
                _judgement(new, row, names),
                {
                    names[k]: (
                        None if probs[0] is None else float(probs[0][k]),
                        None if probs[1] is None else float(probs[1][k]),
                    )
                    for k in classes
                },
            )
        )
    return found


def _judgement(columns: Mapping[str, npt.NDArray[Any]], row: int, names: Sequence[str]) -> Judgement:
    label = int(columns["label"][row]) if "label" in columns else NO_LABEL
    return Judgement(
        names[columns["given_label"][row]],
        names[columns["suggested_label"][row]],
        float(columns["suggested_prob"][row]),
        bool(columns["is_issue"][row]),
        ACTIONS[columns["action"][row]] if "action" in columns else None,
        None if label == NO_LABEL else names[label],
    )


def _with_contents(
    newer: Revision, base: Revision, rows: Sequence[ChangedRow], notes: list[str]
) -> list[ChangedRow]:
    """The rows with their contents, of the newer version where it has them."""
    source = next((revision for revision in (newer, base) if revision.has(EXAMPLES)), None)
    if source is None or not rows:
        return list(rows)
    try:
        contents = read_contents(source.file(EXAMPLES), np.array([row.example_id for row in rows]))
    except (RevisionError, ArtifactError) as error:
        notes.append(f"The most changed rows are shown without their contents. {error}")
        return list(rows)
    return [replace(row, content=contents[row.example_id]) for row in rows]
