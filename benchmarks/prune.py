"""Finding label issues: time and memory beside cleanlab, from the same Parquet files, as a table.

Each run is a process of its own that reads the files itself; the tools take turns. `make bench-prune`; with
`python -m benchmarks.prune --sizes 70000x10 --runs 1 --skip growth` one size, once. The files are synthesised
in .cache/bench_prune and removed at the end (`--keep` leaves them).
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

FOLDER = Path(".cache") / "bench_prune"
SIZES = ("70000x10", "10000000x10", "1281167x1000")
GROWTH = ("10000x10", "100000x10", "1000000x10", "10000000x10", "100000x100", "100000x1000")
DEFAULT = "prune_by_noise_rate"  # cleanlab's own
# cleanlab needs some three copies of the probabilities; beyond this it does not fit in common machines.
FITS_IN_MEMORY = 2_000_000_000


def synthesise(folder: Path, n_rows: int, n_classes: int) -> None:
    """Write what `prune` reads, in data/: Dirichlet around a noisy label."""
    import numpy as np
    import pyarrow as pa

    from tasks.tables.catalog import GIVEN_LABELS, PRED_PROBS, SPLIT_ROWS
    from tasks.tables.facts import DatasetFacts
    from tasks.tables.io import write_stream

    rng = np.random.default_rng(0)
    facts = DatasetFacts("synthetic", tuple(map(str, range(n_classes))), "features", (1,))
    step = max(2**24 // n_classes, 1)
    with (
        write_stream(PRED_PROBS.at(folder), PRED_PROBS, facts) as append_probs,
        write_stream(GIVEN_LABELS.at(folder), GIVEN_LABELS, facts) as append_labels,
        write_stream(SPLIT_ROWS.at(folder), SPLIT_ROWS, facts) as append_splits,
    ):
        for start in range(0, n_rows, step):
            n = min(step, n_rows - start)
            ids = np.arange(start, start + n)
            true = rng.integers(n_classes, size=n)
            given = np.where(rng.random(n) < 0.1, rng.integers(n_classes, size=n), true)
            seen = np.where(rng.random(n) < 0.05, rng.integers(n_classes, size=n), true)
            # All other classes together weigh about 2, the one seen 1 to 20.
            probs = rng.standard_gamma(np.float32(2 / n_classes), size=(n, n_classes), dtype=np.float32)
            probs[np.arange(n), seen] += rng.uniform(1, 20, size=n).astype(np.float32)
            probs /= probs.sum(axis=1, keepdims=True)
            append_probs({"example_id": ids, "fold": ids % 5, "pred_probs": probs})
            append_labels(
                {
                    "example_id": ids,
                    "key": ids.astype(str),
                    "split": np.full(n, "train"),
                    "given_label": given,
                    "true_label": pa.nulls(n, pa.int16()),
                    "is_noisy": pa.nulls(n, pa.bool_()),
                }
            )
            splits = dict.fromkeys(("split", "original_split"), np.full(n, "train"))
            append_splits({"example_id": ids, "group": ids, **splits})


# -- The programs, each run as `python -m benchmarks.prune PROGRAM FILTER FOLDER`.


def run_ours(filter_by: str, folder: Path) -> object:
    from tasks.label_quality.issues import find_issues
    from tasks.prune.labelled_rows import LabelledRows
    from tasks.prune.memory_plan import threads_within
    from tasks.tables.catalog import GIVEN_LABELS, PRED_PROBS
    from tasks.tables.portions import TableReader

    predictions = TableReader(folder / "data" / "pred_probs.parquet", PRED_PROBS, ["pred_probs"])
    given = TableReader(folder / "data" / "given_labels.parquet", GIVEN_LABELS, ["given_label"])
    rows = LabelledRows(predictions, given, threads_within(2**30, predictions, given))
    return find_issues(rows, filters=(filter_by,), rank_by=None).flagged[filter_by].rows


def run_stage(_: str, folder: Path) -> object:
    """The whole stage: every filter, every score, data/label_issues.parquet."""
    from ruamel.yaml import YAML

    from tasks.params import load_params
    from tasks.prune import prune

    content = YAML(typ="safe").load(Path("params.yaml").read_text(encoding="utf-8"))
    path = folder / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(content, file)
    prune(load_params(path), folder)
    return []


def read_arrays(folder: Path, dtype: str = "float32") -> tuple[object, object]:
    """Labels and probabilities in memory, each probability once."""
    import numpy as np
    import pyarrow.parquet as pq

    labels = pq.read_table(folder / "data" / "given_labels.parquet", columns=["given_label"])
    with pq.ParquetFile(folder / "data" / "pred_probs.parquet") as file:
        n_classes = file.schema_arrow.field("pred_probs").type.shape[0]
        probs = np.empty((file.metadata.num_rows, n_classes), dtype=dtype)
        filled = 0
        for group in range(file.metadata.num_row_groups):
            column = file.read_row_group(group, columns=["pred_probs"]).column("pred_probs").combine_chunks()
            part = column.storage.flatten().to_numpy().reshape(-1, n_classes)
            probs[filled : filled + len(part)] = part
            filled += len(part)
    return labels.column("given_label").to_numpy().astype(np.int64), probs


def run_cleanlab(filter_by: str, folder: Path, n_jobs: int | None = 1, dtype: str = "float32") -> object:
    import warnings

    import numpy as np
    from cleanlab.filter import find_label_issues

    warnings.simplefilter("ignore")
    labels, probs = read_arrays(folder, dtype)
    return np.flatnonzero(find_label_issues(labels, probs, filter_by=filter_by, n_jobs=n_jobs))


def run_cleanlab_stable(filter_by: str, folder: Path, dtype: str = "float32") -> object:
    """With a stable sort in place of the unstable one that it leaves ties to."""
    import numpy as np

    unstable: Any = np.argsort

    def argsort(values: Any, axis: int = -1, **options: object) -> Any:
        return unstable(values, axis=axis, **{**options, "kind": "stable"})

    np.argsort = argsort
    return run_cleanlab(filter_by, folder, dtype=dtype)


def run_cleanlab_batched(_: str, folder: Path) -> object:
    import numpy as np
    from cleanlab.experimental.label_issues_batched import find_label_issues_batched

    labels, probs = read_arrays(folder)
    return np.sort(find_label_issues_batched(labels, probs, verbose=False))


def run_floor(_: str, folder: Path) -> object:
    """Read the bytes of the probabilities once, and do nothing with them."""
    buffer = bytearray(2**23)
    with (folder / "data" / "pred_probs.parquet").open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return []


def run_decode(_: str, folder: Path) -> object:
    """Decode the probabilities once, in as many threads as there are cores, and do nothing with them."""
    from tasks.tables.catalog import PRED_PROBS
    from tasks.tables.portions import TableReader, available_cores, map_in_order

    reader = TableReader(folder / "data" / "pred_probs.parquet", PRED_PROBS, ["pred_probs"])
    for _ in map_in_order(lambda part: reader.read(part).num_rows, len(reader), available_cores()):
        pass
    return []


PROGRAMS: dict[str, Callable[[str, Path], object]] = {
    "Relabel": run_ours,
    "Relabel, the whole stage": run_stage,
    "cleanlab": run_cleanlab,
    "cleanlab, all cores": lambda filter_by, folder: run_cleanlab(filter_by, folder, n_jobs=None),
    "cleanlab, stable": run_cleanlab_stable,
    "cleanlab, stable, float64": lambda filter_by, folder: run_cleanlab_stable(filter_by, folder, "float64"),
    "cleanlab, batched": run_cleanlab_batched,
    "floor: read once": run_floor,
    "floor: decode once": run_decode,
}


@dataclass(frozen=True)
class Run:
    """What a process took, and the rows that it flagged."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    n_issues: int
    digest: str
    failure: str = ""


