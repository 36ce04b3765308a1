"""Changing values of params.yaml changes their lines and no other."""

import difflib
from pathlib import Path
from typing import Any

import pytest
from small_runs import ROOT

from tasks import ParamsError
from tasks.params_file import change_params

TEXT = (ROOT / "params.yaml").read_text()
SETS = {
    "given": {"table": "given_labels", "checkpoint": "classifier_given"},
    "cleaned": {"table": "training_set", "checkpoint": "classifier"},
}


def changed(settings: dict[str, Any], text: str = TEXT) -> tuple[list[str], list[str]]:
    """The lines that went and those that came."""
    after = change_params(text, settings, Path("params.yaml"))
    lines = list(difflib.ndiff(text.splitlines(), after.splitlines()))
    return [line[2:] for line in lines if line[0] == "-"], [line[2:] for line in lines if line[0] == "+"]


@pytest.mark.parametrize(
    ("settings", "gone", "new"),
    [
        ({"train_fold.folds": [0, 1, 2, 3, 4]}, [], []),
        ({"train_fold.folds": [0, 1]}, ["  - 2", "  - 3", "  - 4"], []),
        ({"train_fold.folds": list(range(7))}, [], ["  - 5", "  - 6"]),
        (
            {"retrain.label_sets": SETS},
            ["    'true': {table: given_labels, checkpoint: classifier_true}"],
            [],
        ),
        ({"inject_noise.path": "labels.csv"}, ["  path:"], ["  path: labels.csv"]),
    ],
)
def test_comments_and_other_lines_stay(settings: dict[str, Any], gone: list[str], new: list[str]) -> None:
    went, came = changed(settings)
    assert [line.split(" #")[0].rstrip() for line in went] == gone
    assert [line.split(" #")[0].rstrip() for line in came] == new
    comments = [line.partition("#")[2].strip() for line in TEXT.splitlines() if "#" in line]
    after = change_params(TEXT, settings, Path("params.yaml"))
    assert [line.partition("#")[2].strip() for line in after.splitlines() if "#" in line] == comments


def test_a_list_that_is_shortened_and_lengthened_again_is_as_before() -> None:
    short = change_params(TEXT, {"train_fold.folds": [0, 1]}, Path("params.yaml"))
    assert change_params(short, {"train_fold.folds": [0, 1, 2, 3, 4]}, Path("params.yaml")) == TEXT


@pytest.mark.parametrize(
    "name", ["datasets.table.drop", "datasets.folder.class_names", "datasets.table.class_names"]
)
def test_a_list_that_is_filled_and_emptied_again_is_as_before(name: str) -> None:
    filled = change_params(TEXT, {name: ["a", "b"]}, Path("params.yaml"))
    assert filled != TEXT
    assert change_params(filled, {name: []}, Path("params.yaml")) == TEXT


def test_a_name_that_is_not_there_is_said_with_the_nearest() -> None:
    with pytest.raises(ParamsError, match="did you mean `epochs`"):
        change_params(TEXT, {"train_fold.epoch": 3}, Path("params.yaml"))
