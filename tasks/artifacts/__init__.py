"""Parquet artifacts: one named schema per file, checked on every write and read; writes are atomic."""

from tasks.artifacts.files import atomic_path, write_json, write_text
from tasks.artifacts.rows import OUT_OF_FOLD, FoldsDigest, folds_digest, locate, rows_digest
from tasks.artifacts.streams import Scratch, TableReader, available_cores, map_in_order, write_stream
from tasks.artifacts.tables import (
    EXAMPLES,
    FOLD_PRED_PROBS,
    FOLDS,
    GIVEN_LABELS,
    LABEL_ISSUES,
    PRED_PROBS,
    TRAINING_SET,
    Artifact,
    DatasetFacts,
    column_array,
    make_table,
    read_facts,
    read_table,
    tensor_column,
    write_table,
)

__all__ = [
    "EXAMPLES",
    "FOLDS",
    "FOLD_PRED_PROBS",
    "GIVEN_LABELS",
    "LABEL_ISSUES",
    "OUT_OF_FOLD",
    "PRED_PROBS",
    "TRAINING_SET",
    "Artifact",
    "DatasetFacts",
    "FoldsDigest",
    "Scratch",
    "TableReader",
    "atomic_path",
    "available_cores",
    "column_array",
    "folds_digest",
    "locate",
    "make_table",
    "map_in_order",
    "read_facts",
    "read_table",
    "rows_digest",
    "tensor_column",
    "write_json",
    "write_stream",
    "write_table",
    "write_text",
]
