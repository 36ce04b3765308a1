"""Lightning is imported without the packages of metrics that nobody asks for, which stay importable."""

import importlib
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest

from tasks.training.lightning import _not_installed

ROOT = Path(__file__).parents[2]


def test_a_package_is_not_there_within_and_there_after(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "wcwidth"]:
        monkeypatch.delitem(sys.modules, name)
    finders = sys.meta_path[:]
    with _not_installed("wcwidth"):
        assert find_spec("wcwidth") is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("wcwidth")
        with pytest.raises(PackageNotFoundError):
            version("wcwidth")
        assert find_spec("rich") is not None
        assert version("rich")
    assert sys.meta_path == finders
    assert importlib.import_module("wcwidth").wcwidth("a") == 1
    # What was imported before is not torn apart.
    with _not_installed("wcwidth"):
        assert importlib.reload(sys.modules["wcwidth"]).wcwidth("a") == 1


def test_a_finder_that_is_added_or_removed_within_stays_so(monkeypatch) -> None:
    class Finder:
        @staticmethod
        def find_spec(*_: object) -> None:
            return None

    added, removed = Finder(), Finder()
    finders = sys.meta_path[:]
    monkeypatch.setattr(sys, "meta_path", [*finders, removed])
    with _not_installed("wcwidth"):
        sys.meta_path.pop()
        sys.meta_path.append(added)
    assert sys.meta_path == [*finders, added]


def test_training_imports_neither_torchvision_nor_scipy_nor_matplotlib_but_a_model_can() -> None:
    code = """
import sys
import tasks.training.torch_model
print(*{"matplotlib", "scipy", "torchvision"} & sys.modules.keys())
import scipy.signal, torchvision.ops
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
