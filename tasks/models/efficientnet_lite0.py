"""Frozen features of a network pretrained on ImageNet, with logistic regression: for photographs."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from threadpoolctl import threadpool_limits

from tasks import DatasetError
from tasks.contents import Content, Images
from tasks.models import _efficientnet_lite as lite
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.checkpoints import arrays_of_shapes, write_checkpoint
from tasks.training.linear import fit_linear, predict_linear, shapes_of_linear
from tasks.training.protocol import Model, Predictions, Rows, Run, check_content
from tasks.training.statistics import portions

TAKES = ("image",)
# Stage `features` does, once; what learns from the features does not.
USES_TORCH = False
OBJECTIVES = ("supervised",)

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
    lite.check_shape(content.held.shape[1:], "efficientnet_lite0")
    size = lite.size_for_network(content.held.shape[1:3])
    import torch

    network, device, kind = lite.frozen_network(accelerator)
    features = np.empty((len(content), lite.N_FEATURES), dtype=np.float32)
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
            maps = network((images - lite.MEAN) / lite.DEVIATION)
            features[chosen] = maps.float().mean(dim=(2, 3)).cpu().numpy()
    return features


def build(facts: DatasetFacts, options: Options, run: Run) -> Model:
    """A model to fit."""
    return LinearHead(facts, options, run.threads)


def restore(facts: DatasetFacts, options: Options, arrays: dict[str, npt.NDArray[Any]]) -> Model:
    """The model with the arrays of a checkpoint."""
    model = LinearHead(facts, options, threads=1)
    model.arrays = arrays_of_shapes(arrays, shapes_of_linear(facts.n_classes, *facts.shape))
    return model


class LinearHead:
    """Multinomial logistic regression on the features as they are. A class without rows has probability 0."""

    def __init__(self, facts: DatasetFacts, options: Options, threads: int) -> None:
        self._facts, self._options, self._threads = facts, options, threads
        self.arrays: dict[str, npt.NDArray[Any]] = {}

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
