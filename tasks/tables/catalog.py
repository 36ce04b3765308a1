"""Every table of the pipeline by name: its stage, and its columns."""

import pyarrow as pa

from tasks.tables.schemas import Artifact, Column, Tensor

SPLITS = ("train", "test", "unlabeled")
SOURCES = ("given", "pseudo", "unlabeled", "reviewed")
FILTER_COLUMNS = (
    "prune_by_class",
    "prune_by_noise_rate",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
    "noise_posterior",
)

_ID = Column("example_id", pa.int64())
_SPLIT = Column("split", pa.string())
# The split that the data set came with, where `download.pool_test` made test rows training rows.
_ORIGINAL_SPLIT = Column("original_split", pa.string(), optional=True)
_LABEL = pa.int16()
_VECTOR = Tensor(pa.float32(), ndim=1)
_PRED_PROBS = (
    _ID,
    Column("fold", pa.int16()),
    Column("pred_probs", _VECTOR),
    Column("embedding", _VECTOR, optional=True),
)

EXAMPLES = Artifact(
    "examples",
    "download",
    (
        _ID,
        _SPLIT,
        _ORIGINAL_SPLIT,
        Column("true_label", _LABEL, nullable=True),
        Column("image", Tensor(pa.uint8()), optional=True),
        Column("text", pa.string(), optional=True),
        Column("features", _VECTOR, optional=True),
    ),
    one_of=("image", "text", "features"),
    allowed={"split": SPLITS, "original_split": SPLITS},
)
GIVEN_LABELS = Artifact(
    "given_labels",
    "inject_noise",
    (
        _ID,
        _SPLIT,
        _ORIGINAL_SPLIT,
        Column("given_label", _LABEL),
        Column("true_label", _LABEL, nullable=True),
        Column("is_noisy", pa.bool_(), nullable=True),
    ),
    allowed={"split": SPLITS, "original_split": SPLITS},
)
FOLDS = Artifact("folds", "assign_folds", (_ID, Column("fold", pa.int16())))
FOLD_PRED_PROBS = Artifact("fold_pred_probs", "train_fold", _PRED_PROBS)
PRED_PROBS = Artifact("pred_probs", "aggregate", _PRED_PROBS)
LABEL_ISSUES = Artifact(
    "label_issues",
    "prune",
    (
        _ID,
        Column("given_label", _LABEL),
        Column("suggested_label", _LABEL),
        Column("suggested_prob", pa.float32()),
        Column("self_confidence", pa.float64()),
        Column("normalized_margin", pa.float64()),
        Column("confidence_weighted_entropy", pa.float64()),
        Column("importance", pa.float64(), nullable=True),
        Column("importance_percentile", pa.float64(), nullable=True),
        Column("contrast", pa.float64(), nullable=True),
        Column("is_issue", pa.bool_()),
        Column("rank", pa.int64(), nullable=True),
        *(Column(name, pa.bool_()) for name in FILTER_COLUMNS),
    ),
)
TRAINING_SET = Artifact(
    "training_set",
    "pseudo_label",
    (
        _ID,
        Column("label", _LABEL),
        Column("soft_label", _VECTOR),
        Column("weight", pa.float32()),
        Column("source", pa.string()),
        Column("given_label", _LABEL),
    ),
    allowed={"source": SOURCES},
)
