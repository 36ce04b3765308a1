"""Which version is better, in one sentence, and the names of metrics in words."""

import json
from pathlib import Path
from typing import Any

import pytest
from kept_versions import commit, git, make_repository

from flows.comparison.measures import measure
from flows.comparison.metric_names import in_words
from flows.comparison.result import RowChanges, Truth
from flows.comparison.verdict import judge
from flows.comparison.views import _classes
from flows.dvc_api.record import run_name
from flows.dvc_api.revisions import last_version, open_revisions

SAME = ((900, 0, 0), (0, 40, 0), (0, 0, 60))


def changes(
    table: tuple[tuple[int, ...], ...] | None = SAME, p_value: float = 1.0, **more: Any
) -> RowChanges:
    """What changed between `v1` and `strict`; rows are the base's outcome right, wrong, dropped."""
    moved = {"newly flagged": (1, 2, 3), "no longer flagged": (4,), "trained on another label": (1,)}
    values = {
        "base": "v1",
        "version": "strict",
        "n_rows": 1000 if table is None else sum(map(sum, table)),
        "n_only_base": 0,
        "n_only_version": 0,
        "n_issues": (50, 52),
        "agreement": 0.9,
        "changes": moved,
        "flow": None,
        "classes": {},
        "truth": None if table is None else Truth(sum(map(sum, table)), table, p_value, {}),
        "n_changed": 4,
        "most_changed": (),
    }
    return RowChanges(**(values | more))


def accuracies(old: float, new: float) -> Any:
    """The metrics of two versions whose classifiers have these accuracies in the test."""
    numbers = {
        name: {"retrain_cleaned: test.accuracy": value, "retrain_cleaned: n_test_rows": 10_000}
        for name, value in (("v1", old), ("strict", new))
    }
    return tuple(measure(numbers, same_data=True))


def test_more_right_labels_than_chance_gives_are_better_or_worse() -> None:
    worse = ((900, 90, 0), (27, 40, 0), (3, 69, 0))
    found = judge("v1", "strict", changes(worse, 4.2e-9), (), None)
    assert found.word == "worse"
    assert found.said == (
        "strict is worse: it alone has 27 labels right, v1 alone 90 (p = 4.2e-09); of the rows that v1 alone "
        "drops it has 3 right and 69 wrong."
    )
    better = tuple(zip(*worse, strict=True))
    found = judge("v1", "strict", changes(better, 4.2e-9), (), None)
    assert found.word == "better"
    assert "it alone has 90 labels right, v1 alone 27" in found.said
    assert "it alone drops 3 rows with a right label and 69 with a wrong one" in found.said


def test_what_chance_may_give_is_neither() -> None:
    found = judge("v1", "strict", changes(((900, 5, 0), (3, 40, 0), (0, 0, 0)), 0.73), (), None)
    assert found.word == "open"
    assert "neither better nor worse" in found.said
    assert "it alone has 3 labels right, v1 alone 5 (p = 0.73)" in found.said
    found = judge("v1", "strict", changes(SAME), (), None)
    assert "neither is right where the other is wrong" in found.said


def test_without_a_truth_no_version_is_called_better_by_its_labels() -> None:
    found = judge("v1", "strict", changes(None), accuracies(0.95, 0.951), None)
    assert found.word == "open"
    assert "which labels are right is not known" in found.said
    assert (
        "3 labels are newly flagged, 1 label is no longer flagged, 1 row is trained on another label"
        in found.said
    )
    found = judge("v1", "strict", changes(None), accuracies(0.95, 0.97), None)
    assert found.word == "better"
    assert "test accuracy is 97.00%, in v1 95.00%" in found.said


def test_labels_and_classifier_may_disagree() -> None:
    better = ((900, 10, 0), (90, 40, 0), (0, 0, 0))
    found = judge("v1", "strict", changes(better, 1e-9), accuracies(0.97, 0.95), None)
    assert found.word == "mixed"
    assert found.said.startswith("strict is better by its labels and worse by its classifier: ")
    assert judge("v1", "strict", changes(better, 1e-9), accuracies(0.95, 0.97), None).word == "better"


def test_a_truth_of_some_rows_is_said_to_be_one() -> None:
    found = judge("v1", "strict", changes(((50, 1, 0), (9, 0, 0), (0, 0, 0)), 0.02, n_rows=1000), (), None)
    assert "of the 60 whose truth is known" in found.said


