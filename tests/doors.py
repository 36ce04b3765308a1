"""A workspace and its two doors: `dvc repro` and the flow."""

import re
import subprocess
import time
from pathlib import Path

from ruamel.yaml import YAML
from small_runs import ENVIRONMENT, ROOT, SETTINGS
from warm import run_warm

from benchmarks.doors import FLOW
from benchmarks.killing import processes
from benchmarks.workspaces import make_workspace, set_params

# A stage that takes long, without the training: it waits for a file, and says that it ran, as all do.
WAITS = """
import os, sys, time
from pathlib import Path
from tasks.stage_server import end_with_parent

end_with_parent()
print("waiting", flush=True)
while not Path("go").exists():
    time.sleep(0.05)
with Path(os.environ.get("RELABEL_STAGE_RECORD", os.devnull)).open("a") as record:
    record.write('{"failure": null}\\n')
for name in sys.argv[1:]:
    Path(name).write_text("done")
"""

# A model whose training never ends: it tells one epoch after the other.
ENDLESS = '''"""A model whose training never ends."""

import itertools
import time

from tasks.sections import Section

TAKES = ("image",)
USES_TORCH = False
OBJECTIVES = ("supervised",)


class Options(Section):
    """It has none."""


def restore(facts, options, arrays):
    raise NotImplementedError


def build(facts, options, run):
    for epoch in itertools.count(1):
        print(f"epoch {epoch}/1000000", flush=True)
        time.sleep(0.05)
'''


class Door:
    """A workspace and its two doors."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def start(
        self, *arguments: str, command: list[str] = FLOW, output: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def flow(self, *arguments: str, status: int = 0) -> str:
        return self.run("flows.clean_labels", *arguments, status=status)

    def dvc(self, *arguments: str) -> str:
        return self.run("dvc", *arguments)

    def run(self, *words: str, status: int = 0) -> str:
        """What `python -m` with these words says, to its end; what is to be killed is started."""
        found, log, _ = run_warm(words, self.folder, self.environment)
        assert found == status, log
        return log

    def add_endless(self) -> None:
        """Add the model `endless`, a file that nothing else uses."""
        (self.folder / "tasks" / "models" / "endless.py").write_text(ENDLESS)

    def choose_model(self, name: str) -> None:
        """Train this model from now on; only this workspace need have it."""
        yaml = YAML()
        path = self.folder / "params.yaml"
        content = yaml.load(path)
        content["train_fold"]["model"] = name
        content["models"].setdefault(name, {})
        yaml.dump(content, path)

    def lock(self) -> bytes:
        return (self.folder / "dvc.lock").read_bytes()

    def assert_no_orphans(self, within_s: float = 30) -> None:
        deadline = time.monotonic() + within_s
        while found := processes(self.folder):
            assert time.monotonic() < deadline, [process.cmdline() for process in found]
            time.sleep(0.1)


def make_waiting(folder: Path, environment: dict[str, str], *outs: str) -> Door:
    """A workspace whose only stage waits for a file `go`; without outputs it never is up to date."""
    make_workspace(folder, SETTINGS, source=ROOT)
    (folder / "wait.py").write_text(WAITS)
    with (folder / "dvc.yaml").open("w") as file:
        stage = {"cmd": " ".join(["python wait.py", *outs]), "params": ["report.top_issues"], "outs": [*outs]}
        YAML().dump({"stages": {"wait": stage if outs else {"cmd": stage["cmd"]}}}, file)
    return Door(folder, environment)


def make_waited(folder: Path) -> None:
    """A workspace of one stage that ran; with another `report.top_issues` than 8 it waits for `go` again.

    All of it is in git's last commit.
    """
    door = make_waiting(folder, ENVIRONMENT, "waited")
    set_params(folder / "params.yaml", {"report.top_issues": 8})
    (folder / "go").touch()
    door.dvc("repro")
    (folder / "go").unlink()
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["add", "--all"], ["commit", "--quiet", "--no-gpg-sign", "-m", "Ran"]):
        subprocess.run(["git", *author, *command], cwd=folder, check=True)


def outcomes(log: str, outcome: str) -> set[str]:
    return set(re.findall(rf"^(\S+) +{outcome}$", log, flags=re.MULTILINE))


def wait_for(process: subprocess.Popen[str], pattern: str) -> None:
    """Read what the process prints until a line matches."""
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(pattern, line):
            return
    raise AssertionError(f"the process ended without {pattern!r}")
