"""A network pretrained on ImageNet, trained on by gradual unfreezing: for photographs, better on a GPU."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tasks.models import _efficientnet_lite as lite
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.protocol import Model, Run

if TYPE_CHECKING:
    from torch import nn

    from tasks.training.loop import Recipe

TAKES = ("image",)
USES_TORCH = True


class Options(Section):
    """`max_lr` is the peak of the one-cycle schedule of the head; that of each group of layers below is
    divided by `lr_decay` once more.

    In the first epochs the head alone is trained; every `epochs_per_group` epochs one more group joins, from
    the last layers to the first. A group that no epoch is left for stays as it was. Training pictures move by
    up to `shift` of their shorter side, and are mirrored at random where `flip`.
    """

    max_lr: Annotated[float, Field(gt=0, le=10)] = 0.003
    lr_decay: Annotated[float, Field(ge=1, le=100)] = 2.6
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.05
    epochs_per_group: Annotated[int, Field(ge=1, le=1000)] = 1
    shift: Annotated[float, Field(ge=0, le=0.25)] = 0.125
    flip: bool = True


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A network to train, from the published weights on."""
    from tasks.training.torch_model import TorchModel

    recipe = _recipe(facts, options, pretrained=True)
    return TorchModel("efficientnet_lite0_tuned", facts, options, recipe, run)


def restore(facts: DatasetFacts, options: Options, arrays: dict[str, npt.NDArray[Any]]) -> Model:
    """The network with the weights of a checkpoint."""
    from tasks.training.torch_model import restore_model

    recipe = _recipe(facts, options, pretrained=False)
    return restore_model("efficientnet_lite0_tuned", facts, options, recipe, arrays)


def _recipe(facts: DatasetFacts, options: Options, *, pretrained: bool) -> "Recipe":
    from tasks.training.loop import Recipe
    from tasks.training.networks import shift_and_flip
    from tasks.training.unfreezing import GradualUnfreezing, adamw_by_group

    lite.check_shape(facts.shape, "efficientnet_lite0_tuned")
    n_channels = facts.shape[2] if len(facts.shape) == 3 else 1
    reach = round(options.shift * min(facts.shape[:2]))
    return Recipe(
        network=partial(_network, pretrained=pretrained),
        optimizers=partial(
            adamw_by_group,
            groups_of=_groups,
            max_lr=options.max_lr,
            lr_decay=options.lr_decay,
            weight_decay=options.weight_decay,
        ),
        change=partial(shift_and_flip, reach=reach, flip=options.flip) if reach or options.flip else None,
        statistics=(
            np.full(n_channels, lite.MEAN, dtype=np.float32),
            np.full(n_channels, lite.DEVIATION, dtype=np.float32),
        ),
        callbacks=lambda: [GradualUnfreezing(_groups, options.epochs_per_group)],
    )


def _network(shape: tuple[int, ...], *, pretrained: bool) -> "nn.Module":
    """(N, 1280) from (N, C, H, W): pictures in the size that the weights know, the mean over places."""
    from torch import nn

    from tasks.training.networks import ChannelsLast, Resized

    network = nn.Sequential(lite.make_network(pretrained=pretrained), nn.AdaptiveAvgPool2d(1))
    return Resized(ChannelsLast(network, n_channels=3), lite.size_for_network(shape[1:]))


def _groups(network: Any) -> "list[list[nn.Module]]":
    """The layers in the order in which they are unfrozen: the last stage first, the stem last."""
    layers = network.network.network[0]
    *early, before_last, last = layers.blocks
    return [
        [last, layers.conv_head, layers.bn2],
        [before_last],
        [early[-1], early[-2]],
        [*early[:-2], layers.conv_stem, layers.bn1],
    ]
