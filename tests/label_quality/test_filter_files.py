"""A filter is one file: what such a file may say, and what is said of one that is wrong."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from tasks.label_quality import confident_joint as cj
from tasks.label_quality import filter_files, filters
from tasks.label_quality.filter_files import check_filter_name, filter_names
from tasks.label_quality.issues import find_label_issues, load_filter
from tasks.label_quality.margins import certain_of_given

ROOT = Path(__file__).parents[2]
# The example of the manual.
(MINE,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "label_quality.md").read_text(), re.DOTALL)
# One call among the others, one of all that there are; and who else reads the list.
USE = """
import numpy as np
from tasks.tables.catalog import FILTER_COLUMNS
from tasks.label_quality.issues import find_label_issues
from tasks.params import load_params
from pathlib import Path

labels = np.array([0, 0, 1, 1])
pred_probs = np.array([[0.9, 0.1], [0.05, 0.95], [0.4, 0.6], [0.6, 0.4]])
chosen = find_label_issues(labels, pred_probs, filters=["both", "mine"]).flags
print(list(chosen), chosen["mine"].tolist())
print("mine" in find_label_issues(labels, pred_probs).flags, "mine" in FILTER_COLUMNS)
print(load_params(Path("params.yaml")).prune.filter_by)
"""


def test_a_new_file_is_a_new_filter_and_nothing_else_is_edited(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tasks" / "label_quality" / "filters" / "mine.py").write_text(MINE)
    shipped = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(shipped.replace("filter_by: auto", "filter_by: mine"))
    output = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert output.splitlines() == ["['both', 'mine'] [False, True, False, False]", "True True", "mine"]


@pytest.fixture
def add_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes the file of a filter into a copy of the folder, which this process takes for the real one."""
    folder = Path(shutil.copytree(filter_files.FOLDER, tmp_path / "filters"))
    monkeypatch.setattr(filter_files, "FOLDER", folder)
    monkeypatch.setattr(filters, "__path__", [str(folder)])
    loaded = set(sys.modules)

    def add(name: str, text: str) -> None:
        (folder / f"{name}.py").write_text(
            "import numpy as np\n"
            "from tasks.label_quality.selection import ByRow, Flagged, LowestBy\n" + dedent(text)
        )

    yield add
    for module in set(sys.modules) - loaded:
        del sys.modules[module]


@pytest.fixture(params=range(6))
def case(request, draw_label_case):
    return draw_label_case(request.param, 8, 600)


def test_names_are_those_of_the_files_but_for_private_ones(add_filter) -> None:
    shipped = filter_names()
    add_filter("mine", "")
    add_filter("_shared", "")
    add_filter(".#editor", "")
    assert filter_names() == tuple(sorted((*shipped, "mine")))


def test_a_filter_without_a_veto_sees_all_rows(add_filter, case) -> None:
    text = "select = lambda statistics: ByRow(lambda rows: rows.own < rows.pred_probs.mean(axis=1) * 1.5)"
    add_filter("vetoed", text)
    add_filter("open", "VETO = False\n" + text)
    labels, probs = case
    below = probs[np.arange(len(labels)), labels] < probs.mean(axis=1) * 1.5
    found = find_label_issues(labels, probs, filters=["open", "vetoed", "predicted_neq_given"], batch_rows=50)
    assert np.array_equal(found.flags["open"], below)
    assert np.array_equal(found.flags["vetoed"], below & ~certain_of_given(labels, probs))
    for flagged in found.flagged.values():
        assert np.array_equal(flagged.scores, probs[flagged.rows, labels[flagged.rows]])


def test_a_row_may_be_judged_by_what_is_known_of_the_joint(add_filter, case) -> None:
    add_filter(
        "frequent",
        """
        NEEDS = ("joint",)
        def select(statistics):
            return ByRow(lambda rows: statistics.raw[rows.labels, rows.confident] > 2)
        """,
    )
    labels, probs = case
    found = find_label_issues(labels, probs, filters=["frequent"], batch_rows=50)
    confident = cj.confident_classes(probs, found.thresholds)
    expected = (found.raw[labels, confident] > 2) & ~certain_of_given(labels, probs)
    assert np.array_equal(found.flags["frequent"], expected)


def test_the_lowest_rows_of_a_ranking_need_not_know_the_joint(add_filter, case) -> None:
    add_filter(
        "first_three",
        """
        VETO = False
        def select(statistics):
            return LowestBy(np.array([3]), lambda piece: -piece.pred_probs.max(axis=1).astype(float))
        """,
    )
    labels, probs = case
    found = find_label_issues(labels, probs, filters=["first_three"], batch_rows=50)
    surest = np.argsort(-probs.max(axis=1), kind="stable")[:3]
    assert np.array_equal(found.flagged["first_three"].rows, np.sort(surest))


