"""Names of metrics are the same where they are written, checked, shown and compared."""

from collections.abc import Iterator
from typing import get_args, get_type_hints, is_typeddict

import pytest
from pydantic import BaseModel

from flows.comparison import measures, metric_names
from tasks.label_quality.health import HealthMetrics
from tasks.label_quality.metrics import CrossValidationMetrics, IssueMetrics
from tasks.label_quality.self_tests.words import SelfTestMetrics
from tasks.repair import RepairMetrics
from tasks.reporting.measured import CrossValidation, Detection, Health, Repair, SelfTests
from tasks.reporting.worth import RunMetrics

TYPES = {
    "cross_validation": (CrossValidationMetrics, CrossValidation),
    "label_issues": (IssueMetrics, Detection),
    "health": (HealthMetrics, Health),
    "self_tests": (SelfTestMetrics, SelfTests),
    "training_set": (RepairMetrics, Repair),
}


def names_of(kind: type, prefix: str = "") -> Iterator[str]:
    """The keys of a file's content, those of mappings and of entries of lists with a dot."""
    if issubclass(kind, BaseModel):
        hints = {name: field.annotation for name, field in kind.model_fields.items()}
    else:
        hints = get_type_hints(kind)
    for name, hint in hints.items():
        yield prefix + name
        for part in parts_of(hint):
            if is_typeddict(part) or (isinstance(part, type) and issubclass(part, BaseModel)):
                yield from names_of(part, f"{prefix}{name}.")


def parts_of(hint: object) -> Iterator[object]:
    yield hint
    for part in get_args(hint):
        yield from parts_of(part)


@pytest.mark.parametrize("file", TYPES)
def test_what_is_checked_of_a_file_is_what_its_stage_writes(file: str) -> None:
    written, checked = ({*names_of(kind)} for kind in TYPES[file])
    # Kinds of planted errors are keys of a mapping.
    checked = {name.replace("planted.uniform", "planted") for name in checked}
    assert checked <= written


def test_what_compare_has_words_for_is_written() -> None:
    for name in metric_names._NAMES:
        file, key = name.split(": ")
        if file in TYPES:
            assert key in {*names_of(TYPES[file][0])}, name
    every = {name for kind in (*(each for each, _ in TYPES.values()), RunMetrics) for name in names_of(kind)}
    for share, counts in measures._SHARE_OF.items():
        assert {share, *(count for count in counts if not count.startswith("actions."))} <= every
