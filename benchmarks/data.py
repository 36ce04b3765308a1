"""`make bench-data`: real data by the flow, a Prefect server being up: how long, how large, how right.

`python -m benchmarks.data PRESET ... [SECTION.NAME=VALUE ...]` takes some presets alone, and changes values.
A preset whose files are not in inputs/examples is left out, and said. Each run starts from a new workspace.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.doors import prefect_server
from tasks.label_quality.metrics import IssueMetrics
from tasks.repair import RepairMetrics

FOLDER = Path(".cache/bench_data").resolve()
PRESETS = ("breast_cancer", "covid_tweets", "imagenette")
FLOW = [sys.executable, "-m", "flows.clean_labels"]
COLUMNS = (
    "data",
    "rows",
    "wall, s",
    "CPU, s",
    "largest, MB",
    "F1",
    "right before",
    "right after",
    "rows kept",
)


def main() -> int:
    presets = [argument for argument in sys.argv[1:] if "=" not in argument] or list(PRESETS)
    changes = [argument for argument in sys.argv[1:] if "=" in argument]
    table = Table(title=f"presets by the flow, a server up ({os.cpu_count()} cores, n = 1)")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "data" else "right")
    with prefect_server() as url:
        for name in presets:
            folder = FOLDER / name
            shutil.rmtree(folder, ignore_errors=True)
            settings = [word for change in changes for word in ("--set", change)]
            make = [sys.executable, "-m", "tasks", "preset", name, "--into", str(folder), *settings]
            subprocess.run(make, check=True)
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            flow = subprocess.run(FLOW, cwd=folder, env={**os.environ, "PREFECT_API_URL": url}, check=False)
            wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
            if flow.returncode:
                print(f"{name}: left out, as its run failed (see above).")
                continue
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            table.add_row(name, *describe(folder, wall, cpu, after.ru_maxrss / 1024))
    Console(width=120).print(table)
    return 0


def describe(folder: Path, wall_s: float, cpu_s: float, largest_mb: float) -> list[str]:
    """The cells of a finished run, beside its name; what needs the truth is empty where that is not known."""
    metrics = folder / "metrics"
    issues: IssueMetrics = json.loads((metrics / "label_issues.json").read_text())
    repair: RepairMetrics = json.loads((metrics / "training_set.json").read_text())
    accuracy = repair.get("label_accuracy")
    return [
        f"{issues['n_rows']:,}",
        f"{wall_s:.0f}",
        f"{cpu_s:.0f}",
        # Of all processes so far: it never falls from one line to the next.
        f"{largest_mb:,.0f}",
        f"{issues['f1']:.3f}" if issues.get("f1") is not None else "",
        f"{accuracy['before']:.1%}" if accuracy else "",
        f"{accuracy['after']:.1%}" if accuracy else "",
        f"{repair['n_rows_after'] / repair['n_rows_before']:.1%}",
    ]


if __name__ == "__main__":
    sys.exit(main())
