"""Does a classifier learn more from repaired labels than from the given ones? What held-out rows say.

Both learn as `train_fold` learns, and are compared on rows that nobody trains on, by the labels that these
were given. Wrong labels among them speak against both alike. The worth of the repair is measured on the same
rows later on; as they only ever forbid a repair, and only one that is worse beyond chance, that is hardly too
good.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from tasks import plugins
from tasks.label_quality.paired import Difference, paired_difference
from tasks.params import Params
from tasks.repair import Evidence, Repair, Train
from tasks.tables.catalog import GIVEN_LABELS, HELD_OUT
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array


def compare_on_held_out(
    params: Params, workspace: Path, evidence: Evidence, made: Repair, train: Train | None
) -> Difference | None:
    """How much more of the held-out rows a student of `made` predicts as given than one of the given labels.

    None where there is nothing to compare: no held-out row, no change, a soft label, or nothing to train on.
    Networks are not trained twice more for it either; `retrain` shows what they learned.

    Raises:
        ArtifactError: a table is missing or not what it should be.
        TrainingError: a student cannot learn.
    """
    changes = made.is_changed.any() and not len(made.soft_rows)
    if train is None or not changes or plugins.load("models", params.train_fold.model).USES_TORCH:
        return None
    table = read_table(GIVEN_LABELS.at(workspace), GIVEN_LABELS, columns=["split", "given_label"])
    table = table.filter(pc.equal(table["split"], HELD_OUT))
    if not table.num_rows:
        return None
    ids, labels = column_array(table, "example_id"), column_array(table, "given_label")
    kept = made.is_kept
    if not kept.any():
        return None

    before, after = (
        _predict(train, taught, targets, ids, weight) == labels
        for taught, targets, weight in (
            (evidence.ids, evidence.labels, np.ones_like(made.weight)),
            (evidence.ids[kept], made.label[kept], made.weight[kept]),
        )
    )
    return paired_difference(int(np.sum(after & ~before)), int(np.sum(before & ~after)), len(ids))


def _predict(
    train: Train,
    taught: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """(L,) the class of each row `ids`; one class teaches no model, and is all that is left to say."""
    if (targets == targets[0]).all():
        return np.repeat(targets[0], len(ids))
    return np.asarray(train(taught, targets, ids, weight).pred_probs.argmax(axis=1))
