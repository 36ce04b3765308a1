"""What a person says of the data, where `init` cannot be certain by itself."""

from dataclasses import dataclass
from pathlib import Path

from tasks.datasets._own import Found
from tasks.own_files.pictures import Header


@dataclass(frozen=True)
class Asked:
    """The options of the command line; None where nothing was said."""

    label: str | None = None
    text: str | None = None
    id: str | None = None
    split: str | None = None
    group: str | None = None
    truth: str | None = None
    drop: tuple[str, ...] = ()
    labels: str | None = None
    image_size: int | None = None
    class_names: tuple[str, ...] = ()
    examples: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class Plan:
    """What `init` understood.

    Attributes:
        dataset: the file of `tasks/datasets` that reads it.
        options: its options, but for `path` and `name`.
        found: the rows.
        source: the folder from which files are to be brought, or the one file.
        files: those files, relative to `source`; empty where that is the one file.
        said: what was understood and what is left out, a sentence each.
        headers: of pictures, what they say of themselves.
    """

    dataset: str
    options: dict[str, object]
    found: Found
    source: Path
    files: tuple[str, ...]
    said: tuple[str, ...]
    headers: tuple[Header, ...] = ()
