"""The wiring: the stages of dvc.yaml as a Prefect flow. Prefect appears here and nowhere else.

    python -m flows.clean_labels     run what is out of date, independent stages side by side
    python -m flows.serve            run it on a schedule

DVC alone decides what is out of date, so `dvc repro` and the flow share one cache and one dvc.lock.
"""

import gc
import os
import warnings

from tasks import RelabelError

# Set before Prefect is imported. Its server's settings are in pyproject.toml. What a person has set stays.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    # The terminal shows the flow's own lines. Prefect's lines go to its page.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
}.items():
    os.environ.setdefault(_name, _value)

# Whoever needs the folder says so in a sentence.
warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")

# A proxy is another machine, and 127.0.0.1 there is not this machine. Child processes inherit this. If both
# spellings are set, most programs read only the one in small letters.
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DIRECT = [host for name in ("no_proxy", "NO_PROXY") for host in os.environ.get(name, "").split(",") if host]
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = ",".join(dict.fromkeys([*_DIRECT, *_LOOPBACK]))

# Imported modules stay. With the default of 700 objects, the garbage collector would visit them 100 times.
gc.set_threshold(50_000)


class FlowError(RelabelError):
    """A run cannot start or go on; the message says what to do."""
