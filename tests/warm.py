"""Commands in warm processes: what DVC, the flow and the stages import is imported once for all tests.

Each command runs in a fork of its own, in its folder, with the folder's own code, as `python -m` runs it; so
do the stages that it starts. Tests that kill processes start their own instead.
"""

import atexit
import fcntl
import functools
import importlib
import io
import os
import pickle
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO

from tasks import stage_server
from tasks.params import STAGES, load_params

ROOT = Path(__file__).parents[1]
# The modules of a checkout, which a fork imports from its folder.
_OWN = ("benchmarks", "flows", "review", "tasks")
# What sets the variables of Prefect goes first.
_PRELOAD = """
    flows.clean_labels flows.sweep tasks.command_line PIL.GifImagePlugin PIL.JpegImagePlugin
    PIL.PngImagePlugin anyio._backends._asyncio dulwich.porcelain dvc.cachemgr dvc.cli.parser
    dvc.data_cloud dvc.parsing dvc.repo.experiments.executor.local dvc.repo.experiments.queue.celery
    dvc.repo.experiments.show dvc.repo.graph dvc.repo.index dvc.repo.plots dvc.repo.reproduce
    dvc.repo.trie dvc.repo.worktree dvc.scm dvc.utils.hydra dvc_data.hashfile.db.local
    dvc_data.index.checkout dvc_data.index.collect dvc_render.html fastapi flatten_dict
    fsspec.implementations.memory hydra jinja2 networkx platformdirs.unix prefect.concurrency.services
    prefect.flow_engine prefect.server.api.server prefect.task_engine prefect.utilities.visualization
    pyarrow.pandas_compat pygit2 pyparsing scipy.sparse.csgraph scmrepo.git.backend.pygit2.filter
    sklearn.datasets sklearn.metrics sklearn.model_selection voluptuous.humanize xml.etree.ElementTree
"""
_TORCH = "tasks.training.torch_model"
_SERVER = "import sys; sys.path[:0] = sys.argv[2:4]; import warm; warm.serve(sys.argv[1])"
_LIMIT_S = 900
# Names the folder of the server. All workers of a test run have it from the process that starts them.
_PLACE = "RELABEL_TESTS_WARM"
_ENDS = "ends"
# What this worker started for all of them.
lasting: list[subprocess.Popen[bytes]] = []
# Where this process, a server or a fork of one, is asked.
_own_address = ""
# What the server has imported, as `_read_code` gives it.
_code_of_stages: dict[str, bytes] = {}
# In place of `python`: what it is asked to run is forked from the server, but for servers that a flow starts.
_PYTHON = """#!{python} -IS
import os, sys
if sys.argv[1:2] != ["-m"] or "server" in sys.argv[2]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
# As `tasks.stage_server.send_request` asks, without its imports: hundreds of stages go this way.
import json, socket
request = dict(arguments=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ))
content = json.dumps(request).encode()
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [len(content).to_bytes(4, "big")], (1, 2))
    connection.sendall(content)
    status = connection.recv(1)
os._exit(status[0] if status else 1)
"""
# The command of this checkout, which becomes `python -m`.
_RELABEL = """#!{python} -IS
import runpy, sys
sys.executable = {shim!r}
runpy.run_path({root!r} + "/flows/relabel.py", run_name="__main__")
"""


def run_warm(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    apart: bool = False,
    with_torch: bool = False,
) -> tuple[int, str, str]:
    """Run `python -m` with these words in a folder.

    Args:
        words: a module and its arguments.
        folder: where it runs; the code is that of the folder.
        environment: its whole environment.
        apart: whether stdout and stderr are kept apart.
        with_torch: whether its stages train a network: then torch is imported once, too.

    Returns:
        Its exit status, what it said, and what it said on stderr where that is kept apart.
    """
    told = with_forked_stages(environment, with_torch)
    address = told["RELABEL_STAGE_SERVER"]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as out,
        tempfile.TemporaryFile("w+", errors="replace") as err,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.connect(address)
        streams = (out.fileno(), (err if apart else out).fileno())
        request = stage_server.Request(["-m", *words], str(folder), told)
        stage_server.send_request(connection, request, streams)
        connection.settimeout(_LIMIT_S)
        status = connection.recv(1)
        out.seek(0)
        err.seek(0)
        return (status[0] if status else -9), out.read(), err.read()


