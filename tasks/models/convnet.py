"""A small strided convolutional network for pictures of about 8 to 64 pixels a side."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.protocol import Arrays, Model, Run

if TYPE_CHECKING:
    from torch import nn

    from tasks.training.loop import Recipe

TAKES = ("image",)
USES_TORCH = True


class Options(Section):
    """`max_lr` and `muon_lr` are the peaks of the one-cycle schedules of SGD (head, batch norms) and of Muon
    (hidden weights). `shift` is the largest random shift of a training picture in pixels; predictions are
    averaged over shifts of `eval_shift` pixels (0: one view).
    """

    max_lr: Annotated[float, Field(gt=0, le=10)] = 0.2
    muon_lr: Annotated[float, Field(gt=0, le=10)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0005
    shift: Annotated[int, Field(ge=0, le=8)] = 2
    eval_shift: Annotated[int, Field(ge=0, le=4)] = 1


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A network to train."""
    from tasks.training.torch_model import TorchModel

    return TorchModel("convnet", facts, options, _recipe(options), run)


def restore(facts: DatasetFacts, options: Options, arrays: Arrays) -> Model:
    """The network with the weights of a checkpoint."""
    from tasks.training.torch_model import restore_model

    return restore_model("convnet", facts, options, _recipe(options), arrays)


def _recipe(options: Options) -> "Recipe":
    from tasks.training.loop import Recipe
    from tasks.training.networks import muon_and_sgd, shift_at_random, shifted_views

    return Recipe(
        network=_network,
        optimizers=partial(
            muon_and_sgd,
            muon_lr=options.muon_lr,
            max_lr=options.max_lr,
            weight_decay=options.weight_decay,
        ),
        change=partial(shift_at_random, reach=options.shift) if options.shift else None,
        views=partial(shifted_views, reach=options.eval_shift) if options.eval_shift else None,
        replayable=True,
    )


def _network(shape: tuple[int, ...]) -> "nn.Module":
    """(N, 64, ceil(H / 4), ceil(W / 4)) from (N, C, H, W). Strides cost a CPU less than pooling."""
    from torch import nn

    from tasks.training.networks import MatrixConv2d

    layers: list[nn.Module] = []
    n_in = shape[0]
    for n_out, size, stride in ((16, 5, 2), (32, 3, 2), (64, 3, 1)):
        layers += [MatrixConv2d(n_in, n_out, size, stride), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
        n_in = n_out
    return nn.Sequential(*layers)
