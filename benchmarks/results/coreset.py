"""The coreset walk on Imagenette's features: the worst-confused classes, importance of their rows, a coreset.

Logistic regression learns from frozen features. 5 % of the labels are wrong (the official ones), so that what
each score finds can be counted. Pictures of the six most and least important rows of the three classes
lie in `.cache/results`, for who brought the photographs: they may not be shown in docs/.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.results.imagenette import noise_of, write_official_labels
from benchmarks.results.page import describe_origin, table
from benchmarks.results.runs import FOLDER, open_workspace, read_issues, read_metrics, reproduce
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, TEST_PROBS
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array

LEVEL = 5
SHARES = (0.01, 0.05, 0.10)
HISTOGRAMS = Path("docs/importance.svg")
GRID = FOLDER / "coreset_pictures.png"
N_CLASSES_SHOWN = 3
N_SHOWN = 6
# The name of each score, and whether low is suspect.
SCORES = {"self_confidence": True, "error_prob": False, "contrast": False, "importance_percentile": False}
SCORES |= {"importance": False}
_SETS = {
    "given": {"table": "given_labels", "checkpoint": "classifier_given"},
    "cleaned": {"table": "training_set", "checkpoint": "classifier"},
    "coreset": {"table": "coreset", "checkpoint": "classifier_coreset"},
    "random_subset": {"table": "random_subset", "checkpoint": "classifier_random_subset"},
}
SETTINGS = {"prune.coreset_share": 0.1, "retrain.label_sets": _SETS}


def measure() -> dict[str, object]:
    """Confusion of test rows, precision of scores, and accuracy of a coreset and of a random subset."""
    folder = open_workspace("imagenette", "imagenette", noise_of(0))
    write_official_labels(folder)
    folder = open_workspace("imagenette", "imagenette", {**noise_of(LEVEL), **SETTINGS})
    reproduce(folder)
    issues, is_wrong = read_issues(folder, [*SCORES, "given_label"])
    names = read_facts(issues, str(folder)).class_names
    pairs = confused_pairs(folder, len(names))
    scores = {name: column_array(issues, name) for name in SCORES}
    draw_histograms(HISTOGRAMS, issues, is_wrong, names, [predicted for _, predicted, _ in pairs])
    draw_pictures(GRID, folder, issues, [predicted for _, predicted, _ in pairs])
    return {
        "n": 1,
        "n_rows": len(is_wrong),
        "n_wrong": int(is_wrong.sum()),
        "confused": [
            {"true": names[true], "predicted": names[predicted], "share": share}
            for true, predicted, share in pairs
        ],
        "precision": {
            name: {
                str(share): precision_at(-score if SCORES[name] else score, is_wrong, share)
                for share in SHARES
            }
            for name, score in scores.items()
        },
        "extremes": {
            names[k]: extremes(scores["importance"], column_array(issues, "given_label") == k, is_wrong)
            for _, k, _ in pairs
        },
        "retrained": {name: read_metrics(folder, f"retrain_{name}") for name in _SETS},
    }


def confused_pairs(folder: Path, n_classes: int) -> list[tuple[int, int, float]]:
    """The three pairs (true, predicted) with the largest shares of the test rows of `true`.

    As in the walk, each predicted class is a class of interest; here each is named once.
    """
    given = read_table(GIVEN_LABELS.at(folder), GIVEN_LABELS, columns=["split", "true_label"])
    given = given.filter(pa.array(column_array(given, "split") == "test"))
    probs = read_table(TEST_PROBS.at(folder, labels="given"), TEST_PROBS, columns=["pred_probs"])
    predicted = column_array(join(probs, column_array(given, "example_id")), "pred_probs").argmax(axis=1)
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (column_array(given, "true_label"), predicted), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    np.fill_diagonal(shares, 0)
    found: list[tuple[int, int, float]] = []
    for place in np.argsort(-shares, axis=None, kind="stable"):
        true, k = (int(index) for index in np.unravel_index(place, shares.shape))
        if k not in [other for _, other, _ in found]:
            found.append((true, k, float(shares[true, k])))
    return found[:N_CLASSES_SHOWN]


def precision_at(suspicion: npt.NDArray[np.floating], is_wrong: npt.NDArray[np.bool_], share: float) -> float:
    """The share of wrong labels among the most suspect `share` of the rows (N,); high is suspect."""
    first = np.argsort(-suspicion, kind="stable")[: round(share * len(suspicion))]
    return float(is_wrong[first].mean())


def extremes(
    importance: npt.NDArray[np.floating], members: npt.NDArray[np.bool_], is_wrong: npt.NDArray[np.bool_]
) -> dict[str, int]:
    """Of the six most and least important rows that are given a class: how many have a wrong label."""
    rows = np.flatnonzero(members)
    order = rows[np.argsort(-importance[rows], kind="stable")]
    return {"most": int(is_wrong[order[:N_SHOWN]].sum()), "least": int(is_wrong[order[-N_SHOWN:]].sum())}


def draw_histograms(
    path: Path,
    issues: pa.Table,
    is_wrong: npt.NDArray[np.bool_],
    names: tuple[str, ...],
    classes: list[int],
) -> None:
    """The histogram of importance of the rows that are given each of these classes, wrong ones apart."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = "relabel"  # equal names of shapes in every run
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    importance, given = column_array(issues, "importance"), column_array(issues, "given_label")
    for axes, k in zip(figure.subplots(1, len(classes), sharey=True), classes, strict=True):
        values = [importance[(given == k) & (is_wrong == wrong)] for wrong in (False, True)]
        axes.hist(values, bins=20, stacked=True, label=["right label", "wrong label"])
        axes.set_title(names[k], fontsize=10)
        axes.set_xlabel("importance")
    figure.axes[0].set_ylabel("training rows")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def draw_pictures(path: Path, folder: Path, issues: pa.Table, classes: list[int]) -> None:
    """A line of pictures for each class: its six most important rows, then its six least important ones."""
    from PIL import Image

    importance, given = column_array(issues, "importance"), column_array(issues, "given_label")
    ids = column_array(issues, "example_id")
    reader = TableReader(EXAMPLES.at(folder), EXAMPLES, ["image"])
    lines = []
    for k in classes:
        rows = np.flatnonzero(given == k)
        order = rows[np.argsort(-importance[rows], kind="stable")]
        chosen = ids[[*order[:N_SHOWN], *order[: -N_SHOWN - 1 : -1]]]
        pictures = column_array(reader.rows(chosen, ["image"]), "image")
        lines.append(np.concatenate(list(pictures), axis=1))
    Image.fromarray(np.concatenate(lines, axis=0)).save(path)


