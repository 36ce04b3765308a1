"""Which of two versions is better, in one sentence, where the data say it; and that they do not, else."""

from collections.abc import Sequence
from typing import Literal

from flows.comparison.result import Metric, RowChanges, Verdict
from tasks.label_quality.changes import OUTCOMES

# Beyond it a difference of McNemar's test is one, at the usual level.
_LEVEL = 0.05
Word = Literal["better", "worse"]
_TEST = "retrain_cleaned: test.accuracy"
_RIGHT, _WRONG, _DROPPED = (OUTCOMES.index(name) for name in ("right", "wrong", "dropped"))


def judge(
    base: str, version: str, rows: RowChanges | None, metrics: Sequence[Metric], reason: str | None
) -> Verdict:
    """Judge a version against the base.

    By the labels, where the truth is known: a version is better if it alone has more labels right than the
    base alone, by more than chance. By its classifier: if its test accuracy differs by more than chance. If
    both say one thing, or one says nothing, that is the verdict.

    Args:
        base: its name.
        version: its name.
        rows: what changed row by row; None where that is not known.
        metrics: of all versions.
        reason: why the two are of other data, where they are.
    """
    if reason is not None:
        return Verdict(version, "open", f"{version} and {base} cannot be compared: {reason}.")
    by_labels, of_labels = _by_labels(base, rows)
    by_test, of_test = _by_test(base, version, metrics)
    words = {word for word in (by_labels, by_test) if word is not None}
    said = "; ".join(part for part in (of_labels, of_test) if part)
    if len(words) == 2:
        other = "worse" if by_labels == "better" else "better"
        return Verdict(
            version, "mixed", f"{version} is {by_labels} by its labels and {other} by its classifier: {said}."
        )
    if words:
        (word,) = words
        return Verdict(version, word, f"{version} is {word}: {said}.")
    if rows is not None and not rows.n_changed:
        return Verdict(version, "same", f"{version} says the same of every row as {base}{_after(of_test)}.")
    if rows is None:
        left = of_test or "no test accuracy differs, and rows were not compared"
        return Verdict(version, "open", f"Whether {version} is better than {base} is not known: {left}.")
    if rows.truth is None:
        known = "which labels are right is not known"
        return Verdict(
            version, "open", f"Whether {version} is better than {base} cannot be said: {known}; {said}."
        )
    return Verdict(
        version, "open", f"{version} is neither better nor worse than {base}, as far as one can tell: {said}."
    )


def _after(said: str) -> str:
    return f"; {said}" if said else ""


def _by_labels(base: str, rows: RowChanges | None) -> tuple[Word | None, str]:
    """`better`, `worse` or None; and what the labels show."""
    if rows is None:
        return None, ""
    if rows.truth is None:
        counts = {name: len(ids) for name, ids in rows.changes.items()}
        parts = [
            f"{counts[kind]:,} {'label is' if counts[kind] == 1 else 'labels are'} {kind}"
            for kind in ("newly flagged", "no longer flagged")
        ]
        if not (counts["newly flagged"] or counts["no longer flagged"]):
            parts = ["the same labels are flagged"]
        other = counts.get("trained on another label", 0)
        parts += (
            [f"{other:,} {'row is' if other == 1 else 'rows are'} trained on another label"] if other else []
        )
        return None, ", ".join(parts)
    table = rows.truth.table
    mine, its = table[_WRONG][_RIGHT], table[_RIGHT][_WRONG]
    some = "" if rows.truth.n_rows == rows.n_rows else f" of the {rows.truth.n_rows:,} whose truth is known"
    said = f"neither is right{some} where the other is wrong"
    if mine or its:
        said = (
            f"it alone has {_labels(mine)} right{some}, {base} alone {its:,} (p = {rows.truth.p_value:.2g})"
        )
    kept = table[_DROPPED][_RIGHT], table[_DROPPED][_WRONG]
    if any(kept):
        said += f"; of the rows that {base} alone drops it has {kept[0]:,} right and {kept[1]:,} wrong"
    lost = table[_RIGHT][_DROPPED], table[_WRONG][_DROPPED]
    if any(lost):
        said += f"; it alone drops {lost[0]:,} rows with a right label and {lost[1]:,} with a wrong one"
    if rows.truth.p_value >= _LEVEL or mine == its:
        return None, said
    return "better" if mine > its else "worse", said


def _labels(count: int) -> str:
    return f"{count:,} {'label' if count == 1 else 'labels'}"


def _by_test(base: str, version: str, metrics: Sequence[Metric]) -> tuple[Word | None, str]:
    """The same of the classifier's test accuracy, if it differs by more than the draw of the test rows."""
    found = next((metric for metric in metrics if metric.name == _TEST), None)
    if found is None or version not in found.margins or version in found.within_error:
        return None, ""
    said = (
        f"test accuracy is {found.values[version]:.2%}, in {base} {found.values[base]:.2%}, more than "
        f"chance (±{found.margins[version]:.2%})"
    )
    return "better" if found.deltas[version] > 0 else "worse", said
