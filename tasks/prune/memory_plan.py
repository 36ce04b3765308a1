"""What `prune` takes of the memory that it is allowed, and how many threads that is enough for."""

from tasks import ArtifactError
from tasks.label_quality.importance import block_rows
from tasks.label_quality.margins import margin_steps
from tasks.label_quality.statistics import sample_rows
from tasks.tables.portions import TableReader, available_cores

# A part takes so many times its size while it is read, decoded and looked at.
_PART_COPIES = 3
# Matrices of K x K numbers held at a time, kept fits among them, and bytes for each fitted probability.
_MATRICES = 16
_FIT_BYTES = 20
# A block of embeddings takes so many times its size in float64 while it is put together and worked on. Two
# threads read ahead of it, and what they have read waits: so many times the size of a part.
_BLOCK_COPIES = 4
_AHEAD_COPIES = 8
# What importance keeps of each row: five numbers in float64, its label and its fold.
_IMPORTANCE_BYTES = 56


def threads_within(limit: int, predictions: TableReader, given: TableReader) -> int:
    """How many threads may work side by side within `limit` bytes; no result depends on it.

    Raises:
        ArtifactError: not even one thread may.
    """
    n_classes = predictions.shape_of("pred_probs")[0]
    matrices = 8 * n_classes**2 * _MATRICES
    # The counted margins, and twice as much while cutoffs are read from them.
    fixed = matrices + 8 * n_classes**2 * 3 * margin_steps(n_classes)
    a_thread = 8 * n_classes**2 + _PART_COPIES * (predictions.part_bytes + given.part_bytes)
    # The fit comes between two passes, when neither parts are at work nor margins counted.
    n_fitted = len(sample_rows(predictions.n_rows, n_classes))
    fit, passes = matrices + _FIT_BYTES * n_classes * n_fitted, fixed + a_thread
    if max(fit, passes) > limit:
        what = (
            f"the noise model's fit on {n_fitted:,} rows of {n_classes} classes takes"
            if fit > passes
            else f"counts for each pair of {n_classes} classes, and the rows at work, take"
        )
        raise ArtifactError(
            f"{predictions.where}: {what} about {max(fit, passes) / 2**20:,.0f} MB, found "
            f"prune.memory_limit_mb = {limit // 2**20}. Raise it in params.yaml."
        )
    return int(min(available_cores(), max((limit - fixed) // a_thread, 1)))


def check_memory_of_importance(predictions: TableReader, limit: int) -> None:
    """Check that importance can be measured within `limit` bytes.

    Raises:
        ArtifactError: it can not.
    """
    n_features = predictions.shape_of("embedding")[0]
    needed = importance_bytes(predictions) + 16 * (n_features + 1) ** 2
    if needed > limit:
        raise ArtifactError(
            f"{predictions.where}: importance from embeddings of {n_features} numbers takes about "
            f"{needed / 2**20:,.0f} MB, found prune.memory_limit_mb = {limit // 2**20}. Raise it in "
            "params.yaml, or set prune.importance to none."
        )


def importance_bytes(predictions: TableReader) -> int:
    """What importance takes beside its matrices."""
    n_features = predictions.shape_of("embedding")[0]
    block_bytes = 8 * (n_features + 1) * min(block_rows(n_features), predictions.n_rows)
    parts = _BLOCK_COPIES * block_bytes + _AHEAD_COPIES * predictions.part_bytes
    return parts + _IMPORTANCE_BYTES * predictions.n_rows
