import numpy as np
import pytest

from tasks.label_quality.gate import Sides, beyond_chance, judge_repair
from tasks.label_quality.gate_words import describe_gate
from tasks.label_quality.noise_evidence import NoiseEvidence
from tasks.label_quality.paired import Difference

SURE = np.array([[45, 5], [5, 45]])
CHANCE = np.array([[25, 25], [25, 25]])
NONE = Sides(0, 0, 0)


def evidence(second=True, auroc=0.95, is_known=True, is_shifted=False):
    return {
        "planted": {"uniform": {"auroc": auroc}},
        "class_shares": {"class": "rare", "expected": 0.112, "given": 0.018, "is_shifted": is_shifted},
        "second_opinion": {"is_known": is_known} if second else None,
    }


def judge(confusion=SURE, relabelled=NONE, dropped=NONE, limit=0.6, self_tests=None, **others):
    return judge_repair(confusion, relabelled, dropped, limit, self_tests or {}, **others)


def noise(share, *, error=0.0):
    return NoiseEvidence(share, share + error, 0.97)


@pytest.mark.parametrize(
    ("confusion", "n_changed", "reason"),
    [
        (SURE, 60, None),
        (SURE, 61, "too_many_changes"),
        (CHANCE, 0, "near_chance"),
        (CHANCE, 90, "near_chance"),  # what helps is another model, not another limit
        (CHANCE[::-1] * np.array([[0, 1], [1, 0]]), 5, "near_chance"),  # all wrong: below chance
        (np.array([[80, 0], [20, 0]]), 20, "near_chance"),  # one class for all rows, right for most
        (np.array([[100, 0], [0, 0]]), 0, "near_chance"),  # one class alone proves nothing
        (np.zeros((2, 2), dtype=np.int64), 0, "near_chance"),
    ],
)
def test_predictions_that_say_too_little_or_change_too_much_are_stopped(confusion, n_changed, reason):
    gate = judge(confusion, Sides(n_changed, 0, 0))
    assert gate.relabel == gate.drop == reason
    assert gate.is_closed == bool(reason and n_changed)
    assert gate.changed_share == n_changed / max(confusion.sum(), 1)


def test_agreement_is_corrected_for_chance():
    # Of two classes with as many rows each, it is the share that agrees less the share that does not.
    for agreeing, reason in ((61, None), (59, "near_chance")):
        gate = judge(np.array([[agreeing, 100 - agreeing], [100 - agreeing, agreeing]]))
        assert gate.agreement == pytest.approx((2 * agreeing - 100) / 100)
        assert gate.relabel == reason
        assert gate.is_too_weak == bool(reason)


@pytest.mark.parametrize(
    ("with_model", "with_given", "is_open"),
    [
        (37, 0, True),
        (850, 150, True),
        (760, 240, False),  # 3 of 4, but that may be chance
        (12, 0, True),
        (11, 0, False),
        (0, 0, False),  # nobody was asked
        (0, 30, False),
    ],
)
def test_an_action_needs_the_second_opinion_on_the_very_rows_that_it_changes(with_model, with_given, is_open):
    sides = Sides(40, with_model, with_given)
    gate = judge(relabelled=sides, dropped=Sides(5, 5, 0), self_tests=evidence())
    assert (gate.relabel is None) == is_open
    assert gate.drop is None
    assert gate.closed == ({} if is_open else {"relabel": "second_opinion"})
    assert not gate.is_closed  # rows are dropped
    assert not gate.least_confidence
    sentence = describe_gate(gate)
    assert (sentence is None) == is_open
    if sentence:
        assert sentence.startswith("No row is relabelled: of the 40 rows to relabel")
        assert f"in {with_model:,} and the given label's in {with_given:,}" in sentence
        assert "to drop" not in sentence
    alone = judge(relabelled=sides, self_tests=evidence())
    assert alone.is_closed != is_open
    assert is_open or describe_gate(alone).startswith("No label is changed: ")