def measure(program: str, filter_by: str, folder: Path) -> Run:
    """Run a program as a process of its own; `peak_mb` leaves out processes it starts."""
    environment = os.environ | {"PYTHONPATH": str(Path().resolve())}
    command = [sys.executable, "-m", "benchmarks.prune", "--program", program, filter_by, str(folder)]
    started = time.monotonic()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - started
    cpu_s = usage.ru_utime + usage.ru_stime
    if process.returncode:
        return Run(wall_s, cpu_s, float("nan"), 0, "", f"exit status {process.returncode}")
    found = json.loads(output.splitlines()[-1])
    return Run(wall_s, cpu_s, found["peak_mb"], found["n_issues"], found["digest"])


def peak_mb() -> float:
    """The most memory that this process held; `ru_maxrss` would start from that of its parent."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def shared_filters() -> list[str]:
    """The filters that cleanlab has too: it refuses the others."""
    import numpy as np
    from cleanlab.filter import find_label_issues

    from tasks.label_quality.filter_files import filter_names

    def has(name: str) -> bool:
        try:
            find_label_issues(np.array([0, 1]), np.eye(2), filter_by=name, n_jobs=1)
        except AssertionError:
            return False
        return True

    return [name for name in filter_names() if has(name)]


def compare(size: str, n_runs: int, filters: Sequence[str], console: "Console") -> None:
    """One size: the tools in turn, then the rows of every filter."""
    import numpy as np
    from rich.table import Table

    folder = prepared(size)
    n_rows, n_classes = map(int, size.split("x"))
    entries = n_rows * n_classes
    tools = ["Relabel", "cleanlab", "cleanlab, all cores"]
    if entries > 50_000_000:
        tools.append("cleanlab, batched")
    tools += ["Relabel, the whole stage", "floor: read once", "floor: decode once"]
    runs: dict[str, list[Run]] = {tool: [] for tool in tools}
    for _ in range(n_runs):
        for tool in tools:
            if not (runs[tool] and runs[tool][0].failure):
                runs[tool].append(measure(tool, DEFAULT, folder))
    table = Table(title=f"{n_rows:,} rows x {n_classes:,} classes, {DEFAULT}, n = {n_runs} in turn")
    for column in (
        "tool",
        "wall s",
        "of cleanlab's",
        "CPU s",
        "peak MB",
        "of cleanlab's",
        "of one decoding",
        "flagged",
    ):
        table.add_column(column, justify="left" if column == "tool" else "right")
    reference = runs["cleanlab"] if not runs["cleanlab"][0].failure else runs.get("cleanlab, batched", [])
    decode = np.mean([run.wall_s for run in runs["floor: decode once"]])
    for tool, found in runs.items():
        if found[0].failure:
            table.add_row(tool, found[0].failure)
            continue
        wall, cpu, peak = (
            np.array([getattr(run, name) for run in found]) for name in ("wall_s", "cpu_s", "peak_mb")
        )
        ratios = [mine.wall_s / its.wall_s for mine, its in zip(found, reference, strict=False)]
        table.add_row(
            tool,
            f"{wall.mean():.2f} ({wall.min():.2f} to {wall.max():.2f})",
            f"{np.mean(ratios):.3f}",
            f"{cpu.mean():.2f}",
            f"{peak.mean():,.0f}",
            f"{peak.mean() / np.mean([run.peak_mb for run in reference]):.3f}",
            f"{wall.mean() / decode:.2f}",
            f"{found[0].n_issues:,}" if found[0].n_issues else "",
        )
    console.print(table)
    if filters:
        # float64 as ours, where that fits.
        exact = "cleanlab, stable" + (", float64" if entries <= FITS_IN_MEMORY // 10 else "")
        table = Table(title=f"{n_rows:,} x {n_classes:,}: rows flagged, beside those of {exact}")
        for column in ("filter", "Relabel", exact, "rows"):
            table.add_column(column, justify="left" if column == "filter" else "right")
        for name in filters:
            ours, theirs = measure("Relabel", name, folder), measure(exact, name, folder)
            failure = ours.failure or theirs.failure
            same = failure or ("the same" if ours.digest == theirs.digest else difference(folder))
            table.add_row(name, f"{ours.n_issues:,}", f"{theirs.n_issues:,}", same)
        console.print(table)


def difference(folder: Path) -> str:
    """How many rows only one of the two tools flagged, in their last runs."""
    import numpy as np

    found = [
        np.load(path) for path in sorted(folder.glob("flagged_*.npy"), key=lambda path: path.stat().st_mtime)
    ]
    return f"{len(np.setxor1d(*found[-2:])):,} differ"


def grow(sizes: tuple[str, ...], n_runs: int, console: "Console") -> None:
    """Time and memory as rows and classes grow, everything the stage does included."""
    import numpy as np
    from rich.table import Table

    table = Table(title=f"Growth, n = {n_runs}: {DEFAULT} alone, and the whole stage")
    for column in ("rows", "classes", "wall s", "ns a probability", "peak MB", "stage: wall s", "peak MB"):
        table.add_column(column, justify="right")
    for size in sizes:
        folder = prepared(size)
        n_rows, n_classes = map(int, size.split("x"))
        alone = [measure("Relabel", DEFAULT, folder) for _ in range(n_runs)]
        stage = [measure("Relabel, the whole stage", DEFAULT, folder) for _ in range(n_runs)]
        wall = np.mean([run.wall_s for run in alone])
        table.add_row(
            f"{n_rows:,}",
            f"{n_classes:,}",
            f"{wall:.2f}",
            f"{1e9 * wall / (n_rows * n_classes):.1f}",
            f"{np.mean([run.peak_mb for run in alone]):,.0f}",
            f"{np.mean([run.wall_s for run in stage]):.2f}",
            f"{np.mean([run.peak_mb for run in stage]):,.0f}",
        )
    console.print(table)


def prepared(size: str) -> Path:
    """The folder of a size, its files written if they are not there, and read into the page cache."""
    folder = FOLDER / size
    if not (folder / "data" / "splits.parquet").exists():
        synthesise(folder, *map(int, size.split("x")))
    run_floor("", folder)
    return folder


def main() -> int:
    if sys.argv[1:2] == ["--program"]:
        import numpy as np

        program, filter_by, folder = sys.argv[2:5]
        rows = np.asarray(PROGRAMS[program](filter_by, Path(folder)), dtype=np.int64)
        np.save(Path(folder) / f"flagged_{program.split(',')[0]}.npy", rows)
        digest = hashlib.sha256(rows.tobytes()).hexdigest()
        print(json.dumps({"n_issues": len(rows), "digest": digest, "peak_mb": peak_mb()}))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prune", description=__doc__)
    parser.add_argument("--sizes", nargs="*", default=SIZES, metavar="ROWSxCLASSES")
    parser.add_argument("--growth-sizes", nargs="*", default=GROWTH, metavar="ROWSxCLASSES")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--skip", nargs="*", default=(), choices=("flags", "growth"))
    parser.add_argument("--keep", action="store_true", help="leave the synthesised files")
    chosen = parser.parse_args()
    from rich.console import Console

    console = Console(width=110)
    try:
        for size in chosen.sizes:
            compare(size, chosen.runs, () if "flags" in chosen.skip else shared_filters(), console)
        if "growth" not in chosen.skip:
            grow(tuple(chosen.growth_sizes), chosen.runs, console)
    finally:
        if not chosen.keep:
            shutil.rmtree(FOLDER, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
