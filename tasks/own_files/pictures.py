"""Pictures from a person's own files, as bytes of one shape: upright, 8 bits, grey or red, green and blue."""

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import Progress

from tasks import DatasetError
from tasks.own_files.names import shown

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
)
LEAST_SIDE = 8
MOST_OWN_SIDE = 64
"""Pictures that all have one size, of sides no longer than this, keep it."""
USUAL_SIZE = 160
"""Height and width of all others, where nothing else is said."""
# Those that Pillow decodes by itself: others start programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_MOST_BYTES = 2**28
_MOST_PIXELS = 2**26
_PORTION = 64
# How a file that is whole ends; some programs write a little behind it.
_LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 256
_ORIENTATION, _ON_THEIR_SIDE = 0x0112, (5, 6, 7, 8)
_GREY = ("1", "L", "LA", "La", "I", "F")
# What Pillow raises for content that it cannot decode.
_UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
# Sizes that a picture's last axis may have: grey, or red, green and blue.
_CHANNELS = (1, 3)

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Picture:
    """An encoded picture: what a sentence calls it, and its file or its bytes."""

    name: str
    content: Path | bytes


class UnreadableError(DatasetError):
    """Pictures hold what is none: why each is none, by its place."""

    def __init__(self, message: str, reasons: Mapping[int, str]) -> None:
        super().__init__(message)
        self.reasons = reasons


@dataclass(frozen=True)
class Header:
    """What a picture says of itself before its pixels: its size as people see it, and whether it is grey."""

    height: int
    width: int
    is_grey: bool
    form: str


def read_headers(pictures: Sequence[Picture], console: Console | None = None) -> list[Header]:
    """What each picture says of itself. Of one that seems to be cut off, the pixels are read too.

    Raises:
        UnreadableError: one is no picture, or its sides are too short or too long; names the first.
        DatasetError: a file cannot be opened.
    """
    return [
        header
        for _, headers in _in_parallel(pictures, _header, console, "looking at pictures")
        for header in headers
    ]


def shape_of(headers: Sequence[Header], image_size: int | None, where: str) -> tuple[int, ...]:
    """The one shape of all pictures: (H, W) where all are grey, else (H, W, 3).

    `image_size` is the height and width; None keeps the pictures' own.

    Raises:
        DatasetError: they are to keep their own size and differ.
    """
    sizes = {(header.height, header.width) for header in headers}
    if image_size is None and len(sizes) > 1:
        (height, width), other = min(sizes), max(sizes)
        raise DatasetError(
            f"{where}: expected pictures of one size, found {height} x {width} and {other[0]} x {other[1]} "
            f"pixels. Set image_size (--image-size {USUAL_SIZE}) to bring them to one."
        )
    size = min(sizes) if image_size is None else (image_size, image_size)
    return size if all(header.is_grey for header in headers) else (*size, 3)


def usual_size(headers: Sequence[Header]) -> int | None:
    """The size that suits: their own (None) where it is one and small, else `USUAL_SIZE`."""
    sizes = {(header.height, header.width) for header in headers}
    return None if len(sizes) == 1 and max(min(sizes)) <= MOST_OWN_SIDE else USUAL_SIZE


def decode_pictures(
    pictures: Sequence[Picture], shape: tuple[int, ...], console: Console | None = None
) -> npt.NDArray[np.uint8]:
    """(N, *shape) uint8: each picture upright, scaled to fill the shape and cut at its longer ends.

    What is transparent becomes white. Of 16 bits the upper 8 count.

    Raises:
        UnreadableError: a picture cannot be decoded; names the first, and says how many.
        DatasetError: a file cannot be opened.
    """
    values = np.empty((len(pictures), *shape), dtype=np.uint8)

    def decode(picture: Picture) -> npt.NDArray[np.uint8]:
        return _pixels(picture, shape)

    for start, part in _in_parallel(pictures, decode, console, "decoding pictures"):
        values[start : start + len(part)] = part
    return values