def test_nothing_changed_other_data_and_no_rows() -> None:
    assert judge("v1", "strict", changes(SAME, n_changed=0), (), None).word == "same"
    found = judge("v1", "strict", None, (), "they are of other data sets (a and b)")
    assert (found.word, "other data sets" in found.said) == ("open", True)
    assert judge("v1", "strict", None, accuracies(0.95, 0.951), None).word == "open"
    assert judge("v1", "strict", None, accuracies(0.95, 0.9), None).word == "worse"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "retrain_cleaned: test.expected_calibration_error",
            "test calibration error, trained on the cleaned labels",
        ),
        ("cross_validation: given.accuracy", "out-of-fold accuracy against the given labels"),
        ("label_issues: n_issues", "labels flagged"),
        ("training_set: actions.dropped", "rows dropped"),
        ("health: classes.cats & dogs.label_quality", "class cats & dogs: label quality"),
        ("report: audit.n_drawn_wrong", "wrong labels among these"),
        ("report: audit.wrong_left_high", "share of wrong labels left, high end"),
        ("training_set: decisions.accept", "decisions: the suggested label is right"),
        ("training_set: decisions.n_rows", "decisions: n rows"),
        ("self_tests: planted.uniform.found.share", "self tests: planted uniform found share"),
    ],
)
def test_metrics_have_names_in_words(name: str, words: str) -> None:
    assert in_words(name) == words


def test_versions_that_flag_the_same_labels_are_said_to() -> None:
    moved = {"newly flagged": (), "no longer flagged": (), "trained on another label": (1, 2)}
    found = judge("v1", "strict", changes(None, changes=moved), (), None)
    assert "the same labels are flagged, 2 rows are trained on another label" in found.said


@pytest.mark.parametrize(
    ("n", "words"), [(1, "1 class without a change is"), (2, "2 classes without a change are")]
)
def test_classes_without_a_change_are_counted(n: int, words: str) -> None:
    counts = {"cat": {"newly flagged": 3}} | {f"other {k}": {"newly flagged": 0} for k in range(n)}
    table = _classes(changes(classes=counts))
    assert table is not None
    assert words in table.caption


def keep_experiment(folder: Path, name: str, time: int, base: str = "HEAD") -> None:
    """An experiment of this time that starts from `base`."""
    commit_of_base = git(folder, "rev-parse", base).strip()
    dated = {"GIT_COMMITTER_DATE": f"{time} +0000", "GIT_AUTHOR_DATE": f"{time} +0000"}
    made = git(folder, "commit-tree", "-p", base, "-m", name, f"{base}^{{tree}}", environment=dated).strip()
    git(folder, "update-ref", f"refs/exps/{commit_of_base[:2]}/{commit_of_base[2:]}/{name}", made)


LATER = 4_000_000_000


def test_last_is_the_last_kept_run_and_no_side_experiment(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "pets")
    commit(folder, "results", dvc_lock={"schema": "2.0", "stages": {}})
    assert last_version(folder) == "HEAD"
    keep_experiment(folder, "strict", LATER)
    keep_experiment(folder, "sweep-cut_0.9-01234567", LATER)
    keep_experiment(folder, "relabel-old", LATER)  # as a person may call one
    assert last_version(folder) == "HEAD"
    nightly, by_hand = run_name("nightly", "20260101-030000"), run_name(None, "20260101-120000")
    keep_experiment(folder, nightly, LATER + 1)
    keep_experiment(folder, by_hand, LATER + 2)
    assert last_version(folder) == by_hand
    assert open_revisions(folder, ["last"], schedule="nightly")[0].name == nightly
    assert last_version(folder, schedule="weekly") == by_hand
    # A commit that changes no results leaves it the last; one with results is newer.
    commit(folder, "code", train_py="x = 1\n")
    assert last_version(folder) == by_hand
    keep_experiment(folder, run_name("nightly", "20200101-030000"), 1_000_000_000)
    assert last_version(folder) == by_hand
    git(folder, "update-ref", "-d", f"refs/exps/{ref_of(folder, by_hand)}")
    git(folder, "update-ref", "-d", f"refs/exps/{ref_of(folder, nightly)}")
    assert last_version(folder) == "HEAD"


def ref_of(folder: Path, name: str) -> str:
    refs = git(folder, "for-each-ref", "--format=%(refname)", "refs/exps").split()
    (ref,) = [ref for ref in refs if ref.endswith(f"/{name}")]
    return ref.removeprefix("refs/exps/")


def test_last_is_not_a_run_of_another_branch(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "pets")
    commit(folder, "results", dvc_lock={"schema": "2.0", "stages": {}})
    git(folder, "switch", "--quiet", "--create", "side")
    commit(folder, "side", dvc_lock={"schema": "2.0", "stages": {}, "side": 1})
    keep_experiment(folder, run_name(None, "20260101-120000"), LATER)
    assert last_version(folder) != "HEAD"
    git(folder, "switch", "--quiet", "-")
    assert last_version(folder) == "HEAD"


def test_a_schedule_may_be_called_anything(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "pets")
    commit(folder, "results", dvc_lock=json.dumps({"schema": "2.0"}))
    name = run_name("every night, 3 o'clock ~^:", "20260101-030000")
    keep_experiment(folder, name, LATER)
    assert last_version(folder, "every night, 3 o'clock ~^:") == name
