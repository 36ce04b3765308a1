"""Tweets from three files of tabs: with or without a header, with quotes, repeats and faults."""

from pathlib import Path

import numpy as np
import pytest

from tasks import DatasetError, plugins
from tasks.contents import Examples
from tasks.datasets import covid_tweets

ROWS = {
    "train": [
        ("11", "So far 3 cases “here” HTTPURL", "INFORMATIVE"),
        ("12", '@USER "stay home', "UNINFORMATIVE"),
    ],
    "valid": [("13", "ünï 🇩🇴", "UNINFORMATIVE")],
    "test": [("11", "So far 3 cases “here” HTTPURL", "INFORMATIVE")],
}


def put(folder: Path, rows: dict[str, list[tuple[str, ...]]] = ROWS, header: bool = True) -> Path:
    (folder / "examples").mkdir(exist_ok=True)
    for split, lines in rows.items():
        text = "Id\tText\tLabel\n" if header and split == "train" else ""
        text += "".join("\t".join(line) + "\n" for line in lines)
        (folder / "examples" / f"{split}.tsv").write_text(text, encoding="utf-8")
    return folder


def read(inputs: Path, **options: bool) -> Examples:
    return covid_tweets.read(inputs, plugins.read_options("datasets", "covid_tweets", options), None)


@pytest.mark.parametrize("header", [True, False])
def test_rows_keep_their_numbers_texts_and_labels(tmp_path: Path, header: bool) -> None:
    examples = read(put(tmp_path, header=header))
    assert examples.key == ["11", "12", "13", "11 (2)"]
    assert examples.split.tolist() == ["train", "train", "valid", "test"]
    assert examples.content.values() == [text for rows in ROWS.values() for _, text, _ in rows]
    assert examples.facts.class_names == ("UNINFORMATIVE", "INFORMATIVE")
    np.testing.assert_array_equal(examples.given_label, [1, 0, 0, 1])
    assert examples.true_label is None


def test_labels_are_the_truth_where_the_owner_says_so(tmp_path: Path) -> None:
    examples = read(put(tmp_path), labels_are_true=True)
    assert examples.given_label is None
    np.testing.assert_array_equal(examples.true_label, [1, 0, 0, 1])


@pytest.mark.parametrize(
    "line",
    [
        ("x1", "text", "INFORMATIVE"),
        ("1", "text", "informative"),
        ("1", " ", "INFORMATIVE"),
        ("1", "a", "b", "c"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, line: tuple[str, ...]) -> None:
    with pytest.raises(DatasetError) as caught:
        read(put(tmp_path, {**ROWS, "valid": [*ROWS["valid"], line]}))
    assert "valid.tsv, line 2: expected a number, a text and UNINFORMATIVE or INFORMATIVE" in str(
        caught.value
    )


def test_missing_empty_and_foreign_files_are_named(tmp_path: Path) -> None:
    inputs = put(tmp_path)
    path = inputs / "examples" / "test.tsv"
    path.write_text("")
    with pytest.raises(DatasetError, match=r"test\.tsv: expected tweets, found none"):
        read(inputs)
    path.write_bytes(b"1\t\xff\xfe\tINFORMATIVE\n")
    with pytest.raises(DatasetError, match=r"test\.tsv: expected text in UTF-8"):
        read(inputs)
    path.unlink()
    with pytest.raises(
        DatasetError, match=r"test\.tsv: expected the tweets here, found no file\. Put train\.tsv"
    ):
        read(inputs)