def decode_or_blank(
    pictures: Sequence[Picture], shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.uint8], Mapping[int, str]]:
    """As `decode_pictures`, white in place of those that cannot be decoded; why not, by their places.

    Raises:
        DatasetError: a file cannot be opened.
    """
    try:
        return decode_pictures(pictures, shape), {}
    except UnreadableError as error:
        values = np.full((len(pictures), *shape), 255, dtype=np.uint8)
        kept = [place for place in range(len(pictures)) if place not in error.reasons]
        values[kept] = decode_pictures([pictures[place] for place in kept], shape)
        return values, error.reasons


def _in_parallel(
    pictures: Sequence[Picture],
    work: Callable[[Picture], _Result],
    console: Console | None,
    title: str,
) -> Iterator[tuple[int, list[_Result]]]:
    """The results by portions, each with the place of its first picture; Pillow works beside Python."""
    failed: dict[int, BaseException] = {}

    def of_portion(start: int) -> tuple[int, list[_Result], dict[int, BaseException]]:
        results: list[_Result] = []
        failures: dict[int, BaseException] = {}
        for place, picture in enumerate(pictures[start : start + _PORTION], start):
            try:
                results.append(work(picture))
            except _UNREADABLE as error:
                failures[place] = error
        return start, results, failures

    starts = range(0, len(pictures), _PORTION)
    is_shown = console is not None and console.is_terminal and len(pictures) > 10 * _PORTION
    with (
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        Progress(console=console, transient=True, disable=not is_shown) as progress,
    ):
        bar = progress.add_task(title, total=len(pictures))
        for start, results, failures in pool.map(of_portion, starts):
            progress.update(bar, advance=len(results) + len(failures))
            failed |= failures
            if not failed:
                yield start, results
    if failed:
        # A machine without memory, or a file without permission, says nothing of the picture.
        outer = [place for place, error in failed.items() if _is_of_the_machine(error)]
        first = outer[0] if outer else min(failed)
        message = (
            f"{shown(pictures[first].name, 300)}: expected a picture that can be read, found none "
            f"({_reason(failed[first])}). Of {len(pictures):,} pictures this is so for {len(failed):,}. Mend "
            f"or remove {'it' if len(failed) == 1 else 'them'}."
        )
        if outer:
            raise DatasetError(message)
        raise UnreadableError(message, {place: _reason(error) for place, error in failed.items()})


def _is_of_the_machine(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"none of {', '.join(_FORMATS)}"
    return shown(" ".join(str(error).split()) or type(error).__name__)


def _open(picture: Picture) -> Image.Image:
    content = picture.content
    if content == b"":
        raise ValueError("nothing is there")
    if isinstance(content, Path) and content.exists() and not content.is_file():
        raise ValueError("a folder, pipe or device")
    n_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
    if n_bytes > _MOST_BYTES:
        raise ValueError(f"{n_bytes / 2**20:,.0f} MB, more than {_MOST_BYTES >> 20} MB")
    image = Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=_FORMATS)
    try:
        width, height = image.size
        if width * height > _MOST_PIXELS:
            raise ValueError(f"{width} x {height} pixels, more than {_MOST_PIXELS / 1e6:.0f} million")
        if min(width, height) < LEAST_SIDE:
            raise ValueError(f"{width} x {height} pixels, fewer than {LEAST_SIDE} x {LEAST_SIDE}")
    except ValueError:
        image.close()
        raise
    return image


def _header(picture: Picture) -> Header:
    with _open(picture) as image:
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in _ON_THEIR_SIDE:
            width, height = height, width
        if not _ends(image, picture.content):
            image.load()
        return Header(height, width, _is_grey(image), image.format or "")


def _ends(image: Image.Image, content: Path | bytes) -> bool:
    """Whether the file has the last bytes of its form; what was cut off while it was copied has none."""
    end = _LAST_BYTES.get(image.format or "")
    if end is None:
        return False
    if isinstance(content, bytes):
        return end in content[-_TAIL:]
    with content.open("rb") as file:
        file.seek(max(content.stat().st_size - _TAIL, 0))
        return end in file.read(_TAIL)


