"""The house rules that a reader cannot hold by eye: one direction of imports, complete dvc.yaml."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tasks.command_line import STAGES
from tasks.params import Params, load_params

ROOT = Path(__file__).parents[1]
# These only pass on values that dvc.yaml lists under `params`, so no stage depends on them.
DISPATCH = {"tasks", "tasks.params"}


def stages() -> dict[str, dict]:
    found = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in found.items()}


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            # `from tasks.models import classifier` imports a module too.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def file_of(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


def own_imports(path: Path) -> set[str]:
    return {name for name in imports_of(path) if name.split(".")[0] == "tasks" and file_of(name)}


def reached_from(path: Path) -> set[str]:
    """Own modules that a file imports, directly or through others."""
    found: set[str] = set()
    waiting = own_imports(path)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            source = file_of(module)
            assert source is not None
            waiting |= own_imports(source) - found
    return found


def test_stage_names_agree_everywhere() -> None:
    assert tuple(stages()) == STAGES == tuple(Params.model_fields)
    files = {path.stem for path in (ROOT / "tasks").glob("*.py")} - {
        "__init__",
        "__main__",
        "command_line",
        "explain",
        "import_probs",
        "params",
        "remote",
    }
    assert files == set(STAGES)
    for stage in STAGES:
        assert f"def {stage}(" in (ROOT / "tasks" / f"{stage}.py").read_text()
        assert (ROOT / "tests" / f"test_{stage}.py").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_all_code_that_it_uses(stage: str) -> None:
    source = ROOT / "tasks" / f"{stage}.py"
    declared = [ROOT / dep for dep in stages()[stage]["deps"]]
    for module in reached_from(source) - DISPATCH:
        path = file_of(module)
        assert path is not None
        covered = any(path == dep or dep in path.parents for dep in declared)
        # A package's own docstring-only __init__ is code that does nothing.
        empty = path.name == "__init__.py" and len(ast.parse(path.read_text()).body) <= 1
        assert covered or empty, f"dvc.yaml: {stage} uses {path.relative_to(ROOT)} and does not list it"
    assert source in declared


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in ("train_fold", "retrain")])
def test_a_stage_declares_all_files_that_it_reads_and_writes(
    stage: str, finished_run: Path, tmp_path: Path
) -> None:
    entry = stages()[stage]
    # No fixed names: dvc.yaml says what stands for them.
    extra = [f"metrics/{path.name}" for path in (finished_run / "metrics").glob("retrain_*.json")]
    for name in [*entry["deps"], *(extra if stage == "report" else ())]:
        source, target = finished_run / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy(source, target)
    shutil.copy(finished_run / "params.yaml", tmp_path)
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    run = getattr(importlib.import_module(f"tasks.{stage}"), stage)
    run(load_params(tmp_path / "params.yaml"), tmp_path)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} - before
    metrics = [name for metric in entry.get("metrics", ()) for name in metric]
    assert {str(path) for path in written} == {*entry["outs"], *metrics}
    for path in written:
        assert (tmp_path / path).read_bytes() == (finished_run / path).read_bytes(), path


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_all_parameters_that_it_reads(stage: str) -> None:
    text = (ROOT / "tasks" / f"{stage}.py").read_text()
    read = set(re.findall(r"\bparams\.([a-z_]+)", text)) & set(STAGES)
    declared = set(stages()[stage]["params"])
    assert read <= declared
    if stage != "report":  # its page prints them all
        assert declared == read


def test_imports_point_one_way() -> None:
    for path in (ROOT / "tasks").rglob("*.py"):
        used = imports_of(path)
        assert not any(name.split(".")[0] in ("prefect", "flows") for name in used), path
        if path.parent.name == "label_quality":
            allowed = {"numpy", "typing", "dataclasses", "collections", "functools", "sklearn"}
            foreign = {name.split(".")[0] for name in used} - allowed - {"tasks"}
            assert not foreign, f"{path}: {foreign}"
            assert all(
                name.startswith("tasks.label_quality") for name in used if name.split(".")[0] == "tasks"
            )


def test_the_review_page_stands_on_tasks_alone() -> None:
    for path in (ROOT / "review").rglob("*.py"):
        used = {name.split(".")[0] for name in imports_of(path)}
        assert not used & {"prefect", "flows", "dvc", "torch", "pytorch_lightning"}, path
        assert not own_imports(path) & {f"tasks.{stage}" for stage in STAGES}, path
    for path in (ROOT / "tasks").rglob("*.py"):
        assert not any(name.split(".")[0] == "review" for name in imports_of(path)), path


def test_stages_never_import_each_other() -> None:
    for path in (ROOT / "tasks").rglob("*.py"):
        if path.name not in ("__main__.py", "command_line.py", "remote.py"):
            assert not own_imports(path) & {f"tasks.{stage}" for stage in STAGES}, path


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in ("train_fold", "retrain")])
def test_a_light_stage_imports_neither_torch_nor_scikit_learn(stage: str) -> None:
    code = (
        f"import sys, tasks.{stage}; print([m for m in ('torch', 'sklearn', 'pandas') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys, tasks.__main__; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
