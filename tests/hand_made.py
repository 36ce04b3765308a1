"""A finished run without its trainings: tables made by hand, and what the light stages make of them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
from small_runs import write_params

from tasks.label_quality.metrics import prediction_quality, reliability
from tasks.params import Params, load_params
from tasks.prune import prune
from tasks.pseudo_label import pseudo_label
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, PRED_PROBS
from tasks.tables.facts import DatasetFacts
from tasks.tables.files import write_json
from tasks.tables.io import make_table, write_table


def write_run(
    folder: Path,
    content: npt.NDArray[Any] | list[str],
    class_names: tuple[str, ...] = ("cat", "dog", "horse"),
    *,
    noise: float = 0.2,
    sureness: float = 9,
    known: bool = True,
    test_split: bool = True,
    embedded: bool = True,
    pooled: bool = False,
) -> Params:
    """Write all that `report` reads, in `folder`.

    Args:
        folder: the workspace.
        content: (N,) texts, (N, d) features or (N, H, W) or (N, H, W, 3) uint8 images.
        class_names: (K,).
        noise: share of the given labels that are wrong.
        sureness: how far the logit of the true class stands out; at 9 no prediction is wrong, at 3 some are.
        known: whether the true labels are.
        test_split: whether the retrainings were measured.
        embedded: whether there are embeddings, and so importance.
        pooled: whether every fourth row was a test row.
    """
    rng = np.random.default_rng(0)
    n_rows, n_classes = len(content), len(class_names)
    kind, shape = "text", ()
    if not isinstance(content, list):
        kind, shape = "features" if content.ndim == 2 else "image", content.shape[1:]
    facts = DatasetFacts("mine", class_names, kind, shape)
    ids = np.arange(n_rows) * 3
    true = np.arange(n_rows) % n_classes
    wrong = rng.random(n_rows) < noise
    given = np.where(wrong, (true + 1) % n_classes, true)
    logits = sureness * np.eye(n_classes)[true] + rng.normal(size=(n_rows, n_classes))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    hidden = np.full(n_rows, not known)
    shared = {"example_id": ids, "split": ["train"] * n_rows}
    if pooled:
        shared["original_split"] = np.where(np.arange(n_rows) % 4 == 3, "test", "train")
    truth = pa.array(true, pa.int16(), mask=hidden)
    noisy = pa.array(wrong, pa.bool_(), mask=hidden)
    labels = {"given_label": given, "true_label": truth, "is_noisy": noisy}
    predictions = {"example_id": ids, "fold": np.arange(n_rows) % 2, "pred_probs": probs}
    if embedded:
        predictions["embedding"] = np.eye(4)[true % 4] + 0.1 * rng.normal(size=(n_rows, 4))
    data = folder / "data"
    for name, artifact, columns in (
        ("examples", EXAMPLES, {**shared, "true_label": truth, kind: content}),
        ("given_labels", GIVEN_LABELS, {**shared, **labels}),
        ("pred_probs", PRED_PROBS, predictions),
    ):
        write_table(data / f"{name}.parquet", make_table(artifact, facts, columns), artifact)

    folder.joinpath("metrics").mkdir()
    # `true` is a label set where the truth is known.
    label_sets = {name: {"table": "given_labels", "checkpoint": name} for name in ("given", "cleaned")}
    write_params(folder, **({} if known else {"retrain__label_sets": label_sets}))
    params = load_params(folder / "params.yaml")
    prune(params, folder)
    pseudo_label(params, folder)

    against = {"given": given, **({"true": true} if known else {})}
    quality = {name: prediction_quality(labels, probs) for name, labels in against.items()}
    write_json(folder / "metrics" / "cross_validation.json", {"n_rows": n_rows, **quality})
    bins = [
        pa.table({"labels": [name] * len(found["rows"]), **found})
        for name, found in ((name, reliability(labels, probs, 15)) for name, labels in against.items())
    ]
    plots = folder / "plots"
    (plots / "reliability").mkdir(parents=True)
    pacsv.write_csv(pa.concat_tables(bins), plots / "reliability" / "out_of_fold.csv")
    measured = slice(None) if test_split else slice(0)
    for place, name in enumerate(params.retrain.label_sets):
        metrics: dict[str, Any] = {"n_rows": n_rows, "n_test_rows": len(true[measured])}
        if test_split:
            metrics["test"] = prediction_quality(
                np.where(rng.random(n_rows) < 0.1 / (place + 1), 0, true), probs
            )
        write_json(folder / "metrics" / f"retrain_{name}.json", metrics)
        table = pa.table(reliability(true[measured], probs[measured], 15))
        pacsv.write_csv(table, plots / "reliability" / f"retrain_{name}.csv")
        write_curve(plots / "retrain" / name)
    for fold in params.train_fold.folds:
        write_curve(plots / "train_fold" / f"fold_{fold}")
    return params


def write_curve(folder: Path) -> None:
    """A curve as DVCLive writes it."""
    for kind in ("train", "validation"):
        for measure in ("accuracy", "loss"):
            path = folder / "plots" / "metrics" / kind / f"{measure}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = "".join(f"{epoch}\t{0.6 + epoch / 10}\n" for epoch in range(4))
            path.write_text(f"step\t{measure}\n{values}")
