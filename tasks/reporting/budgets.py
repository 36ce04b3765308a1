"""What people find who look at some of the issues, the most suspect first."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.label_quality.metrics import IssueMetrics
from tasks.label_quality.review_budget import Budget, review_budgets, round_sizes
from tasks.page.charts import Chart
from tasks.reporting.figures import budget_chart
from tasks.tables.schemas import column_array

# Points of the curve over review budgets.
_BUDGET_POINTS = 120


@dataclass(frozen=True)
class ReviewBudget:
    """What looking at the issues finds; `measured` against the truth, or estimated.

    Attributes:
        measured: whether the truth is known.
        n_errors: wrong labels in all.
        table: some budgets.
        example: the one to name in a sentence.
        chart: all of them.
    """

    measured: bool
    n_errors: int
    table: list[Budget]
    example: Budget
    chart: Chart


def review_budget(
    issues: pa.Table,
    found: npt.NDArray[np.intp],
    wrong: npt.NDArray[np.bool_] | None,
    detection: IssueMetrics,
) -> ReviewBudget | None:
    """Precision and recall by review budget, or the errors expected; None where there is nothing to review.

    An estimate takes each row's probability to be wrong (`error_prob`).
    """
    n_errors = detection["n_errors_estimated"] if wrong is None else detection["n_errors"]
    if not len(found) or n_errors is None:
        return None
    likely = column_array(issues, "error_prob")[found] if wrong is None else wrong
    table = review_budgets(likely, n_errors, round_sizes(len(found)))
    points = np.unique(np.linspace(1, len(found), min(_BUDGET_POINTS, len(found))).astype(np.int64))
    return ReviewBudget(
        measured=wrong is not None,
        n_errors=n_errors,
        table=table,
        example=next((budget for budget in table if budget.n_rows >= 200), table[-1]),
        chart=budget_chart(review_budgets(likely, n_errors, points), wrong is not None),
    )
