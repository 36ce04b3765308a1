"""Do the self-tests say the truth, and does the gate open and close where it should? On runs with truth.

`python -m benchmarks.self_tests [DATA ...]` trains strong and weak classifiers out of fold on data whose
labels it makes wrong, or which people labelled, runs the self-tests without the truth, and compares: planted
errors with the real ones, the bound of right labels with their share, the gate with what the repair would do.
Data: cancer, wine, digits, mnist, tweets, human and imagenette, whose `features` (N, D) and `labels` (N,)
are read from benchmarks/out/imagenette.npz. What is not there is left out. docs/self_tests.md has the table.
"""

import csv
import gzip
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from tasks.label_quality.confusions import count_confusions
from tasks.label_quality.gate import Gate, Sides, judge_repair, share_of_noise
from tasks.label_quality.issues import find_issues
from tasks.label_quality.noise import pair_noise, symmetric_noise
from tasks.label_quality.rows import ArrayRows
from tasks.label_quality.scores import ranking_score
from tasks.label_quality.self_tests.neighbours_vote import ask_neighbours
from tasks.label_quality.self_tests.run import SelfTests, run_self_tests
from tasks.params import load_params
from tasks.pseudo_labels.threshold import repair
from tasks.repair import Evidence
from tasks.sections import Section

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent.parent / "shared" / "data"
NOISE = [("symmetric", rate) for rate in (0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.5)]
NOISE += [("pair", 0.1), ("pair", 0.2), *(("doubt", rate) for rate in (0.05, 0.1, 0.2, 0.4))]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """A classifier's out-of-fold probabilities, and who is asked for a second opinion."""

    data: str
    noise: str
    model: str
    given: Ints
    true: Ints
    pred_probs: Floats
    ask: Callable[[Ints], Ints] | None


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


def contents() -> dict[str, Callable[[], tuple[Floats, Ints]]]:
    """By name, features (N, D) and true labels (N,)."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine
    from sklearn.preprocessing import StandardScaler

    def scaled(loaded: Any) -> tuple[Floats, Ints]:
        return StandardScaler().fit_transform(loaded.data), loaded.target

    return {
        "cancer": lambda: scaled(load_breast_cancer()),
        "wine": lambda: scaled(load_wine()),
        "digits": lambda: (load_digits().data / 4 - 2, load_digits().target),
        "mnist": read_mnist,
        "tweets": read_tweets,
        "imagenette": read_imagenette,
    }


def read_mnist(n_rows: int = 5_000) -> tuple[Floats, Ints]:
    from sklearn.decomposition import PCA

    folder = SHARED / "mnist"
    pixels, labels = (
        np.frombuffer(gzip.decompress((folder / f"train-{name}-ubyte.gz").read_bytes()), np.uint8, offset=at)
        for name, at in (("images-idx3", 16), ("labels-idx1", 8))
    )
    rows = np.random.default_rng(1).permutation(len(labels))[:n_rows]
    return PCA(50, random_state=0).fit_transform(pixels.reshape(-1, 784)[rows] / 255), labels[rows].astype(
        int
    )


def read_tweets() -> tuple[Floats, Ints]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    with (SHARED / "covid_tweets" / "train.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    words = TfidfVectorizer(min_df=2, ngram_range=(1, 2), sublinear_tf=True)
    content = TruncatedSVD(100, random_state=0).fit_transform(
        words.fit_transform(row["Text"] for row in rows)
    )
    return 10 * content, np.array([row["Label"] == "INFORMATIVE" for row in rows]).astype(int)


def read_imagenette() -> tuple[Floats, Ints]:
    from sklearn.preprocessing import StandardScaler

    found = np.load(ROOT / "benchmarks" / "out" / "imagenette.npz")
    return StandardScaler().fit_transform(found["features"]), found["labels"]


class OnFewRows:
    """A classifier that learns from 40 rows alone."""

    def __init__(self, classifier: Any) -> None:
        self._classifier = classifier

    def fit(self, content: Floats, labels: Ints) -> None:
        """As in scikit-learn."""
        some = np.random.default_rng(0).permutation(len(labels))[:40]
        self._classifier.fit(content[some], labels[some])
        self.classes_ = self._classifier.classes_

    def predict_proba(self, content: Floats) -> Floats:
        """As in scikit-learn."""
        return np.asarray(self._classifier.predict_proba(content))


def models() -> dict[str, Callable[[int], Any]]:
    """Two that are strong, and four that are weak in different ways; they take a seed."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neural_network import MLPClassifier
    from sklearn.tree import DecisionTreeClassifier

    return {
        "logistic": lambda _: LogisticRegression(C=0.1, max_iter=300),
        "network": lambda seed: MLPClassifier((64,), max_iter=30, alpha=1.0, random_state=seed),
        "network, 2 epochs": lambda seed: MLPClassifier((32,), max_iter=2, random_state=seed),
        "logistic, 40 rows": lambda _: OnFewRows(LogisticRegression(max_iter=300)),
        "tree": lambda seed: DecisionTreeClassifier(random_state=seed),
        "naive Bayes": lambda _: GaussianNB(),
    }