@pytest.mark.parametrize(
    ("with_model", "with_given", "agree", "is_open"),
    [
        (4, 0, 0.5, True),
        (3, 0, 0.5, False),  # may be chance
        (75, 25, 0.5, True),
        (74, 26, 0.5, False),  # fewer than 3 of 4
        (74, 26, 0.7, True),  # but of two that agree beyond chance
        (64, 36, 0.7, False),
        (0, 30, 0.9, False),
        (3, 0, 0.9, False),  # of 40 rows 37 look like neither
    ],
)
def test_rows_are_dropped_where_the_second_opinion_is_for_it(with_model, with_given, agree, is_open):
    gate = judge(dropped=Sides(40, with_model, with_given), self_tests=evidence(), beyond_chance=agree)
    assert (gate.drop is None) == is_open
    assert is_open or "of the 40 rows to drop" in describe_gate(gate)


@pytest.mark.parametrize(
    ("sides", "found", "agree", "is_dropped"),
    [
        (Sides(2, 2, 0), noise(0, error=1), 0.9, True),
        (Sides(6, 5, 1), noise(0.9, error=0.6), 0.9, True),
        (Sides(6, 3, 1), noise(1), 0.9, False),  # half of the rows look like neither
        (Sides(6, 4, 2), noise(1), 0.9, False),  # fewer than 3 of 4
        (Sides(2, 2, 0), noise(1), 0.6, False),  # of two that hardly agree beyond chance
        (Sides(2, 2, 0), noise(0.3, error=0.1), 0.9, False),  # most may be the classifier's mistakes
        (Sides(2, 2, 0), NoiseEvidence(1.0, 1.0, 0.97, is_falling=True), 0.9, False),
        (Sides(2, 0, 0), noise(1), 0.9, False),
    ],
)
def test_rows_of_which_few_opinions_are_all_that_is_missing_are_dropped_not_relabelled(
    sides, found, agree, is_dropped
):
    gate = judge(relabelled=sides, self_tests=evidence(), noise=found, beyond_chance=agree)
    assert gate.relabel == "second_opinion"
    assert gate.drops_instead == is_dropped
    assert gate.is_closed != is_dropped
    assert gate.changed_share == sides.n_rows / 100
    assert ("dropped instead" in describe_gate(gate)) == is_dropped
    assert gate.after_proof(Difference(0.0, -0.1, 0.1)).drops_instead == is_dropped
    assert gate.after_proof(Difference(-0.1, -0.2, -0.01)).is_closed
    if is_dropped:
        assert "keep their label" not in describe_gate(gate)
        both = judge(
            relabelled=sides, dropped=Sides(5, 0, 4), self_tests=evidence(), noise=found, beyond_chance=agree
        )
        assert both.drops_instead
        assert "dropped instead; the other rows to drop keep their label" in describe_gate(both)
        for others in ({"may_drop": False}, {"limit": 0.01}):
            gate = judge(relabelled=sides, self_tests=evidence(), noise=found, beyond_chance=agree, **others)
            assert gate.is_closed


@pytest.mark.parametrize(
    ("self_tests", "n_changed", "reason", "says"),
    [
        (evidence(second=False), 30, None, None),
        (evidence(second=False), 31, "too_many_changes", "halved where there is no second opinion"),
        (evidence(second=False, auroc=0.7), 9, "planted_errors", "AUROC 0.70"),
        (evidence(second=False, auroc=None), 9, "planted_errors", "AUROC unknown"),
        (evidence(second=False, is_shifted=True), 9, "class_shares", "class rare in 11.2% of rows"),
    ],
)
def test_without_a_second_opinion_the_other_tests_speak_and_less_may_be_changed(
    self_tests, n_changed, reason, says
):
    gate = judge(relabelled=Sides(n_changed, 0, 0), self_tests=self_tests)
    assert gate.relabel == reason
    sentence = describe_gate(gate)
    assert says is None if sentence is None else says in sentence


