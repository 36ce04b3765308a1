"""What differs between versions of the pipeline: parameters, metrics, and the labels row by row."""

from collections.abc import Sequence
from pathlib import Path

from flows import FlowError
from flows.comparison.first_edition import rename_parameters
from flows.comparison.measures import measure, metrics_of
from flows.comparison.parameters import differing, params_of, why_other_data
from flows.comparison.result import Comparison, RowChanges, Version
from flows.comparison.row_changes import compare_rows
from flows.comparison.row_history import uncommitted
from flows.comparison.verdict import judge
from flows.dvc_api.kept import list_kept
from flows.dvc_api.revisions import LAST, WORKSPACE, Revision, last_version, open_revisions


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
    params = {revision.name: rename_parameters(params_of(revision, notes)) for revision in revisions}
    numbers = {revision.name: metrics_of(revision) for revision in revisions}
    notes.extend(
        f"{name} has no metrics/*.json: none was made in that version, or committed."
        for name, found in numbers.items()
        if not found
    )
    other_data = {name: why_other_data(params[names[0]], params[name]) for name in names[1:]}
    rows: list[RowChanges] = []
    if with_rows:
        rows, of_rows = compare_rows(revisions, with_contents, notes)
        other_data |= of_rows
    notes.extend(
        f"The metrics of {name} and {names[0]} do not measure the same: {reason}. None is called better."
        for name, reason in other_data.items()
        if reason and numbers[name] and numbers[names[0]]
    )
    metrics = tuple(measure(numbers, same_data=not any(other_data.values())))
    by_version = {changes.version: changes for changes in rows}
    return Comparison(
        tuple(Version(revision.name, revision.commit, revision.title) for revision in revisions),
        tuple(differing(params)),
        metrics,
        tuple(rows),
        tuple(notes),
        tuple(judge(names[0], name, by_version.get(name), metrics, other_data[name]) for name in names[1:]),
    )


def compare_versions(
    root: Path, names: Sequence[str], with_rows: bool = True, with_contents: bool = False
) -> Comparison:
    """Compare versions of the DVC repository `root` by name: `open_revisions`, then `compare`.

    One name is compared with the workspace, and the workspace alone with the last kept run; where there is
    none, see `newest_versions`.
    """
    if not names:
        names = newest_versions(root)
    elif len(names) == 1:
        names = [LAST if names[0] == WORKSPACE else names[0], WORKSPACE]
    return compare(open_revisions(root, names), with_rows, with_contents)


def newest_versions(root: Path) -> list[str]:
    """The last kept run and the workspace; where their results are the same, the kept run before it and it.

    Raises:
        FlowError: fewer than two versions have results.
    """
    last, kept = last_version(root), list_kept(root)
    commits = [version for version in kept if not version.name]
    of_last = next((version for version in reversed(kept) if version.name == last), None) or (
        commits[-1] if commits else None
    )
    if of_last is None:
        raise FlowError(
            "Expected two versions to compare, found no kept one: commit dvc.lock after a run, or name two "
            f"(a revision, a tag, an experiment, `{LAST}` or `{WORKSPACE}`)."
        )
    here = uncommitted(root)
    if here and here[0].lock.strip() != of_last.lock.strip():
        return [last, WORKSPACE]
    before = [version for version in commits if version.lock != of_last.lock]
    if not before:
        raise FlowError(
            f"Expected two versions to compare, found {last} alone, and the workspace has the same results: "
            "change something and run, or name two."
        )
    return [next(iter(before[-1].tags), before[-1].commit[:12]), last]
