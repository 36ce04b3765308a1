"""`make bench-doors`: the flow beside `dvc repro`, cold and with nothing to do, in turn, in one run.

Also in how much of the cold flow's wall time no stage was at work: starts, imports, DVC and Prefect. A cold
run starts from a new workspace; only the data set is there already, as its download would hide the rest. A
Prefect server is up. `python -m benchmarks.doors N_RUNS SECTION.NAME=VALUE ...` changes parameters.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.workspaces import make_workspace

FOLDER = Path(".cache/bench_doors").resolve()
DVC = [sys.executable, "-m", "dvc", "repro"]
NAMES = ("cold", "idle")
GOALS = {
    "cold flow / cold dvc repro": 0.65,
    "flow / dvc repro, nothing to do": 3.0,
    "cold flow outside stage work": 0.15,
}
FLOW = [sys.executable, "-m", "flows.clean_labels"]


@contextlib.contextmanager
def prefect_server(home: Path | None = None, starter: Sequence[str] = ()) -> Iterator[str]:
    """The API's address of a server on loopback, started by the command `starter`; its database is of `home`.

    Without a home its database is new and goes with it.
    """
    with tempfile.TemporaryDirectory() as new:
        server, url = start_prefect_server(Path(os.devnull), home or Path(new), starter)
        try:
            yield url
        finally:
            server.terminate()
            server.wait()


def start_prefect_server(
    log: Path, home: Path, starter: Sequence[str] = (), stdin: IO[bytes] | None = None
) -> tuple[subprocess.Popen[bytes], str]:
    """Start such a server, by the command `starter`; its process, and its address when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as said:
        server = subprocess.Popen(
            [*starter, *command],
            env={**os.environ, "PREFECT_HOME": str(home), "PREFECT_UI_ENABLED": "false"},
            stdin=stdin,
            stdout=said,
            stderr=said,
        )
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, f"http://127.0.0.1:{port}/api"
        if server.poll() is not None:
            raise SystemExit(f"`{' '.join(command[1:])}` ended with status {server.returncode}.")
        time.sleep(0.2)


def seconds(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """Wall time of a command that must succeed."""
    started = time.monotonic()
    subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=True)
    return time.monotonic() - started


def idle_share(folder: Path, wall_s: float) -> float:
    """The share of a flow's wall time in which no stage was at work, by what its stages recorded."""
    records = (folder / ".dvc" / "tmp" / "relabel").glob("*.jsonl")
    facts = [json.loads(line) for path in records for line in path.read_text().splitlines()]
    spans = sorted((fact["began_at"], fact["began_at"] + fact["wall_s"]) for fact in facts)
    busy_s, until = 0.0, 0.0
    for begin, end in spans:
        busy_s += max(0.0, end - max(begin, until))
        until = max(until, end)
    return 1 - busy_s / wall_s


def main() -> int:
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    settings = dict(argument.split("=", 1) for argument in sys.argv[2:])
    parsed = {name: int(value) if value.isdigit() else value for name, value in settings.items()}
    base = FOLDER / f"base_{time.time_ns()}"
    make_workspace(base, parsed)
    subprocess.run([*DVC, "download"], cwd=base, check=True)
    rows = []
    with prefect_server() as url:
        for run in range(n_runs):
            figures: dict[str, float] = {}
            locks = {}
            for door, command in (("flow", FLOW), ("repro", DVC)):
                folder = FOLDER / f"{base.name}_{run}_{door}"
                shutil.copytree(base, folder, symlinks=True)
                environment = {"PREFECT_API_URL": url}
                figures[f"cold {door}"] = seconds(command, folder, environment)
                if door == "flow":
                    figures["outside stages"] = idle_share(folder, figures["cold flow"])
                figures[f"idle {door}"] = seconds(command, folder, environment)
                locks[door] = (folder / "dvc.lock").read_bytes()
            if locks["flow"] != locks["repro"]:
                raise SystemExit("The two doors wrote different dvc.lock files.")
            rows.append(
                (
                    figures["cold flow"] / figures["cold repro"],
                    figures["idle flow"] / figures["idle repro"],
                    figures["outside stages"],
                )
            )
            said = (
                f"{name} {figures[f'{name} flow']:.1f} of {figures[f'{name} repro']:.1f} s" for name in NAMES
            )
            print(f"run {run + 1}: {', '.join(said)}", flush=True)
    values = np.array(rows)
    table = Table(title=f"the flow beside dvc repro ({os.cpu_count()} cores, n = {n_runs} in turn)")
    for column in ("share", "mean", "lowest", "highest", "to reach"):
        table.add_column(column, justify="left" if column == "share" else "right")
    for (name, goal), column in zip(GOALS.items(), values.T, strict=True):
        table.add_row(name, *(f"{value:.2f}" for value in (column.mean(), column.min(), column.max(), goal)))
    Console(width=100).print(table)
    return 0 if all(values.mean(axis=0) <= list(GOALS.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
