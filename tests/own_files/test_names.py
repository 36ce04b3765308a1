"""Names of classes: different as people see them, or a sentence."""

import unicodedata
from pathlib import Path

import pytest

from tasks import DatasetError
from tasks.own_files.names import check_class_names, read_class_names, shown

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["cat", "cat", "dog"], "cat in places 0 and 1"),
        ([COMPOSED, "Biene", DECOMPOSED], f"{COMPOSED} in places 0 and 2"),
        (["cat", " cat"], "cat in places 0 and 1"),
        (["cat", ""], "an empty one in place 1"),
        (["x" * 10_000] * 2, "x…"),
    ],
)
def test_equal_or_empty_names_are_refused(names: list[str], found: str) -> None:
    with pytest.raises(DatasetError, match=found) as error:
        check_class_names(names, "params.yaml")
    assert len(str(error.value)) < 300


def test_names_that_are_hardly_different_are_a_warning() -> None:
    assert check_class_names(["cat", "dog"], "") == []
    (warning,) = check_class_names(["T-shirt", "dog", "t-Shirt", "T-shirt s", "T-shirts"], "x")[:1]
    assert "T-shirt, t-Shirt" in warning
    assert "dog" not in warning


def test_names_that_people_see_no_difference_in_are_a_warning() -> None:
    (warning,) = check_class_names(["cat", "cat\u200b", "dog"], "x")
    assert "cat" in warning
    assert "dog" not in warning


@pytest.mark.parametrize("word", ["None", "nan", "NULL", "NA", "<NA>"])
def test_names_that_may_say_that_there_is_no_label_are_a_warning(word: str) -> None:
    (warning,) = check_class_names(["cat", word], "x")
    assert word in warning
    assert "cat" not in warning


@pytest.mark.parametrize("joined", ["cat,dog", "dog; cat", "cat|dog|cat"])
def test_names_that_are_several_others_are_a_warning(joined: str) -> None:
    (warning,) = check_class_names(["cat", "dog", joined, "cat, sleeping"], "x")
    assert joined in warning
    assert "sleeping" not in warning


def test_a_list_of_names_is_read_in_nfc_without_blanks_and_mark(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text(f"{DECOMPOSED} \r\n\nBiene\n", encoding="utf-8-sig")
    assert read_class_names(str(path)) == (COMPOSED, "Biene")
    assert read_class_names(f"{DECOMPOSED}, Biene") == (COMPOSED, "Biene")
    path.write_bytes("Käfer".encode("latin-1"))
    with pytest.raises(DatasetError, match="UTF-8"):
        read_class_names(str(path))
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(DatasetError, match="more than 16 MB"):
        read_class_names(str(path))


def test_what_is_shown_is_one_short_line() -> None:
    assert shown("cat") == "cat"
    assert shown(" ") == "' '"
    assert "\n" not in shown("a\nb")
    assert len(shown("x" * 10_000)) == 80
