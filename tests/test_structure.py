"""The house rules that a reader cannot hold by eye: one direction of imports, a complete dvc.yaml."""

import ast
import functools
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tasks import plugins
from tasks.params import STAGES, Params, load_params

ROOT = Path(__file__).parents[1]
# These only pass on values that dvc.yaml lists under `params`, so no stage depends on them.
DISPATCH = {"tasks", "tasks.params", "tasks.plugins", "tasks.sections"}
# What runs stages, and what is no stage.
RUNNERS = {"__init__", "__main__", "command_line", "stage_server"}
NO_STAGES = RUNNERS | {
    "contents",
    "dvc_lock",
    "explain",
    "gated_repair",
    "held_out_proof",
    "import_decisions",
    "import_probs",
    "neighbours",
    "params",
    "params_file",
    "plugins",
    "predict",
    "prediction_quality",
    "presets",
    "reading",
    "repair",
    "sections",
    "small_files",
    "storage",
    "students",
    "wheels",
    "workspace",
}
# Which plug-ins a stage uses: what dvc.yaml fills in for their name, None for all of them.
USED = {
    "download": {"datasets": "${download.dataset}"},
    "features": {"models": "${train_fold.model}"},
    "train_fold": {"models": "${train_fold.model}", "objectives": "${train_fold.objective}"},
    "prune": {"filters": None},
    "pseudo_label": {
        "pseudo_labels": "${pseudo_label.method}",
        "models": "${train_fold.model}",
        "objectives": "${train_fold.objective}",
    },
    "retrain": {"models": "${train_fold.model}", "objectives": "${retrain.objective}"},
}
# Pages are made of these.
TEMPLATES = {"report": {"tasks/page/base.html", "tasks/page/macros.html", "tasks/templates/report.html"}}


def read_stages(path: Path) -> dict[str, dict]:
    found = YAML(typ="safe").load(path.read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in found.items()}


def stages() -> dict[str, dict]:
    return read_stages(ROOT / "dvc.yaml")


