"""`make bench-importance`: does importance find wrong labels, and what is a coreset worth? On real MNIST.

Three seeds of the pipeline up to `prune`, with 10 % symmetric noise (the workspaces of `make accept`), and
two tables:

1. The share of wrong labels among the most suspect 1, 5 and 10 % of the rows by each score. Importance and
   contrast come from the embeddings, once in each fold's own space and once as if the five models shared
   one, and from the pixels. A linear map of a fold's embedding changes no linear model on top of it, so the
   scores should not change either: how many of the top 1 % stay after a random map of each fold's is printed.
2. The accuracy of a logistic regression trained on a coreset or on a uniform sample. In each fold's space,
   four fifths of its rows are trained on and the rest, with true labels, are the test: 3 seeds x 5 folds.
"""

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from benchmarks.accept import SEEDS, run
from tasks.label_quality.coreset import draw_coreset
from tasks.label_quality.importance import Block, percentile_in_class, score_stream
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS
from tasks.tables.io import read_table
from tasks.tables.joins import locate
from tasks.tables.schemas import Artifact, column_array

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_CLASSES = 10
MEMORY_BYTES = 2**31
SHARES = (0.01, 0.05, 0.10)


@dataclass(frozen=True)
class Rows:
    """The training rows of one run: labels and fold (N,), embedding (N, 64), pixels (N, 784), scores (N,)."""

    given: Ints
    true: Ints
    repaired: Ints
    fold: npt.NDArray[np.int16]
    embedding: npt.NDArray[np.float32]
    pixels: npt.NDArray[np.float32]
    scores: dict[str, Floats]


def read_rows(workspace: Path) -> Rows:
    data = workspace / "data"
    predictions = read_table(data / "pred_probs.parquet", PRED_PROBS, columns=["fold", "embedding"])
    ids = column_array(predictions, "example_id")

    def joined(name: str, artifact: Artifact, columns: list[str]) -> dict[str, npt.NDArray[Any]]:
        table = read_table(data / f"{name}.parquet", artifact, columns=columns)
        rows = locate(column_array(table, "example_id"), ids)
        return {column: column_array(table, column)[rows] for column in columns}

    labels = joined("given_labels", GIVEN_LABELS, ["given_label", "true_label"])
    issues = joined(
        "label_issues",
        LABEL_ISSUES,
        ["self_confidence", "normalized_margin", "suggested_label", "noise_posterior"],
    )
    given = labels["given_label"].astype(np.int64)
    return Rows(
        given=given,
        true=labels["true_label"].astype(np.int64),
        repaired=np.where(issues["noise_posterior"], issues["suggested_label"], given).astype(np.int64),
        fold=column_array(predictions, "fold"),
        embedding=column_array(predictions, "embedding"),
        pixels=joined("examples", EXAMPLES, ["image"])["image"].reshape(len(ids), -1) / np.float32(255),
        scores={name: issues[name] for name in ("self_confidence", "normalized_margin")},
    )


def importance_and_contrast(
    features: npt.NDArray[np.floating], labels: Ints, space: npt.NDArray[np.integer] | None = None
) -> tuple[Floats, Floats]:
    """(N,) both scores of each row; rows of one `space` (N,) alone are compared, where it is given."""
    space = np.zeros(len(labels), dtype=np.int64) if space is None else space
    importance, contrast = score_stream(
        lambda: [Block(features, labels, space)],
        len(labels),
        N_CLASSES,
        int(space.max()) + 1,
        features.shape[1],
        contrast=True,
        memory_bytes=MEMORY_BYTES,
    )
    assert contrast is not None
    return importance, contrast


def mapped(rows: Rows, rng: np.random.Generator) -> Floats:
    """The embedding after a rotation and a scaling of its axes, of each fold's own."""
    width = rows.embedding.shape[1]
    found = np.zeros(rows.embedding.shape)
    for fold in np.unique(rows.fold):
        rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
        scale = np.exp(rng.normal(size=width))
        found[rows.fold == fold] = rows.embedding[rows.fold == fold] @ (rotation * scale)
    return found


def top_rows_kept(rows: Rows, rng: np.random.Generator) -> dict[str, float]:
    """By score and way of pooling: the share of the top 1 % that is there after a map too."""
    after = mapped(rows, rng)
    scores = {
        "by fold": (
            importance_and_contrast(rows.embedding, rows.given, rows.fold),
            importance_and_contrast(after, rows.given, rows.fold),
        ),
        "folds as one": (
            importance_and_contrast(rows.embedding, rows.given),
            importance_and_contrast(after, rows.given),
        ),
    }
    return {
        f"{name}, {way}": len(np.intersect1d(top(old, 0.01), top(new, 0.01))) / len(top(old, 0.01))
        for way, (before, moved) in scores.items()
        for name, old, new in zip(("importance", "contrast"), before, moved, strict=True)
    }


