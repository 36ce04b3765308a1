"""`make chaos`: kill -9 at random moments, then run again; every recovery must end with the same bytes.

On digits with a model that takes a second. Each round kills one of KINDS in turn while it is at work; then
one of the doors does the rest. Compared are all files that stages write, with those of a run that nobody
killed. No process, lock or temporary file may be left. What a round that fails left is kept.
`nice python -m benchmarks.chaos N_ROUNDS SEED [KIND ...]`.
"""

import csv
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import numpy as np

from benchmarks.doors import DVC, FLOW, prefect_server
from benchmarks.killing import KINDS, LIMIT_S, Place, digest, find, leftovers, processes, tree
from benchmarks.workspaces import make_workspace, set_params
from tasks.decisions.log import PATH

FOLDER = Path(".cache/chaos").resolve()
SETTINGS = {
    "download.dataset": "digits",
    "split_rows.near_duplicates": False,
    "train_fold.folds": [0, 1],
    "train_fold.model": "nearest_mean",
    "train_fold.epochs": 1,
    "train_fold.batch_size": 64,
    "models.convnet.shift": 0,
    "models.convnet.eval_shift": 0,
    "prune.importance": "none",
    "retrain.label_sets": {"cleaned": {"table": "training_set", "checkpoint": "classifier"}},
}
SERVE = [sys.executable, "-m", "flows.serve", "--every", "5s", "--name", "chaos"]
SWEEP = [sys.executable, "-m", "flows.sweep", "--grid", "prune.frac_noise=0.4,0.6", "--until", "prune"]
COMPARE = [sys.executable, "-m", "flows.compare", "HEAD", "workspace", "--json"]
IMPORT = [
    sys.executable,
    "-m",
    "tasks",
    "import-probs",
    "--pred-probs",
    "probs.npy",
    "--labels",
    "labels.csv",
]
# The stage server starts where something trains with torch.
WITH_TORCH = ("forked stage", "stage server")
# The first time that one of these is killed, all stages from the noise on are to be done; later, to save
# time, those from the pseudo labels on.
DEEP = ("flow", "dvc", "stage", "power cut")
# Values of pseudo_label.min_confidence, in turn.
VALUES = (0.55, 0.65, 0.75)


def renew(place: Place, number: int, kind: str) -> tuple[object, ...]:
    """Make stages stale in the workspace, with nothing of theirs to restore; returns a key of `expected`."""
    model = "convnet" if kind in WITH_TORCH else "nearest_mean"
    seed = 1 if kind in DEEP and number < len(KINDS) else 0
    settings = {
        "inject_noise.seed": seed,
        "train_fold.model": model,
        "pseudo_label.min_confidence": VALUES[number % len(VALUES)],
    }
    forget_runs(place, place.killed)
    set_params(place.killed / "params.yaml", settings)
    key = tuple(settings.values())
    if key not in place.expected:
        set_params(place.whole / "params.yaml", settings)
        place.run([*DVC, "--quiet"], place.whole)
        place.expected[key] = tree(place.whole)
    return key


def forget_runs(place: Place, folder: Path) -> None:
    """Let DVC's cache of runs know no other runs than those before the first round."""
    runs = folder / ".dvc" / "cache" / "runs"
    shutil.rmtree(runs)
    shutil.copytree(place.folder / "runs", runs)


def kill_pipeline(place: Place, number: int, kind: str) -> str:
    """One kill of a run by one of the doors, and one recovery by one of them."""
    expected = place.expected[renew(place, number, kind)]
    with ExitStack() as stack:
        given = kind in ("Prefect server", "power cut", "serve") or (kind == "flow" and number % 2)
        url = stack.enter_context(prefect_server()) if given else ""
        first = {"dvc": DVC, "serve": SERVE}.get(kind, FLOW)
        if kind in ("dvc", "stage", "power cut"):
            first = place.draw.choice([DVC, first]) if kind != "dvc" else DVC
        started = place.start(first, place.killed, url)
        if kind == "serve":
            wait_until(lambda: find("dvc", place.killed, url), "a scheduled run")
        when = place.kill(kind, place.killed, url, started, most_s=15)
        if not when:
            return ""
        if kind == "serve" and place.draw.random() < 0.5:
            second = SERVE
            serve_until(place, url, expected)
        else:
            second = place.draw.choice([DVC, FLOW])
            if kind == "serve":
                # The run that the schedule had begun ends by itself.
                wait_until(lambda: not processes(place.killed), "the end of the scheduled run")
            place.run(second, place.killed, "" if kind in ("Prefect server", "power cut") else url)
        check(place, place.killed, expected, tree(place.killed))
    return f"{when} of `{' '.join(first[1:])}`, then `{' '.join(second[1:])}`"