@pytest.mark.parametrize(
    ("with_model", "with_given", "found", "agree", "outcome"),
    [
        (850, 150, noise(0.75), 0.5, "all"),
        (850, 150, noise(0.74), 0.7, "surest"),
        (850, 150, noise(0.74), 0.6, "none"),  # two that hardly agree beyond chance
        (990, 10, noise(0.51), 0.9, "surest"),  # two views of classes that overlap agree, and both are wrong
        (990, 10, noise(0.4), 0.9, "none"),
        (600, 400, noise(1.0), 0.7, "surest"),
        (510, 490, noise(1.0), 0.7, "none"),
        (600, 400, noise(0.4, error=0.2), 0.7, "surest"),  # few rows do not say that there is no noise
        (600, 400, noise(0.4), 0.7, "none"),
    ],
)
def test_where_the_evidence_is_weaker_only_the_surest_rows_are_relabelled(
    with_model, with_given, found, agree, outcome
):
    sides = Sides(1_000, with_model, with_given)
    gate = judge(SURE * 20, sides, self_tests=evidence(), noise=found, beyond_chance=agree)
    assert gate.relabel == ("second_opinion" if outcome == "none" else None)
    assert gate.least_confidence == (0.97 if outcome == "surest" else 0)
    sentence = describe_gate(gate)
    if outcome == "surest":
        assert sentence.startswith("Only the surest rows may be relabelled, from a probability of 0.97 on")
        assert (f"{found.share:.2f} times as common" in sentence) == (found.share < 0.75)
        assert "pseudo_label.on_weak_model to go_on" in sentence
    else:
        assert (sentence is None) == (outcome == "all")
    assert gate.is_closed == (outcome == "none")


@pytest.mark.parametrize(
    ("least_confidence", "agree", "reason"),
    [(0.97, 0.9, None), (None, 0.9, "classes_overlap"), (0.97, 0.6, "second_opinion")],
)
def test_where_other_labels_become_ever_fewer_all_rows_are_never_relabelled(least_confidence, agree, reason):
    found = NoiseEvidence(1.0, 1.0, least_confidence, is_falling=True)
    sides = Sides(1_000, 1_000, 0)
    gate = judge(SURE * 50, sides, sides, self_tests=evidence(), noise=found, beyond_chance=agree)
    assert gate.relabel == reason
    assert gate.drop == (reason if reason == "classes_overlap" else None)
    assert gate.least_confidence == (0 if reason else 0.97)
    assert (
        "up to the surest of the 1,000 rows to relabel and 1,000 rows to drop" in describe_gate(gate)
    ) == (reason == "classes_overlap")


def test_why_only_the_surest_are_relabelled_is_said_as_it_is():
    sides = Sides(1_000, 1_000, 0)
    for is_falling in (True, False):
        found = NoiseEvidence(0.7, 0.7, 0.97, is_falling)
        gate = judge(SURE * 50, sides, self_tests=evidence(), noise=found, beyond_chance=0.9)
        sentence = describe_gate(gate)
        assert sentence.startswith("Only the surest rows may be relabelled, from a probability of 0.97 on")
        assert ("fewer have another label, the surer the classifier is" in sentence) == is_falling
        assert ("0.70 times as common" in sentence) != is_falling


def test_rows_are_not_dropped_where_hardly_a_sure_row_has_another_label():
    sides = Sides(400, 400, 0)
    for found, reason in ((noise(0.2, error=0.04), "own_mistakes"), (noise(0.2, error=0.06), None)):
        gate = judge(SURE * 20, NONE, sides, self_tests=evidence(), noise_dropped=found)
        assert gate.drop == reason
        assert reason is None or "most of the 400 rows to drop are its own mistakes" in describe_gate(gate)
    # Where rows are relabelled, that says nothing of them.
    gate = judge(SURE * 20, sides, sides, self_tests=evidence(), noise_dropped=noise(0.1))
    assert gate.closed == {"drop": "own_mistakes"}


