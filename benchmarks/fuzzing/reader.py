"""What a reader is to the fuzzer, and what all of them share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzzing import damage

NAMES = ("cat", "dog", "horse")
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """One reader, and one of the files that it reads.

    Attributes:
        name: for the table.
        good: the folder with good files, never changed.
        file: the one to damage, within the folder.
        read: takes a folder like `good`; gives plain values.
        damages: by class.
        oracle: what an independent reader finds in a folder, in the form of `read`; None where a checksum
            proves the content, so that nothing but the good content may be accepted.
        n: how often each damage is tried.
    """

    name: str
    good: Path
    file: str
    read: Read
    damages: Mapping[str, Mapping[str, damage.Damage]]
    oracle: Read | None = None
    n: int = 1


TEXT = {"any file": damage.ANY, "text": damage.TEXT}