def serve_until(place: Place, url: str, expected: object) -> None:
    """Serve the schedule again until its runs have done all; then no run says that it is at work."""
    served = place.start(SERVE, place.killed, url)
    try:
        wait_until(lambda: not _differs(place.killed, expected), "a schedule that goes on")
    finally:
        served.terminate()
        served.wait(timeout=120)
    wait_until(lambda: not processes(place.killed), "the end of the schedule")
    asked = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}}
    at_work = httpx.post(f"{url}/flow_runs/filter", json=asked, trust_env=False, timeout=60).json()
    if at_work:
        raise SystemExit(f"Runs that say they are at work: {[run['name'] for run in at_work]}")


def _differs(folder: Path, expected: object) -> bool:
    try:
        return tree(folder) != expected
    except (OSError, TypeError):  # a stage is writing
        return True


def wait_until(condition: Callable[[], object], what: str, within_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"Waited {within_s:.0f} s for {what}.")
        time.sleep(0.3)


def kill_sweep(place: Place, _number: int, kind: str) -> str:
    """A sweep whose experiments are gone; its table must be the same."""
    table = place.folder / "table.csv"
    command = [*SWEEP, "--csv", str(table)]
    forget_runs(place, place.killed)
    for ref in git(place.killed, "for-each-ref", "--format=%(refname)", "refs/exps").split():
        git(place.killed, "update-ref", "-d", ref)
    for workspace in (place.killed, place.whole):
        set_params(workspace / "params.yaml", {"inject_noise.seed": 0, "train_fold.model": "nearest_mean"})
    if kind not in place.expected:
        place.run(command, place.whole)
        place.expected[kind] = table.read_bytes()
    table.unlink(missing_ok=True)
    started = place.start(command, place.killed)
    when = place.kill(kind, place.killed, "", started, most_s=30)
    if when:
        place.run(command, place.killed)
        check(place, place.killed, place.expected[kind], table.read_bytes())
    return when and f"{when} of `flows.sweep`, then `flows.sweep`"


def kill_compare(place: Place, _number: int, kind: str) -> str:
    """A comparison of the commit with the workspace; it must print the same."""
    began = time.monotonic()
    expected = place.run(COMPARE, place.whole)
    lasts_s = time.monotonic() - began
    when = place.kill(kind, place.whole, "", place.start(COMPARE, place.whole), most_s=lasts_s * 0.8)
    if when:
        check(place, place.whole, expected, place.run(COMPARE, place.whole))
    return when and f"{when} of `flows.compare`, then `flows.compare`"


def kill_import(place: Place, number: int, kind: str) -> str:
    """Other probabilities over those of before; the tables must be those of the new ones."""
    folder = place.folder / "imported"
    rng = np.random.default_rng(number)
    whole = place.folder / "imported_whole"
    for workspace in (folder, whole):
        if not workspace.exists():
            make_workspace(workspace, {})
    probs = rng.dirichlet(np.ones(50), 100_000).astype(np.float32)
    order = rng.permutation(len(probs))
    np.save(folder / "probs.npy", probs)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["given_label"], *([int(label)] for label in order % 50)])
    for name in ("probs.npy", "labels.csv"):
        shutil.copy(folder / name, whole)
    began = time.monotonic()
    place.run(IMPORT, whole)
    lasts_s = time.monotonic() - began
    when = place.kill(kind, folder, "", place.start(IMPORT, folder), most_s=lasts_s * 0.9)
    if when:
        place.run(IMPORT, folder)
        expected, found = (
            {str(file.relative_to(each)): digest(file) for file in (each / "data").rglob("*.*")}
            for each in (whole, folder)
        )
        check(place, folder, expected, found)
    return when and f"{when} of `import-probs`, then `import-probs`"


