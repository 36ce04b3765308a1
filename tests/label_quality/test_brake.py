import numpy as np
import pytest

from tasks.label_quality.brake import apply_brake

SURE = np.array([[45, 5], [5, 45]])
CHANCE = np.array([[25, 25], [25, 25]])


@pytest.mark.parametrize(
    ("confusion", "changed_share", "reason"),
    [
        (SURE, 0.6, None),
        (SURE, 0.61, "too_many_changes"),
        (CHANCE, 0.0, "near_chance"),
        (CHANCE, 0.9, "near_chance"),  # what helps is another model, not another limit
        (CHANCE[::-1] * np.array([[0, 1], [1, 0]]), 0.1, "near_chance"),  # all wrong: below chance
        (np.array([[80, 0], [20, 0]]), 0.2, "near_chance"),  # one class for all rows, right for most
        (np.array([[100, 0], [0, 0]]), 0.0, "near_chance"),  # one class alone proves nothing
        (np.zeros((2, 2), dtype=np.int64), 0.0, "near_chance"),
    ],
)
def test_predictions_that_say_too_little_or_change_too_much_are_stopped(confusion, changed_share, reason):
    brake = apply_brake(confusion, changed_share, 0.6)
    assert brake.reason == reason
    assert brake.changed_share == changed_share


def test_agreement_is_corrected_for_chance():
    # Of two classes with as many rows each, it is the share that agrees less the share that does not.
    for agreeing, reason in ((61, None), (59, "near_chance")):
        brake = apply_brake(np.array([[agreeing, 100 - agreeing], [100 - agreeing, agreeing]]), 0, 1)
        assert brake.agreement == pytest.approx((2 * agreeing - 100) / 100)
        assert brake.reason == reason
