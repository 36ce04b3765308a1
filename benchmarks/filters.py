"""Which filter finds wrong labels, which score ranks them: on all arrays with truth that can be had.

`python -m benchmarks.filters [DATA ...]` (make bench-filters) trains classifiers out of fold on labels that
it makes wrong, adds published arrays with errors that people made, and prints by kind of noise: F1 of each
filter and average precision of each score (mean and standard deviation over arrays), the number of wrong
labels beside its estimate, and how often a label is wrong that is said to be so with some probability. Data:
human, cancer, wine, digits, mnist, tweets; what is not there is left out. Probabilities are kept in
benchmarks/out/filters, so that a second run takes minutes. The seven filters that cleanlab has are compared
with cleanlab's on each array.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.self_tests import SHARED, contents, predict
from tasks.label_quality.error_prob import ErrorCounts, average
from tasks.label_quality.filter_files import filter_names
from tasks.label_quality.issues import find_issues
from tasks.label_quality.metrics import detection_quality, ranking_quality
from tasks.label_quality.noise import doubt_noise, instance_noise, pair_noise, symmetric_noise
from tasks.label_quality.rows import ArrayRows
from tasks.label_quality.scores import SCORES

KEPT = Path(__file__).parent / "out" / "filters"
RATES = (0.02, 0.05, 0.1, 0.2, 0.4)
BINS = (0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1)
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """An array with truth: given labels (N,), probabilities (N, K) float32, and which rows are wrong (N,)."""

    group: str
    name: str
    given: Ints
    pred_probs: npt.NDArray[np.float32]
    is_wrong: npt.NDArray[np.bool_]


def classifiers() -> dict[str, Callable[[int], Any]]:
    """Strong ones that doubt in different ways, and a weak one; they take a seed."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    return {
        "logistic": lambda _: LogisticRegression(max_iter=300),
        "forest": lambda seed: RandomForestClassifier(100, min_samples_leaf=2, random_state=seed),
        "network": lambda seed: MLPClassifier((64,), max_iter=30, random_state=seed),
        "weak": lambda _: LogisticRegression(C=0.003, max_iter=300),
    }


def make_noise(kind: str, content: Floats, true: Ints, rate: float, rng: np.random.Generator) -> Ints:
    """True labels, made wrong."""
    n_classes = int(true.max()) + 1
    if kind == "uniform":
        return symmetric_noise(true, rate, n_classes, rng)
    if kind == "pair":
        return pair_noise(true, rate, n_classes, rng)
    if kind == "instance":
        scaled = (content - content.mean(axis=0)) / np.maximum(content.std(axis=0), 1e-9)
        return instance_noise(true, [scaled], rate, n_classes, rng)
    probs, _, _ = predict(classifiers()["logistic"], content, true, seed=99)
    return doubt_noise(true, probs, rate, rng)


def made(data: str) -> Iterator[Labelled]:
    """Arrays with noise that is made here, each read where it was kept."""
    content, true = contents()[data]()
    for number, kind in enumerate(("uniform", "pair", "instance", "doubt")):
        for rate in RATES:
            rng = np.random.default_rng([number, round(100 * rate)])
            given = make_noise(kind, content, true, rate, rng)
            for name, classifier in classifiers().items():
                path = KEPT / f"{data}-{name}-{kind}-{round(100 * rate)}.npy"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    np.save(path, predict(classifier, content, given)[0].astype(np.float32))
                group = f"{kind}, {'under 10 %' if rate < 0.1 else '10 to 40 %'}"
                yield Labelled(group, path.stem, given, np.load(path), given != true)


def by_people() -> Iterator[Labelled]:
    """Published arrays: errors that people made, and one with made noise."""
    for path in sorted((SHARED / "human_noise").glob("*.npz")):
        found = np.load(path)
        group = path.stem.rpartition("_")[0]
        yield Labelled(
            group, path.stem, found["given_label"].astype(np.int64), found["pred_probs"], found["is_error"]
        )


def measure(found: Labelled) -> tuple[dict[str, float], npt.NDArray[np.int64]]:
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


def rows_other_than_cleanlab(labels: Ints, probs: Any, flags: dict[str, npt.NDArray[np.bool_]]) -> int:
    """Rows that cleanlab flags by a filter of the same name and ours does not, or the other way round."""
    from cleanlab.filter import find_label_issues

    n_other = 0
    for name in set(flags) - {"auto", "noise_posterior"}:
        theirs = find_label_issues(labels, probs.astype(np.float64), filter_by=name, n_jobs=1)
        n_other += int((theirs != flags[name]).sum())
    return n_other


def main() -> None:
    """Measure, and print the tables."""
    warnings.simplefilter("ignore")
    wanted = sys.argv[1:] or ["human", *(name for name in contents() if name != "imagenette")]
    figures: dict[str, list[dict[str, float]]] = {}
    counted: dict[str, Any] = {}
    for data in wanted:
        try:
            for found in by_people() if data == "human" else made(data):
                of_array, bins = measure(found)
                figures.setdefault(found.group, []).append(of_array)
                counted[found.group] = counted.get(found.group, 0) + bins
                print(f"{found.name}: F1 of auto {of_array['auto']:.3f}", file=sys.stderr)
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
