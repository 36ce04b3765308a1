"""Labelled and pseudo-labelled rows in one batch; the weight of the latter rises during the training.

Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks", 2013.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.sections import Fraction, Section

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from tasks.training.batches import Batch, Network

USES_UNLABELED = True


class Options(Section):
    """`ratio` rows of the kind that has more come with each row of the other (labelled, unlabelled).

    Their loss counts `weight` times (alpha_f of equation 16) from the share `full` of the training on, and
    not at all before the share `start`.
    """

    ratio: Annotated[int, Field(ge=1, le=64)] = 4
    weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    start: Fraction = 0.1
    full: Fraction = 0.6


def loss(network: "Network", batch: "Batch", options: Options, generator: "Generator") -> "Tensor":
    """Equation 15: the loss of labelled rows, and that of the others as if their surest class were right."""
    import torch
    from torch.nn import functional

    from tasks.training.batches import labelled_loss, ramp

    content = network.change(batch.content, generator)
    if batch.unlabeled is None:
        return labelled_loss(network, batch, network(content))
    others = network.change(batch.unlabeled, generator)
    logits = network(torch.cat([content, others]))
    own, of_others = logits[: len(content)], logits[len(content) :]
    pseudo = functional.cross_entropy(of_others.float(), of_others.detach().argmax(dim=1))
    weight = options.weight * ramp(network.progress, options.start, options.full)
    return labelled_loss(network, batch, own) + weight * pseudo
