"""`make full-disk`: a disk that fills up at 20 moments, and 5 permissions that are missing, by both doors.

The workspace lies on a tmpfs of a size (as root; nothing else has one). A run must end with a sentence and
without a traceback; with more room, or the permission back, the next run must end with the bytes of a run
that nothing disturbed, and leave nothing behind. Probabilities of one's own, so that nothing trains.
`python -m benchmarks.full_disk [DOOR ...]`, a door being `dvc` or `flow`.
"""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.doors import DVC, FLOW
from benchmarks.killing import leftovers, processes, tree
from benchmarks.workspaces import make_workspace

FOLDER = Path(".cache/full_disk").resolve()
N_SIZES = 20
DOORS = {"dvc": DVC, "flow": FLOW}
# Root may write anywhere; without these capabilities it may what an owner may.
AS_OWNER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
# The last is DVC's, where it has no room to try whether a file can be linked.
SAID = ("no space left", "permission", "read-only", "no possible cache link types")


@dataclass(frozen=True)
class Fault:
    """A permission that is missing: of a file or folder of a finished run, with these mode bits."""

    name: str
    path: str
    mode: int


FAULTS = (
    Fault("data/ is read-only", "data", 0o555),
    Fault("metrics/ is read-only", "metrics", 0o555),
    Fault("labels may not be read", "inputs/probs/labels.csv", 0o000),
    Fault("DVC's cache is read-only", ".dvc/cache/files/md5", 0o555),
    Fault(".dvc/tmp is read-only", ".dvc/tmp", 0o555),
)


@contextmanager
def disk(folder: Path, n_bytes: int) -> Iterator[None]:
    """A file system of a size at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={n_bytes // 1024}k", "tmpfs", str(folder)], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, n_bytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={n_bytes // 1024}k", str(folder)], check=True)


def used_bytes(folder: Path) -> int:
    """What the files of a folder take on a tmpfs, which has whole pages."""
    files = [file for file in folder.rglob("*") if not file.is_symlink()]
    return sum(-(-file.lstat().st_size // 4096) * 4096 for file in files if file.is_file())


def make_base(folder: Path) -> None:
    """A workspace for probabilities of one's own, before its first run."""
    make_workspace(folder, {})
    shutil.copy("docs/own_probs.yaml", folder / "dvc.yaml")
    rng = np.random.default_rng(0)
    n, k = 2_000, 5
    labels = rng.integers(0, k, n)
    probs = rng.dirichlet(np.ones(k), n) * 0.3 + np.eye(k)[labels] * 0.7
    wrong = rng.random(n) < 0.1
    labels[wrong] = rng.integers(0, k, wrong.sum())
    np.save(folder / "inputs" / "probs" / "pred_probs.npy", probs.astype(np.float32))
    lines = "\n".join(map(str, labels))
    (folder / "inputs" / "probs" / "labels.csv").write_text(f"given_label\n{lines}\n")


