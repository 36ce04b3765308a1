"""What flow and workers agree on: an order, the lease, and the versions of both."""

import importlib.metadata
import sys
from typing import NamedTuple

LEASE_S = 10.0  # a worker that has seen no new lease for so long ends what it runs
LOOK_S = 0.3
# What must agree for equal bytes; `python` is the interpreter.
_VERSIONS = ("torch", "pytorch-lightning", "numpy", "pyarrow", "scikit-learn", "prefect")


class Order(NamedTuple):
    """What a worker is told of a stage."""

    root: str
    folder: str
    attempt: str
    arguments: list[str]
    environment: dict[str, str]
    versions: dict[str, str]


def installed_versions() -> dict[str, str]:
    """The versions that must agree between the flow and its workers."""
    found = {"python": ".".join(map(str, sys.version_info[:2]))}
    return found | {name: importlib.metadata.version(name) for name in _VERSIONS}
