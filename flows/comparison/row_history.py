"""What each kept version says of one row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

import numpy as np

from flows import FlowError
from flows.comparison.first_edition import rename_parameters
from flows.comparison.parameters import flatten
from flows.dvc_api.kept import Cache, Kept, LockedStage, digests_of, find_stages, list_kept
from flows.dvc_api.record import read_committed
from flows.dvc_api.revisions import WORKSPACE
from tasks.decisions.log import PATH, Decision, outcomes, parse_decisions, read_whole, standing
from tasks.label_quality.changes import ACTIONS, derive_actions
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES, TRAINING_SET
from tasks.tables.keys import example_id_of
from tasks.tables.portions import TableReader
from tasks.tables.schemas import tensor_rows

_TABLES = {table.path: table for table in (LABEL_ISSUES, TRAINING_SET, GIVEN_LABELS)}
# Of each table what is read, and what is read where an edition has it.
_COLUMNS: dict[str, tuple[list[str], list[str]]] = {
    LABEL_ISSUES.path: (["given_label", "suggested_label", "suggested_prob", "is_issue"], []),
    TRAINING_SET.path: (["label"], ["action", "source", "weight", "soft_label"]),
    GIVEN_LABELS.path: (["given_label"], []),
}
_MODEL, _FILTER = "train_fold.model", "prune.filter_by"


class Row(TypedDict, total=False):
    """The row of one of the tables, labels by class name."""

    given_label: str
    suggested_label: str
    suggested_prob: float
    is_issue: bool
    label: str
    action: str
    source: str
    weight: float
    is_soft: bool


@dataclass(frozen=True)
class Seen:
    """What one version says of the row; what it does not say is None.

    Attributes:
        title: the experiment, or the commit with tags and subject.
        commit: of git; None for the workspace.
        time: in UTC.
        is_there: whether a table of the version has the row.
        given, suggested, label: class names; `label` is the one trained on.
        suggested_prob: of the suggested class, in [0, 1].
        is_issue: whether its label is suspect.
        action: what became of the row; see `tasks.label_quality.changes.ACTIONS`.
        reviewer: who decided, where a decision made it so.
        model, filter_by: by which the version judged.
    """

    title: str
    commit: str | None
    time: datetime
    is_there: bool
    given: str | None = None
    suggested: str | None = None
    suggested_prob: float | None = None
    is_issue: bool | None = None
    action: str | None = None
    label: str | None = None
    reviewer: str = ""
    model: str = ""
    filter_by: str = ""

    def is_like(self, other: "Seen") -> bool:
        """Whether both say the same; probabilities move with every training."""
        like = replace(other, title=self.title, commit=self.commit, time=self.time)
        return replace(like, suggested_prob=self.suggested_prob) == self


@dataclass(frozen=True)
class Decided:
    """A decision about the row: when, by whom, what, of which given label, and what became of it."""

    time: datetime
    reviewer: str
    said: str
    given: str
    outcome: str


@dataclass(frozen=True)
class History:
    """A row over versions.

    Attributes:
        key: what its owner calls it.
        example_id: by which tables are joined.
        versions: what each says, the oldest first.
        decisions: all that people decided about it, in the order of their file.
        left_out: titles of the versions whose tables are not in DVC's cache.
    """

    key: str
    example_id: int
    versions: tuple[Seen, ...]
    decisions: tuple[Decided, ...]
    left_out: tuple[str, ...]


def read_history(root: Path, key: str, every_branch: bool = False) -> History:
    """The history of a row in the workspace `root`.

    Args:
        root: the folder with dvc.yaml.
        key: what the owner calls the row.
        every_branch: see `list_kept`.

    Raises:
        FlowError: no version is kept, or none that can be read has the row.
        ArtifactError: a table or the file of decisions is damaged.
    """
    example_id = example_id_of(key)
    cache = Cache(root)
    kept = [*list_kept(root, every_branch), *uncommitted(root)]
    if not kept:
        raise FlowError(
            "expected versions with results, found none: commit dvc.lock after a run, or keep experiments."
        )
    versions, left_out = [], []
    for version in kept:
        seen = _look(version, example_id, cache)
        if seen is None:
            left_out.append(_title(version))
        else:
            versions.append(seen)
    if not any(seen.is_there for seen in versions):
        cannot = f" ({len(left_out)} more cannot be read: not in DVC's cache)" if left_out else ""
        raise FlowError(f"expected the key of a row, found {key[:80]!r}, which no version has{cannot}.")
    decisions = [
        line
        for line in parse_decisions(read_whole(root / PATH), root / PATH)
        if line.example_id == example_id
    ]
    return History(
        key,
        example_id,
        tuple(versions),
        tuple(_decided(line, outcome) for line, outcome in zip(decisions, outcomes(decisions), strict=True)),
        tuple(left_out),
    )


def uncommitted(root: Path) -> list[Kept]:
    """The work tree's dvc.lock as a version, where HEAD has another."""
    path = root / "dvc.lock"
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    if read_committed(root, "HEAD", ["dvc.lock"]).get("dvc.lock") == text.strip():
        return []
    time = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return [Kept("", WORKSPACE, (), time, "", text, read_whole(root / PATH))]


