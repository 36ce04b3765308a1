"""The examples in the docstrings of `label_quality` give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

from tasks import label_quality

FOLDER = Path(label_quality.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    for path in FOLDER.rglob("*.py")
    if ">>>" in path.read_text()
)


def test_the_public_door_and_what_lies_deeper_have_examples() -> None:
    assert {"issues", "self_tests.class_shares"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"tasks.label_quality.{name}"))
    assert found.attempted
    assert not found.failed
