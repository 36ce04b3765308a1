"""The networks: each maps a normalised batch to an embedding; a linear head follows in the classifier."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvNet(nn.Module):
    """A small strided convolutional network for images of about 8 to 64 pixels a side.

    Strides take the place of pooling, which costs more than it gives on a CPU. Input (N, C, H, W); output
    (N, `embedding_dim`).
    """

    embedding_dim: int

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        channels, height, width = shape
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 24, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(inplace=True),
            nn.Conv2d(24, 48, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(inplace=True),
            nn.Conv2d(48, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(64 * math.ceil(height / 4) * math.ceil(width / 4), 128, bias=False),
            nn.BatchNorm1d(128),
            nn.ReLU(inplace=True),
        )
        self.embedding_dim = 128

    def forward(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.layers(images)
        return embedding


class MLP(nn.Module):
    """Two hidden layers over a flattened input, for feature vectors. Input (N, ...); output (N, 256)."""

    embedding_dim: int

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), 256, bias=False),
            nn.BatchNorm1d(256),
            nn.ReLU(inplace=True),
            nn.Linear(256, 256, bias=False),
            nn.BatchNorm1d(256),
            nn.ReLU(inplace=True),
        )
        self.embedding_dim = 256

    def forward(self, inputs: Tensor) -> Tensor:
        embedding: Tensor = self.layers(inputs)
        return embedding


NETWORKS: dict[str, type[ConvNet] | type[MLP]] = {"convnet": ConvNet, "mlp": MLP}


def shift_images(images: Tensor, down: Tensor, right: Tensor, reach: int) -> Tensor:
    """Move each image by its own whole number of pixels; what comes in at the edges is 0.

    Args:
        images: (N, C, H, W).
        down: (N,) pixels in -reach..reach.
        right: (N,) pixels in -reach..reach.
        reach: the largest shift.
    """
    n, _, height, width = images.shape
    padded = nn.functional.pad(images, (reach, reach, reach, reach))
    rows = torch.arange(height, device=images.device) + (reach - down)[:, None]
    columns = torch.arange(width, device=images.device) + (reach - right)[:, None]
    index = torch.arange(n, device=images.device)[:, None, None]
    # One gather for the whole batch; indexing before the channel axis keeps it last.
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
