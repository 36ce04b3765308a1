"""Stages in warm processes: a server imports the heavy libraries once and forks a process for each stage.

The caller (`python -m tasks`) hands over its arguments, folder, environment, stdout and stderr, and waits.
Nobody outlives anybody: a caller ends when DVC is gone, a stage when its caller is gone, and the server with
its stages when the process that started the server is gone. It takes Unix sockets and fork; elsewhere
`python -m tasks` runs the stage itself.
"""

import argparse
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

KILLED = (
    "The process that ran this stage was killed. Most often the kernel does so, for want of memory (`dmesg` "
    "says): close other programs, use a machine with more, or run fewer stages at a time."
)
OF_SKLEARN = ("sklearn.linear_model", "sklearn.model_selection")
"""What some stages import late."""
OF_TORCH = ("tasks.training.torch_model", *OF_SKLEARN)
"""The same, and what one that trains with torch does: Lightning's world."""
_HEADER = struct.Struct("!I")


class Request(NamedTuple):
    """A stage to run: arguments of `python -m tasks`, the folder to run in, and the whole environment."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


def run_remotely(address: str, arguments: Sequence[str]) -> int | None:
    """Run a command line of `python -m tasks` in the server that listens at `address`.

    Returns:
        Its exit status, 1 if its process was killed, or None if no server answers.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
        except OSError:
            return None
        send_request(connection, Request(list(arguments), str(Path.cwd()), dict(os.environ)), (1, 2))
        status = connection.recv(1)
    if status:
        return status[0]
    print(KILLED, file=sys.stderr)
    return 1


def send_request(connection: socket.socket, request: Request, streams: tuple[int, int]) -> None:
    """Ask a stage server to run a stage with these descriptors as stdout and stderr.

    The answer is one byte, the exit status, or the end of the connection if the process was killed.
    """
    content = json.dumps(request._asdict()).encode()
    socket.send_fds(connection, [_HEADER.pack(len(content))], streams)
    connection.sendall(content)


def receive_request(connection: socket.socket) -> tuple[Request, list[int]]:
    """What `send_request` sent: the request, and descriptors for stdout and stderr."""
    header, streams, _, _ = socket.recv_fds(connection, _HEADER.size, 2)
    (length,) = _HEADER.unpack(header)
    with connection.makefile("rb") as file:
        return Request(**json.loads(file.read(length))), streams


def end_with_parent() -> None:
    """End this process when the one that started it is gone: DVC, killed, leaves its stage running.

    So does a flow that is killed, and its DVC with it: stdin is a pipe from the flow, which then ends.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    def watch_stdin() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    # Only a flow names a stage server. The stdin of `make repro` may be at its end from the start.
    if "RELABEL_STAGE_SERVER" in os.environ:
        threading.Thread(target=watch_stdin, daemon=True).start()


def serve(
    address: str, preload: Sequence[str], run: Callable[[Sequence[str]], int], later: Sequence[str] = ()
) -> NoReturn:
    """Import `preload`, then fork a process that calls `run` for each caller, until stdin ends.

    The socket appears at `address` when the imports are done; until then callers run their stages themselves.
    Then a fork of the server imports what is to be imported `later`, and takes the address over.
    """
    # What imports make stays: to look for garbage in it takes a sixth of their time.
    gc.disable()
    for name in preload:
        importlib.import_module(name)
    # What was imported is shared by all children; the collector would touch and so copy it.
    gc.freeze()
    gc.enable()
    # It ends with its stdin. Its first server ends one that still imports by SIGTERM.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: set[int] = set()
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as ready:
        # Bound under another name first, so that a socket that is seen also answers.
        new = Path(f"{address}.{os.getpid()}")
        listener.bind(str(new))
        # What is asked of it runs as this user.
        new.chmod(0o600)
        listener.listen(64)
        new.rename(address)
        successor = os.fork() if later else None
        if successor == 0:
            listener.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            serve(address, later, run)
        # A child that ends writes to a pipe, so that the loop sees it at once.
        ended, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        ready.register(listener, selectors.EVENT_READ)
        ready.register(0, selectors.EVENT_READ)
        ready.register(ended, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj == ended:
                    os.read(ended, 4096)
                    for child in children - _living(children):
                        children.remove(child)
                        # What a stage started does not outlive it, even if the stage was killed.
                        with contextlib.suppress(ProcessLookupError):
                            os.killpg(child, signal.SIGKILL)
                elif key.fileobj == listener:
                    connection, _ = listener.accept()
                    child = os.fork()
                    if child == 0:
                        _become_stage(connection, run)
                    children.add(child)
                    connection.close()
                else:
                    _kill(children)
                    if successor:
                        # One that serves ends by itself, with what it forked.
                        os.kill(successor, signal.SIGTERM)
                        os.waitpid(successor, 0)
                    Path(address).unlink(missing_ok=True)
                    # Tearing down all that was imported takes time and, for some of it, prints complaints.
                    os._exit(0)


def _become_stage(connection: socket.socket, run: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run the request in this process, freshly forked, tell its status, and end."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request, streams = receive_request(connection)
        for number, handed in enumerate(streams, start=1):
            os.dup2(handed, number)
            os.close(handed)
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        threading.Thread(target=_end_with, args=[connection], daemon=True).start()
        status = run(request.arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # the status must reach the caller whatever happened
        traceback.print_exc()
    finally:
        # There is none where whoever started the server has closed it.
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        with contextlib.suppress(OSError):
            connection.sendall(bytes([status & 0xFF]))
        os._exit(status)


def _end_with(connection: socket.socket) -> None:
    """End this process and what it started when the caller is gone, which never sends a second request."""
    with contextlib.suppress(OSError):
        connection.recv(1)
    os.killpg(0, signal.SIGKILL)


def _living(children: set[int]) -> set[int]:
    """The children that have not ended; the others are reaped."""
    return {child for child in children if os.waitpid(child, os.WNOHANG) == (0, 0)}


def _kill(children: set[int]) -> None:
    """Kill children and all that they started; one that has just been forked leads no group yet."""
    for child in children:
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                end(child, signal.SIGKILL)


def _run(arguments: Sequence[str]) -> int:
    """Run a stage, or `main` of a module that the program which started the server named: `-m MODULE ...`."""
    from tasks import command_line

    if arguments[:1] == ["-m"]:
        return int(importlib.import_module(arguments[1]).main(arguments[2:]))
    return command_line.main(arguments)


def _main() -> None:
    from tasks import RelabelError, plugins
    from tasks.params import STAGES, load_params

    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    # Without --preload, or with --later alone: what a training needs here.
    parser.add_argument("--preload", nargs="*")
    parser.add_argument("--later", nargs="*")
    told = parser.parse_args()
    needed: tuple[str, ...] = ()
    # The plug-ins that are chosen here are imported then. What is wrong with the file a stage says.
    with contextlib.suppress(RelabelError):
        model = load_params(Path("params.yaml")).train_fold.model
        needed = OF_TORCH if plugins.load("models", model).USES_TORCH else OF_SKLEARN
    first = needed if told.preload is None else told.preload
    later = () if told.later is None else told.later or needed
    serve(told.address, [*(f"tasks.{stage}" for stage in STAGES), *first], _run, later=later)


if __name__ == "__main__":
    _main()
