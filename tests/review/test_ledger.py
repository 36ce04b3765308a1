"""The decisions as a running page follows them, beside what reading the whole file anew gives."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.review import write_suspects
from review.ledger import Ledger
from review.suspect_rows import Suspects, Wanted, read_suspects
from tasks import ArtifactError
from tasks.decisions.apply import match_decisions
from tasks.decisions.log import PATH, Decision, append_decisions, read_decisions, standing


@pytest.fixture(scope="module")
def suspects(tmp_path_factory: pytest.TempPathFactory) -> Suspects:
    folder = tmp_path_factory.mktemp("suspects")
    write_suspects(folder, 200, content="features", n_classes=4, test_share=0.3)
    return read_suspects(folder / "data")


def undo(of: Decision) -> Decision:
    return replace(of, decision="undo", label=of.name)


def decide(row: int, decision: str, reviewer: str = "anna", given_class: int | None = None) -> Decision:
    given_label = f"class {row % 4 if given_class is None else given_class}"
    label = "class 3" if decision == "choose" else ""
    return Decision(str(10 * row), decision, label, given_label, reviewer, "2026-01-31T12:00:00Z", "none")


def test_the_worst_come_first_then_the_rest_by_confidence(suspects: Suspects) -> None:
    assert suspects.example_id[:3].tolist() == [1900, 1800, 1700]
    assert suspects.is_issue[:20].all()
    assert not suspects.is_issue[20:].any()
    assert [suspects.position(int(example_id)) for example_id in suspects.example_id] == list(range(200))
    assert suspects.position(5) is suspects.position(2000) is suspects.position(-1) is None


def test_filters_choose_rows(suspects: Suspects) -> None:
    chosen = suspects.select(Wanted(given=2, suggested=3, split="test", prob_low=0.93, issues=True))
    expected = (suspects.example_id // 10 % 4 == 2) & suspects.is_issue & (suspects.split == "test")
    np.testing.assert_array_equal(chosen, expected & (suspects.suggested_prob >= 0.93))
    assert chosen.any()
    percentile = suspects.example_id / 10 / 2 + 0.5
    chosen = suspects.select(Wanted(issues=False, importance_low=10, importance_high=20))
    np.testing.assert_array_equal(chosen, (percentile >= 10) & (percentile <= 20))
    assert suspects.select(Wanted(issues=False)).all()


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["keep", "choose", "undo"]),
        st.sampled_from("ab"),
        st.integers(0, 3),
    ),
    max_size=8,
)


@given(st.lists(STEPS, min_size=1, max_size=4), st.data())
def test_following_a_file_is_reading_it_anew(
    suspects: Suspects, tmp_path_factory: pytest.TempPathFactory, batches: list, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("follow") / PATH
    ledger = Ledger(path, suspects)
    for batch in batches:
        lines = [
            (decision, decide(row, decision.replace("undo", "keep"), *rest)) for row, decision, *rest in batch
        ]
        append_decisions(path, [undo(line) if decision == "undo" else line for decision, line in lines])
        if data.draw(st.booleans()):  # a line removed by hand
            lines = path.read_text().splitlines(keepends=True)
            del lines[data.draw(st.integers(1, len(lines))) :]
            path.write_text("".join(lines))
        ledger.take(path.read_bytes())
        expected = match_decisions(
            standing(read_decisions(path)), suspects.example_id, suspects.given, suspects.facts.class_names
        )
        np.testing.assert_array_equal(ledger.decided, expected.decision != "")
        np.testing.assert_array_equal(ledger.known, expected.known(suspects.given))
        refused = {decision.example_id for decision, _ in expected.refused}
        for row in range(4):
            assert bool(ledger.state(10 * row)["problem"]) == (10 * row in refused)


def test_reviewers_who_disagree_are_told_apart(suspects: Suspects, tmp_path: Path) -> None:
    path = tmp_path / PATH
    ledger = Ledger(path, suspects)
    append_decisions(path, [decide(7, "keep"), decide(7, "choose", "ben"), decide(8, "keep", "ben")])
    ledger.follow()
    state = ledger.state(70)
    assert (state["decision"], state["label"], state["reviewer"]) == ("choose", "class 3", "ben")
    assert [said["reviewer"] for said in state["said"]] == ["anna", "ben"]
    assert state["disagreed"]
    assert not ledger.state(80)["disagreed"]
    assert suspects.example_id[ledger.disagreed].tolist() == [70]
    append_decisions(path, [undo(decide(7, "choose", "ben"))])
    ledger.follow()
    assert (ledger.state(70)["decision"], ledger.state(70)["disagreed"]) == ("keep", False)


def test_a_line_that_breaks_meanwhile_is_named_and_what_was_known_stays(
    suspects: Suspects, tmp_path: Path
) -> None:
    path = tmp_path / PATH
    ledger = Ledger(path, suspects)
    append_decisions(path, [decide(7, "keep"), decide(8, "drop")])
    ledger.follow()
    with path.open("a") as file:
        file.write("70,kep\n")
    for _ in range(2):
        with pytest.raises(ArtifactError, match="line 4: expected 8 fields"):
            ledger.follow()
    assert ledger.decided.sum() == 2
    path.unlink()
    ledger.follow()
    assert ledger.decided.sum() == 0


def test_a_file_that_is_moved_away_and_back_is_read_again(suspects: Suspects, tmp_path: Path) -> None:
    path = tmp_path / PATH
    ledger = Ledger(path, suspects)
    append_decisions(path, [decide(7, "keep")])
    ledger.follow()
    for _ in range(2):
        path.rename(tmp_path / "away")
        ledger.follow()
        assert ledger.decided.sum() == 0
        (tmp_path / "away").rename(path)
        ledger.follow()
        assert ledger.decided.sum() == 1
