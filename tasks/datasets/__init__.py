"""Sources of examples: one module per source, each giving the same `examples` columns."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from tasks.tables.facts import DatasetFacts


@dataclass(frozen=True)
class Examples:
    """A data set in memory, rows in `example_id` order.

    Attributes:
        facts: names, content kind and shape.
        example_id: (N,) int64, unique and the same on every run.
        split: (N,) str, `train`, `test` or `unlabeled`.
        true_label: (N,) int16, or None where the truth is unknown for every row.
        content: (N, ...) array of images (uint8) or features (float32).
        original_split: (N,) str, `split` before test rows became training rows; None where none did.
    """

    facts: DatasetFacts
    example_id: npt.NDArray[Any]
    split: npt.NDArray[Any]
    true_label: npt.NDArray[Any] | None
    content: npt.NDArray[Any]
    original_split: npt.NDArray[Any] | None = None
