"""Mean and deviation of content, with which models normalise it. NumPy alone."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.contents import Features, Images
from tasks.tables.facts import DatasetFacts

# A feature that never changes is divided by this, not by 0.
_LEAST_DEVIATION = 1e-6


def n_statistics(facts: DatasetFacts) -> int:
    """How many means and deviations there are: one a channel of pictures, one a feature."""
    if facts.content == Features.kind:
        return facts.shape[0]
    return facts.shape[2] if len(facts.shape) == 3 else 1


def portions(
    content: Images | Features, most_bytes: int = 2**22, most_rows: int | None = None
) -> Iterator[slice]:
    """All rows in order, as slices of at most `most_rows` rows and about `most_bytes` of content."""
    row_bytes = math.prod(content.held.shape[1:]) * content.held.itemsize
    size = max(most_bytes // max(row_bytes, 1), 1)
    size = size if most_rows is None else min(size, most_rows)
    for start in range(0, len(content), size):
        yield slice(start, min(start + size, len(content)))


def moments(content: Images | Features) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and standard deviation: (C,) of all pixels of each channel, or (d,) of each feature.

    The rows are read in portions. A deviation is at least 1e-6.
    """
    mean, variance = _of_pixels(content) if isinstance(content, Images) else _of_features(content)
    deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION)
    return mean.astype(np.float32), deviation.astype(np.float32)


def standardize(
    content: Images | Features, mean: npt.NDArray[np.float32], deviation: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """(N, D) float32 rows less the mean, over the deviation; pictures are flattened.

    Args:
        content: N rows.
        mean: of each channel or feature, as `moments` gives it.
        deviation: likewise.
    """
    values = content.values()
    if isinstance(content, Images) and values.ndim == 3:
        values = values[..., None]
    scaled = np.subtract(values, mean, dtype=np.float32)
    scaled /= deviation
    return scaled.reshape(len(values), -1)


def _of_pixels(images: Images) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    counts: npt.NDArray[np.int64] | int = 0
    for chosen in portions(images):
        pixels = images.take(chosen).values()
        channels = pixels.reshape(-1, pixels.shape[3] if pixels.ndim == 4 else 1)
        counts = counts + np.stack([np.bincount(channel, minlength=256) for channel in channels.T])
    values = np.arange(256.0)
    n_pixels = np.sum(counts, axis=1)
    mean = counts @ values / n_pixels
    squares = (values - mean[:, None]) ** 2
    return mean, np.sum(counts * squares, axis=1) / n_pixels


def _of_features(features: Features) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    def mean_of(values: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Any:
        parts = (features.take(chosen).values().astype(np.float64) for chosen in portions(features))
        return sum(values(part).sum(axis=0) for part in parts) / len(features)

    mean = mean_of(lambda part: part)
    return mean, mean_of(lambda part: np.square(part - mean))
