"""Examples beside probabilities of one's own: what pages show of the rows, joined by what they are called."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from own_forms import png

from tasks.command_line import main
from tasks.page.contents import read_contents
from tasks.tables.catalog import EXAMPLES
from tasks.tables.io import read_table
from tasks.tables.keys import example_ids_of
from tasks.tables.schemas import column_array

N = 12
KEYS = [f"shelf {k % 3}/{k:02}.png" for k in range(N)]
PIXELS = np.arange(N * 8 * 9, dtype=np.uint8).reshape(N, 8, 9)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Probabilities and labels of N rows, by key and in another order each."""
    monkeypatch.chdir(tmp_path)
    true = np.arange(N) % 2
    wide = pd.DataFrame(np.where(np.eye(2)[true] > 0, 0.9, 0.1), columns=["cat", "dog"])
    wide.assign(id=KEYS).iloc[::-1].to_csv("probs.csv", index=False)
    pd.DataFrame({"id": KEYS, "given_label": true}).to_csv("labels.csv", index=False)
    return tmp_path


def bring(examples: str, *more: str, n_errors: int = 0) -> Any:
    arguments = ["--pred-probs", "probs.csv", "--labels", "labels.csv", "--examples", examples, *more]
    assert main(["import-probs", *arguments]) == n_errors
    return None if n_errors else read_table(EXAMPLES.at(Path()), EXAMPLES)


def by_key(table: Any, name: str) -> dict[str, Any]:
    return dict(zip(table.column("key").to_pylist(), column_array(table, name), strict=True))


def write_pictures(folder: Path) -> None:
    for key, pixels in zip(KEYS, PIXELS, strict=True):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(png(pixels))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_texts_of_a_table_are_those_of_their_rows_and_more_rows_do_no_harm(suffix: str) -> None:
    frame = pd.DataFrame({"id": [*KEYS, "of another"], "text": [f"about {key}" for key in KEYS] + ["none"]})
    frame = frame.sample(frac=1, random_state=0)
    if suffix == "csv":
        frame.to_csv("t.csv", index=False)
    elif suffix == "jsonl":
        frame.to_json("t.jsonl", orient="records", lines=True)
    else:
        frame.to_parquet("t.parquet", index=False)
    table = bring(f"t.{suffix}")
    assert by_key(table, "text") == {key: f"about {key}" for key in KEYS}
    assert set(table.column("given_label").to_pylist()) == {0, 1}
    ids = example_ids_of(KEYS, "")
    shown = read_contents(EXAMPLES.at(Path()), ids)
    assert [shown[int(each)].text for each in ids] == [f"about {key}" for key in KEYS]


def test_the_column_of_texts_can_be_named() -> None:
    pd.DataFrame({"id": KEYS, "title": KEYS, "body": ["x"] * N, "text": ["y"] * N}).to_csv(
        "t.csv", index=False
    )
    assert set(by_key(bring("t.csv", "--text", "title"), "text")) == set(KEYS)


def test_pictures_of_a_folder_are_found_by_their_paths() -> None:
    write_pictures(Path("pictures"))
    found = by_key(bring("pictures"), "image")
    assert all(np.array_equal(found[key], pixels) for key, pixels in zip(KEYS, PIXELS, strict=True))


@pytest.mark.parametrize("has_ids", [True, False])
def test_pictures_of_a_table_lie_beside_it(has_ids: bool) -> None:
    """Where no column is called id, rows are called by the path of their picture."""
    write_pictures(Path("given"))
    frame = pd.DataFrame({"file": KEYS} | ({"id": KEYS[::-1]} if has_ids else {}))
    frame.to_csv("given/pictures.csv", index=False)
    found = by_key(bring("given/pictures.csv"), "image")
    pixels = PIXELS[::-1] if has_ids else PIXELS
    assert all(np.array_equal(found[key], each) for key, each in zip(KEYS, pixels, strict=True))


