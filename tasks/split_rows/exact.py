"""Rows of equal content, found by a hash of 128 bits."""

import hashlib
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.uint64]
"""(N, 2): equal where the content is, and else different (for N rows up to a chance of N^2 / 2^129)."""


def hash_rows(rows: npt.NDArray[Any]) -> Digests:
    """(N, 2) digests of the rows of an array (N, ...); all rows of a table have one shape and type.

    Floating-point 0 and -0 are equal.
    """
    # Adding 0 turns -0 into 0.
    values = rows + rows.dtype.type(0) if np.issubdtype(rows.dtype, np.floating) else rows
    return _hash(np.ascontiguousarray(row).tobytes() for row in values)


def hash_texts(texts: Iterable[str]) -> Digests:
    """(N, 2) digests of texts; composed and decomposed characters are equal (Unicode's NFC form)."""
    return _hash(unicodedata.normalize("NFC", text).encode() for text in texts)


def first_alike(digests: Digests) -> npt.NDArray[np.int64]:
    """(N,) position of the first row with the same digest as each row."""
    _, first, inverse = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    return first.astype(np.int64)[inverse.ravel()]


def _hash(contents: Iterable[bytes]) -> Digests:
    digests = b"".join(hashlib.blake2b(content, digest_size=16).digest() for content in contents)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64).reshape(-1, 2)
