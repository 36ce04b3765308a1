"""What made a report, in words that are the same whenever it is made again from the same inputs."""

import hashlib
import importlib.metadata
import io
import platform
from collections.abc import Collection, Iterable
from pathlib import Path

from ruamel.yaml import YAML

from tasks.params import Params

_PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "scikit-learn",
    "numpy",
    "pyarrow",
    "dvc",
    "dvclive",
    "prefect",
)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on; nothing is imported."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # prefect is not needed to run stages
            continue
    return found


def fingerprints(workspace: Path, inputs: Iterable[str]) -> dict[str, str]:
    """md5 of each of some files, as dvc.lock names them.

    A commit or a time would differ between two runs of the same; by these a person finds the commit:
    `git log --all -S MD5 -- dvc.lock`.
    """
    found = {}
    for name in inputs:
        with (workspace / name).open("rb") as file:
            found[name] = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return found


def parameters(params: Params, kinds: Collection[str] | None = None) -> dict[str, str]:
    """Every value of params.yaml that a stage or a chosen plug-in reads, by its path, as YAML on one line.

    `kinds` are the sections that count, or the kinds of plug-ins whose sections do; all where None.
    """
    yaml = YAML(typ="safe")
    yaml.default_flow_style = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared by its default, None
    yaml.width = 2**31 - 1
    found = {}
    for section, values in params.chosen().items():
        if kinds is not None and section.partition(".")[0] not in kinds:
            continue
        for name, value in values.items():
            text = io.StringIO()
            yaml.dump(value, text)
            # The end of a document, which YAML puts after a scalar that stands alone.
            found[f"{section}.{name}"] = text.getvalue().removesuffix("...\n").rstrip("\n")
    return found
