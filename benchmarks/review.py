"""`make bench-review`: how soon a page of rows is there, and how many decisions a minute it takes.

`python -m benchmarks.review --photos` takes photographs of 64 x 64 pixels in colour, no two alike.

A real browser (the machine's Chromium, without a window) on the page of a made-up data set of 70,000
pictures, of which a tenth are suspects and a seventh were test rows. Printed over n runs: the time until a
page of 50 rows with their pictures is drawn (on opening it, on turning to the next, and by a filter of class
or of split), and decisions a minute, each key pressed when the decision before is on the disk, and each as
soon as the next row has the frame.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from playwright.sync_api import Browser, expect, sync_playwright
from rich.console import Console
from rich.table import Table

from tasks.tables.catalog import EXAMPLES, FILTER_COLUMNS, GIVEN_LABELS, LABEL_ISSUES, SPLIT_ROWS
from tasks.tables.facts import DatasetFacts
from tasks.tables.io import make_table, write_table
from tasks.tables.schemas import Artifact

ROWS = 70_000
RUNS = 5
DECISIONS = 100


def write_suspects(
    workspace: Path,
    n_rows: int,
    content: str = "image",
    n_classes: int = 10,
    test_share: float = 0.0,
    side: int = 28,
    first_id: int = 0,
    *,
    photos: bool = False,
) -> None:
    """The tables of a made-up data set of which every tenth row is a suspect, in a git repository.

    With a `test_share`, about so many of its rows were test rows before `download.pool`. Images are grey and
    one a class; `photos` are in colour, and each is another.

    Row `i` has example_id `first_id` + 10 i, and the ranks go down by id: the most suspect row is the last
    suspect.
    """
    rng = np.random.default_rng(0)
    names = tuple(f"class {k}" for k in range(n_classes))
    shape = (side, side, 3) if photos else (side, side)
    facts = DatasetFacts("made-up", names, content, {"image": shape, "text": (), "features": (4,)}[content])
    ids, given = first_id + 10 * np.arange(n_rows), np.arange(n_rows) % n_classes
    is_issue = np.arange(n_rows) % 10 == 0
    suggested = np.where(is_issue, (given + 1) % n_classes, given)
    rank = np.where(is_issue, is_issue.sum() - np.cumsum(is_issue), 0)
    confidence = np.where(is_issue, 0.1, 0.9) + 0.05 * rng.random(n_rows)
    values: dict[str, Callable[[], object]] = {
        "image": lambda: (
            rng.integers(256, size=(n_rows, *shape), dtype=np.uint8)
            if photos
            else rng.integers(256, size=(n_classes, *shape), dtype=np.uint8)[given]
        ),
        "text": lambda: [f'<b>Text</b> of row {i}: it\'s\na "quoted" & long one.' for i in range(n_rows)],
        "features": lambda: rng.normal(size=(n_rows, 4)),
    }
    split = ["train"] * n_rows
    original_split = np.where(rng.random(n_rows) < test_share, "test", "train")
    key = ids.astype(str)
    labels = {"given_label": pa.nulls(n_rows, pa.int16()), "true_label": given}
    tables: dict[str, tuple[Artifact, dict[str, object]]] = {
        "examples": (EXAMPLES, {"key": key, "split": split, **labels, content: values[content]()}),
        "splits": (SPLIT_ROWS, {"group": ids, "split": split, "original_split": original_split}),
        "given_labels": (
            GIVEN_LABELS,
            {
                "key": key,
                "split": split,
                "given_label": given,
                "true_label": pa.nulls(n_rows, pa.int16()),
                "is_noisy": pa.nulls(n_rows, pa.bool_()),
            },
        ),
        "label_issues": (
            LABEL_ISSUES,
            {
                "key": key,
                "given_label": given,
                "suggested_label": suggested,
                "suggested_prob": 1 - confidence / 2,
                "second_label": (suggested + 1) % n_classes,
                "second_prob": confidence / 4,
                "error_prob": pa.nulls(n_rows, pa.float32()),
                **dict.fromkeys(
                    ("self_confidence", "normalized_margin", "confidence_weighted_entropy"), confidence
                ),
                **dict.fromkeys(("importance", "contrast"), confidence),
                "importance_percentile": 100 * np.arange(1, n_rows + 1) / n_rows,
                "contradicts": np.zeros(n_rows, dtype=bool),
                "is_issue": is_issue,
                "rank": pa.array(rank, pa.int64(), mask=~is_issue),
                **dict.fromkeys(FILTER_COLUMNS, is_issue),
            },
        ),
    }
    for name, (artifact, columns) in tables.items():
        table = make_table(artifact, facts, {"example_id": ids, **columns})
        write_table(workspace / "data" / f"{name}.parquet", table, artifact)
    author = ["-c", "user.name=relabel", "-c", "user.email=relabel@localhost"]
    commit = [*author, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "-m", "Start"]
    for command in (["init", "--quiet"], commit):
        subprocess.run(["git", *command], cwd=workspace, check=True)


@contextmanager
def review_page(workspace: Path, reviewer: str = "anna") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of `python -m review` in a workspace and its process, while it runs."""
    # The code is this checkout's, wherever the workspace is.
    command = [sys.executable, "-P", "-m", "review", "--port", "0", "--no-browser", "--reviewer", reviewer]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        command, cwd=workspace, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "http" in line, line
            yield line.split()[2].rstrip("/"), process
        finally:
            process.terminate()
            process.wait(20)


