"""What is unlike its class in a row of named numbers: what a person looks at to judge its label."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array

# Numbers of all rows that are read to know what is usual.
_MOST_NUMBERS = 2**28
_SHOWN = 8


@dataclass(frozen=True)
class Profile:
    """What is usual in each class.

    Attributes:
        names: (d,) what the owner calls the numbers.
        class_names: (K,).
        mean: (K, d) of each class; NaN for a class without rows.
        deviation: (d,) standard deviation within classes.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]

    def describe(self, value: npt.NDArray[np.float32], label: int | None) -> str:
        """The numbers of a row (d,) that differ most from those of its class, a line each.

        The first says what the brackets hold. Without a class the first numbers are told.
        """
        if label is None or not np.isfinite(self.mean[label]).all():
            order = np.arange(min(_SHOWN, len(value)))
            lines = [f"{self.names[k]}: {value[k]:.4g}" for k in order]
        else:
            usual = self.mean[label]
            distance = np.abs(value - usual) / np.where(self.deviation > 0, self.deviation, 1)
            order = np.argsort(-distance, kind="stable")[:_SHOWN]
            named = (f"mean of {self.class_names[label]}: ", *[""] * (len(order) - 1))
            lines = [
                f"{self.names[k]}: {value[k]:.4g} ({of}{usual[k]:.4g})"
                for k, of in zip(order, named, strict=True)
            ]
        more = len(value) - len(order)
        return "\n".join([*lines, f"and {more:,} more"] if more else lines)


def measure_profile(reader: TableReader) -> Profile | None:
    """What is usual in each class of data/examples.parquet; None where its numbers have no names or are many.

    Rows without a label do not count. Memory holds a portion at a time.
    """
    facts = reader.facts
    is_known = {"given_label", "true_label"} <= set(reader.schema.names)
    if not facts.feature_names or not is_known or reader.n_rows * len(facts.feature_names) > _MOST_NUMBERS:
        return None
    shape = (facts.n_classes, len(facts.feature_names))
    n, total, squares = np.zeros(shape[0]), np.zeros(shape), np.zeros(shape[1])
    for table in reader.portions(["features", "given_label", "true_label"]):
        label = pc.coalesce(table.column("given_label"), table.column("true_label")).fill_null(-1).to_numpy()
        values = column_array(table, "features").astype(np.float64)
        for k in np.unique(label[label >= 0]):
            chosen = values[label == k]
            n[k] += len(chosen)
            total[k] += chosen.sum(axis=0)
            squares += (chosen**2).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = total / n[:, None]
    within = squares - np.nansum(mean**2 * n[:, None], axis=0)
    deviation = np.sqrt(np.maximum(within, 0) / max(n.sum(), 1))
    return Profile(facts.feature_names, facts.class_names, mean, deviation)
