"""Stage `retrain`: the same model and recipe on one label set; what it says of rows that nobody trains on."""

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks import ArtifactError, DatasetError, ParamsError
from tasks.params import SUBSETS, LabelSetName, Params, uses_unlabeled
from tasks.tables.catalog import (
    CORESET,
    EXAMPLES,
    GIVEN_LABELS,
    HELD_OUT,
    PLACE,
    RANDOM_SUBSET,
    SPLIT_ROWS,
    TEST_PROBS,
    TRAINING_SET,
    UNLABELED,
)
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.joins import join, locate
from tasks.tables.schemas import column_array, tensor_rows
from tasks.training.embedding_map import choose_rows, place_in_plane
from tasks.training.protocol import Loss, Rows
from tasks.training.setup import make_model, read_rows

MEASURED = ("test", "valid", HELD_OUT)
"""The splits that are measured; the first that has rows draws the learning curve."""
# Rows that draw the learning curve each epoch; they choose nothing, and all are predicted at the end.
_CURVE_ROWS = 2_000
# The label sets whose embeddings the report shows where there are rows without a label.
_SHOWN = ("given", "cleaned")
# Actions of rows whose label is as given and which are trained on.
_UNTOUCHED = ("trusted", "kept")

Ints = npt.NDArray[np.int64]


def retrain(params: Params, workspace: Path, labels: LabelSetName) -> float:
    """Write the checkpoint, data/test_probs/LABELS.parquet and the learning curves of one label set.

    Beside test, validation and held-out rows, those without a label are predicted; where there are such, the
    table also says where in a picture measured rows lie. Where there is nothing to predict, the table has no
    rows. Rows without a label lend the training their content, where the objective uses it; so do those of
    `cleaned` whose label was taken out for that.

    Returns:
        Seconds spent on fitting and predicting, imports and files left out.

    Raises:
        ParamsError: `labels` is none of `retrain.label_sets`.
        DatasetError: the true labels are asked for and not known.
        TrainingError: the model cannot learn from these rows, or the loss is not finite.
    """
    section = params.retrain
    if labels not in section.label_sets:
        raise ParamsError(f"--labels: expected one of {', '.join(section.label_sets)}, found {labels}.")
    all_ids, content, facts = read_rows(params, workspace)
    source = section.label_sets[labels].table
    if source == "training_set":
        ids, targets, unlabeled_ids = read_training_set(workspace)
    else:
        ids, targets = read_subset(workspace, source) if source in SUBSETS else read_given(workspace, labels)
        unlabeled_ids = read_unlabeled(workspace)
    unlabeled = content.take(locate(all_ids, unlabeled_ids, EXAMPLES.path)) if len(unlabeled_ids) else None
    if uses_unlabeled(section.objective) and unlabeled is None:
        print(f"retrain@{labels}: every row has a label, so {section.objective} learns from these alone")
    rows = Rows(content.take(locate(all_ids, ids, EXAMPLES.path)), *targets)
    test_ids, test_split, measured = read_test(workspace)
    curve = measured[:_CURVE_ROWS]
    test = content.take(locate(all_ids, test_ids, EXAMPLES.path))
    curve_rows = None
    if len(curve):
        curve_labels = join(read_labels(workspace), test_ids[curve])
        curve_rows = Rows(
            test.take(curve), column_array(curve_labels, "label"), np.ones(len(curve), dtype=np.float32)
        )

    started = time.monotonic()
    model = make_model(
        params,
        facts,
        content,
        seed=section.seed,
        loss=Loss(section.gce_q, section.label_smoothing),
        objective=section.objective,
        log_dir=workspace / "plots" / "retrain" / labels,
        title=f"retrain on {labels} labels",
    )
    model.fit(rows, curve_rows, unlabeled)
    found = model.predict(test) if len(test) else None
    training_s = time.monotonic() - started
    model.save(workspace / "models" / f"{section.label_sets[labels].checkpoint}.ckpt")
    pred_probs = found.pred_probs if found else np.zeros((0, facts.n_classes))
    columns = {"example_id": test_ids, "split": test_split, "pred_probs": pred_probs}
    if found and labels in _SHOWN and len(measured) and (test_split == UNLABELED).any():
        columns |= _places(found.embedding, measured)
    table = make_table(TEST_PROBS, facts, columns)
    path = TEST_PROBS.at(workspace, labels=labels)
    write_table(path, table, TEST_PROBS, {"n_rows": str(len(ids))})
    return training_s


def _places(embedding: npt.NDArray[np.float32], measured: npt.NDArray[np.intp]) -> dict[str, pa.Array]:
    """The columns `PLACE` (M,) from embeddings (M, D), of some `measured` rows; null for all others."""
    shown = measured[choose_rows(len(measured))]
    found = place_in_plane(embedding[shown])
    if found is None:
        return {}
    places = np.full((len(embedding), 2), np.nan, dtype=np.float32)
    places[shown] = found
    return {name: pa.array(column, from_pandas=True) for name, column in zip(PLACE, places.T, strict=True)}


