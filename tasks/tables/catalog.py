"""Every table of the pipeline: its path in a workspace, the stage that writes it, and its columns."""

import pyarrow as pa

from tasks import plugins
from tasks.tables.schemas import Artifact, Column, Pictures, Tensor

SPLITS = ("train", "valid", "test", "unlabeled")
"""The splits that a data set may come with."""
UNLABELED = "unlabeled"
"""The split of rows without a label; the source of a label that the model gave one; and what became of a row
whose content alone may be used."""
HELD_OUT = "held_out"
"""The split of rows that `split_rows` keeps out of training, where the data set has no test split."""
SOURCES = ("given", "pseudo", "unlabeled", "reviewed")
"""Where a label to train on comes from: the owner, the model, the model without a given label, a person."""
PLACE = ("tsne_x", "tsne_y")
"""The columns of a row's place in a picture."""
FILTER_COLUMNS = plugins.names("filters")

_ID = Column("example_id", pa.int64())
_KEY = Column("key", pa.string())
_SPLIT = Column("split", pa.string())
_LABEL = pa.int16()
_VECTOR = Tensor(pa.float32(), ndim=1)
_PREDICTED = (
    _ID,
    Column("fold", pa.int16()),
    Column("pred_probs", _VECTOR),
    Column("embedding", _VECTOR, optional=True),
)

EXAMPLES = Artifact(
    "examples",
    "download",
    "data/examples.parquet",
    (
        _ID,
        _KEY,
        _SPLIT,
        Column("given_label", _LABEL, nullable=True),
        Column("true_label", _LABEL, nullable=True),
        Column("group", pa.string(), nullable=True, optional=True),
        Column("image", Pictures(), optional=True),
        Column("text", pa.string(), optional=True),
        Column("features", _VECTOR, optional=True),
    ),
    one_of=("image", "text", "features"),
    allowed={"split": SPLITS},
)
FEATURES = Artifact(
    "features",
    "features",
    "data/features.parquet",
    (_ID, Column("features", _VECTOR, optional=True)),
)
SPLIT_ROWS = Artifact(
    "splits",
    "split_rows",
    "data/splits.parquet",
    (
        _ID,
        Column("group", pa.int64()),
        # Where the owner says which rows belong together: these and duplicates of them.
        Column("together", pa.int64(), optional=True),
        _SPLIT,
        Column("original_split", pa.string()),
    ),
    allowed={"split": (*SPLITS, HELD_OUT), "original_split": SPLITS},
)
GIVEN_LABELS = Artifact(
    "given_labels",
    "inject_noise",
    "data/given_labels.parquet",
    (
        _ID,
        _KEY,
        _SPLIT,
        Column("given_label", _LABEL),
        Column("true_label", _LABEL, nullable=True),
        Column("is_noisy", pa.bool_(), nullable=True),
    ),
    allowed={"split": (*SPLITS, HELD_OUT)},
)
FOLDS = Artifact("folds", "assign_folds", "data/folds.parquet", (_ID, Column("fold", pa.int16())))
FOLD_PRED_PROBS = Artifact(
    "fold_pred_probs", "train_fold", "data/pred_probs/fold_{fold}.parquet", _PREDICTED, may_be_empty=True
)
FOLD_UNLABELED_PROBS = Artifact(
    "fold_unlabeled_probs",
    "train_fold",
    "data/unlabeled_probs/fold_{fold}.parquet",
    (_ID, Column("pred_probs", _VECTOR)),
    may_be_empty=True,
)
TRAINING_SIGNALS = Artifact(
    "training_signals",
    "train_fold",
    "data/training_signals/fold_{fold}.parquet",
    (_ID, Column("mean_margin", pa.float32(), nullable=True)),
)
PRED_PROBS = Artifact(
    "pred_probs",
    "aggregate",
    "data/pred_probs.parquet",
    (
        *_PREDICTED,
        Column("second_probs", _VECTOR, optional=True),
        Column("mean_margin", pa.float32(), nullable=True, optional=True),
    ),
)
UNLABELED_PROBS = Artifact(
    "unlabeled_probs",
    "aggregate",
    "data/unlabeled_probs.parquet",
    (_ID, Column("pred_probs", _VECTOR)),
    may_be_empty=True,
)
LABEL_ISSUES = Artifact(
    "label_issues",
    "prune",
    "data/label_issues.parquet",
    (
        _ID,
        _KEY,
        Column("given_label", _LABEL),
        Column("suggested_label", _LABEL),
        Column("suggested_prob", pa.float32()),
        Column("second_label", _LABEL),
        Column("second_prob", pa.float32()),
        Column("error_prob", pa.float32(), nullable=True),
        Column("self_confidence", pa.float64()),
        Column("normalized_margin", pa.float64()),
        Column("confidence_weighted_entropy", pa.float64()),
        Column("importance", pa.float64(), nullable=True),
        Column("importance_percentile", pa.float64(), nullable=True),
        Column("contrast", pa.float64(), nullable=True),
        Column("contradicts", pa.bool_()),
        Column("second_opinion", _LABEL, nullable=True, optional=True),
        Column("is_issue", pa.bool_()),
        Column("rank", pa.int64(), nullable=True),
        *(Column(name, pa.bool_()) for name in FILTER_COLUMNS),
    ),
)
_SUBSET = (_ID, Column("label", _LABEL), Column("weight", pa.float32()))
CORESET = Artifact("coreset", "prune", "data/coreset.parquet", _SUBSET, may_be_empty=True)
RANDOM_SUBSET = Artifact("random_subset", "prune", "data/random_subset.parquet", _SUBSET, may_be_empty=True)
TRAINING_SET = Artifact(
    "training_set",
    "pseudo_label",
    "data/training_set.parquet",
    (
        _ID,
        Column("label", _LABEL),
        Column("soft_label", _VECTOR, nullable=True),
        Column("weight", pa.float32()),
        Column("action", pa.string()),
        Column("source", pa.string()),
        Column("given_label", _LABEL, nullable=True),
    ),
    allowed={"source": SOURCES},
)
TEST_PROBS = Artifact(
    "test_probs",
    "retrain",
    "data/test_probs/{labels}.parquet",
    (
        _ID,
        _SPLIT,
        Column("pred_probs", _VECTOR),
        # Where the embedding lies in a picture, of some of the rows that are measured.
        *(Column(name, pa.float32(), nullable=True, optional=True) for name in PLACE),
    ),
    may_be_empty=True,
    allowed={"split": (*SPLITS, HELD_OUT)},
)
