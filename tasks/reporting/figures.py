"""The report's charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.label_quality.review_budget import Budget
from tasks.label_quality.self_tests.intervals import Share
from tasks.page.charts import Axis, Chart, Colour, Line, axis, count_axis, histogram, line_chart, log_axis
from tasks.tables.schemas import column_array

_BINS = 40
# A score that spans more than so many times its lowest, if that is not almost 0, gets a logarithmic axis.
_WIDE, _LOWEST = 20, 1e-300


@dataclass(frozen=True)
class Ends:
    """The lowest and the highest score of some rows."""

    low: float
    high: float


@dataclass(frozen=True)
class ScoreHistogram:
    """How a score is spread over all rows and over the flagged ones.

    Attributes:
        chart: the picture.
        cut: the score at which flagged rows end, where one number parts them from the others.
        flagged: where the flagged rows lie, if there are any.
        others: where the others lie, if there are any.
    """

    chart: Chart
    cut: float | None
    flagged: Ends | None
    others: Ends | None


def score_histogram(
    label: str, scores: npt.NDArray[np.float64], is_issue: npt.NDArray[np.bool_]
) -> ScoreHistogram:
    """The histogram of `scores` (N,), of which there is at least one, with flagged rows before all rows."""
    low, high = float(scores.min()), float(scores.max())
    x: Axis
    if low > _LOWEST and high > _WIDE * low:
        x = log_axis(label, low, high)
        edges = np.geomspace(x.low, x.high, _BINS + 1)
    else:
        x = axis(label, low, high)
        edges = np.linspace(x.low, x.high, _BINS + 1)
    # Rounding may leave an end a last bit inside of the values.
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    of_all, _ = np.histogram(scores, edges)
    of_issues, _ = np.histogram(scores[is_issue], edges)
    cut = single_cut(scores, is_issue)
    chart = histogram(
        x,
        count_axis("training rows", int(of_all.max())),
        edges.tolist(),
        [("all rows", "soft", of_all.tolist()), ("label issues", "bad", of_issues.tolist())],
        marks=[] if cut is None else [(cut, f"cut {cut:.4g}")],
    )
    return ScoreHistogram(chart, cut, _ends(scores[is_issue]), _ends(scores[~is_issue]))


def single_cut(scores: npt.NDArray[np.float64], is_issue: npt.NDArray[np.bool_]) -> float | None:
    """The last flagged score (N,), if all flagged rows lie on one side of it and all others on the other."""
    flagged, others = _ends(scores[is_issue]), _ends(scores[~is_issue])
    if flagged is None or others is None:
        return None
    if flagged.high <= others.low:
        return flagged.high
    return flagged.low if flagged.low >= others.high else None


def _ends(scores: npt.NDArray[np.float64]) -> Ends | None:
    return Ends(float(scores.min()), float(scores.max())) if len(scores) else None


# Of fewer rows a share is hardly one: its interval spans half of the axis.
_LEAST_ROWS = 10
_RELIABILITY_COLOURS: Mapping[str, Colour] = {
    "given": "bad",
    "cleaned": "good",
    "true": "tint",
    "coreset": "third",
    "random_subset": "ink",
}


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram.

    Attributes:
        chart: the picture.
        left_out: by name of the labels, how many bins have too few rows to be drawn, and how many rows those
            are.
        least: of how many rows a bin is drawn.
    """

    chart: Chart
    left_out: Mapping[str, tuple[int, int]]
    least: int