def environment(temporary: Path) -> dict[str, str]:
    temporary.mkdir(parents=True, exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    homes = {"PREFECT_HOME": str(FOLDER / "prefect"), "HOME": str(FOLDER / "home"), "PREFECT_API_URL": ""}
    # What is compiled lies on no full disk, and need not be compiled each time.
    quick = {"PYTHONPYCACHEPREFIX": str(FOLDER / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    return {**os.environ, **homes, **quick, "PATH": path, "TMPDIR": str(temporary), "DVC_NO_ANALYTICS": "1"}


def run(command: list[str], folder: Path, temporary: Path, prefix: Sequence[str] = ()) -> tuple[int, str]:
    """Status and output of a command in a workspace."""
    done = subprocess.run(
        [*prefix, *command],
        cwd=folder,
        env=environment(temporary),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=900,
    )
    return done.returncode, done.stdout + done.stderr


class FailedError(Exception):
    """A run said no sentence, or the next one did not recover."""


def check_words(what: str, status: int, said: str) -> str:
    """The sentence that a failed run ended with.

    Raises:
        FailedError: there is none.
    """
    if status == 0:
        return "had room"
    lines = [line for line in said.splitlines() if any(word in line.lower() for word in SAID)]
    if "Traceback" in said or not lines:
        raise FailedError(f"{what}: expected a sentence, found status {status} and: {said[-3000:]}")
    return lines[-1].strip()[:150]


def recover(
    what: str, folder: Path, temporary: Path, whole: dict[str, object], prefix: Sequence[str] = ()
) -> None:
    """Run again, and compare with a run that nothing disturbed."""
    status, said = run(DVC, folder, temporary, prefix)
    if status != 0:
        raise FailedError(f"{what}: the run after it ended with status {status}: {said[-3000:]}")
    found = tree(folder)
    if other := sorted(name for name in {*found, *whole} if found.get(name) != whole.get(name)):
        raise FailedError(f"{what}: DIFFERENT after the recovery: {', '.join(other)}.")
    if left := [*map(str, processes(folder)), *leftovers(folder, temporary)]:
        raise FailedError(f"{what}: left behind: {left}")


def fill(door: str, base: Path, whole: dict[str, object], need: int) -> Counter[str]:
    """Runs on disks of N_SIZES sizes, from no room for any output to nearly enough."""
    found: Counter[str] = Counter()
    # A session that is cut short has seen all moments, too.
    for number in (*range(0, N_SIZES, 2), *range(1, N_SIZES, 2)):
        room = int(need * (number + 0.5) / N_SIZES)
        what = f"{door}, disk {number + 1} of {N_SIZES} ({room / 2**20:.1f} MB of {need / 2**20:.1f})"
        place = FOLDER / "disk"
        began = time.monotonic()
        with disk(place, 2**30):
            # Prefect's server wants more room for temporary files than all disks have, and says so.
            folder, temporary = place / "workspace", (place if door == "dvc" else FOLDER) / "tmp"
            shutil.copytree(base, folder, symlinks=True)
            resize(place, shutil.disk_usage(place).used + room)
            status, said = run(DOORS[door], folder, temporary)
            found["failed"] += status != 0
            try:
                words = check_words(what, status, said)
                resize(place, 2**30)
                recover(what, folder, temporary, whole)
            except FailedError as error:
                print(f"FAILED: {error}", flush=True)
                continue
        found["recovered"] += 1
        print(f"{what}: {words}; recovered ({time.monotonic() - began:.0f} s)", flush=True)
    return found


def forbid(door: str, finished: Path, whole: dict[str, object]) -> Counter[str]:
    """Runs with a permission that is missing."""
    found: Counter[str] = Counter()
    for fault in FAULTS:
        what = f"{door}, {fault.name}"
        folder, temporary = FOLDER / "forbidden", FOLDER / "tmp"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(finished, folder, symlinks=True)
        # So that all stages have something to do.
        for name in ("data", "metrics", "plots"):
            for file in (folder / name).rglob("*.*"):
                file.unlink()
        (folder / "dvc.lock").unlink()
        shutil.rmtree(folder / ".dvc" / "cache" / "runs")
        path = folder / fault.path
        mode = path.stat().st_mode & 0o777
        path.chmod(fault.mode)
        status, said = run(DOORS[door], folder, temporary, AS_OWNER)
        found["failed"] += status != 0
        path.chmod(mode)
        try:
            words = check_words(what, status, said)
            recover(what, folder, temporary, whole, AS_OWNER)
        except FailedError as error:
            print(f"FAILED: {error}", flush=True)
            continue
        found["recovered"] += 1
        print(f"{what}: {words}; recovered", flush=True)
    return found


def main() -> int:
    doors = sys.argv[1:] or list(DOORS)
    if os.geteuid() != 0:
        raise SystemExit("Only root may mount a disk of a size: run this in a container, as root.")
    shutil.rmtree(FOLDER, ignore_errors=True)
    base, finished = FOLDER / "base", FOLDER / "finished"
    make_base(base)
    shutil.copytree(base, finished, symlinks=True)
    status, said = run(DVC, finished, FOLDER / "tmp")
    if status != 0:
        raise SystemExit(said)
    whole, need = tree(finished), used_bytes(finished) - used_bytes(base)
    is_whole = True
    for door in doors:
        for what, found, n in (
            ("permissions", forbid(door, finished, whole), len(FAULTS)),
            ("disks", fill(door, base, whole, need), N_SIZES),
        ):
            is_whole &= found["recovered"] == n
            print(
                f"{door}: {n} {what}, {found['failed']} runs that failed for it; {found['recovered']} of {n} "
                "said a sentence and recovered to the same bytes."
            )
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