def predict(
    make: Callable[[int], Any], content: Floats, labels: Ints, seed: int = 0
) -> tuple[Floats, Any, Ints]:
    """(N, K) out-of-fold probabilities, (N, D) the embeddings of the folds' models, and (N,) folds."""
    from sklearn.model_selection import StratifiedKFold

    probs = np.zeros((len(labels), int(labels.max()) + 1))
    fold, embeddings = np.zeros(len(labels), dtype=np.int64), {}
    for k, (rest, own) in enumerate(
        StratifiedKFold(5, shuffle=True, random_state=seed).split(content, labels)
    ):
        model = make(seed + k)
        model.fit(content[rest], labels[rest])
        probs[np.ix_(own, model.classes_)] = model.predict_proba(content[own])
        layer = content[own]
        if hasattr(model, "coefs_"):
            layer = np.maximum(layer @ model.coefs_[0] + model.intercepts_[0], 0)
        embeddings[k], fold[own] = (own, layer), k
    embedding = np.zeros((len(labels), embeddings[0][1].shape[1]), dtype=np.float32)
    for own, layer in embeddings.values():
        embedding[own] = layer
    return probs, embedding, fold


def doubt_noise(content: Floats, labels: Ints, rate: float, rng: np.random.Generator) -> Ints:
    """The rows with the lowest margin of a model of the truth, plus noise, get the runner-up class."""
    probs, _, _ = predict(models()["logistic"], content, labels, seed=99)
    order = np.argsort(probs, axis=1)
    rows = np.arange(len(labels))
    other = np.where(order[:, -1] == labels, order[:, -2], order[:, -1])
    margin = probs[rows, order[:, -1]] - probs[rows, order[:, -2]]
    doubt = np.log(np.maximum(margin, 1e-9)) + 1.5 * rng.normal(size=len(labels))
    chosen = np.argsort(doubt)[: round(rate * len(labels))]
    noisy = labels.copy()
    noisy[chosen] = other[chosen]
    return noisy


def runs_of(data: str) -> Iterator[Run]:
    """All runs of a data set."""
    content, true = contents()[data]()
    n_classes = int(true.max()) + 1
    for kind, rate in NOISE:
        # Of two classes, pair noise is symmetric noise, and labels half of which are wrong say nothing.
        if n_classes == 2 and (kind == "pair" or rate > 0.3):
            continue
        rng = np.random.default_rng([7, round(100 * rate)])
        if kind == "doubt":
            given = doubt_noise(content, true, rate, rng)
        else:
            make = symmetric_noise if kind == "symmetric" else pair_noise
            given = make(true, rate, n_classes, rng)
        for name, model in models().items():
            probs, embedding, fold = predict(model, content, given)
            yield Run(data, f"{kind} {rate:.0%}", name, given, true, probs, ask_in(embedding, given, fold))


def ask_in(embedding: npt.NDArray[np.float32], given: Ints, fold: Ints) -> Callable[[Ints], Ints]:
    return lambda asked: ask_neighbours(lambda: iter([embedding]), given, fold, asked)


