"""ResNet-18, 11 million weights, for photographs where there are enough rows, or a GPU."""

from typing import Any

import numpy.typing as npt

from tasks.models._resnet import Options, build_resnet, restore_resnet
from tasks.tables.facts import DatasetFacts
from tasks.training.protocol import Model, Run

__all__ = ["Options"]

TAKES = ("image",)
USES_TORCH = True


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A network to train."""
    return build_resnet("resnet18", facts, options, run)


def restore(facts: DatasetFacts, options: Options, arrays: dict[str, npt.NDArray[Any]]) -> Model:
    """The network with the weights of a checkpoint."""
    return restore_resnet("resnet18", facts, options, arrays)
