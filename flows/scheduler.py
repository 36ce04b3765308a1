"""Which stage runs when: all that are ready, side by side, the most urgent first."""

import time
from collections.abc import Iterator, Mapping, Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed

from flows.runner import StageRunner


@task(
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    # A stage retries its downloads by itself, and `run_stage` waits for other processes of DVC.
    retries=0,
)
def stage(name: str, runner: StageRunner) -> State[str]:
    """One stage of dvc.yaml."""
    return runner.run(name)


def run_all(
    graph: Mapping[str, Sequence[str]],
    runner: StageRunner,
    n_workers: int,
    urgency: Mapping[str, int] | None = None,
) -> Iterator[tuple[str, str, str, float]]:
    """Submit what is ready, the most urgent first, and yield what ended.

    A stage whose upstream failed is never ready; all others run. Without `urgency` the stages with most
    behind them go first. Yields name, outcome, message and seconds.
    """
    urgency = urgency or critical_path(graph)
    done: dict[str, PrefectFuture[State[str]]] = {}
    started: dict[str, float] = {}
    running: dict[PrefectFuture[State[str]], str] = {}
    succeeded: set[str] = set()
    while True:
        ready = [
            name
            for name in graph
            if name not in done and name not in running.values() and succeeded.issuperset(graph[name])
        ]
        # A cached stage only asks DVC. It needs no core.
        for name in sorted(ready, key=lambda name: -urgency[name]):
            if name in runner.fresh or len(running) < n_workers:
                waited = [done[upstream] for upstream in graph[name]]
                started[name] = time.monotonic()
                running[stage.submit(name=name, runner=runner, wait_for=waited, return_state=False)] = name
        if not running:
            return
        future = next(iter(as_completed(list(running))))
        name = running.pop(future)
        done[name] = future
        future.wait()  # then its own state is known; the server's may be older
        state = future.state
        if state.is_completed():
            succeeded.add(name)
            yield name, state.name or "Completed", state.message or "", time.monotonic() - started[name]
        else:
            yield name, "Failed", state.message or str(state), time.monotonic() - started[name]


def critical_path(graph: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many stages, one after the other, wait for each stage, itself included."""
    depth = dict.fromkeys(graph, 1)
    for name in reversed(list(graph)):  # downstream first: the graph lists what is upstream before
        for upstream in graph[name]:
            depth[upstream] = max(depth[upstream], depth[name] + 1)
    return depth
