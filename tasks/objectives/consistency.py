"""A network is to say of a strongly changed row what it says of the row itself.

The targets are soft: what a network of averaged weights says of the hardly changed row, sharpened. Xie et
al., "Unsupervised Data Augmentation for Consistency Training", NeurIPS 2020; with the teacher of Tarvainen
and Valpola, "Mean teachers are better role models", NeurIPS 2017.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.sections import Fraction
from tasks.training.strong_changes import StrongChanges

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from tasks.training.batches import Batch, Network

USES_UNLABELED = True


class Options(StrongChanges):
    """`ratio` rows of the kind that has more come with each row of the other (labelled, unlabelled).

    Their loss counts `weight` times from the share `full` of the training on, and rises in a line until then.
    Targets are sharpened by `temperature` (1: not at all), and rows count whose surest class is at least
    `min_confidence` (a share of what smoothed labels say of their class) probable. `decay` is of the
    averaged weights. The rest says how far rows are changed; see `StrongChanges`.
    """

    ratio: Annotated[int, Field(ge=1, le=64)] = 4
    weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    full: Fraction = 0.2
    temperature: Annotated[float, Field(gt=0, le=10)] = 0.5
    min_confidence: Fraction = 0.0
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.995


def average_decay(options: Options) -> float:
    """See `tasks.training.batches`."""
    return options.decay


def loss(network: "Network", batch: "Batch", options: Options, generator: "Generator") -> "Tensor":
    """The loss of labelled rows, and the cross-entropy of strongly changed rows with their soft targets."""
    import torch

    from tasks.training.batches import labelled_loss, ramp
    from tasks.training.changes import change_strongly

    content = network.change(batch.content, generator)
    if batch.unlabeled is None:
        return labelled_loss(network, batch, network(content))
    taught = network.teach(network.change(batch.unlabeled, generator)).float()
    target = (taught / options.temperature).softmax(dim=1)
    counts = (taught.softmax(dim=1).amax(dim=1) >= options.min_confidence * network.label_prob).float()
    logits = network(torch.cat([content.float(), change_strongly(batch.unlabeled, generator, options)]))
    own, of_others = logits[: len(content)], logits[len(content) :]
    unlike = -(target * of_others.float().log_softmax(dim=1)).sum(dim=1)
    weight = options.weight * ramp(network.progress, 0.0, options.full)
    return labelled_loss(network, batch, own) + weight * (unlike * counts).mean()
