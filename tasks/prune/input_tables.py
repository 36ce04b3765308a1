"""The tables that `prune` reads, and what must hold of them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks import ArtifactError
from tasks.label_quality.contradictions import find_contradictions
from tasks.tables.catalog import GIVEN_LABELS, PRED_PROBS, SPLIT_ROWS
from tasks.tables.portions import TableReader
from tasks.tables.probabilities import check_same_classes
from tasks.tables.proofs import MARK, OUT_OF_FOLD, FoldsDigest, check_same_import
from tasks.tables.schemas import column_array

REMEDY = (
    "Rebuild it with `dvc repro aggregate`, or, if the probabilities are your own, import them again "
    "(`python -m tasks import-probs`)."
)


def open_tables(workspace: Path, with_embeddings: bool) -> tuple[TableReader, TableReader]:
    """data/pred_probs.parquet, with its embeddings if they are asked for, and data/given_labels.parquet.

    Raises:
        ArtifactError: one is missing, not what it should be, or of other classes or rows than the other.
    """
    measured = ["embedding"] if with_embeddings else []
    predictions = TableReader(PRED_PROBS.at(workspace), PRED_PROBS, ["fold", "pred_probs"], measured)
    given = TableReader(
        GIVEN_LABELS.at(workspace), GIVEN_LABELS, ["key", "given_label", "true_label", "is_noisy"]
    )
    for n_classes in (predictions.facts.n_classes, *predictions.shape_of("pred_probs")):
        check_same_classes(given.facts, n_classes, predictions.where, REMEDY)
    check_same_import({table.where: table.metadata(MARK) for table in (predictions, given)})
    return predictions, given


def check_proof(predictions: TableReader) -> bool:
    """Whether `aggregate` proved that each row was predicted by a model that never saw it.

    Raises:
        ArtifactError: it proved so of other rows, or of rows in other folds, than the table holds now.
    """
    proof = predictions.metadata(OUT_OF_FOLD)
    if proof is None:
        return False
    digest = FoldsDigest()
    for number in range(len(predictions)):
        table = predictions.read(number, ["fold"])
        digest.add(column_array(table, "example_id"), column_array(table, "fold"))
    if digest.hex() != proof:
        raise ArtifactError(
            f"{predictions.path}: expected the rows and folds that `aggregate` proved to be out-of-fold, "
            "found others: a row may have been predicted by a model that learned from it. Rebuild the file "
            "with `dvc repro --force --single-item aggregate`."
        )
    return True


def read_contradictions(
    workspace: Path, predictions: TableReader, given: TableReader, needed: bool
) -> npt.NDArray[np.int64]:
    """(M,) the ids, ascending, of the rows with another given label than a copy of theirs.

    Copies are the rows of one `group` of data/splits.parquet. Memory follows the rows that have copies.

    Args:
        workspace: where data/splits.parquet is.
        predictions: of the labelled training rows; other copies are not asked.
        given: their given labels.
        needed: whether the file has to be there. Probabilities of one's own may come without.

    Raises:
        ArtifactError: the file is missing, or not what it should be.
    """
    path = SPLIT_ROWS.at(workspace)
    if not needed and not path.exists():
        return np.zeros(0, dtype=np.int64)
    splits = TableReader(path, SPLIT_ROWS, ["group"])
    check_same_classes(given.facts, splits.facts.n_classes, splits.where, SPLIT_ROWS.remedy)
    check_same_import({table.where: table.metadata(MARK) for table in (given, splits)})
    # A group is called by the lowest id in it, so a row that has another id is one of several.
    copies: list[npt.NDArray[np.int64]] = [np.zeros((2, 0), dtype=np.int64)]
    for table in splits.portions():
        pairs = np.stack([column_array(table, "example_id"), column_array(table, "group")])
        copies.append(pairs[:, pairs[0] != pairs[1]])
    ids, groups = np.concatenate(copies, axis=1)
    first = np.unique(groups)
    ids, groups = np.concatenate([ids, first]), np.concatenate([groups, first])
    is_trained = np.isin(ids, column_array(predictions.find(ids, []), "example_id"))
    ids, groups = ids[is_trained], groups[is_trained]
    labels = column_array(given.rows(ids, ["given_label"]), "given_label")
    return np.sort(ids[find_contradictions(groups, labels)])