Targets = tuple[Ints, npt.NDArray[np.float32], npt.NDArray[np.float32] | None]
"""Labels (N,), weights (N,), and soft labels (N, K) where there are any."""


def read_training_set(workspace: Path) -> tuple[Ints, Targets, Ints]:
    """(N,) the rows of data/training_set.parquet that are trained on, their targets; (U,) the unlabelled."""
    path = TRAINING_SET.at(workspace)
    table = read_table(path, TRAINING_SET, columns=["label", "soft_label", "weight", "action", "source"])
    action, source = column_array(table, "action"), column_array(table, "source")
    left_alone = (action == UNLABELED) & (source == UNLABELED)
    if set(action[~left_alone].tolist()) <= set(_UNTOUCHED):
        print("retrain@cleaned: nothing was cleaned; these are the given labels (metrics/training_set.json)")
    unlabeled = column_array(table, "example_id")[action == UNLABELED]
    table = table.filter(pa.array(column_array(table, "weight") > 0))
    labels = column_array(table, "label").astype(np.int64)
    soft_rows, soft_values = tensor_rows(table, "soft_label")
    soft_label = None
    if len(soft_rows):
        soft_label = np.eye(soft_values.shape[1], dtype=np.float32)[labels]
        soft_label[soft_rows] = soft_values
    return column_array(table, "example_id"), (labels, column_array(table, "weight"), soft_label), unlabeled


def read_given(workspace: Path, labels: LabelSetName) -> tuple[Ints, Targets]:
    """(N,) the training rows of data/given_labels.parquet, and their given or true labels.

    Raises:
        DatasetError: a true label is asked for and not known.
    """
    column = "true_label" if labels == "true" else "given_label"
    table = read_table(GIVEN_LABELS.at(workspace), GIVEN_LABELS, columns=["split", column])
    table = table.filter(pa.array(column_array(table, "split") == "train"))
    if table.column(column).null_count:
        raise DatasetError(
            "retrain@true: expected the true label of every training row, found "
            f"{table.column(column).null_count} unknown. Remove `true` from retrain.label_sets."
        )
    found = column_array(table, column).astype(np.int64)
    return column_array(table, "example_id"), (found, np.ones(len(found), dtype=np.float32), None)


def read_subset(workspace: Path, name: str) -> tuple[Ints, Targets]:
    """(N,) the rows of data/coreset.parquet or data/random_subset.parquet, their given labels and weights.

    Raises:
        ArtifactError: the table is missing, not what it should be, or has no row.
    """
    artifact = CORESET if name == CORESET.name else RANDOM_SUBSET
    table = read_table(artifact.at(workspace), artifact)
    if not table.num_rows:
        raise ArtifactError(f"{artifact.path}: expected rows to train on, found none. {artifact.remedy}")
    labels, weight = (column_array(table, column) for column in ("label", "weight"))
    return column_array(table, "example_id"), (labels.astype(np.int64), weight, None)


def read_unlabeled(workspace: Path) -> Ints:
    """(U,) the rows that came without a label."""
    table = read_table(SPLIT_ROWS.at(workspace), SPLIT_ROWS, columns=["split"])
    return column_array(table.filter(pc.equal(table.column("split"), UNLABELED)), "example_id")


def read_test(workspace: Path) -> tuple[Ints, npt.NDArray[np.object_], npt.NDArray[np.intp]]:
    """(M,) ids and splits of the rows to be predicted; positions of those that are measured.

    These are the labelled rows of the first of `MEASURED` that has such.
    """
    table = read_table(SPLIT_ROWS.at(workspace), SPLIT_ROWS, columns=["split"])
    split = column_array(table, "split")
    chosen = np.isin(split, (*MEASURED, UNLABELED))
    ids, split = column_array(table, "example_id")[chosen], split[chosen]
    labelled = np.isin(ids, column_array(read_labels(workspace), "example_id"))
    for name in MEASURED:
        rows = np.flatnonzero(labelled & (split == name))
        if len(rows):
            return ids, split, rows
    return ids, split, np.zeros(0, dtype=np.intp)


def read_labels(workspace: Path) -> pa.Table:
    """The `label` of each labelled row of data/examples.parquet: the true one, where it is known."""
    table = read_table(EXAMPLES.at(workspace), EXAMPLES, columns=["given_label", "true_label"])
    label = pc.coalesce(table.column("true_label"), table.column("given_label"))
    labelled = pa.table({"example_id": table.column("example_id"), "label": label.cast(pa.int64())})
    return labelled.filter(label.is_valid())
