"""Contents of single examples as a page shows them: a picture, or a text."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks import ArtifactError
from tasks.tables.catalog import EXAMPLES
from tasks.tables.facts import read_facts
from tasks.tables.io import damaged, existing
from tasks.tables.schemas import check_schema, column_array

if TYPE_CHECKING:
    from PIL.Image import Image

# The longer side of a picture on a page, in pixels: sharp at the size of a grid, and small in the file.
PICTURE_SIDE = 128
_JPEG_QUALITY = 80
_TEXT_CHARACTERS = 600
_FEATURES = 8
# Rows of pictures that are decoded at a time.
_BATCH_BYTES = 2**24


@dataclass(frozen=True)
class Content:
    """One example: a picture as a data URI, or a text; feature rows are a text of their first numbers."""

    picture: str | None = None
    text: str | None = None


def read_contents(path: Path, ids: npt.NDArray[Any]) -> dict[int, Content]:
    """The contents of a few examples of data/examples.parquet, by id.

    Only row groups that hold one of `ids` (M,) are decoded, a small batch at a time, so that a table much
    larger than memory costs time alone.

    Raises:
        ArtifactError: the file is missing or damaged, or lacks one of `ids`.
    """
    existing(path, EXAMPLES)
    wanted = np.unique(ids)
    found: dict[int, Content] = {}
    with damaged(path, EXAMPLES), pq.ParquetFile(path, page_checksum_verification=True) as file:
        facts = read_facts(file.schema_arrow.empty_table(), str(path))
        check_schema(file.schema_arrow, EXAMPLES, str(path), [facts.content])
        batch_rows = max(_BATCH_BYTES // max(int(np.prod(facts.shape)), 1), 1)
        groups = [
            group
            for group in range(file.metadata.num_row_groups)
            if np.isin(
                column_array(file.read_row_group(group, columns=["example_id"]), "example_id"), wanted
            ).any()
        ]
        for example_id, value in _rows_of(file, groups, facts.content, wanted, min(batch_rows, 4_096)):
            found[example_id] = content_of(facts.content, value)
    if len(found) < len(wanted):
        missing = sorted(set(wanted.tolist()) - found.keys())
        raise ArtifactError(
            f"{path}: expected a row for every example_id asked for, found {len(missing)} missing, the first "
            f"{missing[0]}. Rebuild the tables with `dvc repro`."
        )
    return found


def _rows_of(
    file: pq.ParquetFile, groups: Sequence[int], column: str, wanted: npt.NDArray[Any], batch_rows: int
) -> Iterator[tuple[int, Any]]:
    if not groups:
        return
    for batch in file.iter_batches(batch_rows, row_groups=groups, columns=["example_id", column]):
        table = pa.Table.from_batches([batch])
        ids = column_array(table, "example_id")
        rows = np.flatnonzero(np.isin(ids, wanted))
        if len(rows):
            yield from zip(ids[rows].tolist(), column_array(table.take(rows), column), strict=True)


def content_of(kind: str, value: Any) -> Content:
    """One value of the column `kind` (`image`, `text` or `features`) as a page shows it."""
    if kind == "image":
        return Content(picture=picture_uri(value))
    if kind == "text":
        return Content(text=value if len(value) <= _TEXT_CHARACTERS else value[: _TEXT_CHARACTERS - 1] + "…")
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
        picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
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
