"""`make bench-stopping`: whether what is said of the labels left holds for who stops because it looks good.

`python -m benchmarks.stopping [DATA ...] [--draws N]` simulates reviewers. Data: human (published arrays,
where they are; or how their names begin) and digits (0 to 20 % of the labels made wrong). Of each array the
population is once the rows that `auto` does not flag, and once all rows. Each reviewer has a seed, and
decides on up to 1,000 rows in the order of the draw. Printed of each population, over the reviewers:

- how often the bounds hold after every verdict at once: no rule of stopping can do worse;
- how often they hold for who stops when at most twice the share wrong, or 2 %, is left, or at the end;
- the same of a reviewer who leaves 5 % of the rows out and had looked up 20 wrong labels before;
- how often an ordinary 95 % interval (Clopper and Pearson) holds after every verdict at once;
- the upper bound after 200 and after 1,000 verdicts, in the mean.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import beta

from benchmarks.filters import by_people, classifiers
from benchmarks.self_tests import contents, predict
from tasks.label_quality.audit import RIGHT, UNKNOWN, WRONG, bound_drawn, bound_wrong, draw_order
from tasks.label_quality.issues import find_issues
from tasks.label_quality.noise import symmetric_noise
from tasks.label_quality.rows import ArrayRows

RATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
MOST = 1_000
# Verdicts after which a reviewer looks whether it is enough.
LOOKS = range(100, MOST + 1, 100)
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Population:
    """Rows of which some are wrong (N,)."""

    name: str
    is_wrong: Bools


def populations(data: str) -> Iterator[Population]:
    """What is not flagged, and all rows, of each array."""
    if data not in contents():
        # Of the rows of 20news most were never looked at: which are wrong is not known.
        wanted = ("cifar10", "roman") if data == "human" else data
        arrays = [
            (each.name, each.given, each.pred_probs, each.is_wrong)
            for each in by_people()
            if each.name.startswith(wanted)
        ]
    else:
        content, true = contents()[data]()
        arrays = []
        for rate in RATES:
            given = symmetric_noise(true, rate, int(true.max()) + 1, np.random.default_rng(0))
            probs = predict(classifiers()["logistic"], content, given)[0].astype(np.float32)
            arrays.append((f"{data}, {rate:.0%} wrong", given, probs, given != true))
    for name, given, probs, is_wrong in arrays:
        flagged = find_issues(ArrayRows(given, probs), rank_by=None).flagged["auto"].rows
        yield Population(f"{name}: not flagged", np.delete(is_wrong, flagged))
        yield Population(f"{name}: all rows", is_wrong)


def paths(is_wrong: Bools, n_draws: int) -> npt.NDArray[np.int64]:
    """(n_draws, T) wrong labels after each verdict, T at most 1,000, each row by another seed."""
    ids = np.arange(len(is_wrong))
    return np.array([np.cumsum(is_wrong[draw_order(ids, seed)[:MOST]]) for seed in range(n_draws)])


def measure(population: Population, n_draws: int) -> dict[str, float]:
    """The figures of a population, over reviewers."""
    is_wrong = population.is_wrong
    n_rows, n_wrong = len(is_wrong), int(is_wrong.sum())
    wrong = paths(is_wrong, n_draws)
    seen = np.broadcast_to(np.arange(1, wrong.shape[1] + 1), wrong.shape)
    # Many reviewers have seen as many rows with as many wrong labels.
    pairs, place = np.unique(np.stack([seen.ravel(), wrong.ravel()]), axis=1, return_inverse=True)
    bounds = np.array([(b.low, b.high) for b in (bound_wrong(n_rows, *pair) for pair in pairs.T.tolist())])
    holds = ((bounds[:, 0] <= n_wrong) & (n_wrong <= bounds[:, 1]))[place].reshape(wrong.shape)
    high = bounds[place, 1].reshape(wrong.shape)
    enough = max(2 * n_wrong / n_rows, 0.02)
    is_enough = (high - wrong) / np.maximum(n_rows - seen, 1) <= enough
    is_enough[:, -1] = True
    stop = is_enough.argmax(axis=1)
    t, w = pairs
    share = n_wrong / n_rows
    ordinary = (beta.ppf(0.025, w, t - w + 1) <= share) | (w == 0)
    ordinary &= (share <= beta.ppf(0.975, w + 1, t - w)) | (w == t)
    careless = [hold_for_careless(is_wrong, seed, enough) for seed in range(n_draws)]
    found = {
        "rows": n_rows,
        "wrong": share,
        "holds after every verdict": holds.all(axis=1).mean(),
        "holds at the stop": holds[np.arange(n_draws), stop].mean(),
        "verdicts at the stop": 1 + stop.mean(),
        "holds, skipping": float(np.mean(careless)),
        "ordinary interval": ordinary[place].reshape(wrong.shape).all(axis=1).mean(),
    }
    for n in (200, MOST):
        found[f"at most, {n:,} verdicts"] = high[:, n - 1].mean() / n_rows if n <= wrong.shape[1] else np.nan
    return found


def hold_for_careless(is_wrong: Bools, seed: int, enough: float) -> bool:
    """Whether the bounds hold when a reviewer stops who leaves rows out and looked some up before."""
    rng = np.random.default_rng(seed)
    truth = np.where(is_wrong[draw_order(np.arange(len(is_wrong)), seed)], WRONG, RIGHT)
    n_wrong = int(is_wrong.sum())
    said = np.where(rng.random(len(truth)) < 0.05, UNKNOWN, truth)
    looked_up = rng.choice(np.flatnonzero(truth == WRONG), min(20, n_wrong), replace=False)
    known = np.full(len(truth), UNKNOWN)
    bounds = None
    for n in LOOKS:
        known[:n] = said[:n]
        known[looked_up] = WRONG
        bounds = bound_drawn(known).bounds
        left = int((known == UNKNOWN).sum())
        if bounds.high - int((known == WRONG).sum()) <= enough * left:
            break
    assert bounds is not None
    return bounds.low <= n_wrong <= bounds.high


def main() -> int:
    """Print the table; return 1 if the bounds hold less often than they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="*", default=["human", "digits"])
    parser.add_argument("--draws", type=int, default=1_000)
    chosen = parser.parse_args()
    rows: list[tuple[str, dict[str, Any]]] = []
    for data in chosen.data:
        found = list(populations(data))
        if not found:
            print(f"{data} is left out: its files are not here.", file=sys.stderr)
        rows += [(each.name, measure(each, chosen.draws)) for each in track(found, data)]
    if not rows:
        return 1
    table = Table("population", title=f"{chosen.draws:,} reviewers each", *rows[0][1])  # noqa: B026
    for name, figures in rows:
        table.add_row(name, *(_cell(title, value) for title, value in figures.items()))
    Console(width=200).print(table)
    least = min(each["holds after every verdict"] for _, each in rows)
    print(f"The bounds hold after every verdict for {least:.1%} of the reviewers at least (95 % are stated).")
    return int(least < 0.95)


def _cell(title: str, value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:,.0f}" if title in ("rows", "verdicts at the stop") else f"{value:.2%}"


if __name__ == "__main__":
    sys.exit(main())
