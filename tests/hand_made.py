"""A finished run without its trainings: tables made by hand, and what the light stages make of them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
from small_runs import write_params

from tasks.label_quality.metrics import PredictionCounts
from tasks.params import Params, load_params
from tasks.prune import prune
from tasks.pseudo_label import pseudo_label
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, PRED_PROBS, SPLIT_ROWS, TEST_PROBS
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
    predictions = {"example_id": ids, "fold": np.arange(n_rows) % 2, "pred_probs": probs}
    if embedded:
        predictions["embedding"] = np.eye(4)[true % 4] + 0.1 * rng.normal(size=(n_rows, 4))

    # The test rows are the training rows once more, under ids of their own.
    n_test = n_rows if test_split else 0
    all_ids = np.concatenate([ids, 3 * (n_rows + np.arange(n_test))])
    twice = np.concatenate([np.arange(n_rows), np.arange(n_test)])
    is_test = np.arange(n_rows + n_test) >= n_rows
    split = np.where(is_test, "test", "train")
    original = np.where(pooled & (np.arange(n_rows + n_test) % 4 == 3), "test", split)
    unknown = np.full(n_rows + n_test, not known)
    keys = [str(example_id) for example_id in all_ids]
    labels = np.where(is_test, true[twice], given[twice])
    truth = pa.array(true[twice], pa.int16(), mask=unknown & ~is_test)
    noisy = pa.array(labels != true[twice], pa.bool_(), mask=unknown & ~is_test)
    rows = [content[place] for place in twice] if isinstance(content, list) else content[twice]
    shared = {"example_id": all_ids, "key": keys, "split": split, "true_label": truth}
    tables = (
        (EXAMPLES, {**shared, "split": original, "given_label": [None] * len(all_ids), kind: rows}),
        (GIVEN_LABELS, {**shared, "given_label": labels, "is_noisy": noisy}),
        (SPLIT_ROWS, {**shared, "group": all_ids, "original_split": original}),
        (PRED_PROBS, predictions),
    )
    for artifact, columns in tables:
        write_table(artifact.at(folder), make_table(artifact, facts, columns), artifact)

    folder.joinpath("metrics").mkdir()
    # `true` is a label set where the truth is known.
    label_sets = {name: {"table": "given_labels", "checkpoint": name} for name in ("given", "cleaned")}
    write_params(folder, **({} if known else {"retrain__label_sets": label_sets}))
    params = load_params(folder / "params.yaml")
    prune(params, folder)
    pseudo_label(params, folder)

    against = {"given": given, **({"true": true} if known else {})}
    counts = {name: PredictionCounts.of(labels, probs, 15) for name, labels in against.items()}
    quality = {name: found.quality() for name, found in counts.items()}
    write_json(folder / "metrics" / "cross_validation.json", {"n_rows": n_rows, **quality})
    found = {name: counted.reliability() for name, counted in counts.items()}
    bins = [pa.table({"labels": [name] * len(part["rows"]), **part}) for name, part in found.items()]
    plots = folder / "plots"
    (plots / "reliability").mkdir(parents=True)
    pacsv.write_csv(pa.concat_tables(bins), plots / "reliability" / "out_of_fold.csv")
    for place, name in enumerate(params.retrain.label_sets):
        # The better the labels, the fewer rows are taken for another class.
        mistaken = rng.random(n_test) < 0.1 / (place + 1)
        test_probs = np.where(mistaken[:, None], np.roll(probs[:n_test], 1, axis=1), probs[:n_test])
        columns = {"example_id": all_ids[is_test], "split": split[is_test], "pred_probs": test_probs}
        path = TEST_PROBS.at(folder, labels=name)
        write_table(path, make_table(TEST_PROBS, facts, columns), TEST_PROBS, {"n_rows": str(n_rows)})
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
