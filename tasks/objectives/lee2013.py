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
    not at all before the share `start`. Two guards are not in the paper. With `align`, what the network says
    of them is scaled before the surest class is taken, so that it says each class as often as the labels do;
    that is wrong where unlabelled rows are of other classes than labelled ones. Rows whose surest class is
    less probable than `min_confidence` (a share of what smoothed labels say of their class) do not count.
    `align: false` and 0 are the paper's method.
    """

    ratio: Annotated[int, Field(ge=1, le=64)] = 4
    weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    start: Fraction = 0.1
    full: Fraction = 0.6
    align: bool = True
    min_confidence: Fraction = 0.8


def loss(network: "Network", batch: "Batch", options: Options, generator: "Generator") -> "Tensor":
    """Equation 15: the loss of labelled rows, and that of the others as if their surest class were right."""
    import torch
    from torch.nn import functional

    from tasks.training.batches import align, labelled_loss, ramp, remember

    content = network.change(batch.content, generator)
    if batch.unlabeled is None:
        return labelled_loss(network, batch, network(content))
    others = network.change(batch.unlabeled, generator)
    logits = network(torch.cat([content, others]))
    own, of_others = logits[: len(content)], logits[len(content) :]
    probs = of_others.detach().float().softmax(dim=1)
    predicted = remember(network.memory, "predicted", probs.mean(dim=0))
    if options.align:
        probs = align(network, batch, probs, predicted)
    sureness, target = probs.max(dim=1)
    counts = (sureness >= options.min_confidence * network.label_prob).float()
    pseudo = (functional.cross_entropy(of_others.float(), target, reduction="none") * counts).mean()
    weight = options.weight * ramp(network.progress, options.start, options.full)
    return labelled_loss(network, batch, own) + weight * pseudo
