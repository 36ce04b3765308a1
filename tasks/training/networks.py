"""What torch models are made of: layers, changes of pictures, losses, optimisers and their schedules."""

import io
import itertools
import math
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from tasks.training.muon import BatchedMuon


class MatrixConv2d(nn.Module):
    """A convolution without bias whose weight is kept as a matrix (out, in * size * size).

    `torch.optim.Muon` orthogonalises matrices and refuses the four axes of `nn.Conv2d.weight`.
    """

    def __init__(self, n_in: int, n_out: int, size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = (size, size), (stride, stride), size // 2
        self.kernel_shape = (n_out, n_in, size, size)
        kernel = nn.init.kaiming_uniform_(torch.empty(self.kernel_shape), a=math.sqrt(5))
        self.weight = nn.Parameter(kernel.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, out, H / stride, W / stride) from (N, in, H, W)."""
        kernel = self.weight.view(self.kernel_shape)
        return nn.functional.conv2d(images, kernel, stride=self.stride, padding=self.padding)


class ChannelsLast(nn.Module):
    """A network that gets pictures with as many channels as it takes, in the memory order that convolutions
    of large pictures like; of grey ones it gets the one channel as often.
    """

    def __init__(self, network: nn.Module, n_channels: int) -> None:
        super().__init__()
        self.network, self.n_channels = network.to(memory_format=torch.channels_last), n_channels

    def forward(self, images: Tensor) -> Tensor:
        """What the network makes of (N, 1, H, W) or (N, C, H, W)."""
        images = images.expand(-1, self.n_channels, -1, -1)
        found: Tensor = self.network(images.contiguous(memory_format=torch.channels_last))
        return found


class Resized(nn.Module):
    """A network that gets all pictures in one size, (height, width)."""

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, images: Tensor) -> Tensor:
        """What the network makes of (N, C, H, W)."""
        if images.shape[2:] != self.size:
            images = nn.functional.interpolate(images, self.size, mode="bilinear", antialias=True)
        found: Tensor = self.network(images)
        return found


def timm_layers(architecture: str, weights: bytes | None) -> nn.Module:
    """The layers of a network of timm before its classifier: maps from normalised pictures (N, 3, H, W).

    timm's own hub is never asked.

    Args:
        architecture: timm's name of it.
        weights: a file that torch wrote, with the arrays of the network in its order, whatever they are
            called there; None for random ones.
    """
    # Nothing here asks the hub; should a later timm do so, it must not.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import timm

    network: Any = timm.create_model(architecture, pretrained=False)
    if weights is not None:
        found = torch.load(io.BytesIO(weights), weights_only=True, map_location="cpu")
        network.load_state_dict(dict(zip(network.state_dict(), found.values(), strict=True)))
    network.global_pool = network.classifier = nn.Identity()
    layers: nn.Module = network
    return layers


def scale_to_area(sides: tuple[int, ...], side: int, least: int) -> tuple[int, int]:
    """Height and width of pictures of these sides in the area of a square of `side`; none under `least`."""
    scale = side / math.prod(sides) ** 0.5
    height, width = (max(round(each * scale), least) for each in sides)
    return height, width


def describe_features(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, bool]:
    """The length of a row of flattened features, and whether a convolution meets a map that is too narrow.

    Too narrow is a map that some weights of the kernel never touch, or that is smaller than the stride. There
    oneDNN (torch 2.15 on a CPU with bfloat16) gives memory that was never written as gradients.
    """
    narrow = False

    def look(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        nonlocal narrow
        sides = zip(inputs[0].shape[2:], layer.kernel_size, layer.stride, strict=True)
        narrow |= any(side <= size // 2 or side < stride for side, size, stride in sides)

    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | MatrixConv2d)]
    hooks = [layer.register_forward_pre_hook(look) for layer in convolutions]
    network.eval()
    with torch.no_grad():
        features: Tensor = network(torch.zeros(1, *shape))
    network.train()
    for hook in hooks:
        hook.remove()
    return features.numel(), narrow


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


def shift_at_random(images: Tensor, generator: torch.Generator, reach: int) -> Tensor:
    """Move each image by its own random number of pixels, -reach..reach in both directions."""
    size, device = (2, len(images)), generator.device
    moves = torch.randint(-reach, reach + 1, size, generator=generator, device=device).to(images.device)
    return shift_images(images, moves[0], moves[1], reach)


def shifted_views(images: Tensor, reach: int) -> Iterator[Tensor]:
    """The images (N, C, H, W) moved by `reach` pixels in each of the eight directions."""
    for move in itertools.product((-reach, 0, reach), repeat=2):
        if move != (0, 0):
            down, right = torch.tensor(move, device=images.device)[:, None].expand(2, len(images))
            yield shift_images(images, down, right, reach)


def shift_and_flip(images: Tensor, generator: torch.Generator, reach: int, *, flip: bool) -> Tensor:
    """Move each image (N, C, H, W) at random by up to `reach` pixels; mirror half of them where `flip`."""
    if reach:
        images = shift_at_random(images, generator, reach)
    if not flip:
        return images
    chosen = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    chosen = chosen.to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def mirrored_views(images: Tensor) -> Iterator[Tensor]:
    """The images (N, C, H, W), each mirrored from left to right."""
    yield images.flip(3)


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


def muon_and_sgd(
    network: nn.Module, head: nn.Module, muon_lr: float, max_lr: float, weight_decay: float, n_steps: int
) -> list[tuple[torch.optim.Optimizer, LRScheduler]]:
    """Muon for the hidden weight matrices, SGD with Nesterov momentum for all else; each on one cycle.

    Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") takes weights with
    two axes.

    Args:
        network: all layers but the last.
        head: the last, linear layer.
        muon_lr: the highest learning rate of Muon.
        max_lr: the highest learning rate of SGD.
        weight_decay: of SGD.
        n_steps: optimiser steps of the whole training.
    """
    hidden = [weight for weight in network.parameters() if weight.ndim == 2]
    others = [weight for weight in network.parameters() if weight.ndim != 2]
    for_gpu = is_on_gpu(head)
    kind = BatchedMuon if for_gpu else torch.optim.Muon
    muon = kind(hidden, lr=rate_on_device(muon_lr, head), momentum=0.9, weight_decay=0.0)
    sgd = torch.optim.SGD(
        [*others, *head.parameters()],
        lr=rate_on_device(max_lr, head),
        momentum=0.9,
        nesterov=True,
        weight_decay=weight_decay,
        fused=for_gpu or None,
    )
    return [(muon, one_cycle(muon, muon_lr, n_steps)), (sgd, one_cycle(sgd, max_lr, n_steps))]


def adamw(
    network: nn.Module, head: nn.Module, max_lr: float, weight_decay: float, n_steps: int
) -> list[tuple[torch.optim.Optimizer, LRScheduler]]:
    """AdamW on one cycle; biases and the weights of norms, which have one axis, are not decayed.

    Args:
        network: all layers but the last.
        head: the last, linear layer.
        max_lr: the highest learning rate.
        weight_decay: of weights with more axes.
        n_steps: optimiser steps of the whole training.
    """
    weights = [*network.parameters(), *head.parameters()]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    for_gpu, rate = is_on_gpu(head), rate_on_device(max_lr, head)
    optimizer = torch.optim.AdamW(groups, lr=rate, fused=for_gpu or None, capturable=for_gpu)
    return [(optimizer, one_cycle(optimizer, max_lr, n_steps))]


def is_on_gpu(layer: nn.Module) -> bool:
    """Whether the weights of a layer are on a GPU, where no optimiser may wait for a number of the device."""
    return next(layer.parameters()).is_cuda


def rate_on_device(rate: float, layer: nn.Module) -> Any:
    """A learning rate that a replayed step can read: on a GPU a tensor, which schedules fill anew."""
    return torch.tensor(rate, device=next(layer.parameters()).device) if is_on_gpu(layer) else rate


def one_cycle(optimizer: torch.optim.Optimizer, max_lr: float | list[float], n_steps: int) -> LRScheduler:
    """A learning rate that rises in a line for a quarter of the steps and then falls to nearly 0."""
    return OneCycleLR(
        optimizer,
        max_lr=max_lr,
        # The rise of 4 steps would take none, and OneCycleLR divides by its length.
        total_steps=max(n_steps, 5),
        pct_start=0.25,
        anneal_strategy="linear",
        cycle_momentum=False,
        final_div_factor=1e3,
    )
