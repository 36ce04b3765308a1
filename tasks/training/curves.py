"""Learning curves as files, in the form of DVCLive: a table for each figure, and the last of each.

DVCLive itself would import pandas and DVC, and open the repository, for more than a second of each training.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.training.lightning import pl


class Curves(pl.loggers.Logger):
    """Writes `plots/metrics/NAME.tsv`, a line an epoch, and `metrics.json` in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._begun: set[str] = set()
        self._last: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """What Lightning calls it."""
        return "curves"

    @property
    def version(self) -> str:
        """Each training has a folder of its own."""
        return ""

    def log_hyperparams(self, *_: object, **__: object) -> None:
        """Parameters are in params.yaml."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add what Lightning logs at the end of epoch `step`; of `train/loss` the column is `loss`."""
        for name, number in metrics.items():
            value = number if math.isfinite(number) else str(number)
            *groups, figure = name.split("/")
            path = self._folder / "plots" / "metrics" / f"{name}.tsv"
            # A curve of an earlier training in this folder makes room.
            is_new = name not in self._begun
            self._begun.add(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w" if is_new else "a", encoding="utf-8", newline="") as file:
                file.write(f"step\t{figure}\n" * is_new + f"{step}\t{value}\n")
            last = self._last
            for group in groups:
                last = last.setdefault(group, {})
            last[figure] = value
        self._last["step"] = step
        text = json.dumps(self._last, indent=4) + "\n"
        (self._folder / "metrics.json").write_text(text, encoding="utf-8")
