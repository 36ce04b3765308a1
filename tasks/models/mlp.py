"""Two hidden layers of 256 units, for vectors of numbers; pictures are flattened."""

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.protocol import Arrays, Model, Run

if TYPE_CHECKING:
    from torch import nn

    from tasks.training.loop import Recipe

TAKES = ("image", "features")
USES_TORCH = True


class Options(Section):
    """`max_lr` and `muon_lr` are the peaks of the one-cycle schedules of SGD (head, batch norms) and of Muon
    (hidden weights).
    """

    max_lr: Annotated[float, Field(gt=0, le=10)] = 0.2
    muon_lr: Annotated[float, Field(gt=0, le=10)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0005


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A network to train."""
    from tasks.training.torch_model import TorchModel

    return TorchModel("mlp", facts, options, _recipe(options), run)


def restore(facts: DatasetFacts, options: Options, arrays: Arrays) -> Model:
    """The network with the weights of a checkpoint."""
    from tasks.training.torch_model import restore_model

    return restore_model("mlp", facts, options, _recipe(options), arrays)


def _recipe(options: Options) -> "Recipe":
    from tasks.training.loop import Recipe
    from tasks.training.networks import muon_and_sgd

    return Recipe(
        network=_network,
        optimizers=partial(
            muon_and_sgd,
            muon_lr=options.muon_lr,
            max_lr=options.max_lr,
            weight_decay=options.weight_decay,
        ),
        replayable=True,
    )


def _network(shape: tuple[int, ...]) -> "nn.Module":
    """(N, 256) from (N, ...)."""
    from torch import nn

    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 256, bias=False),
        nn.BatchNorm1d(256),
        nn.ReLU(inplace=True),
        nn.Linear(256, 256, bias=False),
        nn.BatchNorm1d(256),
        nn.ReLU(inplace=True),
    )
