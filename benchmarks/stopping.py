"""`make bench-stopping`: whether what is said of the labels left holds for who stops because it looks good.

`python -m benchmarks.stopping [DATA ...] [--draws N]` simulates reviewers. Data: human (published arrays,
where they are; or how their names begin) and digits (0 to 20 % of the labels made wrong). Of each array the
population is once the rows that `auto` does not flag, and once all rows. Each reviewer has a seed, and
decides on up to 1,000 rows in the order of the draw. Printed of each population, over the reviewers:

- how often the bounds hold after every verdict at once: no rule of stopping can do worse;
- how often they hold for who looks after each hundred and stops when at most twice the share wrong, or 2 %,
  is left, or at the end;
- the same of each fifth reviewer, who leaves 5 % of the rows out and had looked up 20 wrong labels before;
- how often an ordinary 95 % interval (Clopper and Pearson) holds after every verdict at once;
- the upper bound after 200 and after 1,000 verdicts, in the mean.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.special import bdtr, bdtrc, betaln, gammaln

from benchmarks.runs import contents, human_runs, models, predict
from tasks.label_quality.audit import (
    PRIOR,
    RIGHT,
    UNKNOWN,
    WRONG,
    Bounds,
    bound_drawn,
    bound_wrong,
    draw_order,
)
from tasks.label_quality.issues import find_issues
from tasks.label_quality.noise import symmetric_noise
from tasks.label_quality.rows import ArrayRows

RATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
MOST = 1_000
# Verdicts after which a reviewer looks whether it is enough.
LOOKS = range(100, MOST + 1, 100)
CARELESS = 5
HELD = "holds at the stop"
A, B = PRIOR
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


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
            (f"{each.noise}_{each.model}", each.given, each.pred_probs, each.is_wrong)
            for each in human_runs()
            if each.noise.startswith(wanted)
        ]
    else:
        content, true = contents()[data]()
        arrays = []
        for rate in RATES:
            given = symmetric_noise(true, rate, int(true.max()) + 1, np.random.default_rng(0))
            probs = predict(models()["logistic"], content, given)[0].astype(np.float32)
            arrays.append((f"{data}, {rate:.0%} wrong", given, probs, given != true))
    for name, given, probs, is_wrong in arrays:
        flagged = find_issues(ArrayRows(given, probs), rank_by=None).flagged["auto"].rows
        yield Population(f"{name}: not flagged", np.delete(is_wrong, flagged))
        yield Population(f"{name}: all rows", is_wrong)


def measure(population: Population, n_draws: int) -> dict[str, float]:
    """The figures of a population, over reviewers."""
    is_wrong = population.is_wrong
    n_rows, n_wrong = len(is_wrong), int(is_wrong.sum())
    ids = np.arange(n_rows)
    enough = max(2 * n_wrong / n_rows, 0.02)
    wrong, careless = [], []
    for seed in range(n_draws):
        drawn = is_wrong[draw_order(ids, seed)]
        wrong.append(np.cumsum(drawn[:MOST]))
        if seed % CARELESS == 0:
            careless.append(holds_for_careless(drawn, seed, enough))
    after = np.array(wrong)  # (n_draws, T) wrong labels after each verdict
    seen = np.arange(1, after.shape[1] + 1)
    stop = [_stop(path, n_rows, enough) for path in after.tolist()]
    share = n_wrong / n_rows
    found = {
        "rows": n_rows,
        "wrong": share,
        "holds after every verdict": is_possible(n_rows, n_wrong, seen, after).all(axis=1).mean(),
        HELD: np.mean([low <= n_wrong <= high for _, low, high in stop]),
        "verdicts at the stop": np.mean([n for n, _, _ in stop]),
        "holds, skipping": np.mean(careless),
        "ordinary interval": is_ordinary(share, seen, after).all(axis=1).mean(),
    }
    for n in (200, MOST):
        if n <= len(seen):
            high = [_bound(n_rows, n, w)[1] for w in after[:, n - 1].tolist()]
            found[f"at most, {n:,} verdicts"] = np.mean(high) / n_rows
    return found


_bound = cache(lambda n_rows, n, w: ((b := bound_wrong(n_rows, n, w)).low, b.high))


def _stop(path: list[int], n_rows: int, enough: float) -> tuple[int, int, int]:
    """After how many verdicts a reviewer stops who looks after each hundred, and the bounds then."""
    looks = [n for n in LOOKS if n < len(path)] + [len(path)]
    for n in looks:
        low, high = _bound(n_rows, n, path[n - 1])
        if n == looks[-1] or high - path[n - 1] <= enough * (n_rows - n):
            break
    return n, low, high


def is_possible(n_rows: int, n_wrong: int, seen: Ints, after: Ints) -> Bools:
    """Whether the true number is within the bounds after each verdict, as `bound_wrong` asks of a number."""
    mixture = betaln(A + after, B + seen - after) - betaln(A, B)
    of_truth = _log_choose(n_rows - seen, n_wrong - after) - _log_choose(n_rows, n_wrong)
    return np.asarray(mixture - of_truth < -np.log(0.05))


def _log_choose(n: Ints | int, k: Ints | int) -> npt.NDArray[np.float64]:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def is_ordinary(share: float, seen: Ints, after: Ints) -> Bools:
    """Whether an exact 95 % interval for a fixed number of verdicts holds the true share after each."""
    above = bdtr(after, np.broadcast_to(seen, after.shape), share) > 0.025
    below = bdtrc(after - 1, np.broadcast_to(seen, after.shape), share) > 0.025
    return np.asarray(above & (below | (after == 0)))


def holds_for_careless(drawn: Bools, seed: int, enough: float) -> bool:
    """Whether the bounds hold when a reviewer stops who leaves rows out and looked some up before."""
    rng = np.random.default_rng(seed)
    truth = np.where(drawn, WRONG, RIGHT).astype(np.int8)
    n_wrong = int(drawn.sum())
    said = np.where(rng.random(len(truth)) < 0.05, UNKNOWN, truth)
    looked_up = rng.choice(np.flatnonzero(drawn), min(20, n_wrong), replace=False)
    known = np.full(len(truth), UNKNOWN, dtype=np.int8)
    bounds = Bounds(0, len(truth), len(truth))
    for n in LOOKS:
        known[:n] = said[:n]
        known[looked_up] = WRONG
        bounds = bound_drawn(known).bounds
        left = int((known == UNKNOWN).sum())
        if bounds.high - int((known == WRONG).sum()) <= enough * left:
            break
    return bounds.low <= n_wrong <= bounds.high


def main() -> int:
    """Print the table; return 1 if the bounds hold less often than they say, beyond chance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="*", default=["human", "digits"])
    parser.add_argument("--draws", type=int, default=1_000)
    chosen = parser.parse_args()
    rows: list[tuple[str, dict[str, float]]] = []
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
    always, at_stop = (min(each[name] for _, each in rows) for name in ("holds after every verdict", HELD))
    print(
        f"At least {at_stop:.1%} of the reviewers who stop have bounds that hold, and {always:.1%} of those "
        "who look after every verdict (95 % are stated)."
    )
    # A share of so many reviewers is off by so much.
    off = 3 * (0.95 * 0.05 / chosen.draws) ** 0.5
    return int(at_stop < 0.95 or always < 0.95 - off)


def _cell(title: str, value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:,.0f}" if title in ("rows", "verdicts at the stop") else f"{value:.2%}"


if __name__ == "__main__":
    sys.exit(main())
