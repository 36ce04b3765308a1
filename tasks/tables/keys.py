"""What the owner calls a row (`key`), and the number that tables are joined by (`example_id`).

The number is made from the key alone, so it stays when rows come, go or change order.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks import DatasetError

# As Python writes a whole number: `7`, but not `007`, `+7` or `7.0`, which are other names.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_LOW, _HIGH = -(2**63), 2**63 - 1


def example_id_of(key: str) -> int:
    """A key that is a whole number is the id; of any other it is 63 bits of blake2b of its NFC form."""
    if _WHOLE.fullmatch(key) and _LOW <= int(key) <= _HIGH:
        return int(key)
    text = unicodedata.normalize("NFC", key).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def example_ids_of(keys: Sequence[str], where: str) -> npt.NDArray[np.int64]:
    """(N,) the id of each key.

    Raises:
        DatasetError: a key stands twice (in NFC), or two keys get one id; names both rows' keys.
    """
    ids = np.fromiter(map(example_id_of, keys), dtype=np.int64, count=len(keys))
    order = np.argsort(ids, kind="stable")
    same = np.flatnonzero(np.diff(ids[order]) == 0)
    if len(same):
        one, other = (keys[order[place]] for place in (same[0], same[0] + 1))
        if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
            raise DatasetError(
                f"{where}: expected each row under a name of its own, found {_shown(one)} twice "
                f"({len(same):,} repeats in all). Give every row its own id, or remove the repeats."
            )
        raise DatasetError(
            f"{where}: expected keys that give different ids, found {_shown(one)} and {_shown(other)}, "
            "which give the same one. Rename one of these rows."
        )
    return ids


def _shown(key: str) -> str:
    return repr(key if len(key) <= 80 else key[:79] + "…")
