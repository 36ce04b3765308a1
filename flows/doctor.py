"""`python -m flows.doctor`: looks at this machine and this workspace; says what is wrong and what to type."""

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

from flows.prefect_server import server_answers
from tasks import RelabelError
from tasks.params import load_params

from prefect.settings import PREFECT_API_URL, PREFECT_HOME  # isort: skip  # after flows, which sets them

# A run of MNIST writes 0.5 GB, and DVC keeps each version of it.
_LEAST_DISK = 5 * 2**30
# What one training of MNIST takes, with Python and torch.
_LEAST_MEMORY = 2 * 2**30
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what.
        verdict: `ok`; `note`: worth knowing; `wrong`: something will fail.
        found: what was found.
        remedy: what to type or do; empty where nothing is to be done.
    """

    about: str
    verdict: Literal["ok", "note", "wrong"]
    found: str
    remedy: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every finding; return 1 if something is wrong, else 0."""
    argparse.ArgumentParser(prog="python -m flows.doctor", description=__doc__).parse_args(arguments)
    findings = list(examine(Path.cwd()))
    for each in findings:
        print(f"{each.verdict:<6}{each.about:<12}{each.found}")
        if each.remedy:
            print(f"{'':<18}{each.remedy}")
    return int(any(each.verdict == "wrong" for each in findings))


def examine(root: Path) -> Iterator[Finding]:
    """All findings about this machine and the workspace `root`."""
    yield examine_packages(root)
    yield examine_git(root)
    yield examine_dvc(root)
    yield examine_params(root)
    yield examine_disk(shutil.disk_usage(root).free)
    yield examine_memory(psutil.virtual_memory().available)
    yield examine_gpu(shutil.which("nvidia-smi"))
    yield examine_proxies(os.environ)
    yield examine_prefect(PREFECT_HOME.value(), PREFECT_API_URL.value(), server_answers)


def examine_packages(root: Path) -> Finding:
    """Python and the packages that pyproject.toml names: whether they are there, in these versions."""
    python = f"Python {sys.version.split()[0]}"
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    wrong = []
    for requirement in map(Requirement, project["dependencies"]):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, needed is {requirement.specifier}")
    if wrong:
        remedy = "Install them again: `make clean`, then any other target."
        return Finding("packages", "wrong", f"{python}; {'; '.join(wrong)}", remedy)
    return Finding("packages", "ok", f"{python}, {len(project['dependencies'])} packages as pinned")


def examine_git(root: Path) -> Finding:
    """Whether this is a git repository with a commit, and whether git knows who decides."""
    if shutil.which("git") is None:
        return Finding("git", "wrong", "git is not installed", "Install git; DVC needs it.")
    if _git(root, "rev-parse", "--show-toplevel") is None:
        remedy = "`git init && git add . && git commit -m start`"
        return Finding("git", "wrong", "no git repository here, so no version can be kept", remedy)
    commit = _git(root, "rev-parse", "--short", "HEAD")
    if commit is None:
        return Finding("git", "wrong", "no commit yet", "`git add . && git commit -m start`")
    if not _git(root, "config", "user.name"):
        remedy = '`git config user.name "Your Name"`, or `--reviewer NAME` on the review page'
        return Finding("git", "note", f"at {commit}; no user.name, which decisions would carry", remedy)
    return Finding("git", "ok", f"at {commit}")


def examine_dvc(root: Path) -> Finding:
    """Whether DVC is set up here."""
    if not (root / "dvc.yaml").is_file():
        return Finding("DVC", "wrong", f"no dvc.yaml in {root}", "Go into a workspace.")
    if not (root / ".dvc").is_dir():
        return Finding("DVC", "wrong", "dvc.yaml without .dvc", "`dvc init`")
    cache = root / ".dvc" / "cache"
    note = "results are there" if (root / "dvc.lock").is_file() else "nothing ran yet: `relabel run`"
    return Finding("DVC", "ok", f"{note}{'' if cache.is_dir() else '; the cache is elsewhere or empty'}")


def examine_params(root: Path) -> Finding:
    """Whether params.yaml can be used."""
    try:
        params = load_params(root / "params.yaml")
    except RelabelError as error:
        return Finding("params.yaml", "wrong", " ".join(str(error).split()), "Correct params.yaml.")
    return Finding("params.yaml", "ok", f"{params.download.dataset}, model {params.train_fold.model}")


def examine_disk(free: int) -> Finding:
    """Whether `free` bytes of disk suffice for a run or two."""
    if free < _LEAST_DISK:
        remedy = "Free some, or `dvc gc --workspace` removes results of old versions."
        return Finding("disk", "wrong", f"{_gigabytes(free)} free", remedy)
    return Finding("disk", "ok", f"{_gigabytes(free)} free")


def examine_memory(available: int) -> Finding:
    """Whether `available` bytes of memory suffice for a training."""
    if available < _LEAST_MEMORY:
        remedy = "`--workers 1` runs one stage at a time; a smaller prune.memory_limit_mb helps prune."
        return Finding("memory", "note", f"{_gigabytes(available)} available", remedy)
    return Finding("memory", "ok", f"{_gigabytes(available)} available")


def examine_gpu(program: str | None) -> Finding:
    """Which GPU the driver's `program` (nvidia-smi) names; None where there is no such program."""
    if program is None:
        return Finding("GPU", "ok", "no NVIDIA driver; trainings run on the CPU")
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("GPU", "note", f"nvidia-smi does not answer ({error})", "Trainings can use the CPU.")
    if found.returncode:
        said = " ".join((found.stdout + found.stderr).split())
        return Finding("GPU", "note", f"nvidia-smi: {said}", "Set train_fold.accelerator to cpu.")
    return Finding("GPU", "ok", "; ".join(found.stdout.splitlines()))


def examine_proxies(environment: "os._Environ[str] | dict[str, str]") -> Finding:
    """Which variables for proxies are set; loopback goes past them in every command of ours."""
    found = [name for name in (*_PROXIES, *map(str.lower, _PROXIES)) if environment.get(name)]
    if not found:
        return Finding("proxy", "ok", "none")
    return Finding("proxy", "ok", f"{', '.join(found)} set; 127.0.0.1 and localhost go past it")


def examine_prefect(home: Path, url: str | None, answers: Callable[[], bool]) -> Finding:
    """Whether Prefect's home can be written, and whether the server that is named answers."""
    nearest = next(each for each in (home, *home.absolute().parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        remedy = "Set PREFECT_HOME to a folder of your own."
        return Finding("Prefect", "wrong", f"its home {home} cannot be written", remedy)
    if not url:
        return Finding("Prefect", "ok", "no server named; each flow brings one along")
    if not answers():
        remedy = "`prefect server start --host 127.0.0.1`, or unset PREFECT_API_URL."
        return Finding("Prefect", "note", f"no server answers at {_without_password(url)}", remedy)
    return Finding("Prefect", "ok", f"a server answers at {_without_password(url)}")


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, without blanks around; None where it fails."""
    found = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)  # noqa: S607
    return None if found.returncode else found.stdout.strip()


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GB"


if __name__ == "__main__":
    sys.exit(main())
