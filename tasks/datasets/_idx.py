"""The IDX file format of MNIST and its kin (http://yann.lecun.com/exdb/mnist, "File formats")."""

import gzip
import io
import struct
import zlib

import numpy as np
import numpy.typing as npt

from tasks import DatasetError

_GZIP_MAGIC = b"\x1f\x8b"
_UINT8 = 0x08
# The largest file of MNIST and its kin has 45.
_MOST_BYTES = 2**27


def gunzip(content: bytes, name: str) -> bytes:
    """`content` decompressed if it is gzip, else as it is.

    Raises:
        DatasetError: the gzip stream is cut short or damaged, or holds more than any IDX file here.
    """
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{name}: expected a whole gzip file, found a damaged one ({error}).") from error
    if len(unpacked) > _MOST_BYTES:
        raise DatasetError(
            f"{name}: expected at most {_MOST_BYTES // 2**20} MB packed in this file, found more."
        )
    return unpacked


def decode(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """The array in the bytes of an (uncompressed) IDX file of unsigned bytes.

    Raises:
        DatasetError: the header is not IDX, the type is not uint8, or the length does not fit the header.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UINT8 or content[3] == 0:
        raise DatasetError(
            f"{name}: expected an IDX file of unsigned bytes (starting 00 00 08), found bytes "
            f"{content[:4].hex(' ') or '(none)'}."
        )
    n_dims = content[3]
    start = 4 + 4 * n_dims
    if len(content) < start:
        raise DatasetError(f"{name}: expected {n_dims} sizes in the IDX header, found the file cut short.")
    shape = struct.unpack(f">{n_dims}I", content[4:start])
    # Python integers: a hostile header must not overflow the product.
    expected = 1
    for size in shape:
        expected *= size
    if len(content) - start != expected:
        raise DatasetError(
            f"{name}: expected {expected} bytes after the header for shape {shape}, found "
            f"{len(content) - start}."
        )
    try:
        return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # more dimensions, or larger ones beside an empty one, than NumPy has
        raise DatasetError(f"{name}: expected a shape that an array can have ({error}).") from error


def encode(array: npt.NDArray[np.integer]) -> bytes:
    """A uint8 array as the bytes of an IDX file; the inverse of `decode`."""
    header = bytes([0, 0, _UINT8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + np.ascontiguousarray(array, dtype=np.uint8).tobytes()
