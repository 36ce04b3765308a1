"""Which filter finds wrong labels, which score ranks them: on all arrays with truth that can be had.

`python -m benchmarks.filters [DATA ...]` (make bench-filters) takes classifiers that learned out of fold from
labels that were made wrong, or that people got wrong (`benchmarks.runs`), and prints by kind of noise: F1 of
each filter and average precision of each score (mean and standard deviation over arrays), the number of wrong
labels beside its estimate, and how often a label is wrong that is said to be so with some probability. Data:
human, official (Imagenette's), cancer, wine, digits, mnist, tweets, imagenette; what is not there is left
out. The seven filters that cleanlab has are compared with cleanlab's on each array.
"""

import sys
import warnings
from collections.abc import Iterator
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.runs import KINDS, Run, contents, human_runs, official_runs, recipes
from tasks.label_quality.error_prob import ErrorCounts, average
from tasks.label_quality.filter_files import filter_names
from tasks.label_quality.issues import find_issues
from tasks.label_quality.metrics import detection_quality, ranking_quality
from tasks.label_quality.rows import ArrayRows
from tasks.label_quality.scores import SCORES

RATES = (0.02, 0.05, 0.1, 0.2, 0.4)
MODELS = ("logistic", "forest", "network", "weak logistic")
BINS = (0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1)
Ints = npt.NDArray[np.int64]


def runs_of(data: str) -> Iterator[Run]:
    """All runs of a data set."""
    if data == "human":
        return human_runs()
    if data == "official":
        return official_runs()
    noise = [(kind, rate) for kind in KINDS for rate in RATES]
    return (recipe.run() for recipe in recipes([data], noise, MODELS))


def group_of(run: Run) -> str:
    """The line of the table in which a run stands."""
    kind, _, rate = run.noise.partition(" ")
    if kind not in KINDS:
        return f"{run.data}, {kind}"
    return f"{kind}, {'under 10 %' if float(rate.rstrip('%')) < 10 else '10 to 40 %'}"


def measure(found: Run) -> tuple[dict[str, float], npt.NDArray[np.int64]]:
    """The figures of an array, and (2, B) its rows and wrong rows by bin of their probability to be wrong."""
    labels, probs = found.given, found.pred_probs
    issues = find_issues(ArrayRows(labels, probs), rank_by=None, with_error_prob=True)
    flags = {name: np.isin(np.arange(len(labels)), issues.flagged[name].rows) for name in filter_names()}
    figures = {name: detection_quality(found.is_wrong, flag)["f1"] for name, flag in flags.items()}
    right = issues.error_model.right_by_sharpness(labels, probs)
    suspicion = {name: -score(labels, probs) for name, score in SCORES.items()}
    suspicion["error_prob"] = error_prob = 1 - average(right)
    for name, score in suspicion.items():
        figures[f"AP of {name}"] = ranking_quality(found.is_wrong, score)["average_precision"]
    number, n_wrong = ErrorCounts.of(right).estimate(), int(found.is_wrong.sum())
    figures["estimated / wrong"] = number.estimate / n_wrong
    figures["low / wrong"], figures["high / wrong"] = number.low / n_wrong, number.high / n_wrong
    figures["within"] = float(number.low <= n_wrong <= number.high)
    figures["other rows than cleanlab"] = rows_other_than_cleanlab(labels, probs, flags)
    bins = np.clip(np.searchsorted(BINS, error_prob, side="right") - 1, 0, len(BINS) - 2)
    return figures, np.array(
        [np.bincount(bins[chosen], minlength=len(BINS) - 1) for chosen in (slice(None), found.is_wrong)]
    )


def rows_other_than_cleanlab(
    labels: Ints, probs: npt.NDArray[np.float32], flags: dict[str, npt.NDArray[np.bool_]]
) -> int:
    """Rows that cleanlab flags by a filter of the same name and ours does not, or the other way round.

    Its sorts are made stable, as ours are: what they do to ties differs from machine to machine.
    """
    from cleanlab.filter import find_label_issues

    unstable = np.argsort
    n_other = 0
    with patch.object(np, "argsort", lambda values, axis=-1, **_: unstable(values, axis, "stable")):
        for name in set(flags) - {"auto", "noise_posterior"}:
            theirs = find_label_issues(labels, probs.astype(np.float64), filter_by=name, n_jobs=1)
            n_other += int((theirs != flags[name]).sum())
    return n_other


def main() -> None:
    """Measure, and print the tables."""
    warnings.simplefilter("ignore")
    wanted = sys.argv[1:] or ["human", "official", *contents()]
    figures: dict[str, list[dict[str, float]]] = {}
    counted: dict[str, Ints] = {}
    for data in wanted:
        try:
            for run in runs_of(data):
                of_array, bins = measure(run)
                group = group_of(run)
                figures.setdefault(group, []).append(of_array)
                counted[group] = counted.get(group, 0) + bins
                print(f"{run.name}: F1 of auto {of_array['auto']:.3f}", file=sys.stderr)
        except FileNotFoundError as error:
            print(f"{data} is left out: {error}", file=sys.stderr)
    console = Console(width=40 + 16 * len(figures))
    table = Table("mean ± standard deviation", *(f"{name} ({len(of)})" for name, of in figures.items()))
    for row in next(iter(figures.values()))[0]:
        values = [np.array([of_array[row] for of_array in of]) for of in figures.values()]
        table.add_row(row, *(f"{value.mean():.3f} ± {value.std():.3f}" for value in values))
    console.print(table)
    table = Table("probability to be wrong", *(f"{name}: wrong" for name in figures))
    for place, (low, high) in enumerate(pairwise(BINS)):
        shares = [
            f"{wrong[place] / max(rows[place], 1):.1%} of {rows[place]:,}" for rows, wrong in counted.values()
        ]
        table.add_row(f"{low:g} to {high:g}", *shares)
    console.print(table)


if __name__ == "__main__":
    main()
