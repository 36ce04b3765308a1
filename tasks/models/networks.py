"""The networks: each maps a normalised batch to feature maps, on which the classifier puts a linear head."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MatrixConv2d(nn.Module):
    """A convolution without bias whose weight is kept as a matrix (out, in * size * size).

    `torch.optim.Muon` orthogonalises matrices and refuses the four axes of `nn.Conv2d.weight`.
    """

    def __init__(self, n_in: int, n_out: int, size: int, stride: int) -> None:
        super().__init__()
        self.kernel_shape = (n_out, n_in, size, size)
        self.stride, self.padding = stride, size // 2
        kernel = nn.init.kaiming_uniform_(torch.empty(self.kernel_shape), a=math.sqrt(5))
        self.weight = nn.Parameter(kernel.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, out, H / stride, W / stride) from (N, in, H, W)."""
        kernel = self.weight.view(self.kernel_shape)
        return nn.functional.conv2d(images, kernel, stride=self.stride, padding=self.padding)


class ConvNet(nn.Module):
    """A small strided convolutional network for images of about 8 to 64 pixels a side.

    Strides take the place of pooling, which costs more than it gives on a CPU. Input (N, C, H, W); output
    (N, 64, ceil(H / 4), ceil(W / 4)).
    """

    embedding_dim = 64

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        channels, height, width = shape
        layers: list[nn.Module] = []
        n_in = channels
        for n_out, size, stride in ((16, 5, 2), (32, 3, 2), (64, 3, 1)):
            layers += [
                MatrixConv2d(n_in, n_out, size, stride),
                nn.BatchNorm2d(n_out),
                nn.ReLU(inplace=True),
            ]
            n_in = n_out
        self.layers = nn.Sequential(*layers)
        self.n_features = self.embedding_dim * math.ceil(height / 4) * math.ceil(width / 4)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


class MLP(nn.Module):
    """Two hidden layers over a flattened input, for feature vectors. Input (N, ...); output (N, 256)."""

    embedding_dim = 256

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.n_features = self.embedding_dim
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), 256, bias=False),
            nn.BatchNorm1d(256),
            nn.ReLU(inplace=True),
            nn.Linear(256, 256, bias=False),
            nn.BatchNorm1d(256),
            nn.ReLU(inplace=True),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.layers(inputs)
        return features


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
    # A view of all windows; indexing it copies only the chosen window of each image.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(n, device=images.device), :, reach - down, reach - right]


def generalized_cross_entropy(logits: Tensor, soft_label: Tensor, q: float) -> Tensor:
    """(N,) the loss sum_k s_k (1 - p_k^q) / q, between cross-entropy (q to 0) and absolute error (q = 1).

    It limits what one wrong label can pull (Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training
    Deep Neural Networks with Noisy Labels", NeurIPS 2018, equation 6), here in expectation over a soft label.

    Args:
        logits: (N, K).
        soft_label: (N, K), rows sum to 1.
        q: in [0, 1]; 0 is cross-entropy itself.
    """
    log_probs = logits.float().log_softmax(dim=1)
    if q == 0:
        return -(soft_label * log_probs).sum(dim=1)
    # The floor keeps the gradient of p^q finite where p is 0.
    powers = log_probs.clamp_min(math.log(1e-4)).mul(q).exp()
    return (soft_label * (1 - powers)).sum(dim=1) / q
