"""Stage `retrain`: the same recipe on one label set, measured on the clean test split."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from tasks import DatasetError, ParamsError
from tasks.label_quality.metrics import prediction_quality, reliability
from tasks.params import LabelSetName, Params
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, TRAINING_SET
from tasks.tables.facts import read_facts
from tasks.tables.files import atomic_path, write_json
from tasks.tables.io import read_table
from tasks.tables.joins import locate
from tasks.tables.schemas import column_array

# Test rows that draw the learning curve each epoch; they choose nothing, and all are measured at the end.
_CURVE_ROWS = 2_000
# Bins of confidence: those that `prediction_quality` takes by default.
_BINS = 15


def retrain(params: Params, workspace: Path, labels: LabelSetName) -> float:
    """Write the checkpoint, metrics/retrain_LABELS.json and the plots of one label set.

    Without a test split (`download.pool_test`) the metrics hold no test figures, and the reliability diagram
    no bins.

    Returns:
        Seconds spent on fitting and predicting, imports and files left out.

    Raises:
        ParamsError: `labels` is none of `retrain.label_sets`.
        DatasetError: the true labels are asked for and not known.
        TrainingError: the loss is not finite.
    """
    # Imported here, so that the command line and the light stages do not pay for torch.
    from tasks.models import classifier

    label_sets = params.retrain.label_sets
    if labels not in label_sets:
        raise ParamsError(f"--labels: expected one of {', '.join(label_sets)}, found {labels}.")
    data = workspace / "data"
    path = data / f"{label_sets[labels].table}.parquet"
    if label_sets[labels].table == "training_set":
        table = read_table(path, TRAINING_SET)
        soft_label = column_array(table, "soft_label")
        weight = column_array(table, "weight")
        facts = read_facts(table, str(path))
    else:
        table = read_table(path, GIVEN_LABELS)
        facts = read_facts(table, str(path))
        table = table.filter(column_array(table, "split") == "train")
        column = "true_label" if labels == "true" else "given_label"
        if table.column(column).null_count:
            raise DatasetError(
                "retrain@true: expected the true label of every training row, found "
                f"{table.column(column).null_count} unknown. Remove `true` from retrain.label_sets."
            )
        soft_label = classifier.one_hot(column_array(table, column), facts.n_classes)
        weight = np.ones(table.num_rows, dtype=np.float32)

    examples_path = data / "examples.parquet"
    examples = read_table(examples_path, EXAMPLES, columns=["split", "true_label", facts.content])
    content = column_array(examples, facts.content)
    rows = locate(column_array(examples, "example_id"), column_array(table, "example_id"), str(examples_path))
    is_test = (column_array(examples, "split") == "test") & ~examples.column(
        "true_label"
    ).is_null().to_numpy()
    test_labels = examples.column("true_label").fill_null(0).to_numpy()[is_test].astype(np.int64)

    test = classifier.TrainingRows(
        content[is_test],
        classifier.one_hot(test_labels, facts.n_classes),
        np.ones(len(test_labels), dtype=np.float32),
    )
    recipe = params.train_fold.model_copy(
        update={"gce_q": params.retrain.gce_q, "label_smoothing": params.retrain.label_smoothing}
    )
    started = time.monotonic()
    model = classifier.fit(
        classifier.TrainingRows(content[rows], soft_label, weight),
        test.head(_CURVE_ROWS),
        recipe,
        seed=params.retrain.seed,
        log_dir=workspace / "plots" / "retrain" / labels,
        title=f"retrain on {labels} labels",
    )
    predictions = classifier.predict(model, test.content) if len(test_labels) else None
    training_s = time.monotonic() - started
    classifier.save(
        workspace / "models" / f"{label_sets[labels].checkpoint}.ckpt",
        model,
        facts,
    )
    metrics: dict[str, Any] = {"n_rows": len(rows), "n_test_rows": len(test_labels)}
    if predictions is not None:
        metrics["test"] = prediction_quality(test_labels, predictions.pred_probs, _BINS)
    test_probs = np.zeros((0, facts.n_classes)) if predictions is None else predictions.pred_probs
    with atomic_path(workspace / "plots" / "reliability" / f"retrain_{labels}.csv") as temporary:
        pacsv.write_csv(pa.table(reliability(test_labels, test_probs, _BINS)), temporary)
    write_json(workspace / "metrics" / f"retrain_{labels}.json", metrics)
    return training_s
