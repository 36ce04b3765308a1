"""The examples in the docstrings of `label_quality` give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

from tasks import label_quality

FOLDER = Path(label_quality.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if ">>>" in path.read_text())


def test_the_public_door_has_an_example() -> None:
    assert "issues" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"tasks.label_quality.{name}"))
    assert found.attempted
    assert not found.failed
