"""Which column is what, where names and values make it certain, and nowhere else."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import DatasetError
from tasks.datasets.table import Options, content_columns
from tasks.intake.asked import Asked
from tasks.intake.columns import find_id, find_label, find_split, find_text
from tasks.intake.forms import make_plan
from tasks.own_files.own_tables import OwnTable, read_own_table

LONG = [f"a text of some length, that is number {k} of them all" for k in range(20)]
SHORT = [f"note {k}" for k in range(20)]
CODES = [f"P{k:03d}" for k in range(20)]
LABELS = ["x", "y"] * 10
NUMBERS = [k * 1.5 for k in range(20)]

WRITTEN = [f"{k / 7:.3f}" for k in range(20)]


def table(folder: Path, **columns: list) -> OwnTable:
    pq.write_table(
        pa.table({name.replace("__", " "): values for name, values in columns.items()}), folder / "t.parquet"
    )
    return read_own_table(folder / "t.parquet")


@pytest.mark.parametrize(
    "name", ["label", "Label", "CLASS", "target", "Class__Name", "category", "given_label"]
)
def test_labels_have_usual_names(tmp_path: Path, name: str) -> None:
    own = table(tmp_path, **{name: LABELS, "n": NUMBERS})
    assert find_label(own, None) == name.replace("__", " ")


@pytest.mark.parametrize("columns", [{"mood": LABELS, "n": NUMBERS}, {"label": LABELS, "target": LABELS}])
def test_labels_that_are_not_certain_name_the_option(tmp_path: Path, columns: dict[str, list]) -> None:
    with pytest.raises(DatasetError, match="--label COLUMN, of "):
        find_label(table(tmp_path, **columns), None)


def test_columns_with_few_values_are_named_first(tmp_path: Path) -> None:
    own = table(tmp_path, a=LONG * 5, b=[str(k) for k in range(100)], mood=LABELS * 5)
    with pytest.raises(DatasetError, match="of a, mood, b"):
        find_label(own, None)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"body": LONG, "n": NUMBERS}, "body"),
        ({"remark": LONG, "n": NUMBERS}, "remark"),
        ({"text": SHORT, "remark": LONG}, "text"),
        ({"remark": SHORT}, "remark"),
        ({"remark": SHORT, "n": NUMBERS}, None),
        ({"n": NUMBERS, "m": NUMBERS}, None),
        ({"n": WRITTEN}, None),
        ({"text": WRITTEN, "remark": LONG}, "remark"),
        ({"colour": LABELS}, None),
    ],
)
def test_texts_are_long_or_have_usual_names_or_are_all_there_is(
    tmp_path: Path, columns: dict[str, list], found: str | None
) -> None:
    assert find_text(table(tmp_path, **columns), None, list(columns)) == found


@pytest.mark.parametrize("columns", [{"a": LONG, "b": LONG}, {"question": LONG, "sentence": LONG}])
def test_of_two_texts_none_is_certain(tmp_path: Path, columns: dict[str, list]) -> None:
    with pytest.raises(DatasetError, match="--text COLUMN"):
        find_text(table(tmp_path, **columns), None, list(columns))


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"n": NUMBERS, "ID": CODES}, "ID"),
        ({"patient": CODES, "n": NUMBERS}, "patient"),
        ({"n": NUMBERS, "patient": CODES}, None),
        ({"note": SHORT, "n": NUMBERS}, None),
        ({"site": LABELS, "n": NUMBERS}, None),
        ({"n": NUMBERS}, None),
        # A CSV gives numbers as text.
        ({"width": WRITTEN, "site": LABELS}, None),
    ],
)
def test_rows_are_named_by_a_usual_name_or_by_single_words_in_front(
    tmp_path: Path, columns: dict[str, list], found: str | None
) -> None:
    assert find_id(table(tmp_path, **columns), None, []) == found


def test_a_split_column_in_codes_as_pandas_writes_it_counts(tmp_path: Path) -> None:
    split = pa.array(["train", "test"] * 10).dictionary_encode()
    own = table(tmp_path, split=split, n=NUMBERS, label=["x", "x", "y", "y"] * 5)
    assert find_split(own, None) == "split"
    plan = make_plan(own.path, Asked())
    assert set(plan.found.split) == {"train", "test"}
    assert content_columns(own, Options(**plan.options)) == ["n"]


def test_a_column_called_split_counts_if_it_holds_splits(tmp_path: Path) -> None:
    assert find_split(table(tmp_path, split=["train", "Test"] * 10, n=NUMBERS), None) == "split"
    assert find_split(table(tmp_path, split=["left", "right"] * 10, n=NUMBERS), None) is None
    assert find_split(table(tmp_path, split=[1, 2] * 10, n=NUMBERS), None) is None
