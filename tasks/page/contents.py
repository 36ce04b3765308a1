"""Contents of single examples as a page shows them: a picture, or a text."""

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.page.profiles import Profile, measure_profile
from tasks.tables.catalog import EXAMPLES
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array

if TYPE_CHECKING:
    from PIL.Image import Image

# The longer side of a picture on a page, in pixels: sharp at the size of a grid, and small in the file.
PICTURE_SIDE = 128
LABELS = ("given_label", "true_label")
"""The columns of labels in data/examples.parquet, the one that people brought first."""
_JPEG_QUALITY = 75
_TEXT_CHARACTERS = 600
_FEATURES = 8
# Pictures of about so many bytes are held at a time.
_BATCH_BYTES = 2**24


@dataclass(frozen=True)
class Content:
    """One example: a picture as a data URI, or a text; rows of numbers are a text, a line each number."""

    picture: str | None = None
    text: str | None = None


def read_contents(path: Path, ids: npt.NDArray[np.integer]) -> dict[int, Content]:
    """The contents of a few examples of data/examples.parquet, also of an older version, by id.

    Only parts of the file that hold one of `ids` (M,) are read, one at a time, so that a table much larger
    than memory costs time alone.

    Raises:
        ArtifactError: the file is missing or damaged, or lacks one of `ids`.
    """
    reader = TableReader(path, EXAMPLES, [], any_layout=True)
    kind, wanted = reader.facts.content, np.unique(ids)
    profile = measure_profile(reader) if len(wanted) else None
    step = max(_BATCH_BYTES // max(math.prod(reader.facts.shape), 1), 1)
    found: dict[int, Content] = {}
    for start in range(0, len(wanted), step):
        some = wanted[start : start + step]
        table = reader.rows(some, [kind, *(LABELS if profile else ())])
        labels = labels_of(table) if profile else [None] * len(some)
        values = column_array(table, kind)
        contents = [
            content_of(kind, value, profile, label) for value, label in zip(values, labels, strict=True)
        ]
        found.update(zip(some.tolist(), contents, strict=True))
    return found


def labels_of(table: pa.Table) -> list[int | None]:
    """(N,) the given label of each row of data/examples.parquet, else its true one, else None."""
    found: list[int | None] = pc.coalesce(*(table.column(name) for name in LABELS)).to_pylist()
    return found


def content_of(
    kind: str,
    value: Any,
    profile: Profile | None = None,
    label: int | None = None,
    most: int = _TEXT_CHARACTERS,
) -> Content:
    """One value of the column `kind` (`image`, `text` or `features`) as a page shows it.

    Of numbers with names, those are told that differ most from the class `label`; of a text, `most`
    characters. An empty text is that of a row of which only probabilities were brought.
    """
    if kind == "image":
        return Content(picture=picture_uri(value))
    if kind == "text" and not value:
        return Content(text="(only probabilities were imported)")
    if kind == "text":
        return Content(text=value if len(value) <= most else value[: most - 1] + "…")
    if profile is not None:
        return Content(text=profile.describe(value, label))
    more = f", … ({len(value):,} numbers)" if len(value) > _FEATURES else ""
    return Content(text=", ".join(f"{number:.4g}" for number in value[:_FEATURES]) + more)


def picture_uri(image: npt.NDArray[np.uint8]) -> str:
    """A uint8 image, (H, W), (H, W, 1) or (H, W, 3), as a data URI; grey images as ink on paper.

    No side is longer than 128 pixels: larger images are shrunk, and written as JPEG. The others are PNG, as
    exact as they are.
    """
    picture = picture_of(image)
    buffer = io.BytesIO()
    if max(picture.size) > PICTURE_SIDE:
        picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY, optimize=True)
        kind = "jpeg"
    else:
        picture.save(buffer, format="PNG", optimize=True)
        kind = "png"
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()


def picture_of(image: npt.NDArray[np.uint8]) -> "Image":
    """A uint8 image, (H, W), (H, W, 1) or (H, W, 3), in its own size; grey images as ink on paper."""
    from PIL import Image

    pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    return Image.fromarray(255 - pixels if pixels.ndim == 2 else pixels)