def reliability_chart(bins: Mapping[str, Mapping[str, Sequence[float]]]) -> Reliability:
    """Accuracy over confidence, by name of the labels, beside the diagonal of perfect calibration.

    Each bin has the 95 % interval of its accuracy (Wilson 1927) as a vertical line.

    Args:
        bins: see `label_quality.metrics.reliability`.
    """
    diagonal = Line("perfectly calibrated", [0, 1], [0, 1], "soft", dashed=True)
    lines, legend, left_out = [diagonal], [(diagonal.name, diagonal.colour)], {}
    for name, found in bins.items():
        title, colour = f"{name} labels", _RELIABILITY_COLOURS[name]
        every = list(zip(found["rows"], found["confidence"], found["accuracy"], strict=True))
        drawn = [each for each in every if each[0] >= _LEAST_ROWS]
        lines.append(Line(title, [each[1] for each in drawn], [each[2] for each in drawn], colour))
        for rows, confidence, accuracy in drawn:
            share = Share(round(accuracy * rows), int(rows))
            said = f"{title}: {share.value:.1%} of {share.n_rows:,} rows, {share.low:.1%} to {share.high:.1%}"
            lines.append(Line(said, [confidence, confidence], [share.low, share.high], colour))
        legend.append((title, colour))
        sparse = [each[0] for each in every if each[0] < _LEAST_ROWS]
        if sparse:
            left_out[name] = len(sparse), int(sum(sparse))
    low = min((min(found["confidence"], default=1.0) for found in bins.values()), default=0.0)
    chart = line_chart(
        axis("confidence: probability of the predicted class", min(low, 0.9), 1, ".0%"),
        axis("share predicted right", 0, 1, ".0%"),
        lines,
        legend,
    )
    return Reliability(chart, left_out, _LEAST_ROWS)


def budget_chart(budgets: Sequence[Budget], measured: bool) -> Chart:
    """Precision and recall over rows looked at; where the truth is not known, the errors expected."""
    sizes = [budget.n_rows for budget in budgets]
    x = axis("label issues looked at, the most suspect first", 0, sizes[-1], ",.0f")
    if not measured:
        counts = [budget.n_errors for budget in budgets]
        y = axis("wrong labels found, estimated", 0, max(counts), ",.0f")
        return line_chart(x, y, [Line("estimated", [0, *sizes], [0, *counts])])
    return line_chart(
        x,
        axis("share", 0, 1, ".0%"),
        [
            Line("precision: wrong labels among the rows looked at", sizes, [b.precision for b in budgets]),
            Line(
                "recall: wrong labels found, of all",
                [0, *sizes],
                [0, *(b.recall for b in budgets)],
                "bad",
                True,
            ),
        ],
    )


def curves_chart(
    folds: Mapping[str, Mapping[str, Sequence[float]]],
    retrained: Mapping[str, Mapping[str, Sequence[float]]],
) -> Chart | None:
    """The accuracy of every training by epoch: of the folds, and of the retrainings; None without values.

    Args:
        folds: the values of learning curves by metric name (`train/accuracy`), of each fold.
        retrained: the same of each label set.
    """
    colours: dict[tuple[str, bool], Colour] = {
        ("train", False): "soft",
        ("validation", False): "tint",
        ("train", True): "good",
        ("validation", True): "third",
    }
    words = {"train": "training rows", "validation": "held-out rows"}
    lines, legend = [], {}
    for again, runs in (False, folds), (True, retrained):
        for name, values in runs.items():
            for kind, word in words.items():
                found: Sequence[float] = values.get(f"{kind}/accuracy", ())
                if found:
                    colour = colours[kind, again]
                    epochs = list(range(1, len(found) + 1))
                    lines.append(Line(f"{name}, {word}", epochs, found, colour, dashed=kind == "train"))
                    legend[f"{'retrainings' if again else 'folds'}, {word}"] = colour
    finite = [value for line in lines for value in line.y if np.isfinite(value)]
    if not finite:
        return None
    x = axis("epoch", 1, max(len(line.x) for line in lines), ",.3g", most_ticks=9)
    return line_chart(x, axis("accuracy", min(finite), max(finite), ".4g"), lines, list(legend.items()))


def histograms(issues: pa.Table) -> dict[str, ScoreHistogram]:
    """The histogram of each score that the table has."""
    is_issue = column_array(issues, "is_issue")
    found = {}
    if issues.num_rows:
        label = "self-confidence: probability of the given label"
        found["self_confidence"] = score_histogram(label, column_array(issues, "self_confidence"), is_issue)
    measured = issues.column("importance").is_valid().to_numpy()
    if measured.any():
        values = issues.column("importance").fill_null(0).to_numpy()[measured]
        found["importance"] = score_histogram("importance (sensitivity bound)", values, is_issue[measured])
    return found