def measure(url: str, browser: Browser) -> dict[str, float]:
    """One run: milliseconds until a page is drawn, and decisions a minute."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    found: dict[str, float] = {}

    def timed(name: str, act: Callable[[], object], first: str) -> None:
        began = time.perf_counter()
        act()
        page.locator(f"#rows li:first-child:not([data-id='{first}']) img").wait_for()
        # Drawn: the picture of the last row has its pixels.
        page.locator("#rows li:last-child img").evaluate("(image) => image.decode()")
        found[name] = 1000 * (time.perf_counter() - began)

    def first() -> str:
        return str(page.locator("#rows li").first.get_attribute("data-id"))

    timed("first page, ms", lambda: page.goto(url), "")
    page.wait_for_timeout(500)
    timed("next page, ms", lambda: page.keyboard.press("n"), first())
    timed("a filter of class, ms", lambda: page.select_option("[name=given]", "0"), first())
    page.select_option("[name=given]", "")
    page.wait_for_timeout(500)
    timed("a filter of split, ms", lambda: page.select_option("[name=split]", "test"), first())
    page.select_option("[name=split]", "any")
    page.wait_for_timeout(500)
    saved = page.locator("#rows li[data-saved=true][data-decision]")
    began = time.perf_counter()
    for place in range(40):
        page.keyboard.press("k")
        expect(saved).to_have_count(place + 1)
    found["decisions a minute, one by one"] = 40 * 60 / (time.perf_counter() - began)
    page.reload()
    page.locator("#rows li.current").wait_for()
    began = time.perf_counter()
    before = int(page.locator("#progress").get_attribute("value") or 0)
    for _ in range(DECISIONS):
        page.keyboard.press("a")
        # Turning a page shows other rows: no key is for those that are not there yet.
        expect(page.locator("#rows li.current[data-decision]")).to_have_count(0)
    expect(page.locator(f"#progress[value='{before + DECISIONS}']")).to_be_attached()
    found["decisions a minute, in a row"] = DECISIONS * 60 / (time.perf_counter() - began)
    page.close()
    return found


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(description="How soon the review page is there.")
    parser.add_argument("--photos", action="store_true", help="64 x 64 pixels in colour, no two alike")
    photos = parser.parse_args().photos
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("There is no Chromium on this machine (Debian: apt install chromium).", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        workspace = Path(folder)
        write_suspects(workspace, ROWS, test_share=1 / 7, side=64 if photos else 28, photos=photos)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with review_page(workspace) as (url, _):
            runs = [measure(url, browser) for _ in range(RUNS)]
        browser.close()
    table = Table(title=f"Review page, {ROWS:,} rows, n = {RUNS}")
    for title in ("", "mean", "lowest", "highest"):
        table.add_column(title, justify="left" if not title else "right")
    for name in runs[0]:
        values = [run[name] for run in runs]
        table.add_row(name, *(f"{value:,.0f}" for value in (np.mean(values), min(values), max(values))))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
