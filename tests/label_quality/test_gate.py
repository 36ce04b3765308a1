import numpy as np
import pytest

from tasks.label_quality.gate import Sides, judge_repair, share_of_noise
from tasks.label_quality.gate_words import describe_gate

SURE = np.array([[45, 5], [5, 45]])
CHANCE = np.array([[25, 25], [25, 25]])
NONE = Sides(0, 0, 0)


def evidence(second=True, auroc=0.95, is_known=True, is_shifted=False):
    return {
        "planted": {"uniform": {"auroc": auroc}},
        "class_shares": {"class": "rare", "expected": 0.112, "given": 0.018, "is_shifted": is_shifted},
        "second_opinion": {"is_known": is_known} if second else None,
    }


def judge(confusion=SURE, relabelled=NONE, dropped=NONE, limit=0.6, self_tests=None):
    return judge_repair(confusion, relabelled, dropped, limit, self_tests or {})


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
        (75, 25, True),
        (74, 26, False),  # fewer than 3 of 4
        (4, 1, False),  # may be chance
        (4, 0, True),
        (3, 0, False),
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


def test_where_the_classifier_is_surest_noise_is_as_common_as_elsewhere_and_mistakes_are_not():
    rng = np.random.default_rng(0)
    given, confidence = rng.integers(5, size=20_000), rng.uniform(0.5, 1, size=20_000)

    def share(differs):
        model = np.where(differs, (given + 1) % 5, given)
        return share_of_noise(differs & (confidence >= 0.8), given, model, confidence)

    assert share(rng.random(20_000) < 0.2) == pytest.approx(1, abs=0.1)
    assert share(rng.random(20_000) < 1 - confidence) < 0.4
    assert share(np.zeros(20_000, dtype=bool)) == 1


def test_rows_among_which_are_mistakes_need_a_clearer_second_opinion():
    for with_model, noise_share, reason in ((85, 0.8, None), (85, 0.7, "second_opinion"), (90, 0.4, None)):
        sides = Sides(100, with_model, 100 - with_model)
        gate = judge_repair(SURE, sides, sides, 2.5, evidence(), noise_share=noise_share)
        assert gate.relabel == reason
        assert gate.drop is None
        assert reason is None or "needs 90% of these sides" in describe_gate(gate)


def test_where_labels_are_right_wherever_the_classifier_is_sure_none_is_changed():
    sides = Sides(400, 380, 20)
    gate = judge_repair(SURE * 100, sides, sides, 0.6, evidence(), noise_share=0.2)
    assert gate.relabel == gate.drop == "own_mistakes"
    assert "most of the 400 rows to relabel are its own mistakes" in describe_gate(gate)
    alone = judge_repair(SURE * 100, sides, sides, 0.6, evidence(second=False), noise_share=0.2)
    assert alone.relabel == alone.drop == "own_mistakes"


def test_few_rows_do_not_say_that_no_label_is_wrong():
    rng = np.random.default_rng(1)
    for n_rows, expected in ((100, 1.0), (50_000, 0.0)):
        confidence = rng.uniform(0.5, 1, size=n_rows)
        given = np.zeros(n_rows, dtype=np.int64)
        # Other labels are one in twenty, none where the classifier is surest.
        model = np.where((rng.random(n_rows) < 0.05) & (confidence < 0.9), 1, 0)
        share = share_of_noise((model == 1) & (confidence > 0.8), given, model, confidence)
        assert share == pytest.approx(expected, abs=0.05)


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
