"""The numbers of metrics/*.json side by side: which is better, and by more than the draw of the rows."""

import math
from collections.abc import Iterable, Mapping

from flows.comparison.parameters import flatten
from flows.comparison.result import Better, Metric
from flows.dvc_api.revisions import Revision, RevisionError
from tasks.label_quality.changes import share_margin
from tasks.own_files.names import shown
from tasks.small_files import parse_json

_HIGHER = {
    *("accuracy", "precision", "recall", "f1", "average_precision", "auroc"),
    *("after", "of_pseudo_labels"),
}
_LOWER = {"log_loss", "expected_calibration_error"}
# Agreement with labels that may be wrong says nothing about how good a version is.
_NEUTRAL = ("cross_validation: given.",)
# Shares of rows, and the counts of those rows. Of other metrics the sampling error is not known.
_SHARE_OF = {
    "test.accuracy": ("n_test_rows",),
    "given.accuracy": ("n_rows",),
    "true.accuracy": ("n_rows",),
    "precision": ("n_issues",),
    "recall": ("n_errors",),
    "label_accuracy.after": ("n_rows_after",),
    "label_accuracy.of_pseudo_labels": ("actions.relabelled", "actions.softened"),
}
_LEAST_DIFFERENCE = 1e-4


def metrics_of(revision: Revision) -> dict[str, float]:
    """Every number of metrics/*.json, by `FILE: KEY`; entries of a list go by their `name`."""
    found: dict[str, float] = {}
    for path in revision.names("metrics/*.json"):
        text = revision.text(path)
        if text is None:
            continue
        try:
            content = parse_json(text.encode())
        except ValueError as error:
            raise RevisionError(
                f"{revision.name}: {path}: expected JSON, found text that is none ({error})."
            ) from error
        if not isinstance(content, dict):
            raise RevisionError(f"{revision.name}: {path}: expected a JSON object, found {shown(content)}.")
        stem = path.removeprefix("metrics/").removesuffix(".json")
        for key, value in flatten(_by_name(content)).items():
            if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
                found[f"{stem}: {key}"] = value
    return found


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _by_name(content: dict[str, object]) -> dict[str, object]:
    """Metrics with lists of named entries, as in metrics/health.json, as mappings."""
    found = dict(content)
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


def measure(numbers: Mapping[str, Mapping[str, float]], same_data: bool) -> Iterable[Metric]:
    """All metrics; where the data are not alike in all versions none has a better value."""
    base, *others = numbers
    # If only one version has metrics, all of them differ.
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
            {each: margin for each, pair in pairs.items() if (margin := margin_of(*pair)) is not None},
            tuple(each for each, pair in pairs.items() if _is_within_error(*pair)),
            best if len(best) < len(values) else (),
            differs,
            is_detail=name.count(".") > 1,
        )


def margin_of(name: str, one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """The sampling error of the difference of a share of rows between two versions, where it is known."""
    stem, _, key = name.partition(": ")
    counts = [f"{stem}: {count}" for count in _SHARE_OF.get(key, ())]
    n_one, n_other = (sum(numbers.get(count, 0) for count in counts) for numbers in (one, other))
    return share_margin(one[name], n_one, other[name], n_other) if n_one and n_other else None


def _is_within_error(name: str, one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two versions differ by no more than the sampling error, or than four places show."""
    if abs(one[name] - other[name]) < _LEAST_DIFFERENCE:
        return True
    if name.endswith(": f1"):  # made of precision and recall; its own error is not known
        parts = [name.removesuffix("f1") + part for part in ("precision", "recall")]
        return all(part in one and part in other and _is_within_error(part, one, other) for part in parts)
    margin = margin_of(name, one, other)
    return margin is not None and abs(one[name] - other[name]) <= margin