def describe(found: dict[str, Any]) -> list[str]:
    """What was confused, what each score finds, and what a tenth of the rows is worth."""
    pairs = [[each["true"], each["predicted"], f"{each['share']:.2%}"] for each in found["confused"]]
    precision = [
        [f"`{name}`", *(f"{value:.3f}" for value in by_share.values())]
        for name, by_share in found["precision"].items()
    ]
    words = {
        "given": "all rows, given labels",
        "cleaned": "repaired labels",
        "coreset": "coreset of 10 %",
        "random_subset": "random subset of that size",
    }
    worth = [
        [
            words[name],
            f"{run['n_rows']:,}",
            f"{run['test']['accuracy']:.2%}",
            f"{run['test']['log_loss']:.4f}",
        ]
        for name, run in found["retrained"].items()
    ]
    of_six = [
        f"{name}: {counts['most']} of the {N_SHOWN} most important rows have a wrong label, "
        f"{counts['least']} of the {N_SHOWN} least important"
        for name, counts in found["extremes"].items()
    ]
    return [
        "The three worst confusions of test rows (the classifier of the given labels; each predicted class "
        "once):",
        "",
        *table(["true class", "predicted", "share of the true class"], pairs),
        "",
        f"![Importance of the rows that are given the three predicted classes]({HISTOGRAMS.name})",
        "",
        *(f"- {line}." for line in of_six),
        "",
        f"Share of wrong labels among the most suspect rows ({found['n_wrong']:,} of {found['n_rows']:,} are "
        "wrong):",
        "",
        *table(["score", *(f"top {share:.0%}" for share in SHARES)], precision),
        "",
        "Accuracy on the clean validation rows of the same recipe, trained on:",
        "",
        *table(["rows", "n", "accuracy", "log-loss (nats)"], worth),
        "",
        describe_origin(found),
    ]
