"""What a training objective gives, and what it gets.

A file in `tasks/objectives` is an objective. It defines
    Options     its own section of params.yaml (`objectives.NAME`)
    batches(n_labeled, n_unlabeled, batch_size, options, generator) -> Iterator[Places]
                the batches of one epoch; each epoch must have as many
    loss(network, batch, options, generator) -> Tensor
                the scalar that one optimiser step lowers
`generator` is a seeded `torch.Generator` on the CPU; each of the two functions has its own.

Importing this module imports torch.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler


class Places(NamedTuple):
    """Which rows make a batch: positions among the labelled rows, and among the unlabelled ones."""

    labeled: Sequence[int]
    unlabeled: Sequence[int] = ()


class Batch(NamedTuple):
    """B labelled rows and U unlabelled rows, on the device that trains.

    Attributes:
        content: (B, C, H, W) uint8 or (B, d) float32, raw.
        label: (B,) int64 class indices.
        soft_label: (B, K) float32 target probabilities, one-hot for a hard label.
        weight: (B,) float32 weight of each row in the loss.
        rows: (B,) int64 positions among the labelled rows.
        unlabeled: (U, ...) raw content of unlabelled rows; None where the batch has none.
        unlabeled_rows: (U,) int64 positions among the unlabelled rows.
    """

    content: Tensor
    label: Tensor
    soft_label: Tensor
    weight: Tensor
    rows: Tensor
    unlabeled: Tensor | None
    unlabeled_rows: Tensor


class Network(Protocol):
    """The network in training, as an objective sees it."""

    def __call__(self, content: Tensor) -> Tensor:
        """(N, K) logits of raw content (N, ...)."""

    def change(self, content: Tensor, generator: torch.Generator) -> Tensor:
        """Raw content (N, ...), changed at random as the model does with training rows."""

    def row_losses(self, logits: Tensor, soft_label: Tensor) -> Tensor:
        """(N,) loss of labelled rows, the same for every objective; it is linear in `soft_label` (N, K)."""

    def observe(self, batch: Batch, logits: Tensor) -> None:
        """Note the logits (B, K) of the batch's labelled rows, for learning curves and training signals.

        An objective calls it once a batch. Without it there is no training accuracy and there are no signals.
        """


class Objective(Protocol):
    """A module of `tasks/objectives`."""

    def batches(
        self, n_labeled: int, n_unlabeled: int, batch_size: int, options: Any, generator: torch.Generator
    ) -> Iterator[Places]:
        """The batches of one epoch."""

    def loss(self, network: Network, batch: Batch, options: Any, generator: torch.Generator) -> Tensor:
        """The loss of a batch."""


def shuffled(n_rows: int, batch_size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """The positions of `n_rows` rows in a random order, `batch_size` at a time (all, if there are fewer).

    The rows left over are in no batch: a batch of few rows would give batch norm poor statistics.
    """
    order = RandomSampler(range(n_rows), generator=generator)
    yield from BatchSampler(order, min(batch_size, n_rows), drop_last=True)
