"""What made a report, in words that are the same whenever it is made again from the same inputs."""

import hashlib
import importlib.metadata
import io
import json
import platform
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.params import Params
from tasks.small_files import parse_yaml, read_small

_PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "scikit-learn",
    "numpy",
    "pyarrow",
    "dvc",
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
    return {name: _md5(workspace / name) for name in inputs}


def describe_altered(workspace: Path, known: Mapping[str, str]) -> str | None:
    """Which files of earlier stages are not the ones that dvc.lock names, as a sentence; None if all are.

    A figure that somebody altered looks like any other: only its checksum tells. Compared are all that lies
    in metrics/ and plots/, and the files of `known`, by md5. Where no DVC ran nothing is compared.
    """
    lock = workspace / "dvc.lock"
    if not lock.exists():
        return None
    try:
        locked = _locked(read_small(lock).decode())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, YAMLError):
        return "dvc.lock cannot be read: nobody can say whether this page's inputs are those of the last run."
    watched = [name for name in sorted(locked) if name in known or name.startswith(("metrics/", "plots/"))]
    altered = [name for name in watched if _is_other(workspace / name, known.get(name), locked[name])]
    if not altered:
        return None
    some = ", ".join(altered[:5]) + (f" and {len(altered) - 5} more" if len(altered) > 5 else "")
    return (
        f"Not as dvc.lock has it: {some}. It was altered, or its stage ran by hand since the last run. `dvc "
        "repro` makes it again."
    )


def _locked(text: str) -> dict[str, set[str]]:
    """The md5s of the outputs of all stages but `report`; two stages may make one file, each in its time."""
    found: dict[str, set[str]] = {}
    for stage, entry in parse_yaml(text)["stages"].items():
        for out in entry.get("outs") or () if stage != "report" else ():
            found.setdefault(str(out["path"]), set()).add(str(out.get("md5")))
    return found


def _is_other(path: Path, md5: str | None, locked: set[str]) -> bool:
    try:
        return (md5 or _md5(path)) not in locked
    except FileNotFoundError:  # of a stage that is no more; what a page needs is read, and missed there
        return False
    except OSError:
        return True


def _md5(path: Path) -> str:
    """As DVC has it: of a file that of its bytes, of a folder that of a list of its files."""
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        return folder_digest({str(file.relative_to(path)): _md5(file) for file in files})
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would block
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def folder_digest(files: Mapping[str, str]) -> str:
    """What dvc.lock has for a folder: the MD5 of the JSON list of its files, by path, with theirs."""
    listed = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return f"{hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest()}.dir"


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