def _is_grey(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        palette = np.reshape(image.getpalette("RGB") or [0, 0, 0], (-1, 3))
        used = np.unique(np.asarray(image if image.mode == "P" else image.getchannel("P")))
        colours = palette[used[used < len(palette)]]
        return bool((colours == colours[:, :1]).all())
    return image.mode in _GREY or image.mode.startswith("I;16")


def _pixels(picture: Picture, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    mode = "L" if len(shape) == 2 else "RGB"
    size = (shape[1], shape[0])
    with _open(picture) as image:
        # A large JPEG is decoded no larger than needed; its sides may be turned yet.
        image.draft(None, (2 * max(size), 2 * max(size)))
        upright = _flatten(_eight_bit(ImageOps.exif_transpose(image))).convert(mode)
        if upright.size != size:
            upright = ImageOps.fit(upright, size, Image.Resampling.BICUBIC)
        return np.asarray(upright)


def _eight_bit(image: Image.Image) -> Image.Image:
    """The picture in a mode of 8 bits."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values: npt.NDArray[np.float64] = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    if not (np.isfinite(values).all() and low >= 0 and high < 2**16):
        raise ValueError(f"values from {low:g} to {high:g}, not of 8 or 16 bits")
    if image.mode == "F":
        values = values * 255 if high <= 1 else values
        if high > 255:
            raise ValueError(f"fractions up to {high:g}, beyond 0 to 1 and 0 to 255")
    else:
        values = values / 257
    return Image.fromarray(np.rint(values).astype(np.uint8))


def _flatten(image: Image.Image) -> Image.Image:
    """The picture on white, where parts of it are transparent; grey stays grey."""
    if not image.has_transparency_data:
        return image
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    # Red, green and blue are equal in what was grey; their weighted mean may not be.
    return flat.getchannel("R") if _is_grey(image) else flat


def is_encoded(kind: pa.DataType) -> bool:
    """Whether a column may hold encoded pictures: bytes, or bytes with a path."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)
    )


def encoded_bytes(column: pa.ChunkedArray, where: str) -> Iterator[bytes]:
    """The bytes of encoded pictures in a column: as they are, or in Hugging Face's struct of bytes and path.

    Raises:
        DatasetError: a row has none; names it.
    """
    for row, cell in enumerate(column.to_pylist()):
        content = cell.get("bytes") if isinstance(cell, Mapping) else cell
        if not isinstance(content, bytes) or not content:
            raise DatasetError(f"{where}: expected an encoded picture in every row, found none in row {row}.")
        yield content


def check_channels(shape: tuple[int, ...], where: str) -> None:
    """Check the shape (H, W) or (H, W, C) of pictures.

    Raises:
        DatasetError: they have other channels than one or three, or these come first.
    """
    if len(shape) == 3 and shape[2] not in _CHANNELS:
        first = shape[0] in _CHANNELS
        advice = "; the channels come first: move them to the end with np.moveaxis(image, 0, -1)"
        raise DatasetError(
            f"{where}: expected pictures of height x width x {' or '.join(map(str, _CHANNELS))} channels, "
            f"found shape {shape}{advice if first else ''}."
        )


def pixels_of(values: npt.NDArray[np.number], where: str) -> npt.NDArray[np.uint8]:
    """Pictures (N, H, W) or (N, H, W, C) that are numbers already, as uint8.

    Raises:
        DatasetError: they have other channels than one or three, or values other than whole ones 0..255.
    """
    check_channels(values.shape[1:], where)
    if values.min() < 0 or values.max() > 255 or not np.array_equal(values, np.rint(values)):
        raise DatasetError(
            f"{where}: expected whole pixel values 0..255, found values from {values.min():g} to "
            f"{values.max():g}. Save them as np.uint8; values from 0 to 1 need np.rint(255 * values) first."
        )
    return values.astype(np.uint8)
