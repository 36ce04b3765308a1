"""Review budgets: counts of the first rows, against scikit-learn's precision and recall."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score

from tasks.label_quality.review_budget import review_budgets, round_sizes


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.data())
def test_a_budget_is_precision_and_recall_of_flagging_its_rows(wrong, data):
    n_suspects = data.draw(st.integers(1, len(wrong)))
    for budget in review_budgets(np.array(wrong[:n_suspects]), sum(wrong), np.arange(1, n_suspects + 1)):
        flagged = np.arange(len(wrong)) < budget.n_rows
        assert budget.n_errors == sum(wrong[: budget.n_rows])
        assert budget.precision == pytest.approx(precision_score(wrong, flagged))
        assert budget.recall == pytest.approx(recall_score(wrong, flagged, zero_division=np.nan), nan_ok=True)


def test_probabilities_add_up_to_the_errors_expected():
    (budget,) = review_budgets(np.array([0.9, 0.8, 0.5]), 4.0, np.array([2]))
    assert (budget.n_errors, budget.precision, budget.recall) == pytest.approx((1.7, 0.85, 0.425))


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, []),
        (7, [7]),
        (10, [10]),
        (64, [10, 20, 50, 64]),
        (1000, [10, 20, 50, 100, 200, 500, 1000]),
        (1001, [10, 20, 50, 100, 200, 500, 1000, 1001]),
    ],
)
def test_budgets_are_round_and_end_with_all_suspects(n, expected):
    assert round_sizes(n).tolist() == expected
