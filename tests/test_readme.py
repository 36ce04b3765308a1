"""The first screen of README: each command on it runs, from a folder of pictures to repaired labels."""

import re
import shlex
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from small_runs import ENVIRONMENT, ROOT
from warm import with_warm_programs

from benchmarks.workspaces import set_params
from flows.relabel import COMMANDS

README = (ROOT / "README.md").read_text(encoding="utf-8")
# What a test can afford in place of pretrained features, five folds and the covariance of all pixels; the
# commands are as they are typed.
CHEAP = {"train_fold.model": "nearest_mean", "train_fold.folds": [0, 1], "prune.importance": "none"}


def block_after(heading: str) -> list[str]:
    """The commands of the first block of code below a heading, without comments."""
    text = README.split(f"## {heading}", 1)[1].split("```")[1]
    return [line.split("#")[0].strip() for line in text.splitlines() if line.strip()]


def draw_photos(folder: Path) -> None:
    """Discs and squares in a folder for each class; every tenth is in the wrong one."""
    rng = np.random.default_rng(3)
    for number in range(120):
        shape, label = (("disc", "square")[number % 2],) * 2
        if number % 10 == 0:
            label = "square" if shape == "disc" else "disc"
        picture = Image.fromarray(rng.integers(90, 130, (32, 32, 3), dtype=np.uint8))
        draw, (left, top) = ImageDraw.Draw(picture), rng.integers(7, 10, 2).tolist()
        box = (left, top, left + 15, top + 15)
        (draw.ellipse if shape == "disc" else draw.rectangle)(box, outline=(230, 60, 40), width=3)
        (folder / label).mkdir(parents=True, exist_ok=True)
        picture.save(folder / label / f"{number}.png")


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def look_at_the_page(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Start the review page on a free port, ask for it once, and end it."""
    command = [*command, "--port", "0", "--no-browser"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = next(re.search(r"http://\S+", line) for line in process.stdout if "http://" in line)
            assert found is not None
            with urllib.request.urlopen(found[0], timeout=60) as answer:
                assert b"Review" in answer.read()
        finally:
            process.terminate()


@pytest.mark.slow
def test_a_newcomer_gets_from_photographs_to_repaired_labels(tmp_path: Path) -> None:
    home = tmp_path / "home"
    draw_photos(home / "photos")
    here = tmp_path / "code" / "relabel"  # paths are read from here; the code is this checkout's
    here.mkdir(parents=True)
    environment = with_warm_programs(ENVIRONMENT | {"HOME": str(home)})
    typed = []
    for line in block_after("Your own data, in one command"):
        words = [word.replace("~", str(home)) for word in shlex.split(line)]
        if words[0] == "cd":
            here = (here / words[1]).resolve()
            set_params(here / "params.yaml", CHEAP)
        elif words[0] == "relabel":
            (look_at_the_page if words[1] == "review" else run)(words, here, environment)
            typed.append(words[1])
        else:
            assert line == "make install && source .venv/bin/activate"
    assert typed == ["init", "run", "review", "run", "export"]
    assert (here / "report" / "index.html").is_file()
    (repaired,) = here.parent.glob("*-repaired*")
    assert any(repaired.rglob("*")) if repaired.is_dir() else repaired.stat().st_size


def test_every_make_target_of_the_first_screen_is_there() -> None:
    targets = [line.split()[1] for line in block_after("A first result") if line.startswith("make ")]
    targets += re.findall(r"`make ([a-z-]+)", README)
    assert {"repro", "test"} <= set(targets)
    for target in set(targets):
        found = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert found.returncode == 0, found.stderr


def test_every_command_of_the_table_is_one_of_relabel() -> None:
    table = README.split("## Commands", 1)[1].split("\n## ", 1)[0]
    named = set(re.findall(r"`relabel ([a-z-]+)", table))
    assert len(named) > 8
    assert named <= set(COMMANDS)
