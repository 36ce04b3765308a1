"""How the programs that run flows end: what they say, and their exit status."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from flows.prefect_server import ServerLostError
from tasks import RelabelError
from tasks.storage import sentence_of


class Terminated(KeyboardInterrupt):
    """SIGTERM, taken as Ctrl-C is."""


def run_program(name: str, goes_on: str, run: Callable[[], int]) -> int:
    """Run a program; return its exit status. What ends it is said in one sentence.

    Args:
        name: of the program, before what it says.
        goes_on: what continues it after an interruption: "the next run goes on from here".
        run: the program; returns the exit status.
    """
    try:
        with _terminable():
            return run()
    except KeyboardInterrupt as error:
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        how = "ended by SIGTERM" if number == signal.SIGTERM else "interrupted"
        print(f"{name}: {how}; {goes_on}.", file=sys.stderr)
        return 128 + number
    except ServerLostError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        # A normal end would try for minutes to send each event to the server.
        os._exit(1)
    except (RelabelError, OSError) as error:
        print(f"{name}: {sentence_of(error)}", file=sys.stderr)
        return 1


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception: the default ends this process before what it started.

    Prefect, which has a handler of its own while a flow runs, sends the signal again when the run has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> NoReturn:
    raise Terminated
