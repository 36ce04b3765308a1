"""`make fuzz`: damaged and odd inputs for every reader; each is refused in a sentence, or read right.

Every reading is a process of its own with limits of time (30 s) and memory (1 GB, measured). What is accepted
must be what the good file says, or what an independent reader finds in the same bytes.
`python -m benchmarks.fuzz [SEED [WORDS OF A READER]]`.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import numpy as np
from hand_made import write_run
from rich.console import Console
from rich.table import Table

from benchmarks.fuzzing import damage
from benchmarks.fuzzing.reader import Reader
from benchmarks.fuzzing.readers import all_readers
from benchmarks.fuzzing.trial import Outcome, attempt
from tasks.decisions.log import PATH, Decision, append_decisions
from tasks.params import load_params
from tasks.pseudo_label import pseudo_label
from tasks.tables.catalog import GIVEN_LABELS
from tasks.tables.io import read_table

BAD = ("traceback", "crash", "hang", "memory", "long", "wrong")
COLUMNS = ("tried", "refused", "right", *BAD)


def judge(reader: Reader, folder: Path, good: str) -> Outcome:
    """What a reader makes of a damaged folder: `refused`, `right`, or one of BAD."""
    found = attempt(lambda: reader.read(folder))
    if found.kind != "value":
        return found
    right = found.said == good
    if not right and reader.oracle is not None:
        oracle = reader.oracle
        right = attempt(lambda: oracle(folder)).said == found.said
    return Outcome("right" if right else "wrong", found.said, found.seconds, found.most_bytes)


def trials(reader: Reader, seed: int, folder: Path) -> list[tuple[str, str, Outcome]]:
    """All trials of a reader: the class of damage, how to see it again, and what came of it."""
    found = []
    content = (reader.good / reader.file).read_bytes()
    good = attempt(lambda: reader.read(reader.good))
    if good.kind != "value":
        raise SystemExit(f"{reader.name}: the good file is not read: {good}")
    copy = folder / "copy"
    shutil.copytree(reader.good, copy, symlinks=True)
    path = copy / reader.file
    for group, damages in reader.damages.items():
        for name, change in damages.items():
            for number in range(reader.n):
                draw = random.Random(f"{reader.name} {name} {seed} {number}")
                path.unlink()
                path.write_bytes(change(content, draw))
                found.append((f"{group}: {name}", f"{number}", judge(reader, copy, good.said)))
    for name, put in damage.PLACES.items():
        path.unlink()
        put(path, random.Random(seed))
        found.append((f"in its place: {name}", "0", judge(reader, copy, good.said)))
        if path.is_dir():
            path.rmdir()
            path.touch()
        elif not path.is_symlink() and not path.exists():
            path.touch()
    shutil.rmtree(copy)
    return found


def write_lock(folder: Path, patterns: tuple[str, ...]) -> None:
    """A dvc.lock, by plain means: one stage has made what has these names, with all parameters."""
    made = sorted(path for pattern in patterns for path in folder.glob(pattern))
    outs = [{"path": str(path.relative_to(folder)), "hash": "md5", "md5": _md5(path)} for path in made]
    params: Any = yaml.safe_load((folder / "params.yaml").read_text())
    stage = {"cmd": "python -m tasks prune", "params": {"params.yaml": params}, "outs": outs}
    content = {"schema": "2.0", "stages": {"prune": stage}}
    (folder / "dvc.lock").write_text(yaml.safe_dump(content, sort_keys=False))


def _md5(path: Path) -> str:
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs import LocalFileSystem

    files = LocalFileSystem()
    _, _, found = build(HashFileDB(files, str(path.parent)), str(path), files, "md5", dry_run=True)
    return str(found.hash_info.value)


def write_decisions(run: Path) -> None:
    """What a person decided about ten rows."""
    given = read_table(GIVEN_LABELS.at(run), GIVEN_LABELS, ["key", "given_label"]).slice(0, 10).to_pylist()
    said = ("keep", "drop", "choose")
    lines = [
        Decision(
            row["key"],
            said[n % 3],
            "dog" if n % 3 == 2 else "",
            ("cat", "dog", "horse")[row["given_label"]],
            "anna",
            "2026-01-31T12:00:00Z",
            "none",
        )
        for n, row in enumerate(given)
    ]
    append_decisions(run / PATH, lines)


def make_good(folder: Path) -> tuple[Path, Path]:
    """A finished run, and a repository of DVC whose commit has its files."""
    run, repository = folder / "run", folder / "repository"
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)
    run.mkdir()
    write_run(run, images, pooled=True)
    write_decisions(run)
    pseudo_label(load_params(run / "params.yaml"), run)
    shutil.copytree(run, repository)
    folders = ("plots/train_fold/*", "plots/retrain/*")
    write_lock(run, ("metrics/*.json", "plots/*.csv", "plots/reliability/*.csv", "data/*.parquet", *folders))
    shutil.copy("docs/own_probs.yaml", repository / "dvc.yaml")
    write_lock(repository, ("metrics/*.json",))
    (repository / ".gitignore").write_text("/data/\n/plots/\n/report/\n")
    author = ["-c", "user.name=relabel", "-c", "user.email=relabel@localhost"]
    for command in (
        ["git", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", *author, "commit", "--quiet", "--no-gpg-sign", "-m", "Ran"],
    ):
        subprocess.run(command, cwd=repository, check=True)
    return run, repository


def main() -> int:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    words = sys.argv[2:]
    began = time.monotonic()
    by_reader: dict[str, Counter[str]] = {}
    by_class: dict[str, Counter[str]] = {}
    most_bytes, longest_s = 0, 0.0
    # Ctrl-C prints what was found until then.
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        run, repository = make_good(folder)
        (folder / "own").mkdir()
        for reader in all_readers(folder / "own", run, repository):
            if any(word not in reader.name for word in words):
                continue
            for kind, again, outcome in trials(reader, seed, folder):
                for counts in (
                    by_reader.setdefault(reader.name, Counter()),
                    by_class.setdefault(kind, Counter()),
                ):
                    counts.update(["tried", outcome.kind])
                most_bytes, longest_s = max(most_bytes, outcome.most_bytes), max(longest_s, outcome.seconds)
                if outcome.kind in BAD:
                    print(f"{outcome.kind}: {reader.name}, {kind} {again}: {outcome.said[:300]}", flush=True)
    console = Console(width=130)
    for title, rows in (("by class of damage", by_class), ("by reader", by_reader)):
        table = Table(title=f"make fuzz, seed {seed}, {title}")
        for column in (title, *COLUMNS):
            table.add_column(column, justify="left" if column == title else "right")
        for row, counts in rows.items():
            table.add_row(row, *(str(counts[column]) for column in COLUMNS))
        total = sum(rows.values(), Counter())
        table.add_section()
        table.add_row("all", *(str(total[column]) for column in COLUMNS))
        console.print(table)
    print(
        f"most memory {most_bytes / 2**20:.0f} MB, longest {longest_s:.1f} s, "
        f"{time.monotonic() - began:.0f} s in all"
    )
    return 1 if any(total[kind] for kind in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
