"""Names of classes, and how values of a person's file are shown in a sentence."""

import unicodedata
from collections.abc import Container, Sequence
from pathlib import Path

from tasks import DatasetError

_SHOWN_NAMES = 5
_SHOWN_CHARACTERS = 80
_LARGEST_LIST = 2**24
# What programs write where there is nothing. A class may be called so, too.
_WORDS_FOR_NOTHING = frozenset(("none", "nan", "null", "na", "n/a", "<na>", "nat"))
# What people put between several labels of a row.
_MARKS = (",", ";", "|")


def nfc(text: str) -> str:
    """`text` with its accents composed: a Mac writes them decomposed, and people see no difference."""
    return unicodedata.normalize("NFC", text)


def check_class_names(names: Sequence[str], where: str) -> list[str]:
    """Check that classes have different names, not empty; return warnings about those hardly different.

    Raises:
        DatasetError: a name is empty, or two are equal as people see them (in NFC, without blanks around).
    """
    places: dict[str, int] = {}
    for place, name in enumerate(nfc(name).strip() for name in names):
        if not name:
            raise DatasetError(
                f"{where}: expected a name for every class, found an empty one in place {place}."
            )
        if name in places:
            raise DatasetError(
                f"{where}: expected a different name for every class, found {shown(name)} in places "
                f"{places[name]} and {place}."
            )
        places[name] = place
    alike: dict[str, list[str]] = {}
    for name in places:
        seen = "".join(letter for letter in name.casefold() if unicodedata.category(letter) != "Cf")
        alike.setdefault("".join(seen.split()), []).append(name)
    warnings = [
        f"{where}: the classes {listed(group)} differ only by upper case, spaces or letters that cannot be "
        "seen. If they are one class, give them one name."
        for group in alike.values()
        if len(group) > 1
    ]
    nothing = [name for name in places if name.casefold() in _WORDS_FOR_NOTHING]
    if nothing:
        warnings.append(
            f"{where}: {listed(nothing)} is taken for the name of a class. If it says that a row has no "
            "label, leave the label empty."
        )
    several = [name for name in places if any(_joins(name, mark, places) for mark in _MARKS)]
    if several:
        warnings.append(
            f"{where}: {listed(several)} is taken for one class, and each of its parts is a class too. If it "
            "says that a row is of several, choose one: Relabel has no rows of several classes."
        )
    return warnings


def _joins(name: str, mark: str, known: Container[str]) -> bool:
    """Whether a name is several known ones with a mark between them."""
    parts = name.split(mark)
    return len(parts) > 1 and all(part.strip() in known for part in parts)


def read_class_names(chosen: str) -> tuple[str, ...]:
    """Names by class index, from a text with commas between them, or from a file with one name a line.

    Raises:
        DatasetError: the file is too large, not in UTF-8 or not readable.
    """
    path = Path(chosen)
    if "," in chosen or not path.is_file():
        names = chosen.split(",")
    else:
        if path.stat().st_size > _LARGEST_LIST:
            raise DatasetError(f"{path}: expected one class name a line, found more than 16 MB.")
        try:
            names = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"{path}: expected text in UTF-8, found other bytes ({error.reason}). Save it as UTF-8."
            ) from error
        except OSError as error:
            raise DatasetError(f"{path}: expected a file that can be read ({error.strerror}).") from error
    return tuple(nfc(name).strip() for name in names)


def listed(names: Sequence[str], n_shown: int = _SHOWN_NAMES) -> str:
    """The first names, for a sentence, and how many there are beside them."""
    more = len(names) - n_shown
    return ", ".join(map(shown, names[:n_shown])) + (f" and {more:,} more" if more > 0 else "")


def shown(value: object, most: int = _SHOWN_CHARACTERS) -> str:
    """A value for a sentence: on one line, and not longer than a sentence bears."""
    text = str(value)
    if len(text) > most:
        text = text[: most - 1] + "…"
    return text if text.strip() and text.isprintable() else repr(text)
