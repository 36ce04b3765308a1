import tracemalloc

import numpy as np
import pytest
from evidence import make_evidence
from hypothesis import given
from hypothesis import strategies as st

from tasks.decisions.apply import apply_decisions, match_decisions
from tasks.decisions.log import Decision
from tasks.label_quality.audit import RIGHT, UNKNOWN, WRONG
from tasks.pseudo_labels import threshold
from tasks.sections import Section
from tasks.tables.keys import example_id_of

CLASSES = ("ant", "bee", "cat")
IDS = np.array([3, 5, 8, 13])
LABELS = np.array([0, 0, 1, 2], dtype=np.int16)
PRED_PROBS = np.array(
    [[0.1, 0.8, 0.1], [0.75, 0.25, 0], [0, 0.25, 0.75], [0.5, 0.25, 0.25]], dtype=np.float32
)
IS_ISSUE = np.array([False, False, True, True])


def decide(example_id, decision, label="", given_label="ant"):
    return Decision(str(example_id), decision, label, given_label, "anna", "2026-01-31T12:00:00Z", "none")


def repair_labels(*case):
    """What the method `threshold` makes of the arguments of `make_evidence`."""
    return threshold.repair(make_evidence(*case), Section(), None, np.random.default_rng(0))


def test_a_person_outranks_the_model():
    before = repair_labels(LABELS, PRED_PROBS, IS_ISSUE, 0.7, "drop")
    assert before.action.tolist() == ["trusted", "trusted", "relabelled", "dropped"]
    standing = [
        decide(3, "choose", "cat"),
        decide(5, "drop"),
        decide(8, "keep", given_label="bee"),
        decide(13, "accept", "ant", given_label="cat"),
    ]
    verdicts = match_decisions(standing, IDS, LABELS, CLASSES)
    assert verdicts.counts() == {"keep": 1, "accept": 1, "choose": 1, "drop": 1, "unsure": 0}
    after = apply_decisions(before, verdicts)
    assert after.action.tolist() == ["reviewed", "dropped", "reviewed", "reviewed"]
    assert after.label[[0, 2, 3]].tolist() == [2, 1, 0]
    assert after.weight.tolist() == [1, 0, 1, 1]
    assert after.source.tolist() == ["reviewed", "given", "reviewed", "reviewed"]


def test_decisions_about_something_else_are_refused_with_the_reason():
    standing = [decide(4, "drop"), decide(8, "drop"), decide(3, "choose", "dog"), decide(5, "drop")]
    verdicts = match_decisions(standing, IDS, LABELS, CLASSES)
    assert [(decision.example_id, reason) for decision, reason in verdicts.refused] == [
        (4, "no training row has this id"),
        (8, "its given label was ant then and is bee now"),
        (3, "there is no class dog"),
    ]
    assert verdicts.decision.tolist() == ["", "drop", "", ""]


