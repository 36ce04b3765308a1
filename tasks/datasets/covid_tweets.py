"""10,000 tweets of 2020, informative of COVID-19 or not (Nguyen et al., "WNUT-2020 Task 2: Identification of
Informative COVID-19 English Tweets", 2020). Tweets are for research alone; bring the files yourself.
"""

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from tasks import DatasetError
from tasks.contents import Examples, Fetch, Texts
from tasks.own_files.names import shown
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts

GIVES = ("text",)
CLASS_NAMES = ("UNINFORMATIVE", "INFORMATIVE")
_FILES = {"train": "train.tsv", "valid": "valid.tsv", "test": "test.tsv"}
INPUTS = tuple(_FILES.values())
_HEADER = ["Id", "Text", "Label"]


class Options(Section):
    """`labels_are_true`: take the labels for the truth, so that noise can be made of them.

    They are those of three people each, who agree with a kappa of 0.818; some of them are wrong.
    """

    labels_are_true: bool = False


def read(inputs: Path, options: Options, fetch: Fetch) -> Examples:  # noqa: ARG001  # it lies in inputs/
    """The tweets of train.tsv, valid.tsv and test.tsv in inputs/examples, in their order.

    A row is called by its tweet's number, and its repeats `NUMBER (2)`.

    Raises:
        DatasetError: a file is missing, or a line is not a number, a text and a label between tabs.
    """
    folder = inputs / "examples"
    keys: list[str] = []
    texts: list[str] = []
    labels: list[int] = []
    splits: list[str] = []
    seen: Counter[str] = Counter()
    for split, name in _FILES.items():
        for key, text, label in _read_rows(folder / name):
            seen[key] += 1
            keys.append(key if seen[key] == 1 else f"{key} ({seen[key]})")
            texts.append(text)
            labels.append(CLASS_NAMES.index(label))
            splits.append(split)
    brought = np.array(labels, dtype=np.int16)
    return Examples(
        facts=DatasetFacts("covid_tweets", CLASS_NAMES, "text", ()),
        key=keys,
        split=np.array(splits),
        given_label=None if options.labels_are_true else brought,
        true_label=brought if options.labels_are_true else None,
        content=Texts(texts),
    )


def _read_rows(path: Path) -> list[list[str]]:
    """The rows of a file, without its header if it has one."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Quotes are part of the tweets.
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path}: expected the tweets here, found no file. Put {', '.join(INPUTS)} of WNUT-2020 task 2 "
            f"into {path.parent}/."
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: expected text in UTF-8, with tabs ({error}).") from error
    first = 1 if rows[:1] == [_HEADER] else 0
    for number, row in enumerate(rows[first:], start=first + 1):
        if len(row) != 3 or not row[0].isdecimal() or not row[1].strip() or row[2] not in CLASS_NAMES:
            raise DatasetError(
                f"{path}, line {number}: expected a number, a text and {' or '.join(CLASS_NAMES)} between "
                f"tabs, found {shown(' | '.join(row))}."
            )
    if len(rows) == first:
        raise DatasetError(f"{path}: expected tweets, found none.")
    return rows[first:]
