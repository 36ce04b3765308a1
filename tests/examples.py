"""How many examples a property is tried on: some in `make test`, all in `make test-endurance`."""

import os


def some_of(n: int) -> int:
    """A third of `n` examples, or all where `ALL_EXAMPLES` is in the environment."""
    return n if "ALL_EXAMPLES" in os.environ else -(-n // 3)
