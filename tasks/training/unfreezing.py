"""Gradual unfreezing: a pretrained network is trained from its last layers to its first.

Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018, sections 3.2 and
3.3: each epoch one more group of layers joins, and each group learns more slowly than the one above it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LRScheduler

from tasks.training.lightning import pl
from tasks.training.networks import one_cycle

Groups = Callable[[nn.Module], Sequence[Sequence[nn.Module]]]
"""The layers of a network, in the order in which they are unfrozen."""


class GradualUnfreezing(pl.Callback):
    """Freezes all layers but the head, and unfreezes one group more every `epochs_per_group` epochs.

    A frozen layer keeps its weights, and its batch norms the statistics that they came with.
    """

    def __init__(self, groups_of: Groups, epochs_per_group: int) -> None:
        self._groups_of, self._epochs_per_group = groups_of, epochs_per_group

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        n_open = trainer.current_epoch // self._epochs_per_group
        for number, group in enumerate(self._groups_of(pl_module.classifier.network)):
            for layer in (layer for module in group for layer in module.modules()):
                for weight in layer.parameters(recurse=False):
                    weight.requires_grad_(number < n_open)
                if isinstance(layer, _BatchNorm):
                    layer.train(number < n_open)


def adamw_by_group(
    network: nn.Module,
    head: nn.Module,
    groups_of: Groups,
    max_lr: float,
    lr_decay: float,
    weight_decay: float,
    n_steps: int,
) -> list[tuple[torch.optim.Optimizer, LRScheduler]]:
    """AdamW on one cycle, with a learning rate for each group; biases and norms are not decayed.

    A weight without a gradient, as frozen ones are, is not moved.

    Args:
        network: all layers but the last.
        head: the last, linear layer.
        groups_of: see `Groups`; all layers with weights are in one of them.
        max_lr: the highest learning rate of the head.
        lr_decay: the first group's is `max_lr` over this, the second's that over this once more, and so on.
        weight_decay: of weights with more than one axis.
        n_steps: optimiser steps of the whole training.
    """
    by_rate = [[head], *groups_of(network)]
    settings: list[dict[str, Any]] = []
    for number, group in enumerate(by_rate):
        weights = [weight for module in group for weight in module.parameters()]
        for decayed in (True, False):
            chosen = [weight for weight in weights if (weight.ndim > 1) == decayed]
            if chosen:
                decay = weight_decay if decayed else 0.0
                settings.append({"params": chosen, "weight_decay": decay, "lr": max_lr / lr_decay**number})
    optimizer = torch.optim.AdamW(settings)
    return [(optimizer, one_cycle(optimizer, [each["lr"] for each in settings], n_steps))]
