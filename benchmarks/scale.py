"""`make bench-scale`: what a stage costs before it does anything, in seconds of one core of this machine.

docs/scale.md works out from these costs how far one pipeline goes.
"""

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def cpu_s(command: list[str], folder: Path) -> float:
    """Seconds of one core that a command takes; wall time would measure whoever else uses the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_dvc(n_stages: int, repeats: int = 2) -> tuple[float, float]:
    """Core seconds of one forced `dvc repro --single-item`, and of one question whether a stage is fresh."""
    from flows.dvc_api.graph import is_fresh

    md5 = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "out").mkdir()
        (folder / "in").write_text("x")
        numbers = ", ".join(map(str, range(n_stages)))
        (folder / "dvc.yaml").write_text(
            f"stages:\n  s:\n    matrix:\n      i: [{numbers}]\n    cmd: cp in out/${{item.i}}\n"
            "    deps:\n    - in\n    outs:\n    - out/${item.i}\n"
        )
        file = f"      hash: md5\n      md5: {md5}\n      size: 1\n"
        lock = ["schema: '2.0'\nstages:\n"]
        for number in range(n_stages):
            (folder / "out" / str(number)).write_text("x")
            lock.append(
                f"  s@{number}:\n    cmd: cp in out/{number}\n    deps:\n    - path: in\n{file}"
                f"    outs:\n    - path: out/{number}\n{file}"
            )
        (folder / "dvc.lock").write_text("".join(lock))
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        dvc = [sys.executable, "-m", "dvc"]
        subprocess.run([*dvc, "init", "--quiet"], cwd=folder, check=True)
        forced = [*dvc, "repro", "--single-item", "--force", "s@0"]
        run_s = min(cpu_s(forced, folder) for _ in range(repeats))
        asked = []
        for _ in range(repeats + 1):  # the first imports DVC
            started = time.process_time()
            is_fresh(folder, "s@1")
            asked.append(time.process_time() - started)
        return run_s, min(asked)


def measure_tasks(engine: str, n_tasks: int = 40) -> float:
    """Core seconds of the flow's process for one empty Prefect task on a thread, or by an engine."""
    from prefect import flow, task
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from benchmarks.doors import prefect_server
    from flows.engines.clusters import open_engine

    @task
    def nothing(number: int) -> int:
        return number

    figures = []

    @flow
    def several(root: str) -> None:
        with open_engine(engine, None, Path(root), 2, threads=1) as opened:
            for _ in range(2):  # the first warms up
                started = time.process_time()
                if opened is None:
                    futures = [nothing.submit(number) for number in range(n_tasks)]
                else:
                    futures = [
                        opened.task_runner.submit(nothing, parameters={"number": number})
                        for number in range(n_tasks)
                    ]
                for future in futures:
                    future.result()
                figures.append((time.process_time() - started) / n_tasks)

    with prefect_server() as url, temporary_settings({PREFECT_API_URL: url}):
        several(str(Path.cwd()))
    return figures[-1]


def measure() -> None:
    """Print the costs of this machine."""
    for n_stages in (11, 100, 1000):
        run_s, fresh_s = measure_dvc(n_stages)
        print(
            f"{n_stages:5} stages: dvc repro --single-item {run_s:.2f} s, is_fresh {fresh_s:.3f} s",
            flush=True,
        )
    start_s = cpu_s([sys.executable, "-c", "import dvc.cli, dvc.commands.repro, dvc.repo.reproduce"], Path())
    print(f"start of dvc: {start_s:.2f} s")
    imports_s = cpu_s([sys.executable, "-c", "import tasks.training.torch_model, dvc.repo"], Path())
    print(f"imports of a training stage: {imports_s:.2f} s")
    for engine in ("local", "dask", "ray"):
        print(f"Prefect task, {engine}: {1000 * measure_tasks(engine):.0f} ms", flush=True)


if __name__ == "__main__":
    measure()
