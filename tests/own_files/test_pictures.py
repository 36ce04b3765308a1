"""Pictures as people have them come out upright, of 8 bits and of one shape."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from examples import some_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks import DatasetError
from tasks.own_files.pictures import Picture, decode_pictures, read_headers, shape_of, usual_size


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def decode(content: bytes, image_size: int | None = None) -> np.ndarray:
    pictures = [Picture("one", content)]
    return decode_pictures(pictures, shape_of(read_headers(pictures), image_size, "here"))[0]


GREY = np.arange(16 * 12, dtype=np.uint8).reshape(12, 16)
COLOUR = np.stack([GREY, GREY[::-1], np.full_like(GREY, 40)], axis=-1)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_what_is_encoded_without_loss_comes_back(form: str, pixels: np.ndarray) -> None:
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    found = decode(encode(Image.fromarray(pixels), form, **options))
    # WebP knows no grey.
    wanted = np.stack([pixels] * 3, axis=-1) if form == "WEBP" and pixels.ndim == 2 else pixels
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(encode(Image.fromarray(COLOUR), "PNG", exif=exif))
    # The first row and the first column of what is stored, as the Exif standard has them.
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[::-1],
    }
    np.testing.assert_array_equal(found, turned[orientation](COLOUR))


def test_of_sixteen_bits_the_upper_eight_count() -> None:
    deep = (GREY.astype(np.uint16) * 257) + 100
    np.testing.assert_array_equal(decode(encode(Image.fromarray(deep))), GREY)


def test_fractions_are_of_white() -> None:
    fractions = np.linspace(0, 1, 192, dtype=np.float32).reshape(12, 16)
    found = decode(encode(Image.fromarray(fractions), "TIFF"))
    np.testing.assert_array_equal(found, np.rint(fractions * 255))


def test_what_is_transparent_becomes_white() -> None:
    alpha = np.where(GREY > 90, 255, 0).astype(np.uint8)
    grey = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    np.testing.assert_array_equal(decode(encode(grey)), np.where(alpha > 0, GREY, 255))
    colour = Image.fromarray(np.dstack([COLOUR, alpha]))
    np.testing.assert_array_equal(decode(encode(colour)), np.where(alpha[..., None] > 0, COLOUR, 255))
    palette = Image.fromarray(GREY // 64).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    found = decode(encode(palette, transparency=0))
    np.testing.assert_array_equal(found[GREY // 64 == 1], np.broadcast_to([40, 50, 60], (64, 3)))
    np.testing.assert_array_equal(found[GREY // 64 == 0], np.full((64, 3), 255))


def test_a_palette_of_greys_is_grey() -> None:
    assert decode(encode(Image.fromarray(GREY).convert("P"))).shape == (12, 16)


def test_one_picture_in_colour_makes_all_of_three_channels() -> None:
    pictures = [Picture(str(k), encode(Image.fromarray(pixels))) for k, pixels in enumerate([GREY, COLOUR])]
    found = decode_pictures(pictures, shape_of(read_headers(pictures), None, "here"))
    np.testing.assert_array_equal(found[0], np.stack([GREY] * 3, axis=-1))
    np.testing.assert_array_equal(found[1], COLOUR)


@settings(max_examples=some_of(25))
@given(st.integers(8, 90), st.integers(8, 90), st.integers(8, 70))
def test_any_size_comes_to_one_and_the_middle_stays(height: int, width: int, size: int) -> None:
    # Left of the middle black, right of it white.
    pixels = np.repeat(np.where(np.arange(width) < width / 2, 0, 255)[None], height, axis=0)
    found = decode(encode(Image.fromarray(pixels.astype(np.uint8))), size)
    assert found.shape == (size, size)
    assert found[:, 0].max() < 70
    assert found[:, -1].min() > 185


def test_a_large_photo_is_scaled_to_its_shorter_side(tmp_path: Path) -> None:
    rows = np.repeat(np.linspace(0, 255, 600).astype(np.uint8)[:, None], 900, axis=1)
    path = tmp_path / "photo.jpg"
    Image.fromarray(rows).convert("RGB").save(path, quality=95)
    pictures = [Picture("photo.jpg", path)]
    found = decode_pictures(pictures, (100, 100, 3))[0]
    # The whole height is there.
    assert found[0].max() < 8
    assert found[-1].min() > 247


@pytest.mark.parametrize(
    ("sizes", "wanted"), [([(28, 28)] * 2, None), ([(28, 28), (28, 30)], 160), ([(96, 96)] * 2, 160)]
)
def test_small_pictures_of_one_size_keep_it(sizes: list[tuple[int, int]], wanted: int | None) -> None:
    headers = read_headers([Picture("a", encode(Image.new("L", size))) for size in sizes])
    assert usual_size(headers) == wanted


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no_such.png"),
        (b"GIF89a", "no_such.png"),
        (encode(Image.fromarray(COLOUR))[:60], "no_such.png"),
        (encode(Image.new("L", (7, 20))), "fewer than 8"),
        (encode(Image.new("1", (9000, 9000))), "more than"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n", "no_such.png"),
    ],
)
def test_what_is_no_picture_is_named(content: bytes, word: str) -> None:
    fine = encode(Image.fromarray(GREY))
    pictures = [Picture("fine.png", fine)] * 100 + [Picture("no_such.png", content), Picture("c.png", fine)]
    with pytest.raises(DatasetError) as caught:
        decode_pictures(pictures, shape_of(read_headers(pictures), None, "here"))
    assert word in str(caught.value)
    assert "no_such.png" in str(caught.value)
    assert "102 pictures" in str(caught.value)


def test_pictures_of_several_sizes_name_the_option() -> None:
    headers = read_headers([Picture("a", encode(Image.new("L", (width, 20)))) for width in (20, 30)])
    with pytest.raises(DatasetError, match="--image-size"):
        shape_of(headers, None, "here")


def test_a_pipe_that_is_called_like_a_picture_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="a folder, pipe or device"):
        read_headers([Picture("a.png", tmp_path / "a.png")])