@pytest.mark.parametrize("relabelled", [NONE, Sides(100, 0, 0)])
def test_so_are_they_without_a_second_opinion_from_rarer_ones_on(relabelled):
    for found, reason in ((noise(0.15, error=0.04), "own_mistakes"), (noise(0.15, error=0.06), None)):
        asked = {"self_tests": evidence(second=False), "noise": noise(1.0), "noise_dropped": found}
        gate = judge(SURE * 20, relabelled, Sides(400, 0, 0), **asked)
        assert (gate.relabel, gate.drop) == (None, reason)
        assert gate.changed_share == (relabelled.n_rows + 400 * (reason is None or gate.is_closed)) / 2_000
        sentence = describe_gate(gate)
        assert (sentence is not None) == bool(reason)
        assert reason is None or "most of the 400 rows to drop are its own mistakes" in sentence
    # Where no test was asked for nothing is known.
    assert judge(SURE * 20, relabelled, Sides(400, 0, 0), noise_dropped=noise(0.0)).drop is None


@pytest.mark.parametrize(
    ("sides", "agree", "is_open"),
    [
        (Sides(1, 1, 0), 0.7, True),
        (Sides(3, 2, 0), 0.7, True),
        (Sides(2, 1, 0), 0.7, False),  # one of two is no majority
        (Sides(3, 2, 1), 0.7, False),
        (Sides(3, 3, 0), 0.5, False),  # the views agree by chance
    ],
)
def test_of_few_rows_to_drop_all_opinions_have_to_be_for_it(sides, agree, is_open):
    gate = judge(dropped=sides, self_tests=evidence(), beyond_chance=agree)
    assert gate.drop == (None if is_open else "second_opinion")


def test_what_is_closed_and_what_is_partly_open_are_both_said():
    gate = judge(
        SURE * 20,
        Sides(1_000, 850, 150),
        Sides(30, 1, 20),
        self_tests=evidence(),
        noise=noise(0.6),
        beyond_chance=0.9,
    )
    sentence = describe_gate(gate)
    assert sentence.startswith("No row is dropped: of the 30 rows to drop")
    assert "Only the surest rows may be relabelled" in sentence


def test_rows_that_are_not_dropped_where_others_are_relabelled_need_no_advice():
    gate = judge(SURE * 20, Sides(1_000, 990, 10), Sides(3, 1, 0), self_tests=evidence())
    sentence = describe_gate(gate)
    assert sentence.startswith("No row is dropped: of the 3 rows to drop")
    assert "keep their label" in sentence
    assert "on_weak_model" not in sentence


def test_where_labels_are_right_wherever_the_classifier_is_sure_none_is_changed():
    sides = Sides(400, 380, 20)
    for self_tests in (evidence(), evidence(second=False)):
        gate = judge(SURE * 100, sides, sides, self_tests=self_tests, noise=noise(0.1, error=0.1))
        assert gate.relabel == gate.drop == "own_mistakes"
        assert "of the 400 rows to relabel and 400 rows to drop are its own mistakes" in describe_gate(gate)
    few = judge(SURE * 100, Sides(400, 399, 1), self_tests=evidence(), noise=noise(0.1, error=0.2))
    assert few.relabel == "second_opinion"


def test_a_second_opinion_vouches_for_a_classifier_that_half_of_the_labels_contradict():
    sides = Sides(50, 49, 1)
    for agree, reason in ((0.7, None), (0.6, "near_chance")):
        gate = judge(CHANCE, sides, self_tests=evidence(), beyond_chance=agree)
        assert gate.relabel == reason
    assert judge(CHANCE, sides, self_tests=evidence(second=False)).relabel == "near_chance"
    assert judge(CHANCE, sides, beyond_chance=0.9).relabel == "near_chance"  # no test was asked for


