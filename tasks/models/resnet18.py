"""A ResNet of torchvision, for photographs where there are enough rows, or a GPU.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016. ResNet-18 has 11 million
weights, ResNet-34 21 million. The name of this file says which one it is: resnet34.py is a link to
resnet18.py, so that a training depends on the file of its own model alone.
"""

import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from tasks import DatasetError
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.protocol import Arrays, Model, Run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tasks.training.loop import Recipe

TAKES = ("image",)
USES_TORCH = True

_NAME = __name__.rpartition(".")[2]
# Of ImageNet, in pixels of 0 to 255; torchvision's weights were trained with them.
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class Options(Section):
    """`max_lr` is the peak of the one-cycle schedule of AdamW; norms and biases have no weight decay.

    A training picture moves by up to `shift` of its shorter side, and is mirrored at random where `flip`; the
    probabilities are then the mean of those of a picture and of its mirror image.
    `weights` are where training starts: `random`, `imagenet` (torchvision's, fetched once from its hub) or
    the path of a file of torchvision's weights.
    """

    max_lr: Annotated[float, Field(gt=0, le=10)] = 0.001
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.05
    shift: Annotated[float, Field(ge=0, le=0.25)] = 0.125
    flip: bool = True
    weights: Annotated[str, Field(min_length=1)] = "random"


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A network to train."""
    from tasks.training.torch_model import TorchModel

    state = None if options.weights == "random" else _read_weights(options.weights)
    return TorchModel(_NAME, facts, options, _recipe(facts, options, state), run)


def restore(facts: DatasetFacts, options: Options, arrays: Arrays) -> Model:
    """The network with the weights of a checkpoint; those where its training started are not asked for."""
    from tasks.training.torch_model import restore_model

    return restore_model(_NAME, facts, options, _recipe(facts, options, None), arrays)


def _recipe(facts: DatasetFacts, options: Options, state: Mapping[str, "Tensor"] | None) -> "Recipe":
    from tasks.training.loop import Recipe
    from tasks.training.networks import adamw, mirrored_views, shift_and_flip

    is_pretrained = options.weights != "random"
    n_channels = facts.shape[2] if len(facts.shape) == 3 else 1
    if is_pretrained and n_channels not in (1, 3):
        raise DatasetError(
            f"The model `{_NAME}` with models.{_NAME}.weights: {options.weights} takes pictures that are "
            f"grey or of 3 channels, found {n_channels} channels. Convert them, or set it to random."
        )
    mean, deviation = (
        np.resize(np.array(each, dtype=np.float32), n_channels) for each in (_MEAN, _DEVIATION)
    )
    reach = round(options.shift * min(facts.shape[:2]))
    return Recipe(
        network=partial(_network, is_pretrained=is_pretrained, state=state),
        optimizers=partial(adamw, max_lr=options.max_lr, weight_decay=options.weight_decay),
        change=partial(shift_and_flip, reach=reach, flip=options.flip) if reach or options.flip else None,
        views=mirrored_views if options.flip else None,
        statistics=(mean, deviation) if is_pretrained else None,
        replayable=True,
    )


def _network(
    shape: tuple[int, ...], *, is_pretrained: bool, state: Mapping[str, "Tensor"] | None
) -> "nn.Module":
    """(N, 512) from (N, C, H, W).

    The stem of torchvision makes maps of a quarter of the picture's side. With random weights, of pictures of
    at most 64 pixels it makes the half, of at most 32 the whole, as He et al. do for CIFAR-10: the last maps
    would be of a pixel or two.
    """
    import torchvision
    from torch import nn

    from tasks.training.networks import ChannelsLast

    network: Any = getattr(torchvision.models, _NAME)(weights=None)
    n_channels, *sides = shape
    stem = network.conv1
    if state is not None:
        network.load_state_dict(state)
    elif not is_pretrained and max(sides) <= 64:
        stride = 1 if max(sides) <= 32 else 2
        network.conv1 = nn.Conv2d(n_channels, stem.out_channels, 3, stride, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif not is_pretrained and n_channels != stem.in_channels:
        network.conv1 = nn.Conv2d(n_channels, stem.out_channels, 7, 2, padding=3, bias=False)
    network.fc = nn.Identity()
    return ChannelsLast(network, network.conv1.in_channels)


def _read_weights(weights: str) -> Mapping[str, "Tensor"]:
    """The arrays of a file of weights, or of the file in torchvision's hub.

    Raises:
        DatasetError: it could not be had, or holds something else.
    """
    import torch
    import torchvision

    published = torchvision.models.get_model_weights(_NAME).DEFAULT
    advice = f"Fetch {published.url} by hand, and set models.{_NAME}.weights to its path."
    try:
        if weights == "imagenet":
            return dict(published.get_state_dict(progress=False, check_hash=True))
        found = torch.load(Path(weights), weights_only=True, map_location="cpu")
        getattr(torchvision.models, _NAME)(weights=None).load_state_dict(found)
        return dict(found)
    # What the hub, pickle and torch say of a network or a file that is not as expected.
    except (OSError, EOFError, RuntimeError, ValueError, TypeError, pickle.UnpicklingError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DatasetError(
            f"models.{_NAME}.weights: expected weights of torchvision's {_NAME} from {weights}, found: "
            f"{line} {advice}"
        ) from error