def human_runs() -> Iterator[Run]:
    """Published probabilities of labels by people; the second opinion is another network's."""
    folder = SHARED / "human_noise"
    groups = {
        "cifar10n_aggregate": ("resnet18", "twins"),
        "roman_numeral": ("efficientnet", "swin", "resnet18", "twins", "resnet50d"),
    }
    for group, networks in groups.items():
        arrays = [np.load(folder / f"{group}_{network}.npz") for network in networks]
        given = arrays[0]["given_label"].astype(np.int64)
        # The right class of a wrong label is not published: what the networks together take it for.
        mean = sum(array["pred_probs"].astype(np.float64) for array in arrays)
        mean[np.arange(len(given)), given] = -1
        true = np.where(arrays[0]["is_error"], mean.argmax(axis=1), given)
        for k, network in enumerate(networks):
            other = arrays[(k + 1) % len(arrays)]["pred_probs"].argmax(axis=1)
            probs = arrays[k]["pred_probs"].astype(np.float64)
            yield Run("human", group, network, given, true, probs, lambda asked, other=other: other[asked])


def test_run(run: Run, params: Any) -> Outcome:
    """Run the tests and the gate as `prune` and `pseudo_label` do, and compare with the truth."""
    probs = run.pred_probs / run.pred_probs.sum(axis=1, keepdims=True)
    rows, n_classes = ArrayRows(run.given, probs), probs.shape[1]
    filter_by, section = params.prune.filter_by, params.pseudo_label
    rank_by = params.prune.rank_by
    issues = find_issues(rows, filters=[filter_by], rank_by=rank_by)
    is_issue = np.isin(np.arange(len(probs)), issues.flagged[filter_by].rows)
    tests = run_self_tests(
        rows,
        issues.flagged[filter_by].rows,
        run.ask,
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
    )
    made = repair(evidence, Section(), None, np.random.default_rng(0))
    relabelled, dropped = made.source == "pseudo", made.action == "dropped"
    second = tests.second_opinion(0, len(probs))
    gate = judge_repair(
        count_confusions(run.given, suggested, n_classes),
        Sides.of(relabelled, run.given, made.label, second),
        Sides.of(dropped, run.given, suggested, second),
        section.max_changed_share,
        tests.entries([str(k) for k in range(n_classes)]),
        noise_share=share_of_noise(relabelled, run.given, suggested, evidence.suggested_prob),
    )
    is_wrong, touched = run.given != run.true, relabelled | dropped
    taken_back = (relabelled & bool(gate.relabel)) | (dropped & bool(gate.drop))
    return Outcome(
        run,
        tests,
        gate,
        recall=float(is_issue[is_wrong].mean()) if is_wrong.any() else float("nan"),
        expected_recall=tests.recall.value,
        right=float(1 - is_wrong.mean()),
        after=_accuracy(np.where(relabelled, made.label, run.given), run.true, ~dropped),
        gated=_accuracy(
            np.where(relabelled & ~taken_back, made.label, run.given), run.true, ~dropped | taken_back
        ),
        n_wrong_touched=int((touched & is_wrong).sum()),
        n_touched=int(touched.sum()),
    )


def _accuracy(labels: Ints, true: Ints, kept: npt.NDArray[np.bool_]) -> float:
    return float((labels == true)[kept].mean()) if kept.any() else 0.0


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


def summarise(outcomes: list[Outcome]) -> Table:
    """A line for each data set."""
    table = Table(title="Self-tests and gate, on runs with truth")
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
            if outcome.run.noise.startswith("symmetric") and np.isfinite(outcome.recall)
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


def _of(outcomes: list[Outcome], holds: Callable[[Any], bool]) -> str:
    return f"{sum(map(holds, outcomes))} of {len(outcomes)}"


def main() -> int:
    warnings.simplefilter("ignore")
    params = load_params(ROOT / "params.yaml")
    outcomes = []
    for data in sys.argv[1:] or [*contents(), "human"]:
        try:
            for run in human_runs() if data == "human" else runs_of(data):
                outcomes.append(test_run(run, params))
                print_outcome(outcomes[-1])
        except FileNotFoundError as error:
            print(f"{data} is left out: {error}", file=sys.stderr)
    Console(width=120).print(summarise(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
