"""What a training objective gives, and what it gets.

A file in `tasks/objectives` is an objective. It defines
    Options     its own section of params.yaml (`objectives.NAME`)
    loss(network, batch, options, generator) -> Tensor
                the scalar that one optimiser step lowers
and may define
    USES_UNLABELED = True           it learns from rows without a label, where there are any; `options.ratio`
                                    says how many come with the others, see `beside`
    REPLAYABLE = True               `loss` does the same work for every batch, all of it on the device. It
                                    does not read `network.progress`, and a tensor that it keeps in
                                    `network.memory` stays in its place. A GPU may record it once and replay
                                    it
    average_decay(options) -> float of the averaged weights that teach and predict, in (0, 1); 0 averages none
    batches(n_labeled, n_unlabeled, batch_size, options, generator) -> Iterator[Places]
                                    the batches of one epoch, if they are to be others than those of
                                    `draw_batches`; each epoch must have as many
`generator` is a seeded `torch.Generator`: that of `batches` on the CPU, that of `loss` on the CPU or on the
GPU that trains. So `loss` draws with `device=generator.device`.

Importing this module imports torch.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler

_MOMENTUM = 0.99


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
    """The network in training, as an objective sees it.

    Attributes:
        n_unlabeled: rows without a label.
        label_prob: the probability of its class that a labelled row teaches; below 1 where labels are
            smoothed. A network that learned is no surer than that of any row, so cuts are shares of it.
        memory: what the objective keeps while one network is trained, empty at first.
    """

    n_unlabeled: int
    label_prob: float
    memory: dict[str, Tensor]

    @property
    def progress(self) -> float:
        """The share of the optimiser steps that is done, in [0, 1)."""

    def __call__(self, content: Tensor) -> Tensor:
        """(N, K) logits of raw content (N, ...)."""

    def teach(self, content: Tensor) -> Tensor:
        """(N, K) logits of raw content to learn from, without gradients: by the averaged weights, if any."""

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

    def loss(self, network: Network, batch: Batch, options: Any, generator: torch.Generator) -> Tensor:
        """The loss of a batch."""


def draw_batches(
    objective: Objective,
    n_labeled: int,
    n_unlabeled: int,
    batch_size: int,
    options: Any,
    generator: torch.Generator,
) -> Iterator[Places]:
    """The batches of one epoch: the objective's own, if it has `batches`.

    Else each labelled row comes at most once, in a random order, and unlabelled rows come `beside` them where
    the objective uses such.
    """
    own: Callable[..., Iterator[Places]] | None = getattr(objective, "batches", None)
    if own is not None:
        return own(n_labeled, n_unlabeled, batch_size, options, generator)
    if getattr(objective, "USES_UNLABELED", False):
        return beside(n_labeled, n_unlabeled, batch_size, options.ratio, generator)
    return map(Places, shuffled(n_labeled, batch_size, generator))


def shuffled(n_rows: int, batch_size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """The positions of `n_rows` rows in a random order, `batch_size` at a time (all, if there are fewer).

    The rows left over are in no batch: a batch of few rows would give batch norm poor statistics.
    """
    order = RandomSampler(range(n_rows), generator=generator)
    yield from BatchSampler(order, min(batch_size, n_rows), drop_last=True)


def beside(
    n_labeled: int, n_unlabeled: int, batch_size: int, ratio: int, generator: torch.Generator
) -> Iterator[Places]:
    """Batches of labelled and unlabelled rows: `ratio` of the kind that has more rows for each of the other.

    Of that kind a batch has `batch_size` rows (all, if fewer). So few labelled rows do not drown, and many
    labelled rows are not held up by few unlabelled ones. An epoch shows all rows of both kinds, but for less
    than a batch; those of which there are fewer come again, each time in another order. Without unlabelled
    rows it is `shuffled`.
    """
    if not n_unlabeled:
        yield from map(Places, shuffled(n_labeled, batch_size, generator))
        return
    most = min(batch_size, max(n_labeled, n_unlabeled))
    fewer = max(most // ratio, 2)
    n_own, n_others = (fewer, most) if n_unlabeled >= n_labeled else (most, fewer)
    n_batches = max(n_unlabeled // n_others, n_labeled // n_own)
    own, others = _endless(n_labeled, generator), _endless(n_unlabeled, generator)
    for _ in range(n_batches):
        yield Places(list(islice(own, n_own)), list(islice(others, n_others)))


def _endless(n_rows: int, generator: torch.Generator) -> Iterator[int]:
    """The positions of `n_rows` rows in a random order, then in another one, and so on."""
    while True:
        yield from RandomSampler(range(n_rows), generator=generator)


def labelled_loss(network: Network, batch: Batch, logits: Tensor) -> Tensor:
    """The weighted mean loss of the labelled rows of a batch, noted for learning curves and signals."""
    network.observe(batch, logits)
    return (network.row_losses(logits, batch.soft_label) * batch.weight).sum() / batch.weight.sum()


def ramp(progress: float, start: float, full: float) -> float:
    """A weight that is 0 until `start`, 1 from `full` on, and rises in a line between; all in [0, 1]."""
    return min(max((progress - start) / max(full - start, 1e-9), 0.0), 1.0)


def remember(memory: dict[str, Tensor], name: str, value: Tensor) -> Tensor:
    """The running mean of a value over the batches so far; it stays where it is, for a GPU that replays."""
    if name not in memory:
        memory[name] = value.clone()
    return memory[name].lerp_(value, 1 - _MOMENTUM)


def align(network: Network, batch: Batch, probs: Tensor, predicted: Tensor) -> Tensor:
    """Probabilities (U, K), scaled so that classes come as often as in the labels of the batches so far.

    A guard against the drift to a few classes (Berthelot et al., "ReMixMatch", ICLR 2020, section 3.1).

    Args:
        network: in its memory are the shares of the labels.
        batch: with the labels.
        probs: of rows without a label.
        predicted: (K,) the mean of such probabilities over the batches so far.
    """
    given = remember(network.memory, "given", batch.soft_label.mean(dim=0))
    scaled = probs * (given / predicted.clamp_min(1e-6))
    return scaled / scaled.sum(dim=1, keepdim=True).clamp_min(1e-12)