@functools.cache
def imports_of(path: Path) -> frozenset[str]:
    """Every module that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            # `from tasks.datasets import _idx` imports a module too.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@functools.cache
def file_of(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


def own_imports(path: Path) -> set[str]:
    return {name for name in imports_of(path) if name.split(".")[0] == "tasks" and file_of(name)}


def reached_from(path: Path) -> set[Path]:
    """Own files that a file imports, directly or through others, those that only pass on values left out."""
    found: dict[str, Path] = {}
    waiting = own_imports(path)
    while waiting:
        module = waiting.pop()
        source = file_of(module)
        if module not in found and module not in DISPATCH and source is not None:
            found[module] = source
            waiting |= own_imports(source) - found.keys()
    return set(found.values())


def folder_of(kind: str) -> Path:
    return ROOT / Path(*plugins.PACKAGES[kind].split("."))


def files_of(kind: str) -> Iterator[Path]:
    return (folder_of(kind) / f"{name}.py" for name in plugins.names(kind))


def stage_file(stage: str) -> Path:
    """A stage is a module, or a package that holds all that it alone uses."""
    found = file_of(f"tasks.{stage}")
    assert found is not None, stage
    return found


def code_of(stage: str) -> set[str]:
    """The code that dvc.yaml is to name for a stage, as it is to name it."""
    source = stage_file(stage)
    used = {source} | reached_from(source)
    named = set(TEMPLATES.get(stage, ()))
    for kind, template in USED.get(stage, {}).items():
        folder = folder_of(kind).relative_to(ROOT)
        named.add(str(folder) if template is None else f"{folder}/{template}.py")
        # What any plug-in of the kind shares with others is listed whichever is chosen.
        used |= set().union(*(reached_from(path) for path in files_of(kind)))
    of_plugins = {path for kind in plugins.KINDS for path in files_of(kind)}
    # A package's own docstring-only __init__ is code that does nothing.
    empty = {
        path for path in used if path.name == "__init__.py" and len(ast.parse(path.read_text()).body) <= 1
    }
    return named | {str(path.relative_to(ROOT)) for path in used - of_plugins - empty}


def test_stage_names_agree_everywhere() -> None:
    no_stages = (*plugins.KINDS, "check")
    assert tuple(stages()) == STAGES == tuple(name for name in Params.model_fields if name not in no_stages)
    modules = {path.stem for path in (ROOT / "tasks").glob("*.py")} - NO_STAGES
    packages = {stage for stage in STAGES if stage_file(stage).name == "__init__.py"}
    assert modules | packages == set(STAGES)
    for stage in STAGES:
        assert f"def {stage}(" in stage_file(stage).read_text()
        assert (ROOT / "tests" / f"test_{stage}.py").exists()


@pytest.mark.parametrize(
    ("file", "stage"),
    [*(("dvc.yaml", stage) for stage in STAGES)]
    + [("docs/own_probs.yaml", stage) for stage in ("import_probs", "prune", "pseudo_label", "report")],
)
def test_a_stage_declares_exactly_the_code_that_it_uses(file: str, stage: str) -> None:
    deps = read_stages(ROOT / file)[stage]["deps"]
    declared = [dep for dep in deps if dep.startswith("tasks/")]
    assert sorted(declared) == sorted(code_of(stage))
    assert len(set(deps)) == len(deps)


def test_an_edit_of_a_model_reruns_no_training_of_another() -> None:
    """No model imports a file of its folder: all trainings would depend on that."""
    for stage in STAGES:
        named = {dep for dep in stages()[stage]["deps"] if dep.startswith("tasks/models/")}
        assert named <= {"tasks/models/${train_fold.model}.py"}


def test_every_code_dependency_is_a_file_that_is_there() -> None:
    chosen = {"${download.dataset}": "datasets", "${pseudo_label.method}": "pseudo_labels"}
    chosen |= {"${train_fold.model}": "models"}
    chosen |= dict.fromkeys(("${train_fold.objective}", "${retrain.objective}"), "objectives")
    for stage in STAGES:
        for dep in stages()[stage]["deps"]:
            if not dep.startswith("tasks/"):
                continue
            for template, kind in chosen.items():
                for name in plugins.names(kind) if template in dep else ():
                    assert (ROOT / dep.replace(template, name)).is_file()
            if "${" not in dep:
                assert (ROOT / dep).is_file() or dep == "tasks/label_quality/filters"


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in ("train_fold", "retrain")])
def test_a_stage_declares_all_files_that_it_reads_and_writes(
    stage: str, finished_run: Path, tmp_path: Path
) -> None:
    entry = stages()[stage]
    for name in entry["deps"]:
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
    files = {
        stage_file(stage),
        *(path for path in reached_from(stage_file(stage)) if "params" in path.read_text()),
    }
    if stage_file(stage).name == "__init__.py":
        files |= set(stage_file(stage).parent.glob("*.py"))
    text = "".join(path.read_text() for path in files)
    read = set(re.findall(r"\bparams\.([a-z_]+)", text)) & set(STAGES)
    options = set(re.findall(r"\.options\(\"([a-z_]+)\"", text)) & set(plugins.KINDS)
    declared = {name.split(".")[0] for name in stages()[stage]["params"]}
    assert read | options <= declared
    if stage != "report":  # its page prints them all
        assert declared == read | options


def test_imports_point_one_way() -> None:
    for path in (ROOT / "tasks").rglob("*.py"):
        used = imports_of(path)
        assert not any(name.split(".")[0] in ("prefect", "flows") for name in used), path
        if "label_quality" in path.parts:
            allowed = {"numpy", "scipy", "sklearn", "tasks", *sys.stdlib_module_names}
            foreign = {name.split(".")[0] for name in used} - allowed
            assert not foreign, f"{path}: {foreign}"
            assert all(
                name.startswith(("tasks.label_quality", "tasks.neighbours"))
                for name in used
                if name.split(".")[0] == "tasks"
            )


def test_the_review_page_stands_on_tasks_alone() -> None:
    for path in (ROOT / "review").rglob("*.py"):
        used = {name.split(".")[0] for name in imports_of(path)}
        assert not used & {"prefect", "flows", "dvc", "torch", "pytorch_lightning"}, path
        assert not own_imports(path) & {f"tasks.{stage}" for stage in STAGES}, path
    for path in (ROOT / "tasks").rglob("*.py"):
        assert not any(name.split(".")[0] == "review" for name in imports_of(path)), path


def test_what_users_install_holds_all_that_the_program_imports_and_no_more_charts() -> None:
    locked = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    assert "matplotlib" not in locked  # benchmarks.results alone draws with it
    distributions = packages_distributions()
    # Ray is an extra, and brings grpc.
    known = {*sys.stdlib_module_names, "tasks", "flows", "review", "prefect_ray", "grpc"}
    for path in (each for top in ("tasks", "flows", "review") for each in (ROOT / top).rglob("*.py")):
        for module in {name.split(".")[0] for name in imports_of(path)} - known:
            names = {name.lower().replace(".", "-") for name in distributions[module]}
            assert names & locked, f"{path}: {module}"


def test_stages_never_import_each_other_nor_a_plug_in() -> None:
    plug_ins = {f"{plugins.PACKAGES[kind]}.{name}" for kind in plugins.KINDS for name in plugins.names(kind)}
    for path in (ROOT / "tasks").rglob("*.py"):
        if path.stem in RUNNERS and path.parent == ROOT / "tasks":
            continue
        inside = {f"tasks.{path.relative_to(ROOT / 'tasks').parts[0]}"}
        assert not own_imports(path) & ({f"tasks.{stage}" for stage in STAGES} - inside), path
        assert not own_imports(path) & plug_ins, path


def test_stages_and_libraries_name_no_plug_in() -> None:
    """A plug-in has its name in its file and in params.yaml, nowhere else."""
    # These words mean other things too.
    names = {name for kind in plugins.KINDS for name in plugins.names(kind)}
    names -= {"parquet", "table", "folder", "arrays", "text", "auto"}
    of_plugins = {path for kind in plugins.KINDS for path in folder_of(kind).glob("*.py")}
    # What fits a person's data best is for `init` to choose.
    choosing = set((ROOT / "tasks" / "intake").glob("*.py"))
    # What is exported has the form of its data set.
    choosing |= set((ROOT / "tasks" / "export").glob("*.py"))
    for path in {*(ROOT / "tasks").rglob("*.py"), *(ROOT / "flows").rglob("*.py")} - of_plugins - choosing:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names, f"{path}, line {node.lineno}: {node.value}"


def test_the_command_line_and_light_stages_import_neither_torch_nor_scikit_learn() -> None:
    light = [f"tasks.{name}" for name in STAGES if name not in ("train_fold", "retrain")]
    # All in one process: the first that imports one of them is named.
    code = (
        f"import importlib, sys\nfor name in {['tasks.__main__', *light]}:\n"
        "    importlib.import_module(name)\n"
        "    if found := {'torch', 'sklearn', 'pandas'} & set(sys.modules):\n"
        "        sys.exit(f'{name} imports {found}')"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_a_checkout_has_the_same_bytes_whatever_git_does_with_line_ends(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    (folder / "tasks").mkdir(parents=True)
    for name in (".gitattributes", "dvc.yaml", "tasks/params.py"):
        shutil.copy(ROOT / name, folder / name)
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    copy = tmp_path / "copy"
    for command in (
        ["-C", folder, "init", "--quiet"],
        ["-C", folder, "add", "--all"],
        ["-C", folder, *author, "commit", "--quiet", "--no-gpg-sign", "-m", "Start"],
        ["clone", "--quiet", "--config", "core.autocrlf=true", folder, copy],
    ):
        subprocess.run(["git", *command], check=True)
    for name in ("dvc.yaml", "tasks/params.py"):
        assert (copy / name).read_bytes() == (ROOT / name).read_bytes()
