"""The owner's own files of pictures, which a person who judges a photograph wants to see."""

import io
from pathlib import Path

from tasks import RelabelError
from tasks.params import load_params

# What browsers show by themselves; other files are converted.
_SHOWN = {".jpg": "jpeg", ".jpeg": "jpeg", ".jfif": "jpeg", ".png": "png", ".webp": "webp", ".gif": "gif"}
# Converted pictures are no larger than this; others are as they are.
_LONGEST_SIDE = 4096
_MOST_BYTES = 2**26


class Originals:
    """Files under `inputs/examples` whose path within the data set is the row's key.

    Data sets whose rows have other keys have no such files. Beside probabilities of one's own, the data set
    is any folder there.
    """

    def __init__(self, root: Path, *, are_brought: bool = False) -> None:
        examples = root / "inputs" / "examples"
        folders = [examples / path for path in _paths_of(root)]
        if are_brought:
            folders = sorted(examples.glob("*/"))
        self._folders = [folder.resolve() for folder in folders if folder.is_dir()]

    def exists(self, key: str) -> bool:
        """Whether there is a file for this row."""
        return self._path(key) is not None

    def _path(self, key: str) -> Path | None:
        """The file, if it lies in a folder of the data set and is not too large; None elsewhere."""
        for folder in self._folders:
            try:
                path = (folder / key).resolve()
                is_there = path.is_relative_to(folder) and path.is_file()
                if is_there and path.stat().st_size <= _MOST_BYTES:
                    return path
            except (OSError, ValueError):  # no permission, or a key that no path can be
                continue
        return None

    def read(self, key: str) -> tuple[bytes, str] | None:
        """A picture with its media type; None where there is no such file."""
        path = self._path(key)
        if path is None:
            return None
        try:
            if path.suffix.lower() in _SHOWN:
                return path.read_bytes(), f"image/{_SHOWN[path.suffix.lower()]}"
            return _as_png(path), "image/png"
        except (OSError, ValueError):  # no permission, or a damaged picture
            return None


def _paths_of(root: Path) -> list[str]:
    """Where the data set of params.yaml lies; nothing where that file is not what it should be."""
    try:
        params = load_params(root / "params.yaml")
    except RelabelError:
        return []
    return [getattr(params.options("datasets", params.download.dataset), "path", "")]


def _as_png(path: Path) -> bytes:
    from PIL import Image, ImageOps

    buffer = io.BytesIO()
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        picture.convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()