def test_a_hundred_thousand_decisions_on_a_million_rows_take_less_than_twice_the_table():
    n = 1_000_000
    rng = np.random.default_rng(0)
    ids, labels = rng.permutation(n), np.zeros(n, dtype=np.int16)
    pred_probs = np.tile(np.array([0.2, 0.8, 0], dtype=np.float32), (n, 1))
    before = repair_labels(labels, pred_probs, rng.random(n) < 0.1)
    kinds = ("keep", ""), ("drop", ""), ("choose", "cat")
    standing = [decide(row, *kinds[row % 3]) for row in range(100_000)]
    fields = before.label, before.weight, before.action, before.source
    tracemalloc.start()
    verdicts = match_decisions(standing, ids, labels, CLASSES)
    after = apply_decisions(before, verdicts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * sum(field.nbytes for field in fields)
    assert verdicts.counts() == {"keep": 33_334, "accept": 0, "choose": 33_333, "drop": 33_333, "unsure": 0}
    assert np.bincount(after.label[np.argsort(ids)][:100_000]).tolist()[2] == 33_333


@st.composite
def cases(draw):
    """A repair, its labels, and decisions that stand, some of which fit no row."""
    n = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.integers(3, size=n)
    repair = repair_labels(
        labels,
        rng.dirichlet(np.full(3, 0.5), size=n).astype(np.float32),
        rng.random(n) < 0.5,
        draw(st.floats(0, 1)),
        draw(st.sampled_from(["drop", "keep", "soft"])),
    )
    chosen = draw(st.lists(st.integers(0, n + 2), unique=True))
    kinds = draw(st.lists(st.sampled_from(["keep", "accept", "choose", "drop", "unsure"]), min_size=n + 3))
    standing = [
        decide(
            row,
            kinds[row],
            draw(st.sampled_from([*CLASSES, "dog"])) if kinds[row] in ("accept", "choose") else "",
            draw(st.sampled_from(CLASSES)),
        )
        for row in chosen
    ]
    return repair, labels, standing


@given(cases())
def test_each_decision_holds_on_its_row_or_is_refused_and_no_other_row_changes(case):
    before, labels, standing = case
    verdicts = match_decisions(standing, np.arange(len(labels)), labels, CLASSES)
    after = apply_decisions(before, verdicts)
    refused = {decision.example_id for decision, _ in verdicts.refused}
    assert sum(verdicts.counts().values()) + len(refused) == len(standing)
    by_row = {decision.example_id: decision for decision in standing if decision.example_id not in refused}
    for row, label in enumerate(labels):
        decision = by_row.get(row)
        if decision is None or decision.decision == "unsure":
            assert row_of(after, row) == row_of(before, row)
        elif decision.decision == "drop":
            assert (after.weight[row], after.action[row], after.source[row]) == (0, "dropped", "given")
            assert row not in after.soft_rows
        else:
            said = label if decision.decision == "keep" else CLASSES.index(decision.label)
            assert row_of(after, row) == (said, 1, "reviewed", "reviewed", [])
    assert after.label.dtype == before.label.dtype
    assert after.weight.dtype == after.soft_label.dtype == np.float32


def row_of(repair, row):
    """Label, weight, action, source and soft label of a row."""
    soft = repair.soft_label[repair.soft_rows == row].tolist()
    return repair.label[row], repair.weight[row], repair.action[row], repair.source[row], soft


@pytest.mark.parametrize("kept", [[0, 1, 2, 3], [3, 1], [2, 0, 3]])
def test_decisions_stay_with_their_rows_when_others_come_go_and_move(kept: list[int]) -> None:
    keys = ["site b/3.png", "0007", "Ameise.png", "12"]
    standing = [
        Decision(key, "choose", "bee", "ant", "anna", "2026-01-31T12:00:00Z", "none") for key in keys[:3]
    ]
    now = ["new row", *(keys[row] for row in kept)]
    ids = np.array([example_id_of(key) for key in now])
    verdicts = match_decisions(standing, ids, np.zeros(len(now), dtype=int), ("ant", "bee"))
    decided = [key for key, decision in zip(now, verdicts.decision, strict=True) if decision]
    assert decided == [keys[row] for row in kept if row < 3]
    assert [decision.key for decision, _ in verdicts.refused] == [key for key in keys[:3] if key not in now]


def test_what_people_said_of_labels_is_right_wrong_or_unknown():
    standing = [decide(3, "keep"), decide(5, "choose", "ant"), decide(8, "drop", given_label="bee")]
    verdicts = match_decisions([*standing, decide(13, "unsure", given_label="cat")], IDS, LABELS, CLASSES)
    assert verdicts.known(LABELS).tolist() == [RIGHT, RIGHT, WRONG, UNKNOWN]
    standing = [decide(3, "accept", "bee"), decide(5, "keep", given_label="cat")]
    assert match_decisions(standing, IDS, LABELS, CLASSES).known(LABELS).tolist() == [WRONG, *[UNKNOWN] * 3]
