"""The worth of the repair: on which rows it is measured, against which labels, and how far it is sure."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks import ArtifactError
from tasks.decisions.log import Decision
from tasks.reporting.worth import (
    Measured,
    Yardstick,
    choose_yardstick,
    describe_worth,
    measure,
    summarise_gain,
    wrong_share,
)
from tasks.tables.catalog import TEST_PROBS
from tasks.tables.facts import DatasetFacts
from tasks.tables.io import make_table, write_table

NAMES = ("cat", "dog", "bird")


def given_table(split: list[str], given: list[int], true: list[int | None]) -> pa.Table:
    return pa.table(
        {
            "example_id": np.arange(len(split)) * 2,
            "split": split,
            "given_label": pa.array(given, pa.int16()),
            "true_label": pa.array(true, pa.int16()),
        }
    )


def splits_table(given: pa.Table, group: list[int] | None = None) -> pa.Table:
    ids = given.column("example_id")
    return pa.table({"example_id": ids, "group": group or ids, "split": given.column("split")})


def decided(row: int, decision: str, given: str, label: str = "") -> Decision:
    return Decision(str(2 * row), decision, label, given, "anna", "2026-01-31T12:00:00Z", "none")


def yardstick_of(given: pa.Table, group: list[int] | None = None, decisions: Any = ()) -> Yardstick:
    found = choose_yardstick(given, splits_table(given, group), list(decisions), NAMES)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        (["train", "valid", "test"], "test"),
        (["train", "valid", "held_out"], "valid"),
        (["train", "held_out", "held_out"], "held_out"),
    ],
)
def test_the_first_split_with_labelled_rows_measures(splits: list[str], chosen: str) -> None:
    found = yardstick_of(given_table(splits, [0, 1, 2], [None] * 3))
    assert found.split == chosen
    np.testing.assert_array_equal(found.ids, [2 * k for k in range(3) if splits[k] == chosen])


def test_without_such_rows_there_is_nothing_to_measure_on() -> None:
    given = given_table(["train"] * 3, [0, 1, 2], [0, 1, 2])
    assert choose_yardstick(given, splits_table(given), [], NAMES) is None


def test_true_labels_count_where_all_are_known_whatever_people_said() -> None:
    given = given_table(["train", "test", "test"], [0, 0, 0], [0, 1, 2])
    found = yardstick_of(given, group=[0, 0, 4], decisions=[decided(1, "choose", "cat", "bird")])
    assert (found.labels, found.label.tolist(), found.n_reviewed) == ("true", [1, 2], 0)


def test_what_a_person_said_counts_in_place_of_given_labels() -> None:
    given = given_table(["held_out"] * 7, [0] * 7, [None] * 6 + [2])
    decisions = [
        decided(0, "keep", "cat"),
        decided(1, "accept", "cat", "dog"),
        decided(2, "choose", "cat", "bird"),
        decided(3, "drop", "cat"),
        decided(4, "unsure", "cat"),
        decided(5, "choose", "dog", "bird"),  # about another label than the row has now
        decided(50, "keep", "cat"),  # about another row
    ]
    found = yardstick_of(given, decisions=decisions)
    assert found.labels == "given"
    assert found.ids.tolist() == [0, 2, 4, 8, 10, 12]
    assert found.label.tolist() == [0, 1, 2, 0, 0, 2]
    assert (found.n_reviewed, found.n_dropped, found.n_beside_training) == (3, 1, 0)


def test_near_duplicates_of_training_rows_are_left_out() -> None:
    given = given_table(["train", "test", "test", "valid", "test"], [0, 1, 2, 0, 1], [None] * 5)
    found = yardstick_of(given, group=[0, 0, 4, 4, 8])
    assert found.ids.tolist() == [4, 8]  # that of a validation row may stay
    assert found.n_beside_training == 1
    everything = choose_yardstick(given, splits_table(given, [0] * 5), [], NAMES)
    assert everything is None


def write_probs(folder: Path, ids: list[int], predicted: list[int]) -> None:
    facts = DatasetFacts("mine", NAMES, "features", (2,))
    probs = 0.1 + 0.7 * np.eye(3)[predicted]
    columns = {"example_id": ids, "split": ["test"] * len(ids), "pred_probs": probs}
    path = TEST_PROBS.at(folder, labels="given")
    write_table(path, make_table(TEST_PROBS, facts, columns), TEST_PROBS, {"n_rows": "12"})


def test_predictions_are_compared_row_by_row(tmp_path: Path) -> None:
    write_probs(tmp_path, [0, 2, 4, 6, 8], [0, 1, 2, 0, 1])
    yardstick = Yardstick("test", np.array([2, 4, 8]), np.array([1, 0, 1]), "given")
    found = measure(tmp_path, "given", yardstick)
    assert found.right.tolist() == [True, False, True]
    assert found.metrics["test"]["accuracy"] == pytest.approx(2 / 3)
    assert (found.metrics["n_rows"], found.metrics["n_test_rows"]) == (12, 3)
    assert measure(tmp_path, "given", None).metrics == {"n_rows": 12, "n_test_rows": 0}
    lacking = Yardstick("test", np.array([2, 3]), np.array([1, 0]), "given")
    with pytest.raises(ArtifactError, match="1 missing, the first 3"):
        measure(tmp_path, "given", lacking)


def measured(right: list[bool]) -> Measured:
    return Measured({}, object(), np.array(right))  # type: ignore[arg-type]


def test_the_gain_is_that_of_the_same_rows_and_has_an_interval() -> None:
    given, cleaned = [False] * 10 + [True] * 90, [True] * 5 + [False] * 5 + [True] * 90
    found = summarise_gain(
        {"given": measured(given), "cleaned": measured(cleaned), "true": measured([True] * 100)}
    )
    assert found["gain"] == pytest.approx(0.05)
    assert found["gain_low"] < 0.05 < found["gain_high"]
    assert (found["gap"], found["gap_recovered"]) == pytest.approx((0.1, 0.5))
    # The same accuracies by other rows are less sure.
    other = [*cleaned[10:], *cleaned[:10]]
    wider = summarise_gain({"given": measured(given), "cleaned": measured(other)})
    assert wider["gain"] == pytest.approx(0.05)
    assert wider["gain_high"] - wider["gain_low"] > found["gain_high"] - found["gain_low"]
    same = {name: measured(given) for name in ("given", "cleaned", "true")}
    assert math.isnan(summarise_gain(same)["gap_recovered"])
    assert summarise_gain({"given": measured(given)}) == {}
    assert (
        summarise_gain({name: Measured({}, None, np.zeros(0, bool)) for name in ("given", "cleaned")}) == {}
    )


def test_the_line_says_against_what_and_calls_an_estimate_one() -> None:
    gain = {"gain": 0.012, "gain_low": -0.003, "gain_high": 0.027}
    yardstick = Yardstick("held_out", np.arange(1_234), np.zeros(1_234, np.int64), "given")
    line = describe_worth(gain, yardstick, 0.08)
    assert line is not None
    for part in ("+1.20", "1,234 rows", "-0.30 to +2.70", "given labels", "about 8.0% (estimated)"):
        assert part in line
    assert "unknown share" in str(describe_worth(gain, yardstick, None))
    known = Yardstick("test", np.arange(5), np.zeros(5, np.int64), "true")
    assert "given" not in str(describe_worth(gain, known, 0.08))
    assert describe_worth({}, yardstick, 0.1) is None
    assert describe_worth(gain, None, 0.1) is None


def test_a_weak_classifier_estimates_nothing() -> None:
    detection = {"n_rows": 200, "n_errors_estimated": 10}
    assert wrong_share(detection, is_too_weak=False) == 0.05
    assert wrong_share(detection, is_too_weak=True) is None
    assert wrong_share({"n_rows": 0, "n_errors_estimated": 0}, is_too_weak=False) is None
    assert wrong_share({"n_rows": 200, "n_errors_estimated": None}, is_too_weak=False) is None
