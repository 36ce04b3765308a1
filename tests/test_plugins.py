"""Plug-ins: a file in a folder is all that it takes, and what is wrong with one is said by its name."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks import plugins

ROOT = Path(__file__).parents[1]
METHOD = """
from typing import Annotated
from pydantic import Field
from tasks.sections import Section

class Options(Section):
    rounds: Annotated[int, Field(ge=1)] = 3

def repair(evidence, options, train, rng): ...
"""


def test_a_new_file_is_found_loaded_and_has_its_options_checked(add_plugin) -> None:
    before = plugins.names("pseudo_labels")
    add_plugin("pseudo_labels", "rounds", METHOD)
    assert plugins.names("pseudo_labels") == tuple(sorted((*before, "rounds")))
    assert plugins.load("pseudo_labels", "rounds").repair
    assert plugins.read_options("pseudo_labels", "rounds").rounds == 3
    assert plugins.read_options("pseudo_labels", "rounds", {"rounds": 5}).rounds == 5
    for wrong in ({"rounds": 0}, {"round": 1}, 0, []):
        with pytest.raises(ValueError, match="validation error"):
            plugins.read_options("pseudo_labels", "rounds", wrong)


def test_a_plugin_without_options_takes_none(add_plugin) -> None:
    add_plugin("datasets", "plain", "def read(inputs, options, fetch): ...\n")
    assert plugins.read_options("datasets", "plain", {}).model_dump() == {}
    with pytest.raises(ValueError, match="x\n"):
        plugins.read_options("datasets", "plain", {"x": 1})


def test_files_that_python_cannot_name_or_that_start_with_an_underscore_are_no_plugins(add_plugin) -> None:
    before = plugins.names("models")
    for name in ("_shared", ".#convnet", "my-model", "2fast"):
        add_plugin("models", name, "")
    assert plugins.names("models") == before


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_library\n", "No module named 'no_such_library'"),
        ("def repair(:\n", "invalid syntax"),
        ("def mend(): ...\n", "to define repair"),
    ],
)
def test_a_file_that_is_no_plugin_is_refused_by_what_it_lacks(add_plugin, source: str, says: str) -> None:
    add_plugin("pseudo_labels", "broken", source)
    with pytest.raises(ValueError, match="broken") as caught:
        plugins.load("pseudo_labels", "broken")
    assert says in str(caught.value)


def test_every_plugin_of_the_house_loads_without_torch_scikit_learn_and_pandas() -> None:
    # In a process of its own: this one may have them loaded.
    code = """
import sys
from tasks import plugins
for kind in plugins.KINDS:
    for name in plugins.names(kind):
        plugins.load(kind, name)
        plugins.read_options(kind, name)
    print(kind, len(plugins.names(kind)) > 0)
print(*{"torch", "pytorch_lightning", "sklearn", "pandas"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "".join(f"{kind} True\n" for kind in plugins.KINDS) + "\n"
