"""`python -m tasks import-decisions FILE`: what people chose in Label Studio becomes decisions here.

`python -m tasks export` wrote the tasks, without the annotations of before, so each annotation is new.
"""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks import DatasetError
from tasks.decisions.log import PATH, Decision, append_decisions, read_decisions, standing
from tasks.decisions.provenance import current_revision
from tasks.export.label_studio import GIVEN, KEY
from tasks.export.rows import ACTION, NOT_JUDGED
from tasks.own_files.label_studio import Task, read_tasks
from tasks.own_files.names import listed, nfc, shown
from tasks.tables.catalog import GIVEN_LABELS
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array

# Label Studio exports tables too, which do not say what a choice was about.
_TABLES = (".csv", ".tsv", ".xlsx")


def import_decisions(workspace: Path, arguments: Sequence[str]) -> None:
    """Append a decision for each task that somebody annotated, unless that decision stands already.

    Of rows without a label, and of those whose content cannot be read, no label can be decided: what is said
    of them is counted, and not taken.

    Raises:
        RelabelError: the file is no such export, or a task or choice is of no row or class here; nothing is
            added then.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tasks import-decisions",
        description="Take what people chose in Label Studio as decisions about labels.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="Label Studio's export, as JSON")
    parser.add_argument(
        "--label", metavar="NAME", help="the choices that are the label, if there are several"
    )
    parser.add_argument("--reviewer", help="who decided, where the file does not say it (label studio)")
    chosen = parser.parse_args(arguments)
    if chosen.file.suffix.lower() in _TABLES:
        raise DatasetError(
            f"{chosen.file}: expected Label Studio's export as JSON, found a table. Export it as JSON there, "
            "or decide on the page of `relabel review`."
        )
    tasks = read_tasks(chosen.file, chosen.label)
    annotated = [task for task in tasks if task.label is not None]
    given, class_names = read_given(workspace)
    decided = [task for task in annotated if key_of(task) in given or not has_nothing_to_decide(task)]
    found = [
        as_decision(task, given, class_names, str(chosen.file), chosen.reviewer, current_revision(workspace))
        for task in decided
    ]
    path = workspace / PATH
    stand = {each.example_id: each for each in standing(read_decisions(path) if path.exists() else [])}
    new = [each for each in found if not _is_known(each, stand.get(each.example_id))]
    if new:
        append_decisions(path, new)
    n_kept = sum(each.decision == "keep" for each in new)
    n_aside = len(annotated) - len(decided)
    aside = f"{n_aside:,} about rows without a label or content, which are not taken, " if n_aside else ""
    print(
        f"import-decisions: {len(new):,} new decision{'s' * (len(new) != 1)} "
        f"({n_kept:,} keep the label, {len(new) - n_kept:,} choose another), "
        f"{len(found) - len(new):,} known before, {aside}{len(tasks) - len(annotated):,} "
        f"tasks not annotated; {PATH}. `dvc repro` applies them."
    )


def read_given(workspace: Path) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The name of the given class of each row that has one by its key, and the names of all classes.

    Raises:
        ArtifactError: data/given_labels.parquet is missing or not what it should be.
    """
    path = GIVEN_LABELS.at(workspace)
    table = read_table(path, GIVEN_LABELS, columns=["key", "given_label"])
    names = read_facts(table, str(path)).class_names
    given = pa.array(np.array(names, dtype=object)[column_array(table, "given_label")])
    return dict(zip(table.column("key").to_pylist(), given.to_pylist(), strict=True)), names


def key_of(task: Task) -> str:
    """The key of the row that a task is about."""
    return str(task.data.get(KEY, task.key))


def has_nothing_to_decide(task: Task) -> bool:
    """Whether `export` said of a task that its row has no label, or is not judged."""
    action = task.data.get(ACTION)
    return action == NOT_JUDGED or (action is not None and task.data.get(GIVEN) is None)


def as_decision(
    task: Task,
    given: Mapping[str, str],
    class_names: Sequence[str],
    where: str,
    reviewer: str | None,
    revision: str,
) -> Decision:
    """What a person chose for a task, as a decision.

    Raises:
        DatasetError: the task is of no row, or what was chosen is no class.
    """
    key = key_of(task)
    if key not in given:
        raise DatasetError(
            f"{where}: expected tasks about rows of data/given_labels.parquet, found one about {shown(key)}."
        )
    label = nfc(str(task.label)).strip()
    if label not in class_names:
        raise DatasetError(
            f"{where}: expected one of {listed(class_names, 10)} for {shown(key)}, found {shown(label)}."
        )
    is_kept = label == given[key]
    return Decision(
        key,
        "keep" if is_kept else "choose",
        "" if is_kept else label,
        given[key],
        task.by or reviewer or "label studio",
        _time(task.at),
        revision,
    )


def _time(text: str) -> str:
    """A time in UTC, to the second; now, where the file tells none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.now(UTC)
    at = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _is_known(decision: Decision, stands: Decision | None) -> bool:
    """Whether the same decision of the same person stands about a row."""
    return stands is not None and (
        (stands.decision, stands.label, stands.reviewer)
        == (decision.decision, decision.label, decision.reviewer)
    )
