"""Two doors, one cache: the Prefect flow beside `dvc repro` on real repositories, with a real server."""

import csv
import errno
import functools
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from doors import Door, make_waiting, outcomes, wait_for
from dvc.repo import Repo
from ruamel.yaml import YAML
from small_runs import ROOT, SETTINGS
from warm import warm_python, with_warm_programs

from benchmarks.doors import FLOW, prefect_server
from benchmarks.killing import find, processes
from benchmarks.workspaces import make_workspace, set_params
from flows import FlowError
from flows.clean_labels import main
from flows.dvc_api.graph import is_fresh, plan, stage_graph
from flows.dvc_api.inputs import begun, why_not_now, written_within
from flows.dvc_api.lock_file import lock_order, mend_lock_file, order_lock
from flows.dvc_api.overrides import override_params
from flows.dvc_api.repository import stage_name
from flows.dvc_api.single_stage import StageError, run_stage
from flows.one_at_a_time import only_flow
from flows.prefect_page import Page
from flows.prefect_server import server_answers
from flows.runner import StageRunner, imports_of
from flows.terminal_progress import RunProgress
from tasks import RelabelError
from tasks.dvc_lock import LIST
from tasks.params import load_params
from tasks.stage_server import KILLED, OF_SKLEARN, OF_TORCH

from prefect.client.orchestration import SyncPrefectClient, get_client  # isort: skip  # after flows
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import Artifact
from prefect.settings import PREFECT_API_URL, temporary_settings

pytestmark = pytest.mark.slow