def test_a_repair_that_is_worse_on_held_out_rows_is_refused():
    gate = judge(SURE * 20, Sides(100, 100, 0), Sides(9, 1, 8), self_tests=evidence())
    assert (gate.relabel, gate.drop) == (None, "second_opinion")
    for found in (None, Difference(-0.01, -0.03, 0.01), Difference(0.02, 0.01, 0.03)):
        assert gate.after_proof(found).closed == gate.closed
    worse = gate.after_proof(Difference(-0.02, -0.03, -0.01))
    assert (worse.relabel, worse.drop) == ("worse_on_held_out", "second_opinion")
    assert worse.is_closed
    assert "-2.0%, 95 % interval -3.0% to -1.0%" in describe_gate(worse)


def test_only_what_may_be_done_counts_as_too_many_changes():
    relabelled, dropped = Sides(50, 50, 0), Sides(30, 5, 20)
    gate = judge(relabelled=relabelled, dropped=dropped, self_tests=evidence())
    assert (gate.relabel, gate.drop) == (None, "second_opinion")
    assert gate.changed_share == 0.5
    both = judge(relabelled=relabelled, dropped=Sides(30, 30, 0), self_tests=evidence())
    assert both.relabel == both.drop == "too_many_changes"
    assert "80 of 100 rows (80%)" in describe_gate(both)
    # Of 70 rows to relabel only the surest are.
    asked = {"self_tests": evidence(), "noise": noise(0.6), "beyond_chance": 0.9}
    some = judge(relabelled=Sides(70, 50, 10), n_surest=20, **asked)
    assert some.least_confidence == 0.97
    assert (some.relabel, some.changed_share) == (None, 0.2)
    assert judge(relabelled=Sides(70, 50, 10), n_surest=61, **asked).relabel == "too_many_changes"


def test_agreement_by_luck_counts_for_more_the_fewer_classes_there_are():
    rng = np.random.default_rng(0)
    for n_classes, expected in ((2, 0.33), (10, 0.71)):
        first = rng.integers(n_classes, size=200_000)
        second = np.where(rng.random(len(first)) < 0.2, first, rng.integers(n_classes, size=len(first)))
        views = np.zeros((n_classes, n_classes), dtype=np.int64)
        np.add.at(views, (first, second), 1)
        assert beyond_chance(views) == pytest.approx(expected, abs=0.01)
    assert beyond_chance(np.eye(3, dtype=np.int64)) == 1
    assert beyond_chance(np.zeros((2, 2), dtype=np.int64)) == 0
    assert beyond_chance(np.array([[0, 5], [5, 0]])) == 0


def test_without_self_tests_the_agreement_and_the_limit_alone_decide():
    assert judge(relabelled=Sides(60, 0, 60)).relabel is None


def test_views_that_are_too_weak_estimate_nothing():
    assert judge(self_tests=evidence(is_known=False)).is_too_weak
    assert not judge(self_tests=evidence()).is_too_weak


def test_sides_are_counted_on_the_changed_rows():
    changed = np.array([True, True, True, True, False])
    given, model, second = np.zeros(5, int), np.ones(5, int), np.array([1, 1, 0, -1, 1])
    assert Sides.of(changed, given, model, second) == Sides(4, 2, 1)
    assert Sides.of(changed, given, model, None) == Sides(4, 0, 0)


def test_each_reason_is_said_once():
    # Relabelling is not vouched for; what would be dropped is, and is too much.
    gate = judge(
        SURE * 10,
        Sides(20, 5, 5),
        Sides(800, 780, 20),
        self_tests=evidence(),
        noise=noise(0.9),
        beyond_chance=0.9,
    )
    assert gate.closed == {"relabel": "second_opinion", "drop": "too_many_changes"}
    sentence = describe_gate(gate)
    assert sentence.startswith("No label is changed: of the 20 rows to relabel, ")
    assert "800 of 1,000 rows (80%) would be changed" in sentence
    both = judge(CHANCE, Sides(20, 5, 5), Sides(8, 1, 1))
    assert describe_gate(both).count("agreement 0.00") == 1
