"""What a person's rows are made of, beside probabilities of their own: for pages to show, not to learn from.

A table with a text, a picture or numbers for each row, or a folder of pictures. Texts and numbers are held
in memory, pictures decoded where they are asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks import DatasetError
from tasks.datasets._own import MOST_LEFT_OUT, pictures_in
from tasks.intake.columns import LABELS, TRUTHS, find_text
from tasks.own_files.columns import is_text
from tasks.own_files.encoding import encode_columns
from tasks.own_files.ids import ID_COLUMNS, Ids, check_same_rows, row_keys
from tasks.own_files.labels import Labels
from tasks.own_files.names import shown
from tasks.own_files.own_tables import OwnTable, read_own_table, table_files, texts_of
from tasks.own_files.picture_folders import find_pictures, match_files
from tasks.own_files.pictures import (
    SUFFIXES,
    Picture,
    UnreadableError,
    decode_or_blank,
    is_encoded,
    read_headers,
    shape_of,
    usual_size,
)
from tasks.tables.keys import example_ids_of

Places = npt.NDArray[np.intp]
_LOOKED_AT = 100


@dataclass(frozen=True)
class OwnExamples:
    """The N rows of a table or folder, opened.

    Attributes:
        path: the table or folder.
        kind: of their content: `image`, `text` or `features`.
        shape: of one row; empty for texts.
        feature_names: (d,) of numbers; else empty.
        n_rows: N.
        ids: what the rows are called; None where they go by their order.
        files: of a folder, the paths in it, by which its pictures are called.
        source: what is to be brought along: a file, or a folder with the files in it.
        read: the content of some rows, by their places, and why that of some is blank, by place among them.
        n_unreadable: pictures that do not even say their size.
    """

    path: Path
    kind: str
    shape: tuple[int, ...]
    feature_names: tuple[str, ...]
    n_rows: int
    ids: Ids | None
    files: tuple[str, ...] | None
    source: tuple[Path, tuple[str, ...]]
    read: Callable[[Places], tuple[object, Mapping[int, str]]]
    n_unreadable: int = 0

    def places_of(self, labels: Labels) -> Places:
        """(M,) where the rows of a file of labels are, in its order; there may be more rows here.

        Raises:
            DatasetError: one is missing, or only one of both has ids.
        """
        if self.files is not None:
            if labels.ids is None:
                raise DatasetError(
                    f"{labels.path}: expected ids of the rows (a column {' or '.join(ID_COLUMNS)}), which "
                    f"are the files in {self.path}, found none."
                )
            keys = labels.ids.keys(np.arange(labels.n_rows)).to_pylist()
            pictures = find_pictures(self.path)
            return np.array(match_files(keys, pictures, str(labels.path)), dtype=np.intp)
        if self.ids is None or labels.ids is None:
            check_same_rows(labels, self)
            return np.arange(labels.n_rows)
        wanted, order = labels.ids.example_id, self.ids.order
        places = np.searchsorted(self.ids.example_id, wanted, sorter=order)
        places = order[np.minimum(places, self.n_rows - 1)]
        lacking = np.flatnonzero(self.ids.example_id[places] != wanted)
        if len(lacking):
            raise DatasetError(
                f"{self.path}: expected every row of {labels.path}, by {labels.ids.column}, found no row for "
                f"{shown(labels.ids.keys(lacking[:1])[0].as_py())} ({len(lacking):,} of {len(wanted):,} are "
                "missing)."
            )
        return places


def open_examples(
    path: Path,
    *,
    text: str | None = None,
    image: str | None = None,
    id_column: str | None = None,
    image_size: int | None = None,
) -> OwnExamples:
    """Look at a folder of pictures, or at a table; its columns are found where they are not named.

    Args:
        path: the folder or the file.
        text: the column of texts.
        image: the column of pictures, encoded or as paths beside the table.
        id_column: the column that says what rows are called.
        image_size: height and width to which pictures are brought; None for the usual size.

    Raises:
        DatasetError: there is nothing of that kind, or it is not what it should be.
    """
    if path.is_dir() and (found := find_pictures(path)):
        files = tuple(picture.path for picture in found)
        opened = [Picture(str(path / file), path / file) for file in files]
        return _of_pictures(path, opened, None, files, (path, files), image_size)
    own = read_own_table(path)
    image = image or (None if text else _picture_column(own))
    ids = _ids(own, id_column, image)
    known = {text, image, id_column, ids and ids.column, *ID_COLUMNS, *LABELS, *TRUTHS, "fold", "split"}
    others = [name for name in own.names if name not in known]
    tables = table_files(path)
    source = (path, tuple(str(file.relative_to(path)) for file in tables) if path.is_dir() else ())
    if image:
        pictures = pictures_in(own, image, range(own.table.num_rows))
        if beside := tuple(str(each.content) for each in pictures if isinstance(each.content, Path)):
            files = (*(str(table) for table in tables), *beside)
            within = (str(Path(file).relative_to(own.folder)) for file in files)
            source = (own.folder, tuple(dict.fromkeys(within)))
        return _of_pictures(path, pictures, ids, None, source, image_size)
    text = text or find_text(own, None, others)
    n = own.table.num_rows
    if text:
        column = own.column(text, "text")
        if not is_text(column.type):
            raise DatasetError(f"{path}: expected text in the column {text}, found {column.type}.")
        texts = column.cast(pa.large_string()).fill_null("").combine_chunks()
        return OwnExamples(
            path, "text", (), (), n, ids, None, source, lambda at: (texts.take(pa.array(at)).to_pylist(), {})
        )
    if not others:
        raise DatasetError(
            f"{path}: expected a column of texts (--text COLUMN), of pictures (--image COLUMN) or numbers "
            "beside the ids, found none."
        )
    encoded = encode_columns(own.table, others, np.ones(n, dtype=bool), own.decimal, str(path))
    shape = encoded.values.shape[1:]
    return OwnExamples(
        path, "features", shape, encoded.names, n, ids, None, source, lambda at: (encoded.values[at], {})
    )


def _of_pictures(
    path: Path,
    pictures: list[Picture],
    ids: Ids | None,
    files: tuple[str, ...] | None,
    source: tuple[Path, tuple[str, ...]],
    image_size: int | None,
) -> OwnExamples:
    n_unreadable = 0
    try:
        headers = read_headers(pictures)
    except UnreadableError as error:
        n_unreadable = len(error.reasons)
        if n_unreadable > MOST_LEFT_OUT * len(pictures):
            raise
        headers = read_headers([each for row, each in enumerate(pictures) if row not in error.reasons])
    shape = shape_of(headers, image_size or usual_size(headers), str(path))

    def read(places: Places) -> tuple[npt.NDArray[np.uint8], Mapping[int, str]]:
        return decode_or_blank([pictures[place] for place in places], shape)

    return OwnExamples(path, "image", shape, (), len(pictures), ids, files, source, read, n_unreadable)


def _picture_column(own: OwnTable) -> str | None:
    """The first column of encoded pictures, or of paths of pictures that lie beside the table."""
    for name in own.names:
        column = own.table.column(name)
        if is_encoded(column.type):
            return name
        if is_text(column.type):
            paths = [text for text in texts_of(column.slice(0, _LOOKED_AT)) if text]
            are_pictures = paths and all(Path(each).suffix.lower() in SUFFIXES for each in paths)
            if are_pictures and (own.folder / paths[0].replace("\\", "/")).is_file():
                return name
    return None


def _ids(own: OwnTable, asked: str | None, image: str | None) -> Ids | None:
    """What the rows are called: by a column that is named or usual, a pandas index, or paths of pictures."""
    name = asked or next((each for each in ID_COLUMNS if each in own.names), None)
    if name is None and own.ids is not None:
        return own.ids
    is_path = image is not None and is_text(own.table.column(image).type)
    name = name or (image if is_path else None)
    if name is None:
        return None
    where = f"{own.path}, column {shown(name)}"
    keys = row_keys(own.column(name, "id"), where)
    return Ids(own.path, name, (), example_ids_of(keys, where), pa.array(keys, pa.large_string()))
