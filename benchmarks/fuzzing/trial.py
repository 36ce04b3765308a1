"""One reading in a process of its own, forked from a warm one, with limits of time and memory."""

import hashlib
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks import RelabelError

LIMIT_S = 30.0
MOST_BYTES = 2**30
_LONGEST_MESSAGE = 2500


@dataclass(frozen=True)
class Outcome:
    """What became of a reading.

    `kind` is `value`, `refused`, `traceback`, `crash`, `hang`, `memory` or `long`; `said` the message or the
    digest of the value.
    """

    kind: str
    said: str
    seconds: float
    most_bytes: int


def attempt(read: Callable[[], object]) -> Outcome:
    """Call `read` in a forked process and report how it went."""
    receive, send = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(read, send)
    os.close(send)
    content, late = b"", False
    while True:
        left = LIMIT_S - (time.monotonic() - began)
        late = left <= 0 or not select.select([receive], [], [], left)[0]
        if late:
            os.kill(child, signal.SIGKILL)
            break
        part = os.read(receive, 1 << 16)
        if not part:
            break
        content += part
    os.close(receive)
    _, status, used = os.wait4(child, 0)
    seconds, most_bytes = time.monotonic() - began, used.ru_maxrss * 1024
    if late:
        return Outcome("hang", f"more than {LIMIT_S:.0f} s", seconds, most_bytes)
    if not content:
        return Outcome("crash", f"ended with status {status}", seconds, most_bytes)
    kind, said = json.loads(content)
    if most_bytes > MOST_BYTES:
        kind = "memory"
    return Outcome(kind, said, seconds, most_bytes)


def _become(read: Callable[[], object], send: int) -> None:
    # Enough that a reader which is not bounded is seen to be so, and that the machine lives.
    resource.setrlimit(resource.RLIMIT_AS, (8 * MOST_BYTES, 8 * MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    warnings.simplefilter("ignore")
    try:
        answer = ("value", digest(read()))
    except RelabelError as error:
        said = str(error)
        one_paragraph = len(said) <= _LONGEST_MESSAGE and said.strip() and "\0" not in said
        answer = ("refused", said[:400]) if one_paragraph else ("long", f"{len(said)}: {said[:400]}")
    except SystemExit as end:
        answer = ("traceback", f"SystemExit: {end.code}")
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)
        ours = [f for f in last if "/site-packages/" not in f.filename and "/fuzzing/" not in f.filename]
        where = ours[-1] if ours else last[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        answer = ("traceback", f"{place} {type(error).__name__}: {str(error)[:200]}")
    os.write(send, json.dumps(answer).encode()[: 1 << 16])
    sys.stdout.flush()
    os._exit(0)


def digest(value: object) -> str:
    """The same for equal values of plain types, bytes included."""
    return hashlib.sha256(repr(value).encode(errors="surrogatepass")).hexdigest()