# Where nothing listens.
PROXIES = dict.fromkeys(["HTTP_PROXY", "https_proxy", "ALL_PROXY"], "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def cold(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Door, str]:
    """A new workspace in which the flow ran, and what it printed."""
    folder = tmp_path_factory.mktemp("flow") / "workspace"
    make_workspace(folder, SETTINGS, source=ROOT)
    door = Door(folder, environment)
    return door, door.flow("--workers", "2")


def assert_as_dvc_repro(door: Door, log: str, reproduced: Path) -> None:
    assert outcomes(log, "Completed") == set(stage_graph(door.folder))
    # The table at the end has their times.
    assert set(re.findall(r"^ +(\S+) +Completed +\d+\.\d *$", log, flags=re.MULTILINE)) == outcomes(
        log, "Completed"
    )
    assert door.lock() == (reproduced / "dvc.lock").read_bytes()
    assert "up to date" in door.dvc("status")
    assert "up to date" in door.dvc("repro")
    assert door.lock() == (reproduced / "dvc.lock").read_bytes()
    door.assert_no_orphans()


def test_a_cold_flow_writes_the_lock_that_dvc_repro_writes(cold: tuple[Door, str], reproduced: Path) -> None:
    assert_as_dvc_repro(*cold, reproduced)


@pytest.mark.endurance
def test_a_cold_flow_with_a_stage_server_of_its_own_writes_it_too(
    environment: dict[str, str], reproduced: Path, tmp_path: Path
) -> None:
    make_workspace(tmp_path / "workspace", SETTINGS, source=ROOT)
    door = Door(tmp_path / "workspace", environment)
    process = door.start("--workers", "2")
    log, _ = process.communicate(timeout=900)
    assert process.returncode == 0, log
    assert_as_dvc_repro(door, log, reproduced)


def test_the_lock_that_warm_processes_write_is_that_of_dvc_itself(
    done: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process nothing of DVC is replaced."""
    monkeypatch.chdir(done.folder)
    before = done.lock()
    with Repo(str(done.folder)) as repo, repo.lock:
        stages = {stage_name(stage): stage for stage in repo.index.stages}
        path = done.folder / "dvc.lock"
        yaml = YAML()
        content = yaml.load(before)
        last = list(content["stages"])[-1]
        del content["stages"][last]
        with path.open("w") as file:
            yaml.dump(content, file)
        # It reads and writes the whole file, and adds what it found of this stage.
        for stage in (stages[last], stages["prune"]):
            stage.save()
            stage.dvcfile.dump(stage, update_pipeline=False)
    assert done.lock() == before


@pytest.fixture
def prefect(environment: dict[str, str]) -> Iterator[SyncPrefectClient]:
    """A client of the server that the runs report to."""
    address = {PREFECT_API_URL: environment["PREFECT_API_URL"]}
    with temporary_settings(address), get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def artifacts(cold: tuple[Door, str], prefect: SyncPrefectClient) -> dict[str | None, Artifact]:
    """What the page of that run shows, by its key; the server shows the runs of other tests too."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["results", "report"]))
    found = prefect.read_artifacts(artifact_filter=wanted)
    (run,) = {each.flow_run_id for each in found if str(cold[0].folder) in str(each.data)}
    return {each.key: each for each in found if each.flow_run_id == run}


def test_prefect_shows_one_task_a_stage_named_after_it(
    cold: tuple[Door, str], prefect: SyncPrefectClient, artifacts: dict[str | None, Artifact]
) -> None:
    run = FlowRunFilter(id=FlowRunFilterId(any_=[artifacts["report"].flow_run_id]))
    shown = {(task.name, task.state_name) for task in prefect.read_task_runs(flow_run_filter=run)}
    assert shown == {(name, "Completed") for name in stage_graph(cold[0].folder)}


def test_prefect_shows_what_was_found_and_where_the_report_is(
    cold: tuple[Door, str], artifacts: dict[str | None, Artifact]
) -> None:
    door, _ = cold
    place, results = str(artifacts["report"].data), str(artifacts["results"].data)
    with (door.folder / "report" / "top_issues.csv").open(newline="") as file:
        issues = list(csv.DictReader(file))
    lines = [line.strip("| ").split(" | ") for line in results.splitlines() if line.startswith("| ")]
    assert [line[0] for line in lines[-len(issues) :]] == [issue["example_id"] for issue in issues]
    for line, issue in zip(lines[-len(issues) :], issues, strict=True):
        probability = f"{float(issue['suggested_prob']):.2%}"
        assert line[1:] == [issue["given"], issue["suggested"], probability, issue["now"]]
    found = json.loads((door.folder / "metrics" / "label_issues.json").read_text())
    assert ["label issues", f"{found['n_issues']:,}"] in lines
    # A page of the web may not open files: it says what to type.
    assert str(door.folder / "report" / "index.html") in place
    assert f"--directory {door.folder / 'report'}" in place
    assert "file://" not in place


def test_prefect_names_the_run_after_data_set_and_outcome(
    cold: tuple[Door, str], prefect: SyncPrefectClient, artifacts: dict[str | None, Artifact]
) -> None:
    found = json.loads((cold[0].folder / "metrics" / "label_issues.json").read_text())
    run = prefect.read_flow_run(artifacts["report"].flow_run_id)
    assert run.name == f"digits: {found['n_issues']} suspects"


def test_after_dvc_repro_the_flow_finds_every_stage_cached(done: Door) -> None:
    before = done.lock()
    log = done.flow()
    assert "Everything is up to date." in log
    assert not outcomes(log, "Completed") | outcomes(log, "Restored")
    assert done.lock() == before
    # A table is shown to those who ask for it.
    assert (done.folder / "report" / "summary.txt").read_text() not in log


def test_nothing_to_do_without_a_server_starts_none(done: Door, tmp_path: Path) -> None:
    home = tmp_path / "home"
    alone = {**done.environment, "PREFECT_HOME": str(home)}
    del alone["PREFECT_API_URL"]
    assert "Everything is up to date." in Door(done.folder, alone).flow()
    assert not list(home.glob("*.db"))


def test_a_server_of_its_own_that_starts_too_late_is_one_sentence_and_leaves_no_process(
    done: Door, tmp_path: Path
) -> None:
    hasty = {"PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "0"}
    alone = Door(done.folder, {**done.environment, **hasty})
    del alone.environment["PREFECT_API_URL"]
    log = alone.flow("--force", "report", status=1)
    assert "clean_labels: expected the Prefect server that a run brings along to start within 0 s" in log
    assert "Traceback" not in log
    alone.assert_no_orphans()


def test_a_home_of_prefect_that_cannot_be_made_is_one_sentence(done: Door, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    alone = Door(done.folder, {**done.environment, "PREFECT_HOME": str(tmp_path / "file" / "home")})
    del alone.environment["PREFECT_API_URL"]
    log = alone.flow("--force", "report", status=1)
    assert f"PREFECT_HOME, {tmp_path / 'file' / 'home'}: expected a folder" in log
    assert "Traceback" not in log


def test_a_stage_that_was_killed_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    """As the kernel kills it where memory is short; no stage server stands between."""
    door = make_waiting(tmp_path / "workspace", environment)
    (door.folder / "wait.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    assert f"wait: {KILLED}" in door.flow(status=1)


def test_a_list_of_locks_that_was_written_in_half_is_gone_after_the_run(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A full disk leaves one, and `dvc repro` would refuse it."""
    door = make_waiting(tmp_path / "workspace", environment)
    (door.folder / "wait.py").write_text(f"open({str(LIST)!r}, 'w').write('{{')\nraise SystemExit(1)\n")
    door.flow(status=1)
    assert not (door.folder / LIST).exists()


# A stage that takes no time: it copies a word of params.yaml. It says that it ran, or why not, as all do.
QUICK = """import json, os, re, sys
from pathlib import Path

out = Path(sys.argv[1])
broken = Path(f"{out}.broken")
failure = broken.read_text() if broken.exists() else None
with Path(os.environ.get("RELABEL_STAGE_RECORD", os.devnull)).open("a") as record:
    record.write(json.dumps({"failure": failure}) + "\\n")
if failure:
    sys.exit(1)
out.parent.mkdir(exist_ok=True)
out.write_text(re.search(sys.argv[2], Path("params.yaml").read_text())[0])
"""
# What a flow in a warm process is started with.
WARM_FLOW = ["python", "-m", "flows.clean_labels"]


def make_quick(folder: Path, environment: dict[str, str], stages: dict[str, Any]) -> Door:
    """A workspace with these stages, whose commands are `python quick.py OUT PATTERN`."""
    make_workspace(folder, SETTINGS, source=ROOT)
    (folder / "quick.py").write_text(QUICK)
    with (folder / "dvc.yaml").open("w") as file:
        YAML(typ="safe").dump({"stages": stages}, file)
    return Door(folder, environment)


@pytest.fixture(scope="module")
def quick_folder(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that is up to date, with what new data needs: the stage that reads them, and two more."""
    shipped = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = {
        "inject_noise": {
            "cmd": "python quick.py noisy top_issues",
            "deps": [dep for dep in shipped["inject_noise"]["deps"] if dep.startswith("inputs/")],
            "outs": ["noisy"],
        },
        "count": {
            "cmd": "python quick.py counted 'top_issues: [0-9]+'",
            "deps": ["noisy"],
            "params": ["report.top_issues"],
            "outs": ["counted"],
        },
        "show": {"cmd": "python quick.py shown/page top_issues", "deps": ["counted"], "outs": ["shown"]},
    }
    door = make_quick(tmp_path_factory.mktemp("quick") / "workspace", environment, stages)
    door.dvc("repro")
    return door.folder


@pytest.fixture
def quick(quick_folder: Path, environment: dict[str, str], tmp_path: Path) -> Door:
    """A copy of it, to be changed."""
    return Door(shutil.copytree(quick_folder, tmp_path / "workspace", symlinks=True), environment)


def test_one_changed_value_reruns_the_same_stages_as_dvc_and_going_back_restores_them(quick: Door) -> None:
    before = quick.lock()
    # A DVC that was killed, whose number this process has now.
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    held = str(quick.folder / "counted")
    (quick.folder / LIST).write_text(json.dumps({"write": {held: holder}}))
    log = quick.flow("--set", "report.top_issues=9")
    assert f"A DVC that was killed had left locks behind (PID {os.getpid()})" in log
    assert outcomes(log, "Completed") == {"count", "show"}
    assert "top_issues: 9" in (quick.folder / "params.yaml").read_text()
    assert "up to date" in quick.dvc("repro")
    # An earlier version: DVC's run-cache knows its results, so nothing runs again.
    log = quick.flow("--set", "report.top_issues=25")
    assert outcomes(log, "Restored") == {"count", "show"}
    assert not outcomes(log, "Completed")
    assert quick.lock() == before


def test_the_table_of_the_report_is_the_end_of_a_run_that_is_asked_for_it(
    quick: Door, reproduced: Path
) -> None:
    """As `make repro` asks, whether anything was to do or not."""
    (quick.folder / "report").mkdir(exist_ok=True)
    table = (reproduced / "report" / "summary.txt").read_text()
    (quick.folder / "report" / "summary.txt").write_text(table)
    for arguments in ((), ("--force", "show")):
        log = quick.flow("--summary", *arguments)
        assert re.search(r"\n\d+ s\. The report: " + re.escape(f"{quick.folder}/report/index.html"), log)
        assert table in log


def test_a_clone_pulls_from_a_remote_that_answers_late_and_trains_nothing(
    quick: Door, tmp_path: Path
) -> None:
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    quick.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    quick.dvc("push", "--run-cache")
    for command in (["add", "--all"], ["commit", "--quiet", "--no-gpg-sign", "-m", "Ran"]):
        subprocess.run([*git, *command], cwd=quick.folder, check=True)
    subprocess.run(["git", "clone", "--quiet", str(quick.folder), str(tmp_path / "clone")], check=True)
    clone = Door(tmp_path / "clone", with_warm_programs(quick.environment))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "store"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    clone.dvc("remote", "add", "--force", "--default", "store", f"http://127.0.0.1:{address[1]}")
    pulling = clone.start("--pull", command=WARM_FLOW)
    wait_for(pulling, r"found none of the \d+ files that are missing here.* Trying again in 2 s")
    with http.server.ThreadingHTTPServer(address, handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        log, _ = pulling.communicate(timeout=900)
        server.shutdown()
    assert pulling.returncode == 0, log
    assert not outcomes(log, "Completed")
    assert clone.lock() == quick.lock()
    # The files are there, not only their hashes.
    assert "up to date" in clone.dvc("status")


def test_new_data_alone_starts_a_run_that_asks_for_it(quick: Door, tmp_path: Path) -> None:
    source, copy = tmp_path / "labels.csv", quick.folder / "inputs" / "labels" / "labels.csv"
    source.write_text("example_id,given_label\n0,0\n")
    # Inputs under DVC are stages of the graph too, named after their file.
    quick.dvc("import-url", str(source), "inputs/labels/labels.csv")
    os.utime(copy, (0, 0))
    assert outcomes(quick.flow("--if-new-data"), "Completed") == {"inject_noise"}
    # Half-edited parameters wait for data, or for a person.
    set_params(quick.folder / "params.yaml", {"report.top_issues": 9})
    assert "No new data in inputs/: nothing to do." in quick.flow("--if-new-data")
    source.write_text("example_id,given_label\n0,0\n1,1\n")
    log = quick.flow("--if-new-data")
    assert "inputs/labels: still being written; the next run looks again." in log
    assert copy.read_text() == source.read_text()
    os.utime(copy, (0, 0))
    # Killed after the one stage that reads the data, the run is taken up again.
    quick.flow("--until", "inject_noise")
    begun(quick.folder).touch()
    assert outcomes(quick.flow("--if-new-data"), "Completed") == {"count", "show"}
    assert why_not_now(quick.folder) == "No new data in inputs/: nothing to do."
    assert "up to date" in quick.dvc("status")


def test_an_input_that_is_one_file_is_waited_for_too(tmp_path: Path) -> None:
    probs = tmp_path / "pred_probs.npy"
    probs.touch()
    assert written_within(tmp_path, [probs.name], 60)
    os.utime(probs, (0, 0))
    assert not written_within(tmp_path, [probs.name], 60)


def test_until_and_force_behind_a_proxy(done: Door) -> None:
    done.environment = {**done.environment, **PROXIES, "NO_PROXY": "intranet.example"}
    # What a full disk left.
    (done.folder / LIST).write_text("")
    log = done.flow("--force", "prune", "--until", "pseudo_label")
    # The same bytes come out, so what follows stays fresh.
    assert outcomes(log, "Completed") == {"prune"}
    assert f"{LIST} was damaged" in log


def test_a_failed_fold_lets_its_sibling_finish_and_the_next_run_does_the_rest(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """What a stage of the pipeline says of its fault, `test_engines` shows."""
    folds = ["fold_0", "fold_1"]
    fold = {"cmd": "python quick.py fold_${item.k} top_issues", "outs": ["fold_${item.k}"]}
    stages = {
        "fold": {"matrix": {"k": [0, 1]}, **fold},
        "join": {"cmd": "python quick.py joined top_issues", "deps": folds, "outs": ["joined"]},
        "show": {"cmd": "python quick.py shown top_issues", "deps": ["joined"], "outs": ["shown"]},
    }
    door = make_quick(tmp_path / "workspace", environment, stages)
    broken = door.folder / "fold_1.broken"
    broken.write_text("Fold 1 is broken: mend it.")
    log = door.flow(status=1)
    assert (
        "clean_labels: Fold 1 is broken: mend it. 2 stage(s) wait for it. Mend it and run again: what is"
        in log
    )
    assert outcomes(log, "Failed") == {"fold@1"}
    assert outcomes(log, "Completed") == {"fold@0"}
    broken.unlink()
    log = door.flow()
    assert outcomes(log, "Completed") == {"fold@1", "join", "show"}
    assert "up to date" in door.dvc("repro")


def test_a_stage_that_outruns_its_time_is_ended_with_all_that_it_started(done: Door) -> None:
    log = done.flow("--force", "train_fold@0", "--until", "train_fold@0", "--timeout-s", "0.5", status=1)
    assert "train_fold@0 ran longer than timeout_s (0.5 s) and was ended." in log
    done.assert_no_orphans()


def first_forked(folder: Path) -> int:
    """The number of the first of the processes there that are forks of the warm one: the flow, then DVC."""
    forked = [found for found in processes(folder) if any("warm.serve" in word for word in found.cmdline())]
    return min(forked, key=lambda found: found.create_time()).pid


TERMINATED = "clean_labels: ended by SIGTERM; the next run goes on from here."
INTERRUPTED = "clean_labels: interrupted; the next run goes on from here."


@pytest.mark.parametrize(
    ("number", "has_server", "is_warm", "said"),
    [
        (signal.SIGKILL, False, False, ""),
        (signal.SIGTERM, True, True, TERMINATED),
        # In a terminal Ctrl-C goes to all that the flow started, too.
        (signal.SIGINT, False, False, INTERRUPTED),
        pytest.param(signal.SIGTERM, True, False, TERMINATED, marks=pytest.mark.endurance),
        pytest.param(signal.SIGTERM, False, False, TERMINATED, marks=pytest.mark.endurance),
        pytest.param(signal.SIGINT, True, False, INTERRUPTED, marks=pytest.mark.endurance),
    ],
)
def test_an_ended_flow_leaves_nothing_and_the_next_run_recovers(
    waited: Door, tmp_path: Path, number: int, has_server: bool, is_warm: bool, said: str
) -> None:
    """With a server of its own and without. What a stage of the pipeline leaves, `test_network_runs` says."""
    (tmp_path / "tmp").mkdir()
    told = {**waited.environment, "TMPDIR": str(tmp_path / "tmp"), **PROXIES}
    if not has_server:
        del told["PREFECT_API_URL"]
    before = waited.lock()
    door = Door(waited.folder, with_warm_programs(told, with_stages=False) if is_warm else told)
    process = door.start("--set", "report.top_issues=9", command=WARM_FLOW if is_warm else FLOW)
    wait_for(process, r"wait +waiting")
    # Nothing here trains: no stage server imports torch for it.
    assert not find("stage server", waited.folder, "")
    assert not (waited.folder / "waited").exists()
    if number == signal.SIGINT and not has_server:
        os.killpg(process.pid, number)
    else:
        os.kill(first_forked(waited.folder) if is_warm else process.pid, number)
    log, _ = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert said in log
    assert "stopped answering" not in log
    waited.assert_no_orphans()
    assert list((tmp_path / "tmp").iterdir()) == []
    log = waited.flow("--set", "report.top_issues=8")
    assert outcomes(log, "Restored") == {"wait"}
    assert not outcomes(log, "Completed")
    assert (waited.folder / "waited").read_text() == "done"
    assert waited.lock() == before


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("[Errno 28] No space left on device", "[Errno 28] No space left on device"),
        ("No possible cache link types for 'b'", "No possible cache link types for 'b'; DVC says so of"),
        ("failed to run: python -m tasks a, exited with 7", "the words of the stage"),
    ],
)
def test_what_dvc_could_not_do_is_said(tmp_path: Path, reason: str, said: str) -> None:
    error = f"ERROR: failed to reproduce 'a': {reason}"
    # `python -m dvc` finds it first.
    (tmp_path / "dvc.py").write_text(
        f"print('the words of the stage')\nprint({error!r})\nraise SystemExit(255)"
    )
    with pytest.raises(StageError, match=re.escape(f"a ended with status 255: {said}")):
        run_stage(tmp_path, "a", [], {}, print, lambda process: None)


def test_what_a_power_cut_left_in_the_temporary_folder_goes_with_the_next_run(tmp_path: Path) -> None:
    link = tmp_path / ".dvc" / "tmp" / "relabel" / "stages"
    killed = StageRunner(tmp_path, (), (), None, RunProgress([]), Page())
    assert link.readlink() == killed.socket
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(killed.socket))
    following = StageRunner(tmp_path, (), (), None, RunProgress([]), Page())
    assert not killed.socket.exists()
    assert link.readlink() == following.socket
    following.end()
    assert not link.is_symlink()


def test_a_server_that_dies_stops_no_stage_and_the_run_says_so(
    environment: dict[str, str], new_home: Callable[[], Path], tmp_path: Path
) -> None:
    door = make_waiting(tmp_path / "workspace", environment, "waited")
    with prefect_server(new_home(), ["sh", "-c", 'shift; exec "$0" "$@"', str(warm_python())]) as url:
        # It asks the dead server once each time; each time more waits seconds.
        told = {**environment, "PREFECT_API_URL": url, "PREFECT_CLIENT_MAX_RETRIES": "0"}
        flow = Door(door.folder, with_warm_programs(told)).start(command=WARM_FLOW)
        wait_for(flow, r"wait +waiting")
        servers = find("Prefect server", door.folder, url)
        for process in servers:
            process.kill()
        psutil.wait_procs(servers)
        with temporary_settings({PREFECT_API_URL: url}):
            while server_answers():
                time.sleep(0.02)
        (door.folder / "go").touch()
        log, _ = flow.communicate(timeout=900)
    assert flow.returncode == 1
    assert f"clean_labels: the Prefect server at {url} stopped answering. What is done is kept" in log
    door.assert_no_orphans()
    assert (door.folder / "waited").read_text() == "done"
    assert "Everything is up to date." in door.flow()


def test_both_doors_at_once_lose_nothing(done: Door) -> None:
    set_params(done.folder / "params.yaml", {"pseudo_label.min_confidence": 0.9})
    warm = Door(done.folder, with_warm_programs(done.environment))
    flow = warm.start(command=WARM_FLOW)
    repro = warm.start(command=["python", "-m", "dvc", "repro"])
    log, _ = flow.communicate(timeout=900)
    assert flow.returncode == 0, log
    said, _ = repro.communicate(timeout=900)
    # DVC waits for nobody: it ends well or says who holds its files.
    assert repro.returncode == 0 or "busy" in said or "lock" in said, said
    assert "Everything is up to date." in done.flow()


def test_a_second_flow_is_told_who_runs(done: Door) -> None:
    with only_flow(done.folder):
        log = done.flow(status=1)
    assert f"A flow is already running in {done.folder} (process {os.getpid()} since" in log
    assert "--wait" in log


def test_a_flow_that_waits_starts_when_the_other_is_over(tmp_path: Path) -> None:
    events = []

    def second() -> None:
        with only_flow(tmp_path, wait=True):
            events.append("second")

    waiting = threading.Thread(target=second)
    with only_flow(tmp_path):
        waiting.start()
        time.sleep(0.3)
        events.append("first ends")
    waiting.join(timeout=10)
    assert events == ["first ends", "second"]


def test_new_stages_enter_the_lock_in_the_order_of_dvc_repro_even_after_a_kill(done: Door) -> None:
    path = done.folder / "dvc.lock"
    whole = path.read_bytes()
    plan = list(stage_graph(done.folder))
    yaml = YAML()
    content = yaml.load(whole)
    first, second = (content["stages"].pop(f"train_fold@{fold}") for fold in (0, 1))
    with path.open("w") as file:
        yaml.dump(content, file)
    before = lock_order(done.folder)
    content["stages"] |= {"train_fold@1": second, "train_fold@0": first}
    with path.open("w") as file:
        yaml.dump(content, file)
    # A killed run never came to order what it added; the next one still knows how it was before.
    assert lock_order(done.folder) == before
    order_lock(done.folder, before, plan)
    names = list(yaml.load(path.read_text())["stages"])
    assert names == [*before, "train_fold@0", "train_fold@1"]
    assert lock_order(done.folder) == names


@pytest.mark.parametrize(
    "ask", [lambda root: is_fresh(root, "prune"), lambda root: "report" in plan(root)[1]]
)
def test_the_flow_asks_dvc_only_while_nobody_rewrites_the_lock_file(done: Door, ask) -> None:
    whole = done.lock()
    written_half = threading.Event()

    def rewrite() -> None:
        with Repo(str(done.folder)) as repo, repo.lock:
            (done.folder / "dvc.lock").write_bytes(whole[:90])
            written_half.set()
            time.sleep(1)
            (done.folder / "dvc.lock").write_bytes(whole)

    writer = threading.Thread(target=rewrite)
    writer.start()
    written_half.wait()
    try:
        assert ask(done.folder)
    finally:
        writer.join()


# --- bad input: one sentence, before Prefect starts ---------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--until", "polish"], "polish"),
        (["--force", "polish"], "Stage 'polish': expected one of download, features,"),
        (["--workers", "0"], "--workers: expected at least 1, found 0."),
        (["--timeout-s", "0"], "--timeout-s: expected more than 0 seconds, found 0."),
        (["--pull"], "--pull: expected a default DVC remote, found none."),
    ],
)
def test_bad_options_are_one_sentence(
    done: Door,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(done.folder)
    assert main(arguments) == 1
    log = capsys.readouterr().err
    assert log.startswith("clean_labels: "), log
    assert len(log.strip().splitlines()) == 1, log
    assert said in log


def test_a_proxy_that_prefect_cannot_use_is_one_sentence(done: Door) -> None:
    done.environment = {**done.environment, "ALL_PROXY": "socks4://127.0.0.1:9"}
    log = done.flow("--force", "report", status=1)
    assert log.startswith("clean_labels: HTTP_PROXY, HTTPS_PROXY and ALL_PROXY: expected http:// and"), log
    assert len(log.strip().splitlines()) == 1, log


@pytest.mark.parametrize("set_by_hand", [{}, {"NO_PROXY": "a.example,127.0.0.1"}, {"no_proxy": "a.example"}])
def test_loopback_goes_through_no_proxy_and_the_rest_as_before(set_by_hand: dict[str, str]) -> None:
    code = (
        "import flows; from urllib.request import getproxies, proxy_bypass; "
        "assert getproxies()['http'] == 'http://127.0.0.1:9'; "
        "hosts = ['127.0.0.1:4200', 'localhost', 'a.example', 'b.example']; "
        "print(*(bool(proxy_bypass(host)) for host in hosts))"
    )
    bare = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-c", code]
    environment = {**bare, **PROXIES, **set_by_hand}
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "True", str(bool(set_by_hand)), "False"]


@pytest.mark.parametrize("override", ["train_fold.epochs=-1", "train_fold.epoch=2", "nonsense", "a=[1"])
def test_a_refused_override_leaves_params_as_they_were(tmp_path: Path, override: str) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with pytest.raises(RelabelError, match=r"expected|mend these values"):
        override_params(tmp_path, [override])
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_the_flow_says_what_it_refuses_without_a_traceback(done: Door) -> None:
    log = done.flow("--set", "train_fold.epochs=-1", status=1)
    assert "clean_labels: " in log
    assert "Traceback" not in log, log


def test_a_folder_without_dvc_and_a_broken_dvc_yaml_are_one_sentence(done: Door, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FlowError, match="not inside of a DVC repository"):
        stage_graph(tmp_path / "empty")
    (done.folder / "dvc.yaml").write_text("stages: [download\n")
    with pytest.raises(FlowError, match=r"dvc\.yaml"):
        stage_graph(done.folder)


# What a stage is told of servers.
WRITES = """
import os, sys
from pathlib import Path

Path(sys.argv[1]).write_text(os.environ["RELABEL_STAGE_SERVER"] + "|" + os.environ["RELABEL_DVC_SERVER"])
"""


def test_a_run_of_several_stages_has_a_server_that_ends_with_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "workspace"
    make_workspace(folder, SETTINGS, source=ROOT)
    (folder / "writes.py").write_text(WRITES)
    stages = {name: {"cmd": f"python writes.py {name}", "outs": [name]} for name in ("a", "b", "c", "d")}
    with (folder / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": stages}, file)
    door = Door(folder, with_warm_programs(environment, with_stages=False))
    process = door.start(command=WARM_FLOW)
    log, _ = process.communicate(timeout=300)
    assert process.returncode == 0, log
    (said,) = {(folder / name).read_text() for name in stages}
    stage_server, dvc_server = said.split("|")
    assert stage_server == dvc_server != ""
    assert not Path(stage_server).exists()
    door.assert_no_orphans()


def test_what_a_server_imports_is_what_its_stages_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELABEL_STAGE_SERVER", raising=False)
    params = load_params(ROOT / "params.yaml")
    light = ["download", "prune", "report", "inputs/labels/labels.csv.dvc"]
    assert imports_of(["train_fold@0"], params) == OF_TORCH
    assert imports_of([*light, "retrain@cleaned"], params) == OF_TORCH
    assert imports_of(light, params) == OF_SKLEARN
    assert imports_of(light[1:], params) is None
    assert imports_of([], params) is None
    logistic = params.train_fold.model_copy(update={"model": "logistic"})
    params = params.model_copy(update={"train_fold": logistic})
    assert imports_of(["train_fold@0"], params) is None
    assert imports_of([*light, "train_fold@0"], params) == OF_SKLEARN
    # Whoever started the run has one.
    monkeypatch.setenv("RELABEL_STAGE_SERVER", "there")
    assert imports_of([*light, "train_fold@0"], params) is None
    assert imports_of(["train_fold@0"], load_params(ROOT / "params.yaml")) is None


def test_a_lock_that_a_kill_cut_short_is_put_away_and_what_ran_is_restored(waited: Door) -> None:
    whole = waited.lock()
    for length in (0, len(whole) // 2):
        (waited.folder / "dvc.lock").write_bytes(whole[:length])
        log = waited.flow()
        assert "dvc.lock was damaged" in log
        assert outcomes(log, "Restored") == {"wait"}
        assert waited.lock() == whole
        assert (waited.folder / ".dvc/tmp/relabel/dvc.lock.damaged").read_bytes() == whole[:length]


@pytest.mark.parametrize(
    "content",
    [None, b"schema: '2.0'\n", b"schema: '2.0'\n<<<<<<< HEAD\nstages:\n", b"schema: '3.0'\nsteps: []\n"],
)
def test_a_lock_that_loads_or_is_not_ours_to_mend_stays(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "dvc.lock"
    if content is not None:
        path.write_bytes(content)
    assert mend_lock_file(tmp_path) is None
    assert (path.read_bytes() if path.exists() else None) == content


def test_a_lock_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    path.touch()
    writer = threading.Timer(0.3, path.write_bytes, [b"schema: '2.0'\nstages: {}\n"])
    writer.start()
    assert mend_lock_file(tmp_path) is None
    writer.join()
    assert path.stat().st_size


def test_a_damaged_lock_that_cannot_be_put_away_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("flows.dvc_api.lock_file._STEP_SECONDS", 0)
    monkeypatch.setattr(Path, "replace", refuse)
    (tmp_path / "dvc.lock").touch()
    assert mend_lock_file(tmp_path) is None
    assert (tmp_path / "dvc.lock").exists()
