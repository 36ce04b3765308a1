"""Each limit of params.yaml's section `check`, and what a version holds against it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from flows.checking.new_suspects import (
    Judged,
    Suspect,
    count_contradictions,
    describe,
    has_results,
    new_suspects,
    read_copies,
    read_judged,
)
from flows.comparison.measures import margin_of, metrics_of
from flows.comparison.parameters import params_of
from flows.dvc_api.revisions import Revision, RevisionError
from tasks.params import Check

# Accuracies that a limit holds for, and what they are called. The first is there for every data set.
_ACCURACIES = {
    "cross_validation: given.accuracy": "out of fold, against the given labels,",
    "retrain_cleaned: test.accuracy": "in the test, trained on cleaned labels,",
}
_MOST_SUSPECTS = 20
_MOST_CLASSES = 5


@dataclass(frozen=True)
class Finding:
    """One limit.

    Attributes:
        name: in the section `check`.
        verdict: `pass` or `fail`; `unset`: there is no limit; `skip`: there is nothing to compare with yet.
        said: what was found, in a sentence.
    """

    name: str
    verdict: Literal["pass", "fail", "unset", "skip"]
    said: str


@dataclass(frozen=True)
class Checked:
    """What `check_limits` found.

    Attributes:
        findings: one a limit.
        suspects: the first of the new suspects.
        n_suspects: how many there are.
        notes: sentences on results that are older than what made them.
    """

    findings: tuple[Finding, ...]
    suspects: tuple[Suspect, ...]
    n_suspects: int
    notes: tuple[str, ...]

    @property
    def has_failed(self) -> bool:
        """Whether a limit is exceeded, or cannot be measured."""
        return any(each.verdict == "fail" for each in self.findings)


class NothingBeforeError(RevisionError):
    """The version to compare with has no results: there was no run yet."""


# What was found of a limit: whether it holds, and the sentence.
_Answer = tuple[bool, str]


def check_limits(limits: Check, now: Revision, before: Revision) -> Checked:
    """Hold a version against the limits; those that are not set are measured where that can be done.

    Args:
        limits: the section `check`.
        now: the version that is checked.
        before: the version that it is compared with.

    Raises:
        RevisionError: the version that is checked has no results.
    """
    if not has_results(now):
        raise RevisionError(
            f"{now.name}: expected results to check, found none: `prune` has not run in that version. Run "
            "`relabel run` first, or `dvc pull`."
        )
    versions = _Versions(now, before)
    questions: dict[str, Callable[[_Versions, Any], _Answer]] = {
        "max_new_suspects": _ask_suspects,
        "max_contradictions": _ask_contradictions,
        "min_class_health": _ask_health,
        "max_class_drift": _ask_drift,
        "max_accuracy_drop": _ask_accuracy,
    }
    findings = tuple(_find(name, ask, getattr(limits, name), versions) for name, ask in questions.items())
    try:
        suspects, n_suspects = versions.new_suspects
    except (RevisionError, NothingBeforeError):
        suspects, n_suspects = [], 0
    notes: list[str] = []
    params_of(now, notes)
    return Checked(findings, tuple(suspects), n_suspects, tuple(notes))


class _Versions:
    """The version that is checked and the one before, each table read once and only if it is asked for."""

    def __init__(self, now: Revision, before: Revision) -> None:
        self.now, self.before = now, before

    @cached_property
    def judged(self) -> Judged:
        return read_judged(self.now)

    @cached_property
    def judged_before(self) -> Judged:
        if not has_results(self.before):
            raise NothingBeforeError
        found = read_judged(self.before)
        for what in ("dataset", "class_names"):
            old, new = (getattr(each.facts, what) for each in (found, self.judged))
            if old != new:
                raise RevisionError(
                    f"{self.now.name} and {self.before.name}: expected the same data set and classes, found "
                    f"another {what.replace('_', ' ')}. Choose another version for check.against."
                )
        return found

    @cached_property
    def new_suspects(self) -> tuple[list[Suspect], int]:
        rows, _ = new_suspects(self.judged, self.judged_before)
        return describe(self.judged, rows[:_MOST_SUSPECTS]), len(rows)


def _find(
    name: str, ask: Callable[[_Versions, Any], _Answer], limit: float | None, versions: _Versions
) -> Finding:
    try:
        holds, said = ask(versions, limit)
    except NothingBeforeError:
        said = f"there is nothing to compare with: {versions.before.name} has no results yet."
        return Finding(name, "unset" if limit is None else "skip", said)
    except RevisionError as error:
        return Finding(name, "unset" if limit is None else "fail", f"cannot be measured: {error}")
    if limit is None:
        return Finding(name, "unset", f"no limit; {said}")
    return Finding(name, "pass" if holds else "fail", said)


def _ask_suspects(versions: _Versions, limit: int | None) -> _Answer:
    rows, n_added = new_suspects(versions.judged, versions.judged_before)
    waiting = int(versions.judged.is_open.sum())
    added = f", {n_added:,} of them in new rows" if n_added else ""
    said = (
        f"{_count(len(rows), 'label is', 'labels are')} newly suspect against {versions.before.name}{added}"
        f"{_limit(limit)}; {waiting:,} in all wait for a decision."
    )
    return limit is None or len(rows) <= limit, said


def _ask_contradictions(versions: _Versions, limit: int | None) -> _Answer:
    copies = read_copies(versions.now)
    if copies is None:
        raise RevisionError(
            f"{versions.now.name} has no data/splits.parquet: no stage looked for copies in that version."
        )
    found, first = count_contradictions(versions.judged, copies)
    named = f" The first: {', '.join(first[:3])}." if first else ""
    differ = _count(found, "group of copies has", "groups of copies have")
    return limit is None or found <= limit, f"{differ} different labels{_limit(limit)}.{named}"


def _ask_health(versions: _Versions, limit: float | None) -> _Answer:
    prefix, suffix = "health: classes.", ".label_quality"
    found = {
        name.removeprefix(prefix).removesuffix(suffix): value
        for name, value in metrics_of(versions.now).items()
        if name.startswith(prefix) and name.endswith(suffix)
    }
    if not found:
        raise RevisionError(f"{versions.now.name} has no metrics/health.json with classes.")
    low = {name: value for name, value in found.items() if limit is not None and value < limit}
    worst = min(found, key=found.__getitem__)
    if not low:
        said = f"the lowest health is {found[worst]:.1%}, of class {worst}{_limit(limit, '.1%')}."
        return True, said
    worst_first = sorted(low.items(), key=lambda each: each[1])
    named = ", ".join(f"{name} ({value:.1%})" for name, value in worst_first[:_MOST_CLASSES])
    more = f" and {len(low) - _MOST_CLASSES} more" if len(low) > _MOST_CLASSES else ""
    below = _count(len(low), "class has", "classes have")
    return False, f"{below} a health below {limit:.1%}: {named}{more}."


def _ask_drift(versions: _Versions, limit: float | None) -> _Answer:
    now, before = versions.judged.class_shares, versions.judged_before.class_shares
    moved = {name: now[name] - before[name] for name in now}
    most = max(moved, key=lambda name: abs(moved[name]))
    if not moved[most]:
        return (
            True,
            f"no class has another share than in {versions.before.name}{_limit(limit, 'points')}.",
        )
    said = (
        f"class {most} moved most: from {before[most]:.2%} of the given labels in {versions.before.name} to "
        f"{now[most]:.2%}, {_points(moved[most])}{_limit(limit, 'points')}."
    )
    return limit is None or abs(moved[most]) <= limit, said


def _ask_accuracy(versions: _Versions, limit: float | None) -> _Answer:
    old, new = metrics_of(versions.before), metrics_of(versions.now)
    if not old:
        raise NothingBeforeError
    there = [name for name in _ACCURACIES if name in old and name in new]
    if not there:
        raise RevisionError(f"{versions.before.name} and {versions.now.name} have no accuracy in common.")
    holds, parts = True, []
    for name in there:
        rise = new[name] - old[name]
        margin = margin_of(name, old, new)
        chance = "" if margin is None else f", by chance alone up to ±{100 * margin:.2f}"
        parts.append(f"{_ACCURACIES[name]} {new[name]:.2%} ({_points(rise)}{chance})")
        holds = holds and (limit is None or -rise <= limit)
    return holds, f"{'; '.join(parts)}, against {versions.before.name}{_limit(limit, 'points')}."


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _points(share: float) -> str:
    return f"{100 * share:+.2f} points"


def _limit(limit: float | None, form: str = ",") -> str:
    if limit is None:
        return ""
    return f" (limit {100 * limit:g} points)" if form == "points" else f" (limit {limit:{form}})"


def summarise(checked: Checked) -> str:
    """How it ended, in a sentence or two."""
    verdicts = [each.verdict for each in checked.findings]
    failed = [each.name for each in checked.findings if each.verdict == "fail"]
    if failed:
        n_set = len(verdicts) - verdicts.count("unset")
        verb = "does" if len(failed) == 1 else "do"
        said = f"{len(failed)} of {_count(n_set, 'limit', 'limits')} {verb} not hold."
        if set(failed) & {"max_new_suspects", "max_contradictions"}:
            said += " `relabel review` shows the suspects: what a person decides about counts no more."
        return said
    if set(verdicts) == {"unset"}:
        return "No limit is set in params.yaml (section check): nothing was checked."
    skipped = verdicts.count("skip")
    held = _count(verdicts.count("pass"), "limit holds", "limits hold")
    return f"{held}{f'; {skipped} could not be compared with anything yet' if skipped else ''}."