def kill_review(place: Place, _number: int, kind: str) -> str:
    """Decisions that were acknowledged are in the file, and count as those that nobody killed."""
    folder, plain = place.folder / "reviewed", place.folder / "reviewed_whole"
    for copy in (folder, plain):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(place.whole, copy, symlinks=True)
    port = str(20_000 + place.draw.randrange(10_000))
    command = [sys.executable, "-m", "review", "--port", port, "--no-browser", "--reviewer", "anna"]
    acknowledged: list[str] = []
    started = place.start(command, folder)
    clicks = threading.Thread(target=decide, args=[port, slice(0, 400), acknowledged])
    clicks.start()
    wait_until(lambda: acknowledged, "a decision")
    when = place.kill(kind, folder, "", started, most_s=2)
    clicks.join()
    before = len(acknowledged)
    started = place.start(command, folder)
    decide(port, slice(400, 403), acknowledged)
    started.terminate()
    started.wait(timeout=60)
    with (folder / PATH).open() as file:
        kept = [row["key"] for row in csv.DictReader(file)]
    if (missing := set(acknowledged) - set(kept)) or len(acknowledged) < before + 3:
        raise SystemExit(f"Decisions that were acknowledged and are not there: {sorted(missing)}")
    shutil.copy(folder / PATH, plain / PATH)
    for copy in (folder, plain):
        place.run([sys.executable, "-m", "tasks", "pseudo_label"], copy)
    names = (PATH, "data/training_set.parquet")
    check(place, folder, *([digest(copy / name) for name in names] for copy in (plain, folder)))
    return when and f"{when} of `review`, after {before} decisions, then `review`"


def decide(port: str, rows: slice, acknowledged: list[str]) -> None:
    """Keep labels one after the other until the server is gone; those that it took go to `acknowledged`."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
        wait_until(lambda: _answers(client), "the review page")
        with suppress(httpx.HTTPError):
            page = client.get("/api/rows", params={"count": 500, "issues": False, "decided": "any"}).json()
            for row in page["rows"][rows]:
                asked = {"example_ids": [row["example_id"]], "decision": "keep"}
                answer = client.post("/api/decide", json=asked | {"signature": page["signature"]})
                if answer.is_success:
                    acknowledged.append(row["key"])


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/facts").is_success
    except httpx.HTTPError:
        return False


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=relabel", "-c", "user.email=relabel@localhost", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def check(place: Place, folder: Path, expected: object, found: object) -> None:
    """End the session where bytes differ or something is left behind."""
    if found != expected:
        names = "output"
        if isinstance(found, dict) and isinstance(expected, dict):
            names = ", ".join(n for n in sorted({*expected, *found}) if expected.get(n) != found.get(n))
        raise SystemExit(f"DIFFERENT: {names} in {folder}")
    deadline = time.monotonic() + 60
    while left := processes(folder):
        if time.monotonic() > deadline:
            raise SystemExit(f"Left behind: {[process.cmdline() for process in left]}")
        time.sleep(0.2)
    if names := leftovers(folder, place.temporary):
        raise SystemExit(f"Left behind: {names}")


OTHERS = {"sweep": kill_sweep, "compare": kill_compare, "import-probs": kill_import, "review": kill_review}


def prepare(seed: int) -> Place:
    """Two workspaces with the same finished runs, by each model; the commit has the first."""
    place = Place(FOLDER / str(time.time_ns()), seed)
    make_workspace(place.whole, SETTINGS)
    place.run([*DVC, "--quiet"], place.whole)
    git(place.whole, "add", "--all")
    git(place.whole, "commit", "--quiet", "-m", "Ran")
    for model in ("convnet", "nearest_mean"):
        # The comparison is of the commit with this. No round is to find its own value among these runs.
        settings = {"train_fold.model": model, "pseudo_label.min_confidence": 0.7}
        set_params(place.whole / "params.yaml", settings)
        place.run([*DVC, "--quiet"], place.whole)
    shutil.copytree(place.whole / ".dvc" / "cache" / "runs", place.folder / "runs")
    shutil.copytree(place.whole, place.killed, symlinks=True)
    return place


def main() -> int:
    n_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    kinds = sys.argv[3:] or KINDS
    place = prepare(seed)
    recovered: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    number = 0
    while (n_done := recovered.total() + failed.total()) < n_rounds:
        kind = kinds[number % len(kinds)]
        began = time.monotonic()
        try:
            what = OTHERS.get(kind, kill_pipeline)(place, number, kind)
        except (SystemExit, Exception) as error:
            failed[kind] += 1
            print(f"{n_done + 1:2d} FAILED: {kind}: {error!r}\n   kept in {place.folder}", flush=True)
            for left in processes(place.folder):
                left.kill()
            # The next round must not find what this one left.
            place = prepare(seed + number + 1)
        else:
            if what:
                recovered[kind] += 1
                print(
                    f"{n_done + 1:2d} same: {kind} killed {what} ({time.monotonic() - began:.0f} s)",
                    flush=True,
                )
            else:
                print(f"   {kind}: all had ended before the kill; another round", flush=True)
        number += 1
    shutil.rmtree(place.folder)
    print(
        f"{recovered.total()} of {n_rounds} recovered to the same bytes, with no process, lock or file left."
    )
    print("Kills: " + ", ".join(f"{kind} {n}" for kind, n in (recovered + failed).items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
