"""Supervised training: the weighted mean loss of labelled rows. Rows without a label are not used."""

from typing import TYPE_CHECKING

from tasks.sections import Section

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from tasks.training.batches import Batch, Network


REPLAYABLE = True


class Options(Section):
    """It has none."""


def loss(network: "Network", batch: "Batch", options: Options, generator: "Generator") -> "Tensor":
    """The weighted mean loss of rows that are changed at random."""
    logits = network(network.change(batch.content, generator))
    network.observe(batch, logits)
    losses = network.row_losses(logits, batch.soft_label)
    return (losses * batch.weight).sum() / batch.weight.sum()