def with_forked_stages(environment: Mapping[str, str], with_torch: bool = False) -> dict[str, str]:
    """An environment in which the stages of a command that is started are forked all the same."""
    return {**environment, "RELABEL_STAGE_SERVER": _address(*[_TORCH] * with_torch)}


def with_warm_programs(
    environment: Mapping[str, str], with_torch: bool = False, with_stages: bool = True
) -> dict[str, str]:
    """An environment in which all that is typed is forked: `relabel`, `dvc` and `python -m`.

    Without `with_stages` a flow does not know of it, and has a stage server of its own where it takes one.
    """
    told = with_forked_stages(environment, with_torch)
    path = {"PATH": f"{_programs(told['RELABEL_STAGE_SERVER'])}{os.pathsep}{environment['PATH']}"}
    return {**(told if with_stages else environment), **path}


def warm_python() -> Path:
    """A program to start in place of `python -m`; what it starts is killed when it is."""
    return _programs(_address()) / "python"


def _programs(address: str) -> Path:
    return Path(address).with_name("programs")


@functools.cache
def _address(*more: str) -> str:
    """The socket of the server, which the whole test run shares, or of a fork of it that imports `more` too.

    A fork is of this worker, and ends with it.
    """
    shared = Path(os.environ[_PLACE])
    place = shared / str(os.getpid()) if more else shared
    address = str(place / "warm")
    if more:
        first = _address()
        place.mkdir()
        fork = socket.socket(socket.AF_UNIX)
        fork.connect(first)
        request = stage_server.Request(["fork", address, *more], str(place), dict(os.environ))
        stage_server.send_request(fork, request, (2, 2))
        _write_programs(place)
        _await(address, lambda: bool(select.select([fork], [], [], 0)[0]))
        atexit.register(fork.close)
        return address
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not Path(address).exists():
            _write_programs(place)
            with end_of_run() as end:
                server = subprocess.Popen(
                    [sys.executable, "-c", _SERVER, address, str(ROOT), str(Path(__file__).parent)],
                    cwd=place,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    stdin=end,
                    stdout=subprocess.DEVNULL,
                )
            lasting.append(server)
            _await(address, lambda: server.poll() is not None)
    return address


def _await(address: str, failed: Callable[[], bool]) -> None:
    while not Path(address).exists():
        assert not failed()
        time.sleep(0.02)


def _write_programs(place: Path) -> None:
    """What stands for `python`, `dvc` and `relabel` and asks the server in this folder."""
    programs = place / "programs"
    programs.mkdir()
    shim = programs / "python"
    facts = {"python": sys.executable, "root": str(ROOT), "address": str(place / "warm"), "shim": str(shim)}
    for path, text in (
        (shim, _PYTHON.format(**facts)),
        (programs / "dvc", f'#!/bin/sh\nexec "{shim}" -m dvc "$@"\n'),
        (programs / "relabel", _RELABEL.format(**facts)),
    ):
        path.write_text(text)
        path.chmod(0o755)


def end_of_run() -> io.FileIO:
    """For the stdin of a process: it is at its end when the test run is over."""
    return (Path(os.environ[_PLACE]) / _ENDS).open("rb", buffering=0)


def open_place() -> None:
    """Make the folder of the server, unless whoever started this process did; both end with this process."""
    if _PLACE in os.environ:
        return
    place = Path(tempfile.mkdtemp())
    os.environ[_PLACE] = str(place)
    os.mkfifo(place / _ENDS)
    # The server reads from it, and ends when nobody can write to it any more.
    writer = os.open(place / _ENDS, os.O_RDWR)
    owner = os.getpid()

    def end() -> None:
        if os.getpid() == owner:
            os.close(writer)
            shutil.rmtree(place, ignore_errors=True)

    atexit.register(end)


