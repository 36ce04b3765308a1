"""The Prefect server of a run: the one that PREFECT_API_URL names, or one that lives as long as the run.

Prefect can bring a server along by itself. That one outlives a run that is killed, and Ctrl-C in a terminal
ends it before the run, which then cannot tell it how it ended. The one here has a session of its own, and
ends when its stdin does, which is when the run is gone, however it went.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from flows import FlowError

_GRACE_S = 5.0
# An empty database of Prefect has some 2 MB, beside its journal.
_ROOM_BYTES = 2**22


class ServerLostError(FlowError):
    """The Prefect server of a run stopped answering."""


def server_answers(within_s: float = 2.0) -> bool:
    """Whether something listens where PREFECT_API_URL points."""
    url = urlsplit(PREFECT_API_URL.value() or "")
    if not url.hostname:
        return False
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        with socket.create_connection((url.hostname, port), timeout=within_s):
            return True
    except OSError:
        return False


def need_server(what: str) -> None:
    """Refuse what cannot be done without a server that stays.

    Raises:
        FlowError: none answers at PREFECT_API_URL.
    """
    _check_proxies()
    if not server_answers():
        url = PREFECT_API_URL.value() or "PREFECT_API_URL, which is not set"
        raise FlowError(
            f"{what} needs a Prefect server; none answers at {url}. Start one with `prefect server start "
            "--host 127.0.0.1` and set PREFECT_API_URL=http://127.0.0.1:4200/api."
        )


@contextmanager
def open_server(what: str) -> Iterator[None]:
    """A server for what runs within: the one that PREFECT_API_URL names, or a new one where that is silent.

    Args:
        what: what runs, for the messages: `run`, `sweep`.

    Raises:
        FlowError: the new server did not start, or a variable for proxies cannot be read.
        ServerLostError: the server was there and is not any more.
    """
    _check_proxies()
    url = PREFECT_API_URL.value()
    try:
        if server_answers():
            yield
            return
        # If the server is down, only its record of this run is lost.
        if url:
            print(f"No Prefect server answers at {url}; this {what} does without.", file=sys.stderr)
            url = None
        with temporary_settings({PREFECT_API_URL: _start_server(what)}):
            yield
    except (httpx.HTTPError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("Failed to reach API at"):
            raise
        which = f"at {url}" if url else f"that this {what} brought along"
        again = ", with the server or without it" if url else ""
        raise ServerLostError(
            f"the Prefect server {which} stopped answering. What is done is kept; run again{again}."
        ) from error


@contextmanager
def silence_prefect() -> Iterator[None]:
    """Keep what Prefect prints from stdout: tracebacks, where its server does not answer, from any thread."""
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        yield


def _check_room() -> None:
    """Look whether Prefect's database can be made, and the temporary files with which SQLite changes it.

    Raises:
        FlowError: a folder cannot be made or written to, or has no room.
    """
    named = os.environ.get("TMPDIR", "")
    # Python passes over a folder that is full, SQLite does not.
    temporary = Path(named if Path(named).is_absolute() and Path(named).is_dir() else tempfile.gettempdir())
    for name, folder in (("PREFECT_HOME", PREFECT_HOME.value()), ("TMPDIR", temporary)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(_ROOM_BYTES))
        except OSError as error:
            raise FlowError(
                f"{name}, {folder}: expected a folder with room for Prefect's database, which this user can "
                f"write to, found: {error.strerror}. Set {name} to another folder, or make room."
            ) from error


def _start_server(what: str) -> str:
    """Start a server on loopback that ends after this process has told it all; its API's address."""
    _check_room()
    limit_s = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.prefect_server", str(listener.fileno())],
            env={**os.environ, "PREFECT_API_URL": url},
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    # At the end of the interpreter Prefect sends its last lines and events. This runs after that.
    atexit.register(_end_server, process)
    try:
        httpx.get(f"{url}/health", timeout=limit_s, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        with suppress(subprocess.TimeoutExpired):
            raise FlowError(
                f"expected the Prefect server that a {what} brings along to go on, found that it ended with "
                f"status {process.wait(1)}; above is what it said. Mend that and run again."
            ) from error
        raise FlowError(
            f"expected the Prefect server that a {what} brings along to start within {limit_s} s, found "
            "none. Run again when the machine is less busy, or start one first: `prefect server start "
            "--host 127.0.0.1`."
        ) from error
    return url


def _end_server(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_GRACE_S)  # its stdin ends
    process.kill()
    process.wait()


def _check_proxies() -> None:
    """Read the variables for proxies as Prefect's client does.

    Raises:
        FlowError: one cannot be read, or names a kind of proxy that is not supported.
    """
    try:
        httpx.Client(verify=False).close()  # noqa: S501  # it asks nobody; certificates take long to load
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise FlowError(
            "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY: expected http:// and the address of a proxy, found what "
            f"Prefect cannot use ({' '.join(str(error).split())}). Unset the variable for this command."
        ) from error


def _serve(descriptor: int) -> None:
    """Serve Prefect's API on a listening socket, without its page, until stdin ends."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    with socket.socket(fileno=descriptor) as listener:
        app = create_app(ephemeral=True, final=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on")).run(sockets=[listener])


def _end_with_stdin() -> None:
    os.read(0, 1)
    # The last messages are not in its database yet. At SIGTERM it writes them.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