def _title(version: Kept) -> str:
    if version.name:
        return version.name if not version.commit else f"{version.name} (experiment {version.commit[:7]})"
    tags = f" ({', '.join(version.tags)})" if version.tags else ""
    return f"{version.commit[:7]}{tags} {version.subject}"


def _look(version: Kept, example_id: int, cache: Cache) -> Seen | None:
    """What a version says of the row; None where a table of it cannot be read here."""
    stages = find_stages(version.lock, [*_TABLES, "train_fold@0", "import_probs"])
    digests = digests_of(stages)
    rows: dict[str, Row | None] = {}
    for path in _TABLES:
        file = cache.file(digests[path]) if path in digests else None
        if file is None and path in digests:
            return None
        rows[path] = None if file is None else _read_row(file, path, example_id)
    issue, trained, given = rows.values()
    source = issue or given
    seen = Seen(_title(version), version.commit or None, version.time, is_there=source is not None)
    if source is None:
        return seen
    model, filter_by = _how(stages)
    seen = replace(seen, given=source["given_label"], model=model, filter_by=filter_by)
    if issue is None:
        return seen
    seen = replace(
        seen,
        suggested=issue["suggested_label"],
        suggested_prob=issue["suggested_prob"],
        is_issue=issue["is_issue"],
    )
    if TRAINING_SET.path not in digests:
        return seen
    action, label = _fate(trained, issue["is_issue"])
    reviewer = _reviewer(version, example_id, action, source["given_label"])
    return replace(seen, action=action, label=label, reviewer=reviewer)


@lru_cache(1024)
def _read_row(file: Path, path: str, example_id: int) -> Row | None:
    """The row of a table, labels by class name; None where it has none. A file of the cache never changes."""
    needed, optional = _COLUMNS[path]
    reader = TableReader(file, _TABLES[path], needed, optional, any_layout=True, where=path)
    table = reader.find(np.array([example_id]))
    if not table.num_rows:
        return None
    names = reader.facts.class_names
    plain = [name for name in table.column_names if name != "soft_label"]
    (row,) = table.select(plain).to_pylist()
    for name in ("given_label", "suggested_label", "label"):
        if row.get(name) is not None:
            row[name] = names[row[name]]
    if "soft_label" in table.column_names:
        _, soft = tensor_rows(table, "soft_label")
        row["is_soft"] = bool(len(soft) and soft[0].max() < 1)
    found: Row = row
    return found


def _fate(trained: Row | None, is_issue: bool) -> tuple[str, str | None]:
    """What became of the row, and the label that is trained on."""
    if trained is not None and "action" in trained:
        used = trained.get("weight", 1) and trained["action"] != "dropped"
        return trained["action"], trained["label"] if used else None
    # The first edition wrote no action, and no row for what was dropped.
    there = trained is not None
    source, is_soft = (trained["source"], trained["is_soft"]) if trained is not None else ("", False)
    place = derive_actions(
        np.array([is_issue]), np.array([there]), np.array([source], dtype=object), np.array([is_soft])
    )
    return ACTIONS[int(place[0])], trained["label"] if trained is not None else None


def _reviewer(version: Kept, example_id: int, action: str, given: str) -> str:
    """Who decided what the version did, by the decisions that it keeps; empty where nobody did."""
    if action not in ("reviewed", "dropped") or not version.decisions:
        return ""
    kinds = ("drop",) if action == "dropped" else ("keep", "accept", "choose")
    lines: Sequence[Decision] = standing(parse_decisions(version.decisions, PATH))
    found = [
        line.reviewer
        for line in lines
        if line.example_id == example_id and line.decision in kinds and line.given_label == given
    ]
    return found[0] if found else ""


def _how(stages: Mapping[str, LockedStage]) -> tuple[str, str]:
    """The model and the filter that judged, by the parameters that dvc.lock has."""
    params: dict[str, object] = {}
    for stage in stages.values():
        params |= flatten((stage.get("params") or {}).get("params.yaml") or {})
    params = rename_parameters(params)
    model = "own probabilities" if "import_probs" in stages else str(params.get(_MODEL, ""))
    return model, str(params.get(_FILTER, ""))


def _decided(line: Decision, outcome: str) -> Decided:
    time = datetime.strptime(line.time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return Decided(time, line.reviewer, f"{line.decision} {line.label}".rstrip(), line.given_label, outcome)
