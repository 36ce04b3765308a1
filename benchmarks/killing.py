"""What a session of `make chaos` kills, and how it sees whether all came back."""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from ruamel.yaml import YAML

# A word of the command line of what is killed.
STAGE_SERVER = "tasks.stage_server"
WORDS = {
    "flow": "flows.clean_labels",
    "dvc": "dvc",
    "stage": "tasks",
    "forked stage": STAGE_SERVER,
    "stage server": STAGE_SERVER,
    "own Prefect server": "flows.prefect_server",
    "serve": "flows.serve",
    "review": "review",
    "sweep": "flows.sweep",
    "compare": "flows.compare",
    "import-probs": "import-probs",
}
KINDS = (*WORDS, "Prefect server", "power cut")
OUTPUTS = ("data", "models", "metrics", "plots", "report", "dvc.lock")
LIMIT_S = 900
# An empty file with which DVC tries whether links can be made; on a full disk it stays. Git ignores it.
_OF_DVC = re.compile(r"\.[\w-]{22}\.tmp")


def processes(folder: Path) -> list[psutil.Process]:
    """All that runs in the workspace or in a folder of it."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def find(kind: str, folder: Path, url: str) -> list[psutil.Process]:
    """What is to be killed: the living processes of a kind, all of which a power cut takes."""
    alive = processes(folder)
    if kind in ("Prefect server", "power cut"):
        port = url.rsplit(":", 1)[1].split("/")[0]
        everywhere = psutil.process_iter(["cmdline"])
        servers = [p for p in everywhere if {"server", port} <= set(p.info["cmdline"] or ())]
        if kind == "Prefect server":
            return servers
        return [*alive, *servers] if any(_has(p, "dvc") for p in alive) else []
    found = [process for process in alive if _has(process, WORDS[kind])]
    if WORDS[kind] == STAGE_SERVER:
        # A stage that was forked has the command line of the server.
        forked = kind == "forked stage"
        found = [p for p in found if (p.ppid() in {other.pid for other in found}) == forked]
    return found


def _has(process: psutil.Process, word: str) -> bool:
    try:
        return word in process.cmdline()
    except psutil.Error:
        return False


def tree(folder: Path) -> dict[str, object]:
    """The sha256 of every file that stages wrote, and what dvc.lock says, parsed.

    DVC appends a stage to dvc.lock when it ends: the order of the same entries may be another.
    """
    found_files = [file for name in OUTPUTS for file in sorted((folder / name).rglob("*"))]
    files = [file for file in found_files if file.is_file() and not _OF_DVC.fullmatch(file.name)]
    found: dict[str, object] = {str(file.relative_to(folder)): digest(file) for file in files}
    return found | {"dvc.lock": YAML(typ="safe").load((folder / "dvc.lock").read_text())["stages"]}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def leftovers(folder: Path, temporary: Path) -> list[str]:
    """Names of temporary files, and of locks that are held."""
    found = [*temporary.glob("relabel-*")]
    for place in (*OUTPUTS[:-1], "reviews", "inputs", ".dvc/tmp/relabel/sweep"):
        found += [*(folder / place).rglob(".*.tmp"), *(folder / place).rglob("*.new")]
    said = [str(file) for file in found if not _OF_DVC.fullmatch(file.name)]
    locks = folder / ".dvc" / "tmp" / "rwlock"
    if locks.exists() and (held := _held(json.loads(locks.read_text()))):
        said.append(f"{locks}: {held}")
    sweep = folder / ".dvc" / "tmp" / "relabel" / "sweep"
    return said + [str(place) for place in (sweep.iterdir() if sweep.exists() else ())]


def _held(locks: dict[str, dict[str, list[dict[str, int]]]]) -> list[str]:
    """Files of a list of locks that a process reads, or that any is said to write.

    DVC may leave the headings of a list in which nobody is. `dvc repro` also leaves a reader in it that was
    killed: it stands in nobody's way, and the next flow takes it out.
    """
    read = locks.get("read", {})
    alive = [name for name, who in read.items() if any(psutil.pid_exists(one["pid"]) for one in who)]
    return [*locks.get("write", {}), *alive]


class Place:
    """The workspaces of one session, and how commands run in them.

    Attributes:
        folder: where all is.
        killed: the workspace in which things are killed.
        whole: the one in which nothing is.
        temporary: TMPDIR of all that runs.
        expected: what runs that nobody killed left, by what ran.
        draw: where random moments come from.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.killed, self.whole, self.temporary = folder / "killed", folder / "whole", folder / "tmp"
        self.expected: dict[object, object] = {}
        self.draw = random.Random(seed)
        self.temporary.mkdir(parents=True)

    def environment(self, url: str = "") -> dict[str, str]:
        """What commands run in; `url` is that of a Prefect server."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = {"TMPDIR": str(self.temporary), "PREFECT_HOME": str(self.temporary / "prefect")}
        # Stages of a workspace need not be compiled each time.
        quick = {"DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": ""}
        return {**os.environ, **home, **quick, "PREFECT_API_URL": url, "PATH": path}

    def run(self, command: list[str], folder: Path, url: str = "") -> str:
        """The stdout of a command that must succeed."""
        done = subprocess.run(
            command, cwd=folder, env=self.environment(url), timeout=LIMIT_S, capture_output=True, text=True
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-2000:]
            raise SystemExit(f"`{' '.join(command[1:])}` ended with status {done.returncode}: {said}")
        return done.stdout

    def start(self, command: list[str], folder: Path, url: str = "") -> subprocess.Popen[bytes]:
        """A command in a session of its own, without its words."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(
            command, cwd=folder, env=self.environment(url), start_new_session=True, **quiet
        )

    def kill(self, kind: str, folder: Path, url: str, started: subprocess.Popen[bytes], most_s: float) -> str:
        """Kill what is of a kind after a random time; say when and what, or nothing if all had ended."""
        began, wait_s = time.monotonic(), self.draw.uniform(0.2, most_s)
        while True:
            over = started.poll() is not None
            if time.monotonic() - began >= wait_s and (victims := find(kind, folder, url)):
                if kind != "power cut":
                    victims = [self.draw.choice(victims)]
                for victim in victims:
                    try:
                        victim.kill()
                    except psutil.NoSuchProcess:
                        return ""
                # What was started while they were killed is taken by a power cut, too.
                while kind == "power cut" and (late := find(kind, folder, url)):
                    for victim in late:
                        with suppress(psutil.NoSuchProcess):
                            victim.kill()
                # What was killed is over; what lost a stage or its server ends by itself.
                started.wait(timeout=LIMIT_S)
                # Init may take seconds to reap them, and DVC takes a zombie for a living process.
                psutil.wait_procs(victims, timeout=LIMIT_S)
                return f"after {time.monotonic() - began:4.1f} s"
            if over:
                return ""
            if time.monotonic() - began > LIMIT_S:
                raise SystemExit(f"No {kind} to kill.")
            time.sleep(0.05)
