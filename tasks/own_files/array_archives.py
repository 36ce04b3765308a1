"""Arrays from a person's .npz file, all in memory."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks import DatasetError
from tasks.own_files.names import shown

# A small archive can hold a thousand times its size.
_LEAST, _RATIO = 2**28, 100


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays by name; pickled objects are refused.

    Raises:
        DatasetError: it is damaged, holds no arrays, or far more than its size lets expect.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
        most = max(_LEAST, _RATIO * path.stat().st_size)
        if n_bytes > most:
            raise DatasetError(
                f"{path}: expected at most {most / 2**20:,.0f} MB packed in this file, found more. If it is "
                "what you mean, save each array as .npy."
            )
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: np.asarray(found[name]) for name in found.files}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, LookupError, SyntaxError) as error:
        raise DatasetError(
            f"{path}: expected a .npz file of numbers or texts, without pickled objects "
            f"({shown(' '.join(str(error).split()), 200)})."
        ) from error
    if not arrays:
        raise DatasetError(f"{path}: expected arrays in this file, found none.")
    lengths = {array.shape[:1] for array in arrays.values()}
    if len(lengths) > 1 or lengths == {()}:
        shapes = ", ".join(f"{shown(name)} {array.shape}" for name, array in list(arrays.items())[:10])
        raise DatasetError(f"{path}: expected arrays of as many rows each, found {shapes}.")
    return arrays