def suspicions(rows: Rows) -> dict[str, Floats]:
    """Scores (N,), high = suspect."""
    found: dict[str, Floats] = {f"{name} (low)": -score for name, score in rows.scores.items()}
    for where, (importance, contrast) in {
        "embedding, by fold": importance_and_contrast(rows.embedding, rows.given, rows.fold),
        "embedding, folds as one": importance_and_contrast(rows.embedding, rows.given),
        "pixels": importance_and_contrast(rows.pixels, rows.given),
    }.items():
        found[f"importance: {where}"] = importance
        found[f"percentile: {where}"] = percentile_in_class(importance, rows.given)
        found[f"contrast: {where}"] = contrast
    return found


def top(suspicion: Floats, share: float) -> npt.NDArray[np.intp]:
    return np.argsort(-suspicion, kind="stable")[: round(share * len(suspicion))]


def sampled_accuracy(rows: Rows, labels: Ints, fold: int, seed: int) -> dict[str, list[float]]:
    """Test accuracy by kind of sample, for each share of the rows; the last of `all rows` repeats."""
    rng = np.random.default_rng([seed, fold])
    members = rng.permutation(np.flatnonzero(rows.fold == fold))
    test, train = np.split(members, [len(members) // 5])
    features = rows.embedding.astype(np.float64)
    importance = importance_and_contrast(features[train], labels[train])[0]

    def accuracy(chosen: npt.NDArray[np.intp], weights: Floats | None) -> float:
        model = LogisticRegression(max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features[train[chosen]], labels[train[chosen]], sample_weight=weights)
        return float((model.predict(features[test]) == rows.true[test]).mean())

    everything = accuracy(np.arange(len(train)), None)
    found: dict[str, list[float]] = {"uniform": [], "coreset": [], "all rows": []}
    for share in SHARES:
        n_draws = round(share * len(train))
        uniform = rng.choice(len(train), n_draws, replace=False)
        found["uniform"].append(accuracy(uniform, np.full(n_draws, 1 / share)))
        found["coreset"].append(accuracy(*draw_coreset(importance, n_draws, rng)))
        found["all rows"].append(everything)
    return found


def print_table(title: str, heading: str, figures: dict[str, list[list[float]]]) -> None:
    """A row a name: mean and standard deviation over runs of each share's figure."""
    table = Table(title=title)
    for column in (heading, *(f"{share:.0%}" for share in SHARES)):
        table.add_column(column, justify="left" if column == heading else "right")
    for name, values in figures.items():
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
        table.add_row(name, *(f"{m:.4f} ± {s:.4f}" for m, s in zip(mean, spread, strict=True)))
    Console(width=130).print(table)


def main() -> int:
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda seed: run(seed, 0.1, "prune"), SEEDS))
    found: dict[str, list[list[float]]] = {}
    accuracies: dict[str, list[list[float]]] = {}
    kept: dict[str, list[float]] = {}
    for seed, folder in zip(SEEDS, folders, strict=True):
        rows = read_rows(folder)
        is_noisy = rows.given != rows.true
        for name, suspicion in suspicions(rows).items():
            found.setdefault(name, []).append(
                [float(is_noisy[top(suspicion, share)].mean()) for share in SHARES]
            )
        for name, share in top_rows_kept(rows, np.random.default_rng(seed)).items():
            kept.setdefault(name, []).append(share)
        for kind, labels in (("given", rows.given), ("repaired", rows.repaired)):
            for fold in np.unique(rows.fold).tolist():
                for sample, values in sampled_accuracy(rows, labels, fold, seed).items():
                    accuracies.setdefault(f"{kind} labels, {sample}", []).append(values)
    print_table(f"Share of wrong labels among the most suspect rows (n = {len(SEEDS)} seeds)", "score", found)
    for name, shares in kept.items():
        each = ", ".join(f"{share:.3f}" for share in shares)
        print(f"Share of the top 1 % that a map of the embeddings leaves there: {name}: {each}")
    print_table(
        f"Test accuracy of a logistic regression by share of rows (n = {len(SEEDS)} seeds x 5 folds)",
        "trained on",
        accuracies,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
