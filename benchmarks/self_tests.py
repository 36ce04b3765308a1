"""Do the self-tests say the truth, and does the gate open and close where it should? On runs with truth.

`python -m benchmarks.self_tests [DATA ...]` takes strong and weak classifiers that learned out of fold from
labels that were made wrong, or that people got wrong (`benchmarks.runs`), runs the self-tests without the
truth, and compares: planted errors with the real ones, the bound of right labels with their share, the gate
with what the repair would do. Data: cancer, wine, digits, mnist, tweets, imagenette, human. What is not there
is left out. A second table has runs that were kept apart when the rule of the gate was chosen: other rates
and kinds of noise, and random forests. docs/self_tests.md has both.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.runs import KINDS, ROOT, Run, contents, human_runs, recipes
from tasks.gated_repair import hold_back, judge
from tasks.label_quality.gate import Gate
from tasks.label_quality.issues import find_issues
from tasks.label_quality.rows import ArrayRows
from tasks.label_quality.scores import ranking_score
from tasks.label_quality.self_tests.run import SelfTests, run_self_tests
from tasks.params import Params, load_params
from tasks.pseudo_labels.threshold import repair
from tasks.repair import Evidence, Repair
from tasks.sections import Section

NOISE = [("uniform", rate) for rate in (0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.5)]
NOISE += [("pair", 0.1), ("pair", 0.2), *(("doubt", rate) for rate in (0.05, 0.1, 0.2, 0.4))]
MODELS = (
    "logistic",
    "network",
    "weak logistic",
    "network, 2 epochs",
    "logistic, 40 rows",
    "tree",
    "naive Bayes",
)
# Kept apart: the runs of `benchmarks.filters` that are none of these.
OTHER_NOISE = [(kind, rate) for kind in KINDS for rate in (0.02, 0.05, 0.1, 0.2, 0.4)]
OTHER_MODELS = ("logistic", "forest", "network", "weak logistic")
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """What the tests said of a run, and what is true; shares of rows."""

    run: Run
    tests: SelfTests
    gate: Gate
    recall: float
    expected_recall: float
    right: float
    after: float
    gated: float
    n_wrong_touched: int
    n_touched: int

    @property
    def would_help(self) -> bool:
        """Whether the repair makes labels better, and most of the labels that it touches are wrong."""
        return self.after > self.right and 2 * self.n_wrong_touched > self.n_touched

    @property
    def would_harm(self) -> bool:
        """Whether the repair makes labels worse."""
        return self.after < self.right


def runs_of(data: str) -> Iterator[Run]:
    """All runs of a data set that have a second opinion."""
    runs = human_runs() if data == "human" else (made.run() for made in recipes([data], NOISE, MODELS))
    return (run for run in runs if run.second is not None)


def other_runs_of(data: str) -> Iterator[Run]:
    """Runs of a data set that were kept apart."""
    for made in () if data == "human" else recipes([data], OTHER_NOISE, OTHER_MODELS):
        if (made.kind, made.rate) not in NOISE or made.model not in MODELS:
            yield made.run()


def test_run(run: Run, params: Params) -> Outcome:
    """Run the tests and the gate as `prune` and `pseudo_label` do, and compare with the truth."""
    probs = run.pred_probs / run.pred_probs.sum(axis=1, keepdims=True, dtype=np.float64)
    second = run.second
    rows, n_classes = ArrayRows(run.given, probs), probs.shape[1]
    filter_by, section = params.prune.filter_by, params.pseudo_label
    rank_by = params.prune.rank_by
    issues = find_issues(rows, filters=[filter_by], rank_by=rank_by, with_error_prob=True)
    is_issue = np.isin(np.arange(len(probs)), issues.flagged[filter_by].rows)
    tests = run_self_tests(
        rows,
        issues.flagged[filter_by].rows,
        None if second is None else lambda asked: second[asked],
        filter_by=filter_by,
        score=ranking_score(rank_by, error_model=issues.error_model),
    )
    suggested = probs.argmax(axis=1)
    evidence = Evidence(
        ids=np.arange(len(probs)),
        labels=run.given,
        is_issue=is_issue,
        suggested=suggested,
        suggested_prob=probs.max(axis=1),
        n_classes=n_classes,
        pred_probs=lambda chosen: probs[chosen],
        min_confidence=section.min_confidence,
        otherwise=section.otherwise,
        error_prob=1 - issues.error_model.label_right_prob(run.given, probs),
    )
    made = repair(evidence, Section(), None, np.random.default_rng(0))
    found = tests.entries([str(k) for k in range(n_classes)])
    gate = judge(made, evidence, section.max_changed_share, second, found)
    gated = hold_back(made, evidence, gate, second).repair
    is_wrong, touched = run.given != run.true, made.is_changed
    return Outcome(
        run,
        tests,
        gate,
        recall=float(is_issue[is_wrong].mean()) if is_wrong.any() else float("nan"),
        expected_recall=tests.recall.value,
        right=float(1 - is_wrong.mean()),
        after=_accuracy(made, run.true),
        gated=_accuracy(gated, run.true),
        n_wrong_touched=int((touched & is_wrong).sum()),
        n_touched=int(touched.sum()),
    )


def _accuracy(made: Repair, true: Ints) -> float:
    return float((made.label == true)[made.is_kept].mean()) if made.is_kept.any() else 0.0


def print_outcome(outcome: Outcome) -> None:
    """One line: the run, and what was said and is true."""
    run, views = outcome.run, outcome.tests.agreement
    bound = f"{views.right_labels:.3f} ({views.low:.3f} to {views.high:.3f})" if views else "-"
    print(
        f"{run.data}; {run.noise}; {run.model}; right {outcome.right:.3f}; bound {bound}"
        f"{'' if views and views.is_known else ', not known'}; recall {outcome.recall:.2f}, planted "
        f"{outcome.expected_recall:.2f}; repair alone {outcome.after - outcome.right:+.3f}, with the gate "
        f"{outcome.gated - outcome.right:+.3f}; {', '.join(outcome.gate.closed.values()) or 'open'}",
        flush=True,
    )


def summarise(title: str, outcomes: list[Outcome]) -> Table:
    """A line for each data set."""
    table = Table(title=title)
    for column in (
        "data",
        "runs",
        "would harm: closed",
        "gate's harm",
        "would help: open",
        "bound too high",
        "bound within .04",
        "recall within .05",
    ):
        table.add_column(column, justify="left" if column == "data" else "right")
    for data in dict.fromkeys(outcome.run.data for outcome in outcomes):
        here = [outcome for outcome in outcomes if outcome.run.data == data]
        harm = [outcome for outcome in here if outcome.would_harm]
        helps = [outcome for outcome in here if outcome.would_help]
        known = [outcome for outcome in here if outcome.tests.agreement and outcome.tests.agreement.is_known]
        good = [
            outcome
            for outcome in known
            if (outcome.run.pred_probs.argmax(axis=1) == outcome.run.true).mean() >= 0.93
        ]
        recalls = [
            outcome
            for outcome in here
            if outcome.run.noise.startswith("uniform") and np.isfinite(outcome.recall)
        ]
        table.add_row(
            data,
            str(len(here)),
            _of(harm, lambda outcome: outcome.gated >= outcome.right),
            f"{min((outcome.gated - outcome.right for outcome in here), default=0):+.3f}",
            _of(helps, lambda outcome: outcome.gated > outcome.right),
            _of(known, lambda outcome: outcome.tests.agreement.low > outcome.right),
            _of(good, lambda outcome: abs(outcome.tests.agreement.right_labels - outcome.right) <= 0.04),
            _of(recalls, _is_recall_near),
        )
    return table


def _is_recall_near(outcome: Outcome) -> bool:
    found = outcome.tests.recall
    return found.low - 0.05 <= outcome.recall <= found.high + 0.05


def _of(outcomes: list[Outcome], holds: Callable[[Outcome], bool]) -> str:
    return f"{sum(map(holds, outcomes))} of {len(outcomes)}"


def main() -> int:
    warnings.simplefilter("ignore")
    params = load_params(ROOT / "params.yaml")
    for title, choose in (
        ("Self-tests and gate, on runs with truth", runs_of),
        ("The same, on runs that were kept apart", other_runs_of),
    ):
        outcomes = []
        for data in sys.argv[1:] or [*contents(), "human"]:
            try:
                for run in choose(data):
                    outcomes.append(test_run(run, params))
                    print_outcome(outcomes[-1])
            except FileNotFoundError as error:
                print(f"{data} is left out: {error}", file=sys.stderr)
        Console(width=120).print(summarise(title, outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
