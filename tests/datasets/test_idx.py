"""IDX files: what is encoded decodes to the same, and nothing else than DatasetError comes of bad bytes."""

import contextlib
import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks import DatasetError
from tasks.datasets import _idx as idx

arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))


@given(array=arrays)
def test_an_encoded_array_decodes_to_itself(array: np.ndarray) -> None:
    found = idx.decode(idx.encode(array), "x")
    assert found.dtype == np.uint8
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


def test_the_bytes_are_those_of_the_format() -> None:
    assert idx.encode(np.array([[1, 2, 3]])) == bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3])


def test_a_transposed_array_is_encoded_row_by_row() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3).T
    np.testing.assert_array_equal(idx.decode(idx.encode(array), "x"), array)


@given(array=arrays, data=st.data())
def test_a_file_cut_anywhere_is_refused_by_name(array: np.ndarray, data) -> None:
    content = idx.encode(array)
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DatasetError, match="the-file: expected"):
        idx.decode(content[:cut], "the-file")


@given(array=arrays, extra=st.binary(min_size=1, max_size=9))
def test_bytes_after_the_end_are_refused(array: np.ndarray, extra: bytes) -> None:
    with pytest.raises(DatasetError, match="bytes after the header"):
        idx.decode(idx.encode(array) + extra, "x")


@given(content=st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\0\0\x08" + tail))
def test_random_bytes_decode_or_give_dataset_error(content: bytes) -> None:
    try:
        found = idx.decode(content, "x")
    except DatasetError:
        return
    assert idx.encode(found) == content


@pytest.mark.parametrize(
    "sizes",
    [
        (1,) * 65,
        (1,) * 255,
        (0, 2**32 - 1, 2**32 - 1, 2**32 - 1),
        (2**32 - 1,) * 4,
        (2**32 - 1,) * 255,
    ],
)
def test_a_header_of_impossible_sizes_is_refused(sizes: tuple[int, ...]) -> None:
    header = b"\0\0\x08" + bytes([len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    with pytest.raises(DatasetError, match="x: expected"):
        idx.decode(header + b"\0" * (0 in sizes or max(sizes) == 1), "x")
    with pytest.raises(DatasetError, match="x: expected"):
        idx.decode(header, "x")


@pytest.mark.parametrize("start", [b"\0\0\x09\x01", b"\0\0\x0d\x01", b"\x01\0\x08\x01", b"\0\0\x08\0"])
def test_another_type_or_magic_is_refused_with_its_bytes(start: bytes) -> None:
    with pytest.raises(DatasetError, match=f"starting 00 00 08.*{start.hex(' ')}"):
        idx.decode(start + struct.pack(">I", 0), "x")


@given(content=st.binary(max_size=200))
def test_gunzip_undoes_gzip(content: bytes) -> None:
    assert idx.gunzip(gzip.compress(content), "x") == content


@given(content=st.binary(max_size=50).filter(lambda content: content[:2] != b"\x1f\x8b"))
def test_raw_bytes_pass_gunzip_unchanged(content: bytes) -> None:
    assert idx.gunzip(content, "x") == content


@given(content=st.binary(max_size=100), data=st.data())
def test_a_gzip_cut_anywhere_is_refused_by_name(content: bytes, data) -> None:
    packed = gzip.compress(content)
    cut = data.draw(st.integers(2, len(packed) - 1))
    with pytest.raises(DatasetError, match="the-file: expected a whole gzip file"):
        idx.gunzip(packed[:cut], "the-file")


@given(tail=st.binary(max_size=60))
def test_random_bytes_after_the_gzip_magic_give_dataset_error(tail: bytes) -> None:
    with pytest.raises(DatasetError, match="gzip"):
        idx.gunzip(b"\x1f\x8b" + tail, "x")


@given(content=st.binary(min_size=1, max_size=100), data=st.data())
def test_a_gzip_with_a_flipped_byte_never_gives_other_content(content: bytes, data) -> None:
    packed = bytearray(gzip.compress(content))
    packed[data.draw(st.integers(2, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(DatasetError):
        assert idx.gunzip(bytes(packed), "x") == content


def test_a_small_file_that_unpacks_to_gigabytes_is_refused() -> None:
    bomb = gzip.compress(bytes(2**26), 9) * 40
    with pytest.raises(DatasetError, match="packed"):
        idx.gunzip(bomb, "train-labels-idx1-ubyte.gz")