def test_a_filter_gets_the_statistics_that_it_needs_and_no_others(add_filter, case) -> None:
    add_filter(
        "sees_all",
        """
        NEEDS = ("sample", "joint", "margins")
        def select(statistics):
            labels, pred_probs = statistics.sample
            assert len(labels) == len(pred_probs) == statistics.n_rows
            own = pred_probs[np.arange(len(labels)), labels]
            assert statistics.margins.sum() == (pred_probs > own[:, None]).sum()
            return ByRow(lambda rows: rows.confident >= 0)
        """,
    )
    add_filter(
        "sees_little",
        """
        NEEDS = ("joint",)
        def select(statistics):
            assert not len(statistics.sample[0]) and not statistics.margins.size
            return ByRow(lambda rows: rows.confident >= 0)
        """,
    )
    labels, probs = case
    for name in ("sees_little", "sees_all"):
        assert find_label_issues(labels, probs, filters=[name]).flags[name].any()


def test_filters_combine_others_that_were_not_asked_for(add_filter, case) -> None:
    add_filter(
        "neither",
        """
        COMBINES = ("both", "predicted_neq_given")
        def select(statistics):
            pruned, flagged = (statistics.flagged[name] for name in COMBINES)
            left = ~np.isin(flagged.rows, pruned.rows)
            return Flagged(flagged.rows[left], flagged.scores[left])
        """,
    )
    labels, probs = case
    found = find_label_issues(labels, probs, filters=["neither"])
    every = find_label_issues(labels, probs)
    assert tuple(found.flags) == ("neither",)
    assert np.array_equal(found.flags["neither"], every.flags["predicted_neq_given"] & ~every.flags["both"])


def test_an_estimated_noise_matrix_is_handed_on(add_filter, case) -> None:
    add_filter(
        "guess",
        """
        def select(statistics):
            n_classes = len(statistics.thresholds)
            return ByRow(lambda rows: rows.own < 0, np.eye(n_classes))
        """,
    )
    labels, probs = case
    matrices = find_label_issues(labels, probs, filters=["guess", "both"]).noise_matrices
    assert list(matrices) == ["guess"]
    assert np.array_equal(matrices["guess"], np.eye(probs.shape[1]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"broken\.py: expected a function `select`, found none"),
        (
            "NEEDS = ('margin',)\nselect = print",
            r"broken\.py: NEEDS .* noise, joint, margins, found margin",
        ),
    ],
)
def test_a_file_that_is_no_filter_is_named(add_filter, text, message) -> None:
    add_filter("broken", text)
    with pytest.raises(ImportError, match=message):
        load_filter("broken")


@pytest.mark.parametrize("flags", ["rows.labels", "rows.pred_probs > 0", "True"])
@pytest.mark.parametrize("veto", [True, False])
def test_flags_that_are_no_flags_are_refused(add_filter, flags, veto) -> None:
    add_filter("broken", f"VETO = {veto}\nselect = lambda statistics: ByRow(lambda rows: {flags})")
    with pytest.raises(TypeError, match=r"filter broken: expected flags \([12],\) of bool, found"):
        find_label_issues(np.array([0, 0]), np.eye(2), filters=["broken"])


def test_what_a_combining_filter_gives_is_checked(add_filter) -> None:
    add_filter("broken", "COMBINES = ('both',)\nselect = lambda statistics: None")
    with pytest.raises(TypeError, match=r"filter broken combines others: expected Flagged, found .*NoneType"):
        find_label_issues(np.array([0, 1]), np.eye(2), filters=["broken"])


def test_filters_that_combine_each_other_are_refused(add_filter) -> None:
    add_filter("one", "COMBINES = ('other',)\nselect = print")
    add_filter("other", "COMBINES = ('one',)\nselect = print")
    with pytest.raises(ValueError, match=r"one.*other"):
        find_label_issues(np.array([0, 1]), np.eye(2), filters=["one"])


def test_a_wrong_name_gets_the_list_and_the_nearest_one() -> None:
    assert check_filter_name("both") == "both"
    with pytest.raises(ValueError, match=r"among auto, .*, found prune_by_clas; .* prune_by_class\?$"):
        check_filter_name("prune_by_clas")
    with pytest.raises(ValueError, match=r"found magic$"):
        check_filter_name("magic")
    with pytest.raises(ValueError, match=r"found __init__$"):
        check_filter_name("__init__")
