"""Do probabilities look in-sample? Error rates of the warning, on models trained on scikit-learn's digits.

`python -m benchmarks.in_sample` trains each model of a grid (kind, capacity, epochs, noise, seed), predicts
its training rows and, by 5 folds, the same rows out-of-fold, and counts how often `prune` would warn of each.
"""

import sys
import warnings

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.runs import Make
from tasks.label_quality.in_sample import Surprise

NOISE = (0.0, 0.1, 0.2, 0.4)


def models() -> dict[str, Make]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    def network(width: int, epochs: int) -> Make:
        return lambda seed: MLPClassifier((width,), max_iter=epochs, random_state=seed)

    return {
        "network of 32, 10 epochs": network(32, 10),
        "network of 32, 50 epochs": network(32, 50),
        "network of 256, 10 epochs": network(256, 10),
        "network of 256, 50 epochs": network(256, 50),
        "network of 256, 200 epochs": network(256, 200),
        "logistic regression": lambda _: LogisticRegression(C=0.01, max_iter=500),
        "random forest": lambda seed: RandomForestClassifier(100, random_state=seed),
    }


def main() -> int:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import cross_val_predict

    warnings.simplefilter("ignore")
    n_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    digits = load_digits()
    content = digits.data / 16
    table = Table(title=f"Warned about, {len(NOISE) * n_seeds} runs a model, each in-sample and out-of-fold")
    for column in ("model", "in-sample: warned", "ratio", "out-of-fold: warned", "ratio"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, make in models().items():
        ratios: dict[str, list[float]] = {"in": [], "out": []}
        warned = {"in": 0, "out": 0}
        for noise in NOISE:
            for seed in range(n_seeds):
                rng = np.random.default_rng(seed)
                labels = digits.target.copy()
                wrong = rng.choice(len(labels), round(noise * len(labels)), replace=False)
                labels[wrong] = (labels[wrong] + rng.integers(1, 10, size=len(wrong))) % 10
                found = {
                    "in": make(seed).fit(content, labels).predict_proba(content),
                    "out": cross_val_predict(make(seed), content, labels, cv=5, method="predict_proba"),
                }
                for kind, probs in found.items():
                    surprise = Surprise.of(labels, probs)
                    ratios[kind].append(surprise.ratio)
                    warned[kind] += surprise.looks_in_sample
        n = len(NOISE) * n_seeds
        cells = [
            cell
            for kind in ("in", "out")
            for cell in (
                f"{warned[kind]} of {n}",
                " ".join(f"{ratio:.2f}" for ratio in ratios[kind][::n_seeds]),  # of the first seed
            )
        ]
        table.add_row(name, *cells)
    Console(width=110).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
