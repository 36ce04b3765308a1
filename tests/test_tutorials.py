"""Tutorials: each command of a page runs as it is typed; until a model is trained it says what is printed."""

import contextlib
import io
import json
import re
import runpy
import shlex
import subprocess
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from small_runs import ENVIRONMENT, ROOT
from warm import with_warm_programs

from benchmarks.workspaces import set_params
from flows import clean_labels, serve

TUTORIALS = ROOT / "docs" / "tutorials"
# What a test can afford: the models that pages show by their figures take minutes.
CHEAP = {
    "photos": {
        "train_fold.model": "nearest_mean",
        "prune.importance": "none",
        "datasets.folder.image_size": 32,  # each stage reads them
    },
    "texts": {},
    "tables": {
        "train_fold.model": "nearest_mean",
        "retrain.label_sets": {"cleaned": {"table": "training_set", "checkpoint": "classifier"}},
    },
    "unlabeled": {"train_fold.model": "nearest_mean"},
}
# Walks that go on in the same folders.
WALKS = [("photos",), ("texts",), ("probabilities",), ("unlabeled",), ("tables", "nightly", "team")]
# The test of README runs photographs, too: `make test` walks this page until there.
UNTIL_THE_RUN = ("photos",)
_RUN = "relabel run"
# That a run takes decisions in is tried on the other pages, and on README.
_REVIEWED_ELSEWHERE = ("photos", "texts", "tables")


@dataclass(frozen=True)
class Step:
    """A command of a page, and the lines that the page prints below it."""

    command: str
    shown: list[str]


def steps_of(page: str) -> list[Step]:
    """The commands of a page's blocks `console`, in order."""
    text = (TUTORIALS / f"{page}.md").read_text(encoding="utf-8")
    found: list[Step] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Step(line.removeprefix("$ "), []))
            else:
                found[-1].shown.append(line)
    return found


@pytest.fixture(scope="module")
def typist() -> dict[str, str]:
    """The environment of the commands: `relabel` is this checkout's, and git knows who types."""
    author = {
        f"GIT_{role}_{what}": "anna@localhost"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return with_warm_programs(ENVIRONMENT) | author


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What a command says, which has to end well."""
    with tempfile.TemporaryFile("w+") as said:
        # A stage ends when its stdin does, so that it is kept open here.
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        with process:
            status = process.wait(timeout=600)
        said.seek(0)
        text = said.read()
    assert status == 0, f"{command}: {text}"
    return text


def decide(command: str, folder: Path, environment: dict[str, str]) -> None:
    """Start the review page, keep the label of the first row, and end it."""
    command = f"exec {command} --port 0 --no-browser"
    with subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = next(re.search(r"http://[\w.:]+", line) for line in process.stdout if "http://" in line)
            assert found is not None
            with urllib.request.urlopen(f"{found[0]}/api/rows?count=1", timeout=60) as answer:
                page = json.load(answer)
            body = {
                "example_ids": [row["example_id"] for row in page["rows"]],
                "decision": "keep",
                "signature": page["signature"],
            }
            request = urllib.request.Request(
                f"{found[0]}/api/decide",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status == 200
        finally:
            process.terminate()


def run_script(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `python SCRIPT ...` says, in this process: another would import the same once more."""
    with monkeypatch.context() as patch, io.StringIO() as said, contextlib.redirect_stdout(said):
        patch.chdir(folder)
        patch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as end:
            runpy.run_path(words[0], run_name="__main__")
        assert end.value.code == 0, words
        return said.getvalue()


def check_options(module: ModuleType, runs: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command read its options and do nothing: a flow takes a minute, and other tests run flows."""
    with monkeypatch.context() as patch:
        patch.setattr(module, runs, lambda chosen: 0)
        assert module.main(words) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pages", "to_the_end"),
    [
        *(pytest.param(walk, walk != UNTIL_THE_RUN, id="-".join(walk)) for walk in WALKS),
        pytest.param(UNTIL_THE_RUN, True, id="photos to the end", marks=pytest.mark.endurance),
    ],
)
def test_each_command_of_a_tutorial_runs(
    pages: tuple[str, ...],
    to_the_end: bool,
    typist: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clone = tmp_path / "relabel"
    clone.mkdir()
    (clone / "docs").symlink_to(ROOT / "docs")
    for page in pages:
        here, has_run = clone, False
        for step in steps_of(page):
            name, *words = shlex.split(step.command)
            if step.command == _RUN and not to_the_end:
                break
            is_review = step.command.startswith("relabel review")
            if name == "source" or (
                page in _REVIEWED_ELSEWHERE and has_run and (is_review or step.command == _RUN)
            ):
                continue
            if name == "cd":
                here = (here / words[0]).resolve()
                continue
            said = ""
            if is_review:
                decide(step.command, here, typist)
            elif name == "python":
                said = run_script(words, here, monkeypatch)
            elif step.command.startswith("relabel serve"):
                check_options(serve, "_run", words[1:], monkeypatch)
            elif step.command.startswith("relabel flow --if-new-data"):
                check_options(clean_labels, "_run_and_show", words[1:], monkeypatch)
                run("relabel run && git commit --quiet --all --message night", here, typist)
            else:
                said = run(step.command, here, typist)
            has_run = has_run or step.command == _RUN
            if not has_run:
                lines = said.splitlines()
                assert [line for line in lines if line in step.shown] == step.shown, step.command
            if step.command.startswith("relabel init"):
                (into,) = re.findall(r"--into (\S+)", step.command)
                if page in CHEAP:
                    set_params(here / into / "params.yaml", {**CHEAP[page], "train_fold.folds": [0, 1]})
        assert has_run == to_the_end or page in ("nightly", "team")


def test_every_tutorial_is_walked() -> None:
    pages = {path.stem for path in TUTORIALS.glob("*.md")}
    assert pages == {page for walk in WALKS for page in walk}
    for page in pages:
        assert len(steps_of(page)) > 3
