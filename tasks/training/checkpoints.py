"""Checkpoints: a model's name, options and arrays in one file, written and read by NumPy and zipfile.

Format 2 is a zip archive of `relabel.json` and one `.npy` member an array, none compressed; `numpy.load`
opens it too. Format 1 is that of the first edition, a torch archive, and is read. Nothing in a file is ever
run: `allow_pickle` is off, torch reads `weights_only`.
"""

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from tasks import ArtifactError, plugins
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.tables.files import atomic_path
from tasks.training.protocol import Arrays, Model

FORMAT = 2
"""The format that `write_checkpoint` writes; this and earlier ones are read."""
_HEADER = "relabel.json"


def write_checkpoint(path: Path, model: str, options: Section, facts: DatasetFacts, arrays: Arrays) -> None:
    """Write a checkpoint atomically; equal content gives equal bytes.

    Args:
        path: of the file.
        model: the model's name, that of its file in `tasks/models`.
        options: the model's.
        facts: of the data set that it learned from.
        arrays: all that the model's `restore` needs, numbers and strings.
    """
    header = {
        "format": FORMAT,
        "model": model,
        "options": options.model_dump(mode="json"),
        "facts": asdict(facts),
    }
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(_member(_HEADER), json.dumps(header, indent=1))
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(arrays[name]), allow_pickle=False)
            archive.writestr(_member(f"{name}.npy"), buffer.getvalue())


def _member(name: str) -> zipfile.ZipInfo:
    # The date of a member would be the time of writing, and its system that of the machine.
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.create_system = 3
    member.external_attr = 0o644 << 16
    return member


class Header(TypedDict):
    """What a checkpoint says of itself, as JSON."""

    format: int
    model: str
    options: dict[str, object]
    facts: Mapping[str, Any]


def load_model(path: Path) -> tuple[Model, DatasetFacts]:
    """The model in a checkpoint, ready to predict, and the facts of the data set that it learned from.

    Options that this version does not know are left out, and those that the file lacks have their defaults.

    Raises:
        ArtifactError: the file is missing, may not be read, is damaged, is no checkpoint of this project, has
            a format or a model that this version does not know, or holds weights that are not finite.
    """
    with _damage_named(path):
        header, arrays = _read(path)
        for part, array in arrays.items():
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise _refusal(path, f"NaN or infinity in the weights `{part}`")
        name, facts = str(header["model"]), _read_facts(header["facts"])
        try:
            module = plugins.load("models", name)
        except ValueError as error:
            raise _refusal(path, f"one of a model that is not in tasks/models ({error})") from error
        known = getattr(module, "Options", Section).model_fields
        given = {option: value for option, value in header["options"].items() if option in known}
        return module.restore(facts, plugins.read_options("models", name, given), arrays), facts


def read_header(path: Path) -> Header:
    """The header of a checkpoint.

    Raises:
        ArtifactError: see `load_model`.
    """
    with _damage_named(path):
        return _read(path)[0]


def arrays_of_shapes(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """The arrays that `shapes` names.

    Raises:
        ValueError: one is missing or has another shape.
    """
    for name, shape in shapes.items():
        found = "none" if name not in arrays else arrays[name].shape
        if found != shape:
            raise ValueError(f"expected the array {name} of shape {shape}, found {found}")
    return {name: arrays[name] for name in shapes}


def _refusal(path: Path, found: str) -> ArtifactError:
    return ArtifactError(
        f"{path}: expected a checkpoint of this project, found {found}. Make it with `dvc repro retrain`."
    )


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what the reading of bytes raises into an `ArtifactError`."""
    try:
        yield
    except ArtifactError:
        raise
    except FileNotFoundError as error:
        raise _refusal(path, "no file") from error
    except (PermissionError, IsADirectoryError) as error:
        raise _refusal(path, f"one that cannot be read ({error.strerror})") from error
    except MemoryError as error:
        raise _refusal(
            path, f"a damaged one, or one that takes more memory than there is ({error})"
        ) from error
    # What JSON, NumPy, zipfile, torch and pydantic say of bytes that are not what they were.
    except (
        *(OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
        *(AttributeError, LookupError, TypeError, ValueError),
    ) as error:
        raise _refusal(path, f"a damaged one ({type(error).__name__}: {error})") from error


def _read(path: Path) -> tuple[Header, Arrays]:
    """The header of a checkpoint of any known format, as format 2 has it, and the arrays."""
    if path.exists() and not path.is_file():
        # A pipe that nobody writes to would block.
        raise _refusal(path, "a folder, pipe or device")
    with path.open("rb") as file:
        start = file.read(4)
    if start not in (b"PK\x03\x04", b""):
        raise _refusal(path, "a foreign file")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise _refusal(path, "a foreign file (its members are compressed)")
        if _HEADER in names:
            header = json.loads(archive.read(_HEADER))
            if header["format"] != FORMAT:
                raise _refusal(
                    path,
                    f"format {header['format']!r}, which this version does not know: it reads 1 and {FORMAT}",
                )
            return header, {
                name.removesuffix(".npy"): _array(archive.read(name)) for name in names if name != _HEADER
            }
        if not any(name.endswith("/data.pkl") for name in names):
            raise _refusal(path, "a foreign file (a zip archive of something else)")
        if (member := archive.testzip()) is not None:
            raise _refusal(path, f"a damaged one (the checksum of {member} differs)")
    return _read_first_edition(path)


def _array(member: bytes) -> npt.NDArray[Any]:
    array = np.lib.format.read_array(io.BytesIO(member), allow_pickle=False)
    return np.asarray(array)


def _read_facts(found: Mapping[str, Any]) -> DatasetFacts:
    return DatasetFacts(
        dataset=str(found["dataset"]),
        class_names=tuple(map(str, found["class_names"])),
        content=str(found["content"]),
        shape=tuple(map(int, found["shape"])),
        feature_names=tuple(map(str, found["feature_names"])),
        # Older files lack these.
        columns=tuple(found.get("columns", ())),
        raw_content=str(found.get("raw_content", "")),
        raw_shape=tuple(map(int, found.get("raw_shape", ()))),
    )


def _read_first_edition(path: Path) -> tuple[Header, Arrays]:
    """Format 1: tensors and plain values, without a number; `recipe` holds the options beside the run's."""
    import torch

    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise _refusal(path, "a foreign file (it holds more than tensors and plain values)") from error
    if (
        not isinstance(content, dict)
        or not {"state_dict", "recipe", "shape", "class_names"} <= content.keys()
    ):
        raise _refusal(path, "a foreign file (torch wrote it, for something else)")
    recipe, shape = content["recipe"], list(content["shape"])
    is_image = len(shape) == 3
    if is_image:
        channels, *size = shape
        shape = size if channels == 1 else [*size, channels]
    header: Header = {
        "format": 1,
        "model": recipe["network"],
        "options": recipe,
        "facts": {
            "dataset": content.get("dataset", ""),
            "class_names": content["class_names"],
            "content": "image" if is_image else "features",
            "shape": shape,
            "feature_names": (),
        },
    }
    arrays = {
        name.replace("network.layers.", "network."): value.numpy()
        for name, value in content["state_dict"].items()
    }
    arrays["precision"] = np.array(recipe.get("precision", "auto"))
    arrays["accelerator"] = np.array("cpu" if recipe.get("accelerator") == "cpu" else "auto")
    return header, arrays