def test_numbers_keep_the_names_of_their_columns() -> None:
    pd.DataFrame({"id": KEYS[::-1], "age": 20 + np.arange(N) // 2, "height": np.arange(N) / 2}).to_csv(
        "t.csv", index=False
    )
    table = bring("t.csv")
    assert by_key(table, "features")[KEYS[0]].tolist() == [25, 5.5]
    (shown,) = read_contents(EXAMPLES.at(Path()), example_ids_of(KEYS[:1], "")).values()
    assert "age: 25" in str(shown.text)


def test_without_ids_rows_go_by_their_order() -> None:
    for name in ("probs.csv", "labels.csv"):
        pd.read_csv(name).sort_values("id").drop(columns="id").to_csv(name, index=False)
    pd.DataFrame({"text": [f"row {k}" for k in range(N)]}).to_csv("t.csv", index=False)
    assert by_key(bring("t.csv"), "text") == {str(k): f"row {k}" for k in range(N)}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": KEYS[:-1], "text": ["x"] * (N - 1)}, f"no row for {KEYS[-1]} (1 of {N} are missing)"),
        ({"text": ["x"] * N}, "expected ids of the rows"),
        ({"id": KEYS}, "expected a column of texts (--text COLUMN)"),
        ({"id": KEYS, "image": ["../labels.csv"] * N}, "inside"),
    ],
)
def test_examples_that_do_not_fit_are_refused_in_a_sentence(
    columns: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("t").mkdir()
    pd.DataFrame(columns).to_csv("t/t.csv", index=False)
    bring("t/t.csv", *(("--image", "image") if "image" in columns else ()), n_errors=1)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not EXAMPLES.at(Path()).exists()


Damage = Callable[[bytes], bytes]
# Nothing is left, the header alone, or all but some of the pixels: then it says its size and has its end.
DAMAGE: list[Damage] = [
    lambda _: b"",
    lambda content: content[:20],
    lambda content: content[:45] + b"\xff" * 12 + content[57:],
]


@pytest.mark.parametrize("from_table", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_picture_that_cannot_be_read_is_white_and_its_row_counts(
    damage: Damage, from_table: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(Path("pictures"))
    path = Path("pictures") / KEYS[3]
    path.write_bytes(damage(path.read_bytes()))
    if from_table:
        pd.DataFrame({"file": KEYS}).to_csv("pictures/table.csv", index=False)
    table = bring("pictures/table.csv" if from_table else "pictures")
    found = by_key(table, "image")
    assert (found[KEYS[3]] == 255).all()
    others = [key for key in KEYS if key != KEYS[3]]
    assert all(np.array_equal(found[key], PIXELS[KEYS.index(key)]) for key in others)
    assert set(by_key(table, "given_label")) == set(KEYS)
    said = capsys.readouterr().out
    assert f"1 of {N} pictures cannot be read" in said
    assert KEYS[3] in said


@pytest.mark.parametrize("damage", DAMAGE)
def test_many_pictures_that_cannot_be_read_are_refused(
    damage: Damage, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(Path("pictures"))
    for key in KEYS[: N // 10 + 1]:
        path = Path("pictures") / key
        path.write_bytes(damage(path.read_bytes()))
    bring("pictures", n_errors=1)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(N // 10 + 1) in error
    assert not EXAMPLES.at(Path()).exists()


def test_a_picture_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(Path("pictures"))
    (Path("pictures") / KEYS[3]).unlink()
    bring("pictures", n_errors=1)
    assert KEYS[3] in capsys.readouterr().err


def test_the_truth_is_a_column_of_any_name() -> None:
    labels = pd.read_csv("labels.csv")
    labels.assign(gold=["dog", *["cat", "dog"] * (N // 2 - 1), "cat"]).to_csv("labels.csv", index=False)
    pd.DataFrame({"id": KEYS, "text": KEYS}).to_csv("t.csv", index=False)
    table = bring("t.csv", "--true-labels", "labels.csv", "--truth", "gold")
    assert by_key(table, "true_label")[KEYS[0]] == 1
