"""The names of the filters: those of the files in the folder `filters`, but for names that start with `_`."""

from difflib import get_close_matches
from pathlib import Path

FOLDER = Path(__file__).parent / "filters"


def filter_names() -> tuple[str, ...]:
    """The filters that there are, in order of the alphabet."""
    stems = (path.stem for path in FOLDER.glob("*.py"))
    # An editor may leave files whose names no module can have.
    return tuple(sorted(stem for stem in stems if stem.isidentifier() and not stem.startswith("_")))


def check_filter_name(name: str) -> str:
    """The name, if there is such a filter.

    Raises:
        ValueError: there is none; says which there are, and which of them is the nearest.
    """
    names = filter_names()
    if name in names:
        return name
    nearest = get_close_matches(name, names, n=1)
    raise ValueError(
        f"expected a filter among {', '.join(names)}, found {name}"
        + (f"; did you mean {nearest[0]}?" if nearest else "")
    )