def serve(address: str) -> None:
    """Be the server: import, and fork for each command."""
    global _own_address
    _own_address = address
    _write_locks_fast()
    _code_of_stages.update(_read_code(ROOT))
    load_params(ROOT / "params.yaml")  # imports the plug-ins
    stage_server.serve(address, [*_PRELOAD.split(), *(f"tasks.{stage}" for stage in STAGES)], _run)


def _write_locks_fast() -> None:
    """Let DVC write dvc.lock, thousands of lines, by libyaml, and parse a text and write a stage's part once.

    The test of a cold flow holds its bytes against those of DVC itself.
    """
    from dvc import dvcfile
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _common, _yaml
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import SafeRepresenter

    class AsDvc(SafeRepresenter):
        """Nothing for null, no order of its own, and no tags."""

    AsDvc.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", ""))
    AsDvc.add_representer(OrderedDict, AsDvc.represent_dict)
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.Representer = AsDvc
    as_it_is = dvcfile.modify_yaml

    @functools.cache
    def text_of(pickled: bytes) -> str:
        text = io.StringIO()
        yaml.dump(pickle.loads(pickled), text)
        return text.getvalue().replace(": \n", ":\n")  # so DVC writes a null

    def write(data: Any, file: TextIO) -> None:
        begin = {**data, "stages": {}}
        parts = [text_of(pickle.dumps({"stages": {name: each}})) for name, each in data["stages"].items()]
        assert list(begin)[-1] == "stages"
        file.write(text_of(pickle.dumps(begin)).replace("stages: {}\n", "stages:\n"))
        file.writelines(part.removeprefix("stages:\n") for part in parts)

    parse, parsed = _yaml.parse_yaml, {}

    def parse_once(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return parse(text, path, typ)
        if text not in parsed:
            parsed[text] = pickle.dumps(parse(text, path))
        return pickle.loads(parsed[text])

    def modify(path: str, fs: Any = None) -> AbstractContextManager[Any]:
        if not path.endswith(".lock"):
            return as_it_is(path, fs=fs)
        return _common._modify_data(path, parse_once, write, fs=fs)

    dvcfile.modify_yaml = modify
    _yaml.parse_yaml = strictyaml.parse_yaml = parse_once


def _read_code(folder: Path) -> dict[str, bytes]:
    """The files of the stages of a checkout or workspace, by their path."""
    paths = (path for path in (folder / "tasks").rglob("*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def _run(words: Sequence[str]) -> int:
    """Run a command, or a stage that one started, in this process, freshly forked; or serve with more."""
    global _own_address
    if words[0] == "fork":
        _own_address = words[1]
        stage_server.serve(words[1], words[2:], _run)
    # A stage of a folder with the code of this checkout, byte for byte, need not import it again.
    if words[0] == "-m" or _read_code(Path.cwd()) != _code_of_stages:
        for name in [name for name in sys.modules if name.split(".")[0] in _OWN]:
            del sys.modules[name]
    sys.path[:3] = [str(Path.cwd())]  # in place of '', the checkout and its tests
    importlib.invalidate_caches()
    if words[0] != "-m":
        from tasks import command_line

        return command_line.main(words)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if words[1].startswith("flows"):
        # It sets what Prefect reads.
        importlib.import_module("flows")
    if words[1].startswith(("flows", "prefect")):
        sys.executable = str(_programs(_own_address) / "python")
        importlib.import_module("prefect.context").refresh_global_settings_context()
    sys.argv = list(words[1:])
    try:
        if words[1] == "tasks":
            # As a program it would end this process before the caller is told.
            return int(importlib.import_module("tasks.__main__").main())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return int(end.code or 0)
    finally:
        # As a process that ends by itself does.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
