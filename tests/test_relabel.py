"""The command `relabel`: which folder it runs in, what it runs, and what it says where it cannot."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ROOT

from flows.relabel import COMMANDS, FLAGS, completion, find_workspace, from_here, main, read_version, usage


def relabel(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", str(ROOT / "flows" / "relabel.py"), *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with a dvc.yaml and a module that says where it runs and with what."""
    root = tmp_path / "my data"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "review.py").write_text("import os, sys\nprint(os.getcwd())\nprint(sys.argv[1:])\nsys.exit(3)\n")
    return root


def test_it_runs_the_module_in_the_nearest_workspace_above_and_says_so(workspace: Path) -> None:
    found = relabel("review", "--port", "0", cwd=workspace / "deep" / "er")
    assert found.stdout.splitlines() == [str(workspace), "['--port', '0']"]
    assert found.returncode == 3
    assert "python -m review --port 0" in found.stderr


def test_dvc_and_its_stages_use_the_python_of_the_command(workspace: Path) -> None:
    (workspace / "dvc.yaml").unlink()
    subprocess.run(["git", "init", "-q"], cwd=workspace, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=workspace, check=True)
    (workspace / "dvc.yaml").write_text(
        "stages:\n  a:\n    cmd: python -c 'import sys; print(sys.prefix)' > a.txt\n    outs: [a.txt]\n"
    )
    found = relabel("run", cwd=workspace, PATH="/usr/bin:/bin")
    assert found.returncode == 0, found.stderr
    assert (workspace / "a.txt").read_text().strip() == sys.prefix


def test_without_a_workspace_it_says_what_to_do(tmp_path: Path) -> None:
    found = relabel("run", cwd=tmp_path)
    assert found.returncode == 1
    assert "dvc.yaml" in found.stderr
    assert "relabel init" in found.stderr


def test_a_typo_gets_the_nearest_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explian"]) == 2
    assert "did you mean explain" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("init", "tasks/intake/command.py"),
        ("preset", "tasks/presets.py"),
        ("compare", "flows/compare.py"),
        ("export", "tasks/export/__init__.py"),
        ("import-decisions", "tasks/import_decisions.py"),
        ("predict", "tasks/predict.py"),
        ("sweep", "flows/sweep.py"),
        ("check", "flows/check.py"),
    ],
)
def test_all_arguments_that_are_paths_are_known_as_such(name: str, file: str) -> None:
    calls = [node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.Call)]
    options = {
        call.args[0].value if call.args[0].value.startswith("--") else ""
        for call in calls
        if any(word.arg == "type" and ast.unparse(word.value) == "Path" for word in call.keywords)
    }
    assert options
    assert options <= set(COMMANDS[name].paths)
    flags = {call.args[0].value for call in calls if "store_true" in ast.unparse(call) and call.args}
    assert "" not in options or flags <= set(FLAGS)


def test_a_path_after_an_option_without_a_value_is_read_from_where_the_person_is() -> None:
    here = Path("/home/anna")
    for name, flag in (("init", "--dvc-add"), ("export", "--copy"), ("predict", "--probs"), ("init", "--")):
        assert from_here([flag, "photos"], COMMANDS[name].paths, here) == [flag, "/home/anna/photos"]


def test_paths_are_read_from_where_the_person_is() -> None:
    here = Path("/home/anna")
    assert from_here(["photos", "--name", "pets"], ["", "--into"], here) == [
        "/home/anna/photos",
        "--name",
        "pets",
    ]
    assert from_here(["a.csv", "--out", "b.csv", "--out=c.csv"], ["", "--out"], here) == [
        "/home/anna/a.csv",
        "--out",
        "/home/anna/b.csv",
        "--out=/home/anna/c.csv",
    ]
    assert from_here(["main", "HEAD"], [], here) == ["main", "HEAD"]
    assert from_here(["../x"], [""], here) == ["/home/x"]
    assert from_here(["/data/x"], [""], here) == ["/data/x"]


def test_every_option_of_init_that_takes_a_path_reads_it_from_where_the_person_is(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    typed = ["probs.csv", "--examples", "pets", "--labels=y.csv", "--class-names"]
    paths = COMMANDS["init"].paths
    absolute = [f"{tmp_path}/probs.csv", "--examples", f"{tmp_path}/pets", f"--labels={tmp_path}/y.csv"]
    assert from_here([*typed, "names.txt"], paths, tmp_path) == [
        *absolute,
        "--class-names",
        f"{tmp_path}/names.txt",
    ]
    assert from_here([*typed, "cat,dog"], paths, tmp_path)[-1] == "cat,dog"


def test_the_nearest_workspace_is_the_innermost(workspace: Path) -> None:
    inner = workspace / "deep"
    assert find_workspace(inner / "er") == workspace
    (inner / "dvc.yaml").touch()
    assert find_workspace(inner / "er") == inner


def test_help_names_every_command_and_completion_offers_it() -> None:
    for name in COMMANDS:
        assert f"  {name} " in usage()
        assert name in completion("bash")
    assert "bashcompinit" in completion("zsh")


def test_help_keeps_the_examples_in_one_column() -> None:
    lines = [line for line in usage().splitlines() if "e.g. relabel" in line]
    assert len(lines) == len(COMMANDS)
    assert len({line.index("  e.g. relabel") for line in lines}) == 1


def test_completion_for_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion", "fish"]) == 2
    assert "expected bash or zsh, found fish" in capsys.readouterr().err


def test_every_command_of_the_manual_is_there() -> None:
    wanted = "init run flow serve compare review explain export predict sweep check doctor"
    assert set(wanted.split()) <= set(COMMANDS)
    for command in COMMANDS.values():
        assert command.example.split()[0] in COMMANDS


def test_completion_works_in_bash() -> None:
    script = (
        completion("bash") + '\nCOMP_WORDS=(relabel comp); COMP_CWORD=1; _relabel; echo "${COMPREPLY[@]}"'
    )
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "compare"


def test_the_version_is_that_of_the_checkout() -> None:
    assert f'version = "{read_version(ROOT)}"' in (ROOT / "pyproject.toml").read_text()
